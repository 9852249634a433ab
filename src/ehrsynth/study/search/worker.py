"""One process of a search: takes a trial, trains it on its checkpoints' scores, and tells how it ended."""

from collections.abc import Mapping
from dataclasses import replace
from multiprocessing import parent_process
from time import sleep
from typing import Any

import pandas as pd

from ehrsynth.errors import EhrsynthError, InputError, MachineError, OptionError, TrainingError, machine_fault
from ehrsynth.study.attempt import end_trial
from ehrsynth.study.build import build, located
from ehrsynth.study.chosen import chosen_checkpoint
from ehrsynth.study.search.halving import goes_on, rungs
from ehrsynth.study.search.looked_at import Data, anchors_of, cards_of
from ehrsynth.study.search.objectives import objectives_of
from ehrsynth.study.search.spaces import drawn_of, typed
from ehrsynth.study.search.spec import SearchSpec
from ehrsynth.study.search.trials import Taken, Trials
from ehrsynth.study.spec import Spec
from ehrsynth.study.train import fitted, folder_of
from ehrsynth.study.watch import Watch

GIVE_UP = 3  # trials in a row that failed though their training had not diverged
PAUSE = 0.5  # seconds between two looks at the trials of others


class Pruned(Exception):  # noqa: N818 (it is no error)
    """A trial is not worth going on with."""


