"""What every generator of visits is: a LightningModule trained on batches of patients, which draws dated visits."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.errors import OptionError, SchemaError
from ehrsynth.layout import Records
from ehrsynth.models.base import SeededModel, SyntheticModel, read_checkpoint, rebuilt, require_schema, schema_of
from ehrsynth.models.chow_liu import ChowLiu
from ehrsynth.models.condition import Condition
from ehrsynth.models.noisy_looks import NoisySums
from ehrsynth.models.visits.calendar import Calendar
from ehrsynth.models.visits.noisy_calendar import NOISY_LOOKS, learn_noisily
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng
from ehrsynth.visit_batch import VisitBatch
from ehrsynth.visits import Visits, VisitSchema

CAN_BE_PRIVATE = "visits/halo and visits/dp_markov"


class VisitModel(SeededModel):
    """A generator of patients through time: their encoded rows, and their dated visits.

    A subclass has a keyword-only constructor whose arguments are ``schema``, ``visit_schema``, ``seed`` and plain
    hyper-parameters. It calls ``super().__init__(schema=schema, visit_schema=visit_schema, seed=seed)``, then
    ``self.save_hyperparameters(ignore=["schema", "visit_schema"])``, builds its networks under
    ``with self.seeded_init():``, and implements ``training_step(batch, batch_idx)``, ``configure_optimizers`` and
    ``sample``. A batch is a ``VisitBatch``.

    Rows of patients are drawn by a tree of their columns (see ``ChowLiu``), and may be given instead.

    Attributes:
        visit_schema: what visits are made of.
        statics: draws the rows of patients.
        calendar: what the training visits say of dates.
        continues: whether it can go on from the first visits of a patient.
        completes: whether it can draw some domains of a visit given the others.
        noisy_looks: how many sums ``observe_noisily`` takes.
        sample_batch: patients that sampling asks for at a time, unless told otherwise.
    """

    continues = False
    completes = False
    sample_batch = 1024
    can_be_private = CAN_BE_PRIVATE
    noisy_looks = NOISY_LOOKS

    def __init__(self, *, schema: Schema, visit_schema: VisitSchema, seed: int, ranges: int = 32) -> None:
        super().__init__(schema=schema, seed=seed)
        self.visit_schema = visit_schema
        self.statics = ChowLiu(schema=schema, seed=seed)
        self.calendar = Calendar(schema, visit_schema, ranges)

    def observe(self, static: Tensor, visits: Visits) -> None:
        """Look at all training patients once before training.

        Args:
            static: float32 [n, s], their encoded rows, without missing values.
            visits: theirs.
        """
        self.statics.observe(Records.of_dense(self.layout, static))
        self.calendar.learn(static, visits)

    def observe_noisily(self, static: Tensor, visits: Visits, noisy: NoisySums, statics: ChowLiu) -> None:
        """Take from noisy sums over the training patients what ``observe`` takes from the patients themselves.

        Args:
            static: float32 [n, s], their encoded rows, without missing values.
            visits: theirs.
            noisy: takes sums, and notes what they were.
            statics: draws the rows of patients, learned with noise.
        """
        self.statics.load_state_dict(statics.state_dict())
        learn_noisily(self.calendar, static, visits, noisy)

    def hold_out(self, static: Tensor, visits: Visits) -> None:
        """Look at validation patients, never to learn from them, only to know when to stop; most need nothing."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator, static: Tensor | None = None) -> tuple[Tensor, Visits]:
        """Draw patients.

        Called without gradients and in evaluation mode; every draw must use ``generator``, which lives on the model's
        device.

        Args:
            n: patients.
            generator: of the draws.
            static: their encoded rows [n, s], on the model's device; drawn if not given.

        Returns:
            The rows [n, s], and the visits.
        """

    def static_rows(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw rows of patients [n, s], those that a condition asks for; ``sample`` then draws their visits."""
        return self.statics.sample(n, generator, condition)

    def continue_from(self, prefix: Visits, static: Tensor, generator: torch.Generator) -> Visits:
        """Return records that begin with the visits of ``prefix``, and go on from there.

        Args:
            prefix: the first visits of n patients; where a patient has none, the record begins with a new one.
            static: their encoded rows [n, s].
            generator: of the draws.

        Raises:
            OptionError: the model cannot.
        """
        raise OptionError(f"{type(self).__name__} draws whole records; it cannot go on from visits that are given")

    def complete(self, visits: Visits, static: Tensor, domains: Collection[str], generator: torch.Generator) -> Visits:
        """Return records in which some domains are drawn anew, given all else of the visit and what was before it.

        Args:
            visits: of n patients; where nothing of these domains was known, they have none of them.
            static: their encoded rows [n, s].
            domains: of codes, or what the model calls its measurements.
            generator: of the draws.

        Raises:
            OptionError: the model cannot, or has no such domain.
        """
        raise OptionError(f"{type(self).__name__} draws whole visits; it cannot draw a part of them given the rest")

    def log_likelihood(self, static: Tensor, visits: Visits) -> Tensor | None:
        """Return log p(visits | row) [n] in nats, of a number that of its range; None of a model that has none."""
        return None

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["visit_schema"] = self.visit_schema.to_dict()

    @override
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load what was learned, whose size may depend on what was observed."""
        for name, child in self.named_children():
            if isinstance(child, SyntheticModel):
                kept = {k.removeprefix(f"{name}."): v for k, v in state_dict.items() if k.startswith(f"{name}.")}
                child.load_state_dict(kept, strict, assign)
        for name, buffer in list(self.named_buffers(recurse=False)):
            if name in state_dict:
                setattr(self, name, buffer.new_empty(state_dict[name].shape))
        return super().load_state_dict(state_dict, strict, assign)


class LooksOnce(VisitModel):
    """A model that sees all it needs in ``observe``; an epoch changes nothing, and is there for its checkpoint."""

    def __init__(self, *, schema: Schema, visit_schema: VisitSchema, seed: int) -> None:
        super().__init__(schema=schema, visit_schema=visit_schema, seed=seed)
        self.automatic_optimization = False  # Lightning then accepts that there is nothing to optimise

    def training_step(self, batch: VisitBatch, batch_idx: int) -> None:
        """Do nothing."""

    @override
    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []


def sampled(
    model: VisitModel,
    n: int,
    seed: int,
    static: Tensor | None = None,
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[Tensor, Visits]]:
    """Yield ``n`` patients, rows and visits, some at a time and on the CPU; each batch has a stream of its own.

    Args:
        model: a trained model; in evaluation mode meanwhile, and in its former mode afterwards.
        n: patients, at least 1.
        seed: of the draws.
        static: encoded rows [n, s] that patients shall have; drawn if not given.
        batch_size: patients at a time, the model's own choice by default; another size gives other patients.
        progress: called with the number of patients done so far.

    Raises:
        OptionError: ``n`` is not positive, or not as many rows are given.
    """
    if n < 1 or (static is not None and len(static) != n):
        wanted = "a whole number above zero" if n < 1 else f"the {len(static) if static is not None else n} given rows"
        raise OptionError(f"n={n}: {wanted} was expected")
    size, was_training = batch_size or model.sample_batch, model.training
    model.eval()
    try:
        for number, start in enumerate(range(0, n, size)):
            count = min(size, n - start)
            generator = torch_rng(seed, "sample", number, device=model.device)
            given = None if static is None else static[start : start + count].to(model.device)
            with torch.inference_mode():
                rows, visits = model.sample(count, generator, given)
            if progress is not None:
                progress(start + count)
            yield rows.cpu(), visits
    finally:
        model.train(was_training)


def load_visit_model(
    path: Path,
    schema: Schema | None = None,
    visit_schema: VisitSchema | None = None,
    model_class: type[VisitModel] | None = None,
) -> VisitModel:
    """Rebuild the model of a checkpoint, in evaluation mode.

    Args:
        path: of the checkpoint.
        schema: the caller's; must equal the checkpoint's.
        visit_schema: likewise.
        model_class: of the model, if it is not one of this package: what a file names is not imported.

    Raises:
        FileError: the file is no checkpoint of a model of visits; see also ``models.base.load_model``.
        SchemaError: the checkpoint comes from another schema.
    """
    content = read_checkpoint(path)
    own = schema_of(path, content)
    if schema is not None:
        require_schema(path, own, schema)
    try:
        visits = VisitSchema.from_dict(content.get("visit_schema"))
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None
    if visit_schema is not None and visits != visit_schema:
        raise SchemaError(f"{path}: the checkpoint comes from other visits; use the folder it was trained on")
    model: VisitModel = rebuilt(path, content, model_class, VisitModel, schema=own, visit_schema=visits)
    return model
