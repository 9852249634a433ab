"""The demo source: the simulated hospital of ``ehrsynth.data.hospital``, read as MIMIC-IV is."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from ehrsynth.data.events import EVENTS
from ehrsynth.data.mimic_tables import OFFICIAL, HospitalTables, chunks
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.mimic_iv import TABLES, mimic_iv_events
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError
from ehrsynth.files import written_aside

_PIECE = "piece_of_simulation"


class Demo(Source):
    """A simulated hospital that ships with the package.

    Args:
        n: patients, 100 to a million or so.
        seed: of the simulation.
        write_raw: a folder to write the raw tables to, in the layout of MIMIC-IV 2.2 (``hosp/patients.csv.gz``, ...).

    Raises:
        OptionError: too few patients, or a seed that is no whole number.
    """

    name = "demo"

    def __init__(self, *, n: int = 10_000, seed: int = 0, write_raw: Path | str | None = None) -> None:
        if not isinstance(n, int) or n < 100:
            raise OptionError(f"source.n={n}: a whole number of at least 100 patients was expected")
        if not isinstance(seed, int):
            raise OptionError(f"source.seed={seed}: a whole number was expected")
        self.n = n
        self.seed = seed
        self.write_raw = write_raw

    def read(self, store: Store) -> None:
        """Create ``events``, and write the raw tables if they are wanted."""
        for piece in chunks(self.n, self.seed):
            _keep(store, piece)
        if self.write_raw is not None:
            for name in OFFICIAL:
                with written_aside(Path(self.write_raw) / "hosp" / f"{name}.csv.gz") as aside:
                    store.write(f"SELECT * FROM raw_{name}", aside)
        for name, table in TABLES.items():
            if name in OFFICIAL:
                cells = [
                    f"CAST({column if column in OFFICIAL[name] else 'NULL'} AS {kind}) AS {column}"
                    for column, kind in table.all_columns.items()
                ]
                store.view(name, f"SELECT {', '.join(cells)} FROM raw_{name}")
            else:
                store.empty(name, table.all_columns)
        store.view(EVENTS, mimic_iv_events())

    def options(self) -> dict[str, Any]:
        """Return number of patients and seed, and where the raw tables were written."""
        write_raw = None if self.write_raw is None else str(self.write_raw)
        return {"n": self.n, "seed": self.seed, "write_raw": write_raw}


def _keep(store: Store, piece: HospitalTables) -> None:
    """Add a piece of the simulation to the store's tables, in the official columns."""
    for table in fields(HospitalTables):
        frame = getattr(piece, table.name)
        store.register(_PIECE, frame)
        cells = ", ".join(
            f"CAST({column if column in frame else 'NULL'} AS {kind}) AS {column}"
            for column, kind in OFFICIAL[table.name].items()
        )
        put = store.append if store.has(f"raw_{table.name}") else store.table
        put(f"raw_{table.name}", f"SELECT {cells} FROM {_PIECE}")
