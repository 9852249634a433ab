"""Records that break rules, mended by changing as few cells as can be found."""

from torch import Tensor

from ehrsynth.constraints.base import Rules


def repaired(rules: Rules, rows: Tensor, fixed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return hard records [n, p] that keep ``rules``, and how many cells [n] of each were changed."""
    raise NotImplementedError
