"""How sampling departs from what a model has learned; by default it does not."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ehrsynth.errors import expect
from ehrsynth.models import options


@dataclass(frozen=True)
class Truncation:
    """Of each draw, log odds or logits are divided by a temperature, and what is least likely is left out.

    Nucleus sampling (Holtzman et al., The curious case of neural text degeneration, ICLR 2020) keeps the fewest
    outcomes that together have the share ``top_p``. Of a code that is there or not, it leaves out those rarer than
    1 - ``top_p``: truncation cuts rare codes by construction.

    Attributes:
        temperature: 1 draws as learned.
        top_p: 1 leaves nothing out.

    Raises:
        OptionError: one of them is no value that can work.
    """

    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        options.positive(temperature=self.temperature)
        fits = isinstance(self.top_p, int | float) and not isinstance(self.top_p, bool) and 0 < self.top_p <= 1
        expect(fits, "model.top_p", self.top_p, "a number above 0, at most 1,")

    def bits(self, log_odds: Tensor) -> Tensor:
        """Return the log odds [...] by which what is there or not is drawn."""
        if self.temperature != 1:
            log_odds = log_odds / self.temperature
        if self.top_p == 1:
            return log_odds
        edge = max(math.log(self.top_p / (1 - self.top_p)), 0.0)
        return log_odds.masked_fill(log_odds > edge, torch.inf).masked_fill(log_odds < -edge, -torch.inf)

    def levels(self, logits: Tensor) -> Tensor:
        """Return the logits [..., k] by which one of several is drawn."""
        if self.temperature != 1:
            logits = logits / self.temperature
        if self.top_p == 1:
            return logits
        shares, order = logits.softmax(-1).sort(-1, descending=True)
        beyond = shares.cumsum(-1) - shares >= self.top_p
        return logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
