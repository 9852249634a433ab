"""Records that break rules, mended by changing as few cells as can be found."""

import torch
from torch import Tensor

from ehrsynth.constraints.base import Rules
from ehrsynth.layout import Layout


def repaired(rules: Rules, rows: Tensor, fixed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return hard records [n, p] that keep ``rules``, and how many cells [n] of each were changed.

    Cells are columns of the schema. 0/1 columns, categories and gaps are mended first, then the numbers: one that must
    change becomes the nearest that the rules and its bounds allow; none is left out to mend a rule. Numbers that rules
    are about come back with the decimals of a table. A record that cannot be mended comes back as it was: it is one of
    ``rules.broken``, and has no changed cells.

    Args:
        rules: for records of this schema.
        rows: hard records; they are not altered.
        fixed: bool [n, p] or [1, p], places that must stay as they are.
    """
    device, rows = rows.device, rows.cpu()
    fixed = torch.zeros(1, rows.shape[1], dtype=torch.bool) if fixed is None else fixed.cpu()
    fixed = fixed.expand(len(rows), -1)
    before = torch.where(fixed, rows, rules.numbers.written(rows))
    wrong = rules.broken(before).nonzero().flatten()
    mended = rules.propositions.mended(before[wrong], fixed[wrong])
    mended = rules.numbers.mended(mended, fixed[wrong])
    whole = ~rules.broken(mended)
    after = before.clone()
    after[wrong[whole]] = mended[whole]
    return after.to(device), _changed(rules.layout, before, after).to(device)


def _changed(layout: Layout, before: Tensor, after: Tensor) -> Tensor:
    """Return in how many columns of the schema each of the records [n, p] differs, int64 [n]."""
    differs = (before != after) & ~(before.isnan() & after.isnan())
    column = {name: i for i, name in enumerate(layout.places)}
    of_place = torch.tensor([column[field.column] for field in layout.fields])
    cells = torch.zeros(len(before), len(column), dtype=torch.int64).index_add_(1, of_place, differs.long())
    return (cells > 0).sum(1)
