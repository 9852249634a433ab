"""What every generator is: a LightningModule that can be trained on encoded records and sampled."""

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile, ZipFile

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ehrsynth.constraints import Rules
from ehrsynth.errors import FileError, OptionError, SchemaError, TrainingError, machine_fault
from ehrsynth.files import require
from ehrsynth.layout import Layout, Records
from ehrsynth.ledger import Look
from ehrsynth.models.condition import Condition
from ehrsynth.models.noisy_looks import NoisyLooks
from ehrsynth.schema import Schema
from ehrsynth.seeding import derive, torch_rng

CAN_BE_AVERAGED = "vae, wgan_gp, emr_wgan, ehrdiff and tabddpm"
CAN_BE_PRIVATE = (
    "vae, ehrdiff, ehrdiff_tuned, tabddpm, masked_diffusion, tally, wgan_gp, emr_wgan, dp_tree, dp_mixture and dp_merf"
)
LOOK_EVERY = 50  # batches, at losses on a GPU: to answer it must finish all that it was told before
OWN_MODEL = re.compile(r"(?P<module>ehrsynth\.models(\.[a-z_][a-z0-9_]*)+)\.(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


class SeededModel(pl.LightningModule, ABC):
    """What generators of rows and of visits have in common: seeds, losses, and what a checkpoint says of its model.

    Attributes:
        schema: the columns of a patient.
        layout: how they lie in a tensor.
        seed: of the initial weights and of every draw during training.
        precisions: of Lightning's Trainer under which it can be trained; rows and draws are float32 in any case.
        keeps_best: whether its weights are those under which validation rows were likeliest, so that its last
            checkpoint is the one to hand over.
        keeps_rows: whether its checkpoint IS patient rows, and so is what it generates; the card then says so first.
        private: how it can learn under differential privacy, if it can: by ``gradients``, of which ``record_losses``
            and ``record_modules`` tell each patient's, or by one ``release`` of noisy sums in ``observe``, after which
            it looks at no batch.
        can_be_private: the models of its kind that can.
        looks: what it has learned of training patients by mechanisms that add noise.
    """

    precisions: Collection[str] = ("32-true", "16-mixed", "bf16-mixed")
    keeps_best = False
    keeps_rows = False
    private: Literal["gradients", "release"] | None = None
    can_be_private = CAN_BE_PRIVATE

    def __init__(self, *, schema: Schema, seed: int) -> None:
        super().__init__()
        self.schema = schema
        self.layout = Layout.of(schema)
        self.seed = seed
        self.looks: tuple[Look, ...] = ()
        self._losses: dict[str, list[Tensor]] = {}
        self._unseen: list[tuple[int, str, Tensor]] = []  # losses that nobody has looked at

    @contextmanager
    def seeded_init(self) -> Iterator[None]:
        """Draw the initial weights made in this block from ``seed``; the caller's stream is untouched."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(self.seed, "init"))
            yield

    def compilable(self) -> Iterable[nn.Module]:
        """Yield the networks that ``trainer.compile`` may compile: called as a whole, and differentiated only once."""
        return ()

    def remarks(self, steps: float) -> Iterable[str]:
        """Yield what a user should know before a training of so many optimizer steps, a line each; mostly nothing."""
        return ()

    def log_losses(self, batch_idx: int, **losses: Tensor) -> None:
        """Add to the epoch means that are logged as ``loss/NAME``; call it before the backward pass.

        Raises:
            TrainingError: a loss is not finite; see ``require_finite``.
        """
        self.require_finite(batch_idx, **losses)
        for name, loss in losses.items():
            self._losses.setdefault(name, []).append(loss.detach())

    def require_finite(self, batch_idx: int, **losses: Tensor) -> None:
        """Raise a ``TrainingError`` if a loss is not finite.

        On a CPU that is before it can reach the weights, elsewhere some batches later and before a checkpoint is saved.
        """
        self._unseen += [(batch_idx, name, loss.detach()) for name, loss in losses.items()]
        if self._at_once or batch_idx % LOOK_EVERY == 0 or self.trainer.is_last_batch:
            self._require_seen()

    @property
    def _at_once(self) -> bool:
        return self.device.type == "cpu"

    def _require_seen(self) -> None:
        unseen, self._unseen = self._unseen, []
        if not unseen or torch.stack([loss for *_, loss in unseen]).isfinite().all():
            return
        batch_idx, name, loss = next(found for found in unseen if not found[2].isfinite())
        raise TrainingError(
            f"{type(self).__name__}: loss/{name} is {loss.item()} in epoch {self.current_epoch}, batch {batch_idx};"
            " lower the learning rate, or check the training table for extreme values"
        )

    def on_train_epoch_start(self) -> None:
        """Start the means of the epoch."""
        self._losses.clear()
        self._unseen.clear()

    def on_train_batch_end(self, outputs: Any, batch: Tensor, batch_idx: int) -> None:
        """Log the means once an epoch: Lightning's own averaging costs a tenth of a small model's step."""
        if self.trainer.is_last_batch:
            means = {f"loss/{name}": torch.stack(losses).mean() for name, losses in self._losses.items()}
            self.log_dict(means, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)

    def step_rng(self, batch_idx: int) -> torch.Generator:
        """Return the stream of one training step.

        It depends on seed, epoch, step and rank only, so a resumed training draws what an
        uninterrupted one would have drawn, without any generator state in the checkpoint.
        """
        return torch_rng(self.seed, "train", self.current_epoch, batch_idx, self.global_rank, device=self.device)

    @contextmanager
    def seeded_layers(self, batch_idx: int) -> Iterator[None]:
        """Let layers that draw by themselves, as dropout does, draw from the step's stream; no other stream moves."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive(self.seed, "layers", self.current_epoch, batch_idx, self.global_rank))
            yield

    def prevents_privacy(self) -> str | None:
        """Return why it cannot learn under differential privacy with these options; None if it can."""
        if self.private is None:
            return f"what it learns of one record cannot be told apart; {self.can_be_private} can be private"
        return None

    def record_modules(self) -> Iterable[nn.Module]:
        """Yield what holds all trained weights of a model that is ``private`` by its gradients."""
        return ()

    def record_losses(self, batch: Any, generator: torch.Generator, draws: int) -> Tensor:
        """Return the loss [n] of each patient of a batch, in which no other has a part.

        Args:
            batch: as of ``training_step``, of one patient at least.
            generator: of what the loss draws.
            draws: how many times of each patient; the loss is their mean.
        """
        raise NotImplementedError

    def private_parts(self, batch: Any) -> Iterable[Any]:
        """Yield parts of a batch whose gradients are clipped one part after the other, to keep less at a time."""
        yield batch

    def after_private_step(self, batch_idx: int, expected: int) -> None:
        """Do what needs no patient after a private step of a model that optimises by hand, as a generator's turn does.

        Args:
            batch_idx: of the step; its batch is not shown.
            expected: patients of a batch.
        """

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a reader needs to rebuild the model: class, schema and layout as plain data."""
        self._require_seen()
        cls = type(self)
        checkpoint["model"] = f"{cls.__module__}.{cls.__qualname__}"
        checkpoint["schema"] = self.schema.to_dict()
        checkpoint["layout"] = self.layout.to_dict()


class SyntheticModel(SeededModel):
    """A generator of encoded EHR records.

    A subclass has a keyword-only constructor whose arguments are ``schema``, ``seed`` and plain
    hyper-parameters. It calls ``super().__init__(schema=schema, seed=seed)``, then
    ``self.save_hyperparameters(ignore=["schema"])``, builds its networks under
    ``with self.seeded_init():``, and implements
    ``training_step(batch, batch_idx)``, ``configure_optimizers`` and ``sample``. A batch is a
    float32 tensor [batch, p] laid out by ``self.layout``, without missing values.

    Attributes:
        needs_every_row: whether an epoch must serve every training row once; else it may leave out a few, so that all
            steps and all processes have equally many.
        sample_batch: records that sampling asks for at a time, unless told otherwise.
        rules: that hold in the training rows, given before training and not kept with the weights.
        rules_weight: of the penalty for what breaks them in the loss, ``constraints.weight``; also given then.
        penalises_rules: whether its loss has that penalty, ``rules_penalty``.
        calibrated: whether its records are calibrated to shares of the training rows (``sampling.calibrated``) where it
            is judged and by ``generate``, unless told otherwise.
        weighs: whether it can say how much likelier records are than it draws them under a condition, ``log_weights``.
        conditioning: how it meets what ``conditionable`` names: ``exact``, by the conditional distribution of what it
            has learned, or ``label``, by columns that it was told in training.
        averageable: whether models of several sites can be averaged, number by number: all that ``observe`` and
            training change are then numbers of its state whose mean means what they do, in shapes that rows do not
            decide about.
    """

    needs_every_row = False
    sample_batch = 4096
    penalises_rules = False
    calibrated = False
    weighs = False
    conditioning: Literal["exact", "label"] = "exact"
    averageable = False

    def __init__(self, *, schema: Schema, seed: int) -> None:
        super().__init__(schema=schema, seed=seed)
        self.rules: Rules = Rules((), schema)
        self.rules_weight = 0.0

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw ``n`` hard records [n, p]: 0/1 bits, one-hot groups, values in [0, 1].

        Called without gradients and in evaluation mode; every draw must use ``generator``, which
        lives on the model's device.

        Args:
            n: records.
            generator: of the draws.
            condition: what the records must have, on the model's device; one row, or one for each record. It asks for
                ``conditionable`` columns only, so a model that declares none need not heed it: conditions on other
                columns are met by rejection. Numbers may be asked for by value or by range.
        """

    @property
    def conditionable(self) -> Collection[str]:
        """The schema columns that ``sample`` can be conditioned on, alone and together."""
        return ()

    def log_likelihood(self, records: Records, known: Collection[str] = ()) -> Tensor | None:
        """Return log p(record) [n] in nats, of a number that of its range or score; None of a model that has none.

        Args:
            records: encoded records; under a set missing indicator anything may stand.
            known: columns of the schema that are given; what is returned is log p(the others | these).
        """
        return None

    def log_weights(self, records: Records, condition: Condition) -> Tensor:
        """Return by how much records drawn under a condition are too rare, [n] in nats up to a constant.

        That is log p(record) less the log of the chance with which ``sample`` draws it under the condition. Of a model
        that ``weighs``.

        Args:
            records: drawn under it.
            condition: one row, on the model's device.
        """
        raise NotImplementedError

    def rules_penalty(self, rows: Tensor) -> Tensor:
        """Return ``rules_weight`` times how far records [n, p], of probabilities too, break the rules on average.

        A model whose ``penalises_rules`` is true adds it to the loss that its generating network descends. It sees the
        numbers of ``rows``, not the noise that a draw may add to them.
        """
        if not self.rules_weight:
            return rows.new_zeros(())
        return self.rules_weight * self.rules.violation(rows).sum(1).mean()

    def prevents_averaging(self) -> str | None:
        """Return why models of several sites cannot be averaged with these options; None if they can."""
        if not self.averageable:
            return (
                f"what it learns at one site and at another has no average; {CAN_BE_AVERAGED} have, and method=merged"
                " puts together what the sites' own models generate, whatever they are"
            )
        return None

    @property
    def noisy_looks(self) -> int:
        """How many looks ``observe_noisily`` takes."""
        return 0

    def observe_noisily(self, noisy: NoisyLooks) -> None:
        """Start from noisy sums over the training records, in place of ``observe``; most models need nothing."""

    def observe(self, train: Records) -> None:
        """Look at all training records once before training; most models need nothing from this.

        Args:
            train: what batches are made of: no value is missing. Under a set missing indicator stands one that was
                filled in; ``train.with_gaps()`` is without these.
        """

    def hold_out(self, validation: Records) -> None:
        """Look at validation rows, never to learn from them, only to know when to stop; most models need nothing.

        Args:
            validation: as ``train`` of ``observe``, values filled in.
        """


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint as plain tensors and containers; nothing in it can run code.

    Raises:
        FileError: missing, truncated, or not a checkpoint of this package.
    """
    require(path)
    try:
        with ZipFile(path) as archive:  # torch does not look at the checksums in it
            if (damaged := archive.testzip()) is not None:
                raise BadZipFile(damaged)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that is not its own
        if (fault := machine_fault(error)) is not None:
            raise fault from error
        raise FileError(f"{path}: not readable as a checkpoint ({type(error).__name__})") from error
    wanted = {"model": str, "schema": dict, "layout": dict, "state_dict": dict, "hyper_parameters": dict}
    if not isinstance(content, dict) or any(not isinstance(content.get(k), kind) for k, kind in wanted.items()):
        raise FileError(f"{path}: not an ehrsynth checkpoint (model, schema, layout and weights expected)")
    named = [*content["state_dict"], *content["hyper_parameters"]]
    if not all(isinstance(name, str) for name in named):
        raise FileError(f"{path}: not an ehrsynth checkpoint (weights and options by name expected)")
    return content


def schema_of(path: Path, checkpoint: Mapping[str, Any]) -> Schema:
    """Return the schema that is in the checkpoint at ``path``.

    Raises:
        SchemaError: it is malformed.
    """
    try:
        return Schema.from_dict(checkpoint["schema"])
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None


def require_schema(path: Path, own: Schema, wanted: Schema) -> None:
    """Raise a ``SchemaError`` if the schema of the checkpoint at ``path`` is not the wanted one."""
    if own != wanted:
        differing = [column.name for column in wanted.columns if own.by_name.get(column.name) != column]
        differing += [name for name in own.names if name not in wanted.by_name]
        raise SchemaError(
            f"{path}: the checkpoint comes from another schema ({len(differing)} columns differ,"
            f" first {differing[:1]}); use the matrix it was trained on"
        )


def load_model(
    path: Path, schema: Schema | None = None, model_class: type[SyntheticModel] | None = None
) -> SyntheticModel:
    """Rebuild the model of a checkpoint, in evaluation mode.

    Args:
        path: a file under a run's ``checkpoints/``.
        schema: the schema the caller works with; must equal the checkpoint's.
        model_class: of the model, if it is not one of this package: what a file names is not imported.

    Raises:
        FileError: the file is no checkpoint, or one of a version whose model had other options or weights, or of a
            model that is not of this package, and nobody gave its class.
        SchemaError: the checkpoint comes from another schema.
    """
    content = read_checkpoint(path)
    own = schema_of(path, content)
    if schema is not None:
        require_schema(path, own, schema)
    model: SyntheticModel = rebuilt(path, content, model_class, SyntheticModel, schema=own)
    return model


def rebuilt(
    path: Path, content: Mapping[str, Any], model_class: type["SeededModel"] | None, kind: type, **schemas: Any
) -> Any:
    """Return the model of the checkpoint at ``path``, in evaluation mode.

    Args:
        path: of the checkpoint, for messages.
        content: what was read there.
        model_class: of the model, if it is not one of this package.
        kind: what the model must be, if it is.
        schemas: the arguments of its constructor that are no hyper-parameters.

    Raises:
        FileError: see ``load_model``.
    """
    cls = model_class or _own_class(path, content["model"], kind)
    try:
        model = cls(**schemas, **content["hyper_parameters"])
        model.load_state_dict(content["state_dict"])
    except (TypeError, ValueError, RuntimeError, OptionError) as error:
        if (fault := machine_fault(error)) is not None:
            raise fault from error
        known = f"of another version of ehrsynth, whose {cls.__name__} is different; train again"
        other = f"made by {content['model'][:80]!r}, which model_class={cls.__name__} does not fit"
        raise FileError(f"{path}: {known if model_class is None else other}") from error
    return model.eval()


def _own_class(path: Path, name: str, kind: type) -> Any:
    """Return a class of this package; nothing else is imported because a file says so."""
    if (found := OWN_MODEL.fullmatch(name)) is None:
        raise FileError(
            f"{path}: made by the model {name[:80]!r}, which is not of ehrsynth; if you trust its code, name it with"
            " model_class="
        )
    try:
        cls = getattr(importlib.import_module(found["module"]), found["name"])
    except (ImportError, AttributeError):
        cls = None
    if not (isinstance(cls, type) and issubclass(cls, kind)):
        raise FileError(f"{path}: made by {name[:80]!r}, which this version of ehrsynth does not have; train again")
    return cls
