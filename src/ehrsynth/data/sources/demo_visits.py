"""The simulated hospital in time, ``ehrsynth.data.hospital_visits``, read as MIMIC-IV is."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from ehrsynth.data.hospital_visit_tables import OFFICIAL, CourseTables, Dictionaries, chunks, dictionaries
from ehrsynth.data.sources.demo import Demo, read_simulated
from ehrsynth.data.store import Store


@dataclass(kw_only=True, eq=False)
class DemoVisits(Demo):
    """Simulated patients with planted dynamics.

    The options are those of ``Demo``.
    """

    name = "demo_visits"

    def read(self, store: Store) -> None:
        """Create ``events`` and ``labels``, and write the raw tables if they are wanted."""
        pieces: Iterator[Dictionaries | CourseTables] = chain([dictionaries()], chunks(self.n, self.seed))
        read_simulated(store, pieces, OFFICIAL, self.write_raw, labels=True)
