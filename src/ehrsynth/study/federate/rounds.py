"""Federated averaging: rounds in which every site trains, and their average is what all go on from.

A round is an epoch of the trainer of the run, so that checkpoints, scores, trackers and going on after an interruption
are those of any training. The model of that trainer sees no patient: its weights are sums of what sites send.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import EhrsynthError, OptionError, TrainingError, expect, machine_fault
from ehrsynth.models.base import SyntheticModel
from ehrsynth.seeding import secret_rng
from ehrsynth.study.federate.averaging import State, averaged, snapshot
from ehrsynth.study.federate.local import begun_at, forget_before, site_folder, site_spec, trained_at
from ehrsynth.study.federate.sites import Site, sites_of
from ehrsynth.study.fit import Elsewhere
from ehrsynth.study.spec import Spec, whole
from ehrsynth.study.watch import Watch

AVERAGED = "_fedavg"  # ends the name that runs of a model are filed under
OF_BATCHES = ("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches", "limit_train_batches")


class Rounds(Elsewhere, ABC):
    """Let sites train in every epoch, and give the model the average of their weights.

    Args:
        spec: of a site's training: ``trainer.max_epochs`` are its epochs, all rounds together.
        rounds: that they are spread over.
        patients: of each site that takes part.
        watch: who is told of sites that fall out.

    Attributes:
        epochs: that each site has trained.
        absent: ``{"round", "site", "reason"}`` of each time a site fell out; it is asked again in the next round.
        turns: the batches of whoever sums up.
    """

    def __init__(self, spec: Spec, rounds: int, patients: Mapping[str, int], watch: Watch) -> None:
        self.spec, self.rounds, self.patients, self.watch = spec, rounds, patients, watch
        self.epochs = dict.fromkeys(patients, 0)
        self.absent: list[dict[str, Any]] = []
        self._kept = dict(self.epochs)  # when the last checkpoint of the run was written
        self.turns = Turns()

    @property
    @override
    def state_key(self) -> str:
        """Return the name of the state in a checkpoint, the same wherever sites are."""
        return "Rounds"

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let the model sum up, and nothing else."""
        pl_module.automatic_optimization = False
        for hook in ("training_step", "on_train_start", "on_train_batch_end"):
            setattr(pl_module, hook, lambda *_: None)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the average of what the sites would begin with; a resumed run has its weights."""
        self._kept = dict(self.epochs)
        if trainer.current_epoch:
            return
        pl_module.load_state_dict(self.begun(snapshot(pl_module.state_dict())))

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Carry out a round, before anybody looks at what it has led to."""
        pl_module.load_state_dict(self.trained(trainer.current_epoch + 1, snapshot(pl_module.state_dict())))

    @abstractmethod
    def begun(self, weights: State) -> dict[str, Tensor]:
        """Return the average of what sites begin with that are sent these weights."""

    @abstractmethod
    def trained(self, round_: int, weights: State) -> dict[str, Tensor]:
        """Return the average of what sites come to in a round that goes on from these weights.

        Raises:
            TrainingError: no site has finished it.
        """

    def turn(self, round_: int, site: str) -> "Turn":
        """Return what a site is to train in a round."""
        done = self.epochs[site]
        until = min(done + self._epochs_of(round_), self.spec.trainer["max_epochs"])
        return Turn(done, until, min(self._kept[site], done))

    def _epochs_of(self, round_: int) -> int:
        """Return the epochs of a round: as evenly spread as whole numbers can be."""
        total = int(self.spec.trainer["max_epochs"])
        return total * round_ // self.rounds - total * (round_ - 1) // self.rounds

    def note(self, round_: int, site: str, reason: str) -> None:
        """Keep, and say, that a site fell out of a round."""
        self.absent.append({"round": round_, "site": site, "reason": reason})
        self.watch.warn(f"round {round_}: site {site} fell out ({reason}); it is asked again in the next round")

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember how far sites were, for a run that goes on from here asks for their checkpoints of then."""
        self._kept = dict(self.epochs)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return how far each site is, and who has fallen out."""
        return {"epochs": self.epochs, "absent": self.absent}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore that of the run that is being resumed."""
        self.epochs, self.absent = dict(state_dict["epochs"]), list(state_dict["absent"])

    def facts(self) -> dict[str, Any]:
        """Return who took part, for ``sites.json``."""
        own = [{"site": name, "patients": n, "epochs": self.epochs[name]} for name, n in self.patients.items()]
        return {"version": 1, "method": "fedavg", "rounds": self.rounds, "sites": own, "absent": self.absent}


class InTurn(Rounds):
    """Sites that take turns in this process.

    Args:
        spec: as ``Rounds`` has it, as are ``rounds`` and ``watch``.
        rounds: of these.
        sites: with their rows.
        folder: of the run.
        watch: of these.
    """

    def __init__(self, spec: Spec, rounds: int, sites: list[Site], folder: Path, watch: Watch) -> None:
        super().__init__(spec, rounds, {site.name: site.patients for site in sites}, watch)
        self.sites, self.folder = sites, folder

    @override
    def begun(self, weights: State) -> dict[str, Tensor]:
        begun = [begun_at(self._own(site), site, weights) for site in self.sites]
        return averaged(begun, [site.patients for site in self.sites], secret_rng())

    @override
    def trained(self, round_: int, weights: State) -> dict[str, Tensor]:
        found: dict[str, dict[str, Tensor]] = {}
        for site in self.sites:
            turn, folder = self.turn(round_, site.name), site_folder(self.folder, site)
            forget_before(folder, turn.kept)
            try:
                found[site.name] = trained_at(self._own(site), site, weights, turn.done, turn.until, folder)
            except Exception as error:  # whatever happens at a site shall not end the others' work
                if machine_fault(error) is not None:
                    raise
                self.note(round_, site.name, in_a_line(error))
            else:
                self.epochs[site.name] = turn.until
        there = [site for site in self.sites if site.name in found]
        if not there:
            raise TrainingError(f"round {round_}: no site has finished; {self.absent[-1]['reason']}")
        return averaged([found[site.name] for site in there], [site.patients for site in there], secret_rng())

    def _own(self, site: Site) -> Spec:
        return site_spec(self.spec, site.name, len(self.sites))


class Turn(NamedTuple):
    """What a site is to train.

    Attributes:
        done: epochs that it has trained before.
        until: epochs that it shall have trained then.
        kept: epochs that it had trained when the run was last kept: of before, nothing is needed any more.
    """

    done: int
    until: int
    kept: int


class Turns(pl.LightningDataModule):
    """One empty batch an epoch: whoever sums up has no patients."""

    def train_dataloader(self) -> Iterable[Tensor]:
        """Return it."""
        return DataLoader([torch.zeros(0)], batch_size=None)  # type: ignore[arg-type]


def in_a_line(error: Exception) -> str:
    """Return what may be told of an error at a site: whatever a library says may quote the data."""
    return " ".join(str(error).split()) if isinstance(error, EhrsynthError) else type(error).__name__


def rounds_of(spec: Spec, model: SyntheticModel, matrix: Matrix, folder: Path, watch: Watch) -> Rounds | None:
    """Return the rounds of a run; None if it has none.

    Raises:
        OptionError: an average of such models would mean nothing, or an option does not go with sites.
    """
    if (asked := spec.federation) is None or "rounds" not in asked:
        return None
    rounds = require_rounds(spec, model)
    return InTurn(spec, rounds, sites_of(matrix, asked["by"]), folder, watch)


def require_rounds(spec: Spec, model: SyntheticModel) -> int:
    """Return the rounds that are asked for, if such models can be averaged.

    Raises:
        OptionError: an average of them would mean nothing, or an option does not go with sites.
    """
    if (why := model.prevents_averaging()) is not None:
        raise OptionError(f"method=fedavg model={spec.model_name.removesuffix(AVERAGED)}: {why}")
    if spec.privacy is not None:
        raise OptionError(
            "method=fedavg privacy=dp: what sites spend over rounds is not accounted for; method=merged lets each site"
            " train privately, and none of them spends more than epsilon on a patient"
        )
    expect(spec.trainer["devices"] in (1, "1"), "trainer.devices", spec.trainer["devices"], "1, for sites take turns,")
    asked, epochs = (spec.federation or {}).get("rounds"), int(spec.trainer["max_epochs"])
    rounds = whole("rounds", asked, least=1)
    expect(rounds <= epochs, "rounds", rounds, f"at most trainer.max_epochs={epochs}, for each has at least one epoch,")
    return rounds


def taking_turns(spec: Spec) -> Spec:
    """Return the training of whoever sums up: an epoch of it is a round, and its batches are none."""
    if spec.federation is None or "rounds" not in spec.federation:
        return spec
    kept = {name: value for name, value in spec.trainer.items() if name not in OF_BATCHES}
    return replace(spec, trainer={**kept, "max_epochs": spec.federation["rounds"], "compile": False})
