"""The scores of the stand-ins on a matrix: the same for all its runs, so computed once and kept beside them."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.errors import FileError
from ehrsynth.evaluation.anchors import Anchors, anchor_scores
from ehrsynth.evaluation.evaluator import RealData, RealVisits
from ehrsynth.evaluation.memory import checksum, code_hash
from ehrsynth.evaluation.suite import FittedSuite, OnStep
from ehrsynth.files import read_object, write_json
from ehrsynth.study.build import build
from ehrsynth.study.judge import real_rows
from ehrsynth.study.shared import owned
from ehrsynth.study.spec import Spec
from ehrsynth.study.watch import Watch


def held_out(matrix: Matrix) -> RealData:
    """Return the rows that final scores are judged on.

    What costs time on real rows alone is kept beside them: it is as private as they are.
    """
    return real_rows(matrix, "holdout", matrix.folder / ".cache" if os.access(matrix.folder, os.W_OK) else None)


def make_anchors(spec: Spec, matrix: Matrix, watch: Watch) -> None:
    """Compute the anchors of a run before it begins, if they are not there: several processes would wait for one.

    Raises:
        InputError: the suite does not fit the columns.
    """
    real, full = held_out(matrix), build(spec.evaluation["full"], "evaluation.full")
    with watch.steps(f"anchors on {matrix.name}", 4 * len(full.evaluators)) as step:
        shared_anchors(spec, matrix, real, watch, {})(full.fit(real, spec.evaluation["seed"]), step)


def shared_anchors(
    spec: Spec,
    matrix: Matrix | Trajectories,
    real: RealData | RealVisits,
    watch: Watch,
    seconds: dict[str, float],
    suite: str = "full",
) -> Callable[[FittedSuite, OnStep], Anchors]:
    """Return what gives the anchors of a suite on a matrix: computed once and kept beside the runs.

    Args:
        spec: of a run, with its suites.
        matrix: whose rows they are; or trajectories.
        real: the rows, or the visits.
        watch: who is told what happens.
        seconds: told how long it took.
        suite: ``full``, or ``quick`` for what is asked at checkpoints.
    """
    data = {"data": matrix.fingerprint, "rows": real.fingerprint}  # with its rules, and as they are judged
    suites = spec.evaluation if isinstance(real, RealData) else spec.temporal or {}
    made_from = {"suite": suites[suite], "seed": spec.evaluation["seed"], "code": code_hash()}
    key = json.dumps(data | made_from, sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = Path(spec.paths["runs"]) / ".anchors" / f"{matrix.name}-{digest}.json"

    def kept() -> Anchors | None:
        if not path.is_file():
            return None
        with suppress(FileError):
            content = read_object(path, anchors=dict, sha256=str)
            if content["sha256"] == _checksum(key, content["anchors"]):
                return content["anchors"]  # type: ignore[no-any-return]
        watch.say(f"{path}: damaged or not ours (checksum differs); the anchors are computed again")
        return None

    def shared(fitted: FittedSuite, on_step: OnStep) -> Anchors:
        start = perf_counter()
        found = kept()
        if found is None:
            with owned(path.with_name(f".{path.name}.lock"), f"evaluating the anchors on {matrix.name}", watch.say):
                found = kept()
                if found is None:
                    found = anchor_scores(fitted, on_step)
                    write_json(path, {"anchors": found, "sha256": _checksum(key, found)})
        seconds["anchors"] = perf_counter() - start
        return found

    return shared


def _checksum(key: str, anchors: Anchors) -> str:
    return checksum(key, [json.dumps(anchors, sort_keys=True).encode()])
