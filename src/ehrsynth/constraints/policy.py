"""What becomes of drawn records that break a rule: kept, rejected, or repaired."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ehrsynth.constraints.base import Rules
from ehrsynth.constraints.repair import repaired

Policy = Literal["keep", "reject", "repair"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


class Enforced(NamedTuple):
    """Records after a policy.

    Attributes:
        rows: float32 [n, p], all that were given, some of them repaired.
        kept: bool [n]: which of them may be handed over; the others are drawn again.
        broken: bool [n]: which of them broke a rule as they were drawn.
        changed: int64 [n]: cells, columns of the schema, that repair has changed in each.
    """

    rows: Tensor
    kept: Tensor
    broken: Tensor
    changed: Tensor


def enforced(policy: Policy, rules: Rules, rows: Tensor, fixed: Tensor | None = None) -> Enforced:
    """Let ``rules`` be kept by hard records [n, p], as ``policy`` says.

    Records are judged by the numbers that a table will hold, for rounding may break a rule, or mend it. Where rules are
    enforced, records come back with these numbers.

    Args:
        policy: ``keep`` lets all pass, ``reject`` those that break no rule, ``repair`` mends them and lets all pass
            that could be mended.
        rules: for records of this schema.
        rows: as ``SyntheticModel.sample`` returns them; they are not altered.
        fixed: bool [n, p] or [1, p], places that repair must not touch: ``Condition.given``.
    """
    written = rules.numbers.written(rows) if fixed is None else torch.where(fixed, rows, rules.numbers.written(rows))
    broken = rules.broken(written)
    unchanged = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    if policy == "keep":
        return Enforced(rows, torch.ones_like(broken), broken, unchanged)
    if policy == "reject":
        return Enforced(written, ~broken, broken, unchanged)
    mended, changed = repaired(rules, rows, fixed)
    return Enforced(mended, ~rules.broken(mended), broken, changed)
