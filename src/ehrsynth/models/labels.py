"""Columns that a network is told beside its noise, so that it can be asked for them.

Mirza and Osindero, Conditional Generative Adversarial Nets, 2014; for diffusion models with the label left out at
times, Ho and Salimans, Classifier-Free Diffusion Guidance, 2022.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from ehrsynth.disclosure import LEAST
from ehrsynth.errors import OptionError, expect
from ehrsynth.layout import Layout, Records
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.schema import Schema


class Labels(nn.Module):
    """The columns of ``model.condition``, as a network sees them: ``width`` numbers, zeros and ones.

    A network gets ``of(rows)`` with each training row, or ``draw`` with what it generates; a record's own columns are
    then set to them by ``imposed_on``, so that what was asked for is met, and a critic sees them in the row it judges.
    Which labels occur together is counted once; combinations of fewer than ten training rows stay with the patients,
    and are generated only if asked for. Without columns everything here is empty and changes nothing.

    Args:
        schema: of the records.
        columns: binary and categorical ones.

    Raises:
        OptionError: a column is not in the schema, or a number.
    """

    at: Tensor  # [k], where they are in a record
    combinations: Tensor  # [m, k], 0/1
    shares: Tensor  # [m]

    def __init__(self, schema: Schema, columns: Sequence[str]) -> None:
        super().__init__()
        expect(
            isinstance(columns, Collection) and not isinstance(columns, str),
            "model.condition",
            columns,
            "a list of columns",
        )
        layout = Layout.of(schema)
        for name in columns:
            if name not in schema.by_name or schema.by_name[name].numeric:
                raise OptionError(f"model.condition: {name!r} is no binary or categorical column of the schema")
        self.layout, self.columns = layout, tuple(dict.fromkeys(columns))
        self.places = [place for name in self.columns for place in layout.places[name]]
        self.register_buffer("at", torch.tensor(self.places, dtype=torch.int64), persistent=False)
        kept = bool(self.places)  # so that checkpoints from before there were labels fit a model without them
        self.register_buffer("combinations", torch.zeros(0, len(self.places)), persistent=kept)
        self.register_buffer("shares", torch.zeros(0), persistent=kept)

    @property
    def width(self) -> int:
        """Number of encoded columns, k."""
        return len(self.places)

    def observe(self, train: Records) -> None:
        """Count which labels occur together."""
        if self.width:
            found, counts = torch.unique(train.bits[:, self.places], dim=0, return_counts=True)
            kept = counts >= min(LEAST, int(counts.max()))
            self.combinations, self.shares = found[kept].float(), counts[kept] / counts[kept].sum()

    def of(self, rows: Tensor) -> Tensor:
        """Return the labels [n, k] of records [n, p]."""
        return rows[:, self.at]

    def imposed_on(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Return records [n, p] with ``labels`` [n, k] in place of their own; gradients pass to the rest."""
        if not self.width:
            return rows
        return rows.index_copy(1, self.at, labels.to(rows.dtype))

    def draw(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Return labels [n, k] as they occur together in training rows, given those of ``condition``."""
        if not self.width:
            return torch.zeros(n, 0, device=generator.device)
        if condition is None or not condition.given[:, self.places].any():
            return self.combinations[torch.multinomial(self.shares, n, replacement=True, generator=generator)]
        asked, given = condition.low[:, self.places], condition.given[:, self.places]
        fits = ((asked[:, None] == self.combinations) | ~given[:, None]).all(2)  # [1 or n, m]
        # What never occurs beside the given labels is as it usually is.
        weights = torch.where(fits.any(1, keepdim=True), fits * self.shares, self.shares).expand(n, -1)
        drawn = self.combinations[torch.multinomial(weights, 1, generator=generator).squeeze(1)]
        return torch.where(given, asked, drawn)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Take as many combinations as the checkpoint has."""
        for name in ("combinations", "shares"):
            if (kept := state_dict.get(prefix + name)) is not None:
                setattr(self, name, getattr(self, name).new_empty(kept.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


class LabelledModel(SyntheticModel):
    """A model whose networks are told the columns of ``model.condition``; a subclass uses ``labels``.

    Args:
        schema: columns to generate.
        seed: of weights and draws.
        condition: columns that the model is told, so that it can be asked for them.
    """

    conditioning = "label"

    def __init__(self, *, schema: Schema, seed: int, condition: Sequence[str]) -> None:
        super().__init__(schema=schema, seed=seed)
        self.labels = Labels(schema, condition)

    @override
    def observe(self, train: Records) -> None:
        """Count labels."""
        self.labels.observe(train)

    @override
    def prevents_privacy(self) -> str | None:
        if self.labels.width:
            return "model.condition counts which labels occur together; leave it out, and ask for columns by rejection"
        return super().prevents_privacy()

    @override
    def prevents_averaging(self) -> str | None:
        if self.labels.width:
            return "model.condition counts which labels occur together at a site; leave it out, or take method=merged"
        return super().prevents_averaging()

    @property
    @override
    def conditionable(self) -> Collection[str]:
        return self.labels.columns
