"""The demo source: the simulated hospital of ``ehrsynth.data.hospital``, read as MIMIC-IV is."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ehrsynth.data.mimic_tables import OFFICIAL, chunks
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.declared import declaration
from ehrsynth.data.sources.mimic import MimicIV
from ehrsynth.data.store import Store
from ehrsynth.errors import expect
from ehrsynth.files import written_aside

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_PIECE = "piece_of_simulation"


@dataclass(kw_only=True, eq=False)
class Demo(Source):
    """A simulated hospital that ships with the package.

    Attributes:
        n: patients, 100 to a million or so.
        seed: of the simulation.
        write_raw: a folder to write the raw tables to, in the layout of MIMIC-IV 2.2 (``hosp/patients.csv.gz``, ...).

    Raises:
        OptionError: too few patients, or a seed that is no whole number.
    """

    name = "demo"

    n: int = 10_000
    seed: int = 0
    write_raw: Path | str | None = None

    def __post_init__(self) -> None:
        fits = isinstance(self.n, int) and self.n >= 100
        expect(fits, "source.n", self.n, "a whole number of at least 100 patients")
        expect(isinstance(self.seed, int), "source.seed", self.seed, "a whole number")
        self.write_raw = None if self.write_raw is None else str(self.write_raw)

    def read(self, store: Store) -> None:
        """Create ``events``, and write the raw tables if they are wanted."""
        read_simulated(store, chunks(self.n, self.seed), OFFICIAL, self.write_raw, labels=False)


def read_simulated(
    store: Store,
    pieces: Iterable["DataclassInstance"],
    official: Mapping[str, Mapping[str, str]],
    write_raw: Path | str | None,
    *,
    labels: bool,
) -> None:
    """Create ``events`` of simulated tables, as those of MIMIC-IV are made, and write these if they are wanted.

    Args:
        store: gets the tables.
        pieces: dataclasses of data frames, each frame a piece of the table of its name.
        official: the columns of each table with their SQL types; those that a piece lacks are empty.
        write_raw: a folder to write the tables to, in ``hosp/``.
        labels: whether the tables with the words for codes are among them.
    """
    for piece in pieces:
        _keep(store, piece, official)
    if write_raw is not None:
        for name in official:
            with written_aside(Path(write_raw) / "hosp" / f"{name}.csv.gz") as aside:
                store.write(f"SELECT * FROM raw_{name}", aside)
    declared = declaration(MimicIV.name, "mimic")
    for name, table in declared.tables.items():
        if name in official:
            store.view(name, f"SELECT {_cells(table.all_columns, official[name])} FROM raw_{name}")
        else:
            store.empty(name, table.all_columns)
    declared.create(store, labels=labels)


def _keep(store: Store, piece: "DataclassInstance", official: Mapping[str, Mapping[str, str]]) -> None:
    """Add a piece of the simulation to the store's tables, in the official columns."""
    for table in fields(piece):
        frame = getattr(piece, table.name)
        store.register(_PIECE, frame)
        put = store.append if store.has(f"raw_{table.name}") else store.table
        put(f"raw_{table.name}", f"SELECT {_cells(official[table.name], frame)} FROM {_PIECE}")


def _cells(wanted: Mapping[str, str], there: Container[str]) -> str:
    """Return the columns that are wanted, in their types, as SQL; those that are not there are empty."""
    return ", ".join(f"CAST({name if name in there else 'NULL'} AS {kind}) AS {name}" for name, kind in wanted.items())
