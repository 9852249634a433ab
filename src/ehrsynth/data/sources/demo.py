"""The demo source: the simulated hospital of ``ehrsynth.data.hospital``, read as MIMIC-IV is."""

from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ehrsynth.data.events import EVENTS
from ehrsynth.data.mimic_tables import HospitalTables, simulate
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.mimic_iv import mimic_iv_events
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError
from ehrsynth.files import write_table


class Demo(Source):
    """A simulated hospital that ships with the package.

    Args:
        n: patients, 100 to a million or so.
        seed: of the simulation.
        write_raw: a folder to write the raw tables to, in MIMIC-IV's layout (``hosp/patients.csv.gz``, ...).

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

    @cached_property
    def tables(self) -> HospitalTables:
        """The raw tables."""
        tables = simulate(self.n, self.seed)
        if self.write_raw is not None:
            for table in fields(HospitalTables):
                write_table(Path(self.write_raw) / "hosp" / f"{table.name}.csv.gz", getattr(tables, table.name))
        return tables

    def read(self, store: Store) -> None:
        """Create ``events``."""
        for table in fields(HospitalTables):
            store.register(table.name, getattr(self.tables, table.name))
        store.view(EVENTS, mimic_iv_events())

    def options(self) -> dict[str, Any]:
        """Return number of patients and seed, and where the raw tables were written."""
        write_raw = None if self.write_raw is None else str(self.write_raw)
        return {"n": self.n, "seed": self.seed, "write_raw": write_raw}
