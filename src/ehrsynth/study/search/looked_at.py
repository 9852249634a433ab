"""What a search looks at: training and validation patients, as rows or through time, and never those held out."""

from pathlib import Path
from typing import TypeVar

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.evaluation.anchors import Anchors
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import RealData, RealVisits
from ehrsynth.evaluation.required_memory import require_memory
from ehrsynth.evaluation.suite import Suite
from ehrsynth.study.anchors import shared_anchors
from ehrsynth.study.build import build
from ehrsynth.study.chain import Input
from ehrsynth.study.judge import real_rows
from ehrsynth.study.run_folder import PROVENANCE
from ehrsynth.study.spec import Spec
from ehrsynth.study.through_time import Judged, Suites
from ehrsynth.study.watch import Watch

SEEN = ("train", "validation")  # what a search may look at
Data = Matrix | Trajectories
Real = TypeVar("Real", RealData, RealVisits)


def open_seen(spec: Spec, folder: Path) -> Data:
    """Open a folder without its held-out patients."""
    return Trajectories.open(folder, parts=SEEN) if spec.through_time else Matrix.open(folder, parts=SEEN)


def files_seen(data: Data) -> dict[str, Input]:
    """Return the files of a folder that a search may look at, for its log; that of those held out is not opened."""
    files = {PROVENANCE: Input.of(data.folder / PROVENANCE)}
    outputs = data.provenance["outputs"].items()
    return files | {name: Input(digest, data.folder / name) for name, digest in outputs if "holdout" not in name}


def cards_of(spec: Spec) -> tuple[Card, ...]:
    """Return the cards of what is measured at the checkpoints."""
    if spec.through_time:
        return Suites(spec, "quick").cards
    suite: Suite = build(spec.evaluation["quick"], "evaluation.quick")
    return suite.cards


def anchors_of(spec: Spec, data: Data, watch: Watch) -> Anchors:
    """Return anchor -> metric -> value of what is measured at the checkpoints, on validation patients."""
    if isinstance(data, Trajectories):
        judged, suites = Judged(data, "validation"), Suites(spec, "quick")
        rows = _anchors(spec, data, suites.rows, judged.rows, watch)
        visits = _anchors(spec, data, suites.visits, judged.visits, watch)
        return {name: {**rows.get(name, {}), **values} for name, values in visits.items()}
    suite: Suite = build(spec.evaluation["quick"], "evaluation.quick")
    real = real_rows(data, "validation")
    require_memory(suite.evaluators, real, spec.evaluation["rows"])
    return _anchors(spec, data, suite, real, watch)


def _anchors(spec: Spec, data: Data, suite: Suite, real: Real, watch: Watch) -> Anchors:
    with watch.steps(f"anchors of validation patients of {data.name}", None) as step:
        fitted = suite.fit(real, spec.evaluation["seed"])
        return shared_anchors(spec, data, real, watch, {}, "quick")(fitted, step)
