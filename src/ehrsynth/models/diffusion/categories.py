"""Bits and one-hot groups as categorical variables, all columns with equally many states at once."""

import torch
from torch import Tensor, nn

from ehrsynth.layout import Layout


class Categories(nn.Module):
    """Records' discrete columns as indicators [n, s] of states: a bit has two, present and absent; a level is one.

    Variables with equally many states lie side by side, so that a softmax or a draw is one operation for all of them:
    a table of two thousand bits and three categories takes as many as there are different numbers of levels.

    Args:
        layout: of the records.

    Attributes:
        variables: how many there are, C in TabDDPM.
        log_uniform: log 1 / K of each state's variable, [s].
    """

    log_uniform: Tensor
    order: Tensor
    places: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        binary, bits = layout.binary.stop, layout.bits.stop
        variables = [[bit, binary + bit] for bit in range(bits)]  # absent comes from behind the binary columns
        variables += [list(range(group.start, group.stop)) for group in layout.groups.values()]
        self.variables = len(variables)
        sizes = sorted({2, *map(len, variables)})  # where there are none at all, none of two
        self.shapes = [(sum(len(variable) == size for variable in variables), size) for size in sizes]
        order = [state for variable in sorted(variables, key=len) for state in variable]
        uniform = [1 / size for count, size in self.shapes for _ in range(count * size)]
        self.register_buffer("order", torch.tensor(order, dtype=torch.long), persistent=False)
        self.register_buffer("places", self.order.argsort()[:binary], persistent=False)
        self.register_buffer("log_uniform", torch.tensor(uniform).log(), persistent=False)

    def of(self, rows: Tensor) -> Tensor:
        """Return the indicators [n, s] of records [n, p]."""
        return self._spread(rows, 1 - rows[:, self.layout.bits])

    def logits_of(self, output: Tensor) -> Tensor:
        """Return logits [n, s] of a network's output [n, p], which has one for a bit: that of absent is zero."""
        return self._spread(output, torch.zeros_like(output[:, self.layout.bits]))

    def rows(self, states: Tensor) -> Tensor:
        """Return the binary part [n, B] of records from indicators or probabilities [n, s]."""
        return states[:, self.places]

    def log_softmax(self, logits: Tensor) -> Tensor:
        """Return normalised log probabilities [n, s], each variable on its own."""
        return torch.cat([block.log_softmax(2).flatten(1) for block in self._blocks(logits)], dim=1)

    def draw(self, log_p: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a state of each variable from log probabilities [n, s], as indicators: by the inverse of the sums."""
        return torch.cat([_drawn(block.exp(), generator).flatten(1) for block in self._blocks(log_p)], dim=1)

    def _spread(self, binary: Tensor, absent: Tensor) -> Tensor:
        return torch.cat([binary[:, self.layout.binary], absent], dim=1)[:, self.order]

    def _blocks(self, states: Tensor) -> list[Tensor]:
        """Return states [n, s] as [n, variables, K] for each number of states K."""
        parts = states.split([count * size for count, size in self.shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]


def _drawn(p: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one of the last dimension's K states, as indicators; what is left after rounding goes to the last."""
    sums = p.cumsum(-1)
    passed = (sums > torch.rand((*p.shape[:-1], 1), generator=generator, device=p.device)).to(p.dtype)
    passed[..., -1] = 1
    return passed.diff(dim=-1, prepend=torch.zeros_like(passed[..., :1]))
