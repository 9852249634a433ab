"""The simulated hospital in time, ``ehrsynth.data.hospital_visits``, read as MIMIC-IV is."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ehrsynth.data.hospital_visit_tables import OFFICIAL, CourseTables, Dictionaries, chunks, dictionaries
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.demo import read_simulated
from ehrsynth.data.store import Store
from ehrsynth.errors import expect


@dataclass(kw_only=True, eq=False)
class DemoVisits(Source):
    """Simulated patients with planted dynamics.

    Attributes:
        n: patients, 100 to a million or so.
        seed: of the simulation.
        write_raw: a folder to write the raw tables to, in the layout of MIMIC-IV 2.2 (``hosp/patients.csv.gz``, ...).

    Raises:
        OptionError: too few patients, or a seed that is no whole number.
    """

    name = "demo_visits"

    n: int = 10_000
    seed: int = 0
    write_raw: Path | str | None = None

    def __post_init__(self) -> None:
        fits = isinstance(self.n, int) and self.n >= 100
        expect(fits, "source.n", self.n, "a whole number of at least 100 patients")
        expect(isinstance(self.seed, int), "source.seed", self.seed, "a whole number")
        self.write_raw = None if self.write_raw is None else str(self.write_raw)

    def read(self, store: Store) -> None:
        """Create ``events`` and ``labels``, and write the raw tables if they are wanted."""
        pieces: Iterator[Dictionaries | CourseTables] = chain([dictionaries()], chunks(self.n, self.seed))
        read_simulated(store, pieces, OFFICIAL, self.write_raw, labels=True)
