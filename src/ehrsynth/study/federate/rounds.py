"""Federated averaging: rounds in which every site trains, and their average is what all go on from.

A round is an epoch of the trainer of the run, so that checkpoints, scores, trackers and going on after an interruption
are those of any training. The model of that trainer sees no patient: its weights are sums of what sites send.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import EhrsynthError, OptionError, TrainingError, expect, machine_fault
from ehrsynth.models.base import SyntheticModel
from ehrsynth.seeding import secret_rng
from ehrsynth.study.federate.averaging import averaged, snapshot
from ehrsynth.study.federate.local import begun_at, forget_before, site_folder, site_spec, trained_at
from ehrsynth.study.federate.sites import Site, sites_of
from ehrsynth.study.fit import Elsewhere
from ehrsynth.study.spec import Spec, whole
from ehrsynth.study.watch import Watch

AVERAGED = "_fedavg"  # ends the name that runs of a model are filed under
OF_BATCHES = ("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches", "limit_train_batches")


class Rounds(Elsewhere):
    """Let sites train in every epoch, and give the model the average of their weights.

    Args:
        spec: of a site's training: ``trainer.max_epochs`` are its epochs, all rounds together.
        rounds: that they are spread over.
        sites: who takes part.
        folder: of the run.
        watch: who is told of sites that fall out.

    Attributes:
        epochs: that each site has trained.
        absent: ``{"round", "site", "reason"}`` of each time a site fell out; it is asked again in the next round.
        turns: the batches of whoever sums up.
    """

    def __init__(self, spec: Spec, rounds: int, sites: list[Site], folder: Path, watch: Watch) -> None:
        self.spec, self.rounds, self.sites, self.folder, self.watch = spec, rounds, sites, folder, watch
        self.epochs = {site.name: 0 for site in sites}
        self.absent: list[dict[str, Any]] = []
        self._kept = dict(self.epochs)  # when the last checkpoint of the run was written
        self.turns = Turns()

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
        weights = snapshot(pl_module.state_dict())
        begun = [begun_at(self._own(site), site, weights) for site in self.sites]
        pl_module.load_state_dict(averaged(begun, [site.patients for site in self.sites], secret_rng()))

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Carry out a round, before anybody looks at what it has led to."""
        round_ = trainer.current_epoch + 1
        weights = snapshot(pl_module.state_dict())
        found: dict[str, dict[str, Tensor]] = {}
        for site in self.sites:
            done = self.epochs[site.name]
            until = min(done + self._epochs_of(round_), self.spec.trainer["max_epochs"])
            folder = site_folder(self.folder, site)
            forget_before(folder, min(self._kept[site.name], done))
            try:
                found[site.name] = trained_at(self._own(site), site, weights, done, until, folder)
            except Exception as error:  # whatever happens at a site shall not end the others' work
                if machine_fault(error) is not None:
                    raise
                self._note(round_, site, error)
            else:
                self.epochs[site.name] = until
        there = [site for site in self.sites if site.name in found]
        if not there:
            raise TrainingError(f"round {round_}: no site has finished; {self.absent[-1]['reason']}")
        states = [found[site.name] for site in there]
        pl_module.load_state_dict(averaged(states, [site.patients for site in there], secret_rng()))

    def _own(self, site: Site) -> Spec:
        return site_spec(self.spec, site, len(self.sites))

    def _epochs_of(self, round_: int) -> int:
        """Return the epochs of a round: as evenly spread as whole numbers can be."""
        total = int(self.spec.trainer["max_epochs"])
        return total * round_ // self.rounds - total * (round_ - 1) // self.rounds

    def _note(self, round_: int, site: Site, error: Exception) -> None:
        # Whatever a library says may quote the data.
        reason = " ".join(str(error).split()) if isinstance(error, EhrsynthError) else type(error).__name__
        self.absent.append({"round": round_, "site": site.name, "reason": reason})
        self.watch.warn(f"round {round_}: site {site.name} fell out ({reason}); it is asked again in the next round")

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
        own = [{"site": s.name, "patients": s.patients, "epochs": self.epochs[s.name]} for s in self.sites]
        return {"version": 1, "method": "fedavg", "rounds": self.rounds, "sites": own, "absent": self.absent}


class Turns(pl.LightningDataModule):
    """One empty batch an epoch: whoever sums up has no patients."""

    def train_dataloader(self) -> Iterable[Tensor]:
        """Return it."""
        return DataLoader([torch.zeros(0)], batch_size=None)  # type: ignore[arg-type]


def rounds_of(spec: Spec, model: SyntheticModel, matrix: Matrix, folder: Path, watch: Watch) -> Rounds | None:
    """Return the rounds of a run; None if it has none.

    Raises:
        OptionError: an average of such models would mean nothing, or an option does not go with sites.
    """
    if (asked := spec.federation) is None or "rounds" not in asked:
        return None
    if (why := model.prevents_averaging()) is not None:
        raise OptionError(f"method=fedavg model={spec.model_name.removesuffix(AVERAGED)}: {why}")
    if spec.privacy is not None:
        raise OptionError(
            "method=fedavg privacy=dp: what sites spend over rounds is not accounted for; method=merged lets each site"
            " train privately, and none of them spends more than epsilon on a patient"
        )
    expect(spec.trainer["devices"] in (1, "1"), "trainer.devices", spec.trainer["devices"], "1, for sites take turns,")
    rounds, epochs = whole("rounds", asked["rounds"], least=1), int(spec.trainer["max_epochs"])
    expect(rounds <= epochs, "rounds", rounds, f"at most trainer.max_epochs={epochs}, for each has at least one epoch,")
    return Rounds(spec, rounds, sites_of(matrix, asked["by"]), folder, watch)


def taking_turns(spec: Spec) -> Spec:
    """Return the training of whoever sums up: an epoch of it is a round, and its batches are none."""
    if spec.federation is None or "rounds" not in spec.federation:
        return spec
    kept = {name: value for name, value in spec.trainer.items() if name not in OF_BATCHES}
    return replace(spec, trainer={**kept, "max_epochs": spec.federation["rounds"], "compile": False})