class Worker:
    """A process that carries out trials.

    Args:
        spec: of the search.
        data: opened without its held-out patients.
        watch: who is told what happens.
    """

    def __init__(self, spec: SearchSpec, data: Data, watch: Watch) -> None:
        self.spec, self.data, self.watch = spec, data, watch
        self.profile = build(spec.base.profile, "profile")
        self.cards = {card.name: card for card in cards_of(spec.base)}
        anchors = anchors_of(spec.base, data, watch)
        self.objectives = objectives_of(spec.objectives, self.profile, self.cards, anchors)
        self.trials = Trials(
            spec.database,
            spec.name(data.fingerprint),
            space=spec.space,
            objectives=spec.objectives,
            seed=spec.base.seed,
            first=drawn_of(spec.space, spec.config),
            facts={
                "model": spec.base.model_name,
                "command": spec.command,
                "space": {name: str(dimension) for name, dimension in spec.space.items()},
                "objectives": self.objectives.parts,
                "weights": self.objectives.weights,
                "left_out": self.objectives.left_out,
            },
        )

    def work(self) -> None:
        """Carry out trials until there are enough, and none of others may come back.

        Raises:
            OptionError: a model refuses what the space offers.
            MachineError: three trials in a row found no space or memory.
        """
        failures, waits = 0, False
        while taken := self.trials.take(self.spec.trials, self.spec.seconds):
            if taken is True:
                if not waits:
                    self.watch.say(f"{self.spec.base.model_name}: waiting for trials of other processes")
                waits = True
                sleep(PAUSE)
                continue
            assert isinstance(taken, Taken)
            try:
                error = self._carry_out(taken)
            finally:
                self.trials.release(taken)
            failures = 0 if error is None else failures + 1
            if error is not None and failures == GIVE_UP:
                raise machine_fault(error) or error

    def _carry_out(self, taken: Taken) -> Exception | None:
        """Return what went wrong, if it was more than that the training diverged."""
        spec = self.spec.trial(taken.values)
        name = f"{spec.model_name} trial {taken.number}"
        options, wrong = " ".join(typed(taken.values)), None
        folder = folder_of(spec, self.data)
        before = self._notes(spec, pd.read_csv(folder.metrics)) if folder.metrics.is_file() else {}
        taken.note(values=taken.values, run="/".join(folder.path.parts[-2:]), checkpoints=before | taken.notes)
        try:
            fitted(spec, self.data, self._watching(taken, spec))
            said = self._finish(taken, spec, pd.read_csv(folder.metrics))
        except Pruned as reason:
            self.trials.end(taken, "PRUNED", str(reason))
            said = f"pruned, {reason}"
            for checkpoint in (folder.path / "checkpoints").glob("*"):  # nobody goes on from them
                checkpoint.unlink()
        except InputError as error:
            self.trials.end(taken, "FAIL", str(error), counts=False)
            raise OptionError(f"{options}: {error}") from error
        except Exception as error:
            ours = error if isinstance(error, EhrsynthError) else machine_fault(error)
            # Whatever a library says may quote the data.
            why = type(error).__name__ if ours is None else str(ours)
            self.trials.end(taken, "FAIL", why, counts=not isinstance(ours, MachineError))
            said, wrong = f"failed, {why}", None if isinstance(ours, TrainingError) else error
        if wrong is None and not folder.finished:
            end_trial(folder.path, spec.command, f"trial {taken.number}: {said}", taken.seconds)
        self.watch.say(f"{name}: {said}  {options}")
        return wrong

    def _watching(self, taken: Taken, spec: Spec) -> Watch:
        """Return who looks at the checkpoints of a trial, and ends it where others have come farther by then."""
        eta, every = self.spec.search["eta"], spec.checkpoint_every
        checkpoints = -(-spec.trainer["max_epochs"] // every)
        compared = [] if eta is None else rungs(eta, self.spec.search["grace"], checkpoints)

        def checkpoint(row: Mapping[str, Any]) -> None:
            number = -(-int(row["epoch"]) // every)
            note = self._note(row)
            taken.note(checkpoints={**taken.notes, str(number): note})
            others = self.trials.scores_at(number, taken) if number in compared else []
            if number in compared and not goes_on(note["score"], others, eta):
                better = sum(other > note["score"] for other in others)
                raise Pruned(
                    f"at epoch {row['epoch']} its score {note['score']:.3f} was behind that of {better} of the"
                    f" {len(others)} other trials that came so far, and one of {eta} goes on"
                )
            if (parent := parent_process()) is not None and not parent.is_alive():
                raise KeyboardInterrupt  # whoever killed the search means all of it

        return replace(self.watch, checkpoint=checkpoint)

    def _notes(self, spec: Spec, scores: pd.DataFrame) -> dict[str, dict[str, Any]]:
        """Return what is noted of checkpoints, by their number."""
        rows = scores.to_dict("records")
        return {str(-(-int(row["epoch"]) // spec.checkpoint_every)): self._note(row) for row in rows}

    def _note(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        found = self.objectives.of(row)
        return {"epoch": int(row["epoch"]), "objectives": found, "score": self.objectives.score(found)}

    def _finish(self, taken: Taken, spec: Spec, scores: pd.DataFrame) -> str:
        """Score a trial by the checkpoint that its run would hand over; return the score in words."""
        directions = {name: card.direction for name, card in self.cards.items()}
        model, cohort = located(spec.model["_target_"]), spec.rows["only"]
        epoch = chosen_checkpoint(scores.set_index("epoch"), directions, self.profile, model, cohort).epoch
        (measured,) = [row for row in scores.to_dict("records") if row["epoch"] == epoch]
        chosen, numbers = self._note(measured), {name: measured.get(name) for name in self.objectives.scales}
        self.trials.finish(
            taken,
            list(chosen["objectives"].values()),
            chosen=chosen,
            checkpoints=self._notes(spec, scores),
            metrics={name: float(value) for name, value in numbers.items() if value is not None and value == value},
        )
        objectives = ", ".join(f"{name} {value:.3f}" for name, value in chosen["objectives"].items())
        return f"score {chosen['score']:.3f} at epoch {epoch} ({objectives})"


def work(spec: SearchSpec, data: Data, watch: Watch) -> None:
    """Take part in a search until its trials have ended.

    Raises:
        OptionError: an objective cannot be measured here, or a model refuses what the space offers.
        MachineError: three trials in a row found no space or memory.
    """
    Worker(spec, data, watch).work()
