"""The hard case of the simulated hospital, ``ehrsynth.data.hard_case``, read as anyone's wide table is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ehrsynth.chunks import write_table
from ehrsynth.data import hard_case
from ehrsynth.data.events import EVENTS, select
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.flat import ROWS, put_wide
from ehrsynth.data.store import Store
from ehrsynth.errors import expect
from ehrsynth.schema import SUBJECT

FIRST_SUBJECT = 10_000_000


@dataclass(kw_only=True, eq=False)
class DemoHard(Source):
    """One wide table of simulated patients, a row each.

    Attributes:
        n: patients, 100 to a million or so.
        seed: of the simulation.
        write_raw: a CSV file to write the table to, which ``source=flat source.subject=subject_id`` reads.

    Raises:
        OptionError: too few patients, or a seed that is no whole number.
    """

    name = "demo_hard"

    n: int = 9_000
    seed: int = 0
    write_raw: Path | str | None = None

    def __post_init__(self) -> None:
        fits = isinstance(self.n, int) and self.n >= 100
        expect(fits, "source.n", self.n, "a whole number of at least 100 patients")
        expect(isinstance(self.seed, int), "source.seed", self.seed, "a whole number")
        self.write_raw = None if self.write_raw is None else str(self.write_raw)

    def read(self, store: Store) -> None:
        """Create ``events``, ``table_rows`` and ``table_columns``, and write the table if it is wanted."""
        cells = hard_case.draw(self.n, self.seed)
        subjects = FIRST_SUBJECT + np.arange(self.n)
        if self.write_raw is not None:
            write_table(Path(self.write_raw), pd.concat([pd.Series(subjects, name=SUBJECT), cells], axis=1))
        never = pd.Series(pd.NaT, index=cells.index, dtype="datetime64[us]")
        rows = pd.DataFrame({"place": cells.index, "subject_id": subjects, "stay_id": 0, "time": never})
        put_wide(store, rows, cells, hard_case.OUTCOMES, hard_case.SENSITIVE)
        store.view(EVENTS, select(ROWS, domain="'subject'"))
