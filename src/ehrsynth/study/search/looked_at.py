"""What a search looks at: training and validation patients, as rows or through time, and never those held out."""

from collections.abc import Sequence
from pathlib import Path

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.evaluation.anchors import Anchors
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import RealData, RealVisits
from ehrsynth.evaluation.required_memory import require_memory
from ehrsynth.evaluation.suite import Suite
from ehrsynth.study.anchors import shared_anchors
from ehrsynth.study.build import build
from ehrsynth.study.judge import real_rows
from ehrsynth.study.spec import Spec
from ehrsynth.study.through_time import Judged, Suites
from ehrsynth.study.watch import Watch

SEEN = ("train", "validation")  # what a search may look at
Data = Matrix | Trajectories


def open_seen(spec: Spec, folder: Path) -> Data:
    """Open a folder without its held-out patients."""
    return Trajectories.open(folder, parts=SEEN) if spec.through_time else Matrix.open(folder, parts=SEEN)


def cards_of(spec: Spec) -> tuple[Card, ...]:
    """Return the cards of what is measured at the checkpoints."""
    if spec.through_time:
        return Suites(spec, "quick").cards
    suite: Suite = build(spec.evaluation["quick"], "evaluation.quick")
    return suite.cards


def anchors_of(spec: Spec, data: Data, watch: Watch) -> Anchors:
    """Return anchor -> metric -> value of what is measured at the checkpoints, on validation patients."""
    found: Anchors = {}
    with watch.steps(f"anchors of validation patients of {data.name}", None) as step:
        for suite, real in _asked(spec, data):
            fitted = suite.fit(real, spec.evaluation["seed"])
            for name, values in shared_anchors(spec, data, real, watch, {}, "quick")(fitted, step).items():
                found[name] = {**found.get(name, {}), **values}
    return found


def _asked(spec: Spec, data: Data) -> Sequence[tuple[Suite, RealData | RealVisits]]:
    """Return each suite with the real side that it asks."""
    if isinstance(data, Trajectories):
        judged, suites = Judged(data, "validation"), Suites(spec, "quick")
        return (suites.rows, judged.rows), (suites.visits, judged.visits)
    rows: Suite = build(spec.evaluation["quick"], "evaluation.quick")
    real = real_rows(data, "validation")
    require_memory(rows.evaluators, real, spec.evaluation["rows"])
    return ((rows, real),)
