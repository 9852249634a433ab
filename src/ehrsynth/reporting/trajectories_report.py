"""``trajectories.html`` in a trajectories folder: visits, gaps and codes, and a dozen timelines of nobody.

Every figure counts training patients, cuts off what fewer than ten of them reach, and leaves out bars of fewer.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehrsynth.data.trajectories import Trajectories
from ehrsynth.disclosure import LEAST
from ehrsynth.files import write_text
from ehrsynth.reporting.html import environment
from ehrsynth.reporting.style import MARK, TRAIN, Drawing, clipped, figure, panels
from ehrsynth.seeding import numpy_rng
from ehrsynth.visits import Visits, VisitSchema

TRAJECTORIES_PAGE = "trajectories.html"
TIMELINES = 12
SHOWN_CODES = 20
SHOWN_KINDS = 6
_COLOURS = (TRAIN, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", MARK)


@dataclass(frozen=True)
class Histogram:
    """Counts in bins, as they may be shown.

    Attributes:
        edges: [b + 1].
        counts: [b]; 0 where fewer than ten patients are behind a bin.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64], patient: NDArray[np.int64], edges: NDArray[np.float64]) -> "Histogram":
        """Count values; the last bin takes what lies beyond."""
        place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        counts = np.bincount(place, minlength=len(edges) - 1).astype(float)
        pairs = np.unique(np.stack([place, patient]), axis=1)
        people = np.bincount(pairs[0], minlength=len(edges) - 1)
        return cls(edges, np.where(people >= LEAST, counts, 0.0))

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw values: a bin by its share, and any place within it."""
        if not self.counts.sum():
            return np.full(n, self.edges[0])
        bins = rng.choice(len(self.counts), n, p=self.counts / self.counts.sum())
        return self.edges[bins] + rng.random(n) * np.diff(self.edges)[bins]


@dataclass(frozen=True)
class Marginals:
    """What the page shows of the training patients, each thing alone."""

    visits: Visits
    schema: VisitSchema

    @cached_property
    def per_patient(self) -> Histogram:
        """Visits of a patient."""
        counts = self.visits.per_patient
        return self._whole(counts, np.arange(len(counts)))

    @cached_property
    def codes(self) -> Histogram:
        """Codes of a visit."""
        return self._whole(self.visits.codes_per_visit, self.visits.patient)

    @cached_property
    def gaps(self) -> Histogram:
        """Days between the begins of visits."""
        later = self.visits.number > 0
        edges = np.array([0, 1, 2, 4, 7, 14, 30, 60, 90, 180, 365, 730, 1460, 2920], float)
        return Histogram.of(self.visits.gaps[later], self.visits.patient[later], edges)

    @cached_property
    def kinds(self) -> dict[str, int]:
        """Visits of each kind, the most frequent first; kinds of fewer than ten patients are not told."""
        counts = np.bincount(self.visits.kinds, minlength=len(self.schema.kinds))
        people = np.bincount(
            np.unique(np.stack([self.visits.kinds, self.visits.patient]), axis=1)[0], minlength=len(counts)
        )
        return {self.schema.kinds[k]: int(counts[k]) for k in np.argsort(-counts, kind="stable") if people[k] >= LEAST}

    @cached_property
    def patients_with(self) -> dict[int, int]:
        """Training patients who have each code at all, the most frequent first."""
        owner = self.visits.patient[self.visits.visit_of_code]
        pairs = np.unique(owner * max(len(self.schema.codes), 1) + self.visits.codes)
        counts = np.bincount(pairs % max(len(self.schema.codes), 1), minlength=len(self.schema.codes))
        return {int(c): int(counts[c]) for c in np.argsort(-counts, kind="stable") if counts[c] >= LEAST}

    @staticmethod
    def _whole(counts: NDArray[np.int64], patient: NDArray[np.int64]) -> Histogram:
        tenth = int(np.partition(counts, -LEAST)[-LEAST]) if len(counts) >= LEAST else 0
        step = max(1, -(-(tenth + 1) // 30))
        return Histogram.of(counts.astype(float), patient, np.arange(0, tenth + 1 + step, step, dtype=float))


def write_trajectories_report(trajectories: Trajectories) -> Path:
    """Write the page into the trajectories folder and return its path; it opens offline, without scripts."""
    schema, path = trajectories.visit_schema, trajectories.folder / TRAJECTORIES_PAGE
    shown = Marginals(trajectories.visits("train"), schema)
    patients = len(shown.visits)
    step = next(step for step in trajectories.provenance["steps"] if step["step"] == "visits")
    common = list(shown.patients_with.items())[:SHOWN_CODES]
    page = (
        environment()
        .get_template("trajectories.html.j2")
        .render(
            title=f"Patients through time: {trajectories.name}",
            facts={
                "source": trajectories.provenance["source"]["name"],
                "codes": f"{len(schema.codes):,}",
                "measurements": f"{len(schema.measurements):,}",
                "prepared by": f"ehrsynth {trajectories.provenance['versions']['ehrsynth']}",
            },
            parts=trajectories.provenance["visits"],
            kinds=shown.kinds,
            ambulatory=schema.ambulatory,
            figures=[visits_and_gaps(shown), timelines(shown)],
            codes=[(schema.codes[c], n / patients) for c, n in common],
            measurements=schema.measurements,
            found=step["detail"],
            least=LEAST,
        )
    )
    write_text(path, page)
    return path


@figure("visits", "Visits, gaps and codes of the training patients")
def visits_and_gaps(shown: Marginals) -> Drawing:
    """Draw how many visits patients have, how far apart, with how many codes."""
    drawing, axes = panels(3, 3, 2.6)
    named = (
        ("visits of a patient", shown.per_patient),
        ("days between visits", shown.gaps),
        ("codes of a visit", shown.codes),
    )
    for axis, (label, histogram) in zip(axes, named, strict=True):
        places = np.arange(len(histogram.counts))
        axis.bar(places, histogram.counts, width=0.9, color=TRAIN)
        ticks = places[:: max(1, len(places) // 6)]
        axis.set_xticks(ticks, [f"{histogram.edges[place]:g}" for place in ticks])
        axis.set_xlabel(label)
        axis.set_ylabel("patients" if histogram is shown.per_patient else "visits")
    caption = (
        "A number under a bar is where it begins; the last bar takes all beyond. Bars of fewer than ten patients are"
        " left out. Days are from the begin of one visit to the begin of the next."
    )
    return drawing, caption, "Three bar charts: visits of a patient, days between visits, codes of a visit."


@figure("timelines", "Twelve simulated timelines: none of them is a patient")
def timelines(shown: Marginals) -> Drawing:
    """Draw timelines whose visits, gaps, kinds and codes are drawn independently from what all have together."""
    rng = numpy_rng(0, "simulated timelines")
    drawing, (axis,) = panels(1, 1, 3.8)
    kinds = list(shown.kinds) or [shown.schema.kinds[0]]
    weights = np.array([shown.kinds.get(kind, 1) for kind in kinds], float)
    for line in range(TIMELINES):
        count = max(1, int(shown.per_patient.draw(1, rng)[0]))
        days = np.concatenate([[0.0], np.cumsum(shown.gaps.draw(count - 1, rng))])
        sizes = shown.codes.draw(count, rng)
        drawn = rng.choice(len(kinds), count, p=weights / weights.sum())
        axis.plot(days[[0, -1]] / 365.25, [line, line], color="#dddddd", zorder=1)
        colours = [_COLOURS[min(kind, SHOWN_KINDS - 1)] for kind in drawn]
        axis.scatter(days / 365.25, np.full(count, line), s=14 + 4 * sizes, c=colours, zorder=2)
    for place, kind in enumerate(kinds[:SHOWN_KINDS]):
        more = len(kinds) > SHOWN_KINDS and place == SHOWN_KINDS - 1
        axis.scatter([], [], color=_COLOURS[place], label="other kinds" if more else clipped(kind, 30))
    axis.set_yticks([])
    axis.set_xlabel("years since the first visit")
    drawing.legend(loc="outside upper left", ncols=3)
    caption = (
        "Simulated: the number of visits, each gap, each kind and each number of codes is drawn by itself from the"
        " charts above, so these timelines show what the data are made of, and no patient's course. A dot is a visit,"
        " larger with more codes."
    )
    return drawing, caption, "Twelve horizontal lines with dots for visits, drawn at random."
