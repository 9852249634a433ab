"""Success rates of an attack and what they add over a control (Giomi et al., PoPETs 2023, section 4)."""

import math
from dataclasses import dataclass

from ehrsynth.metrics.intervals import Estimate, Z, difference, share


@dataclass(frozen=True)
class Attempts:
    """How often an attack was tried and how often it succeeded.

    Attributes:
        successes: sum over the attacks of what each achieved, in [0, 1] each. Where that is not just 0 or 1 the
            intervals below are wider than they need be, since nothing in [0, 1] varies more than a 0/1 variable.
        n: number of attacks, at least 1.
    """

    successes: float
    n: int

    @property
    def rate(self) -> Estimate:
        """The plain share with its Wilson interval."""
        return share(self.successes, self.n)

    @property
    def shrunk(self) -> tuple[float, float]:
        """The centre and the half width of the Wilson interval (their equation 3)."""
        centre = (self.successes + Z * Z / 2) / (self.n + Z * Z)
        spread = self.successes * (self.n - self.successes) / self.n + Z * Z / 4
        return centre, Z * math.sqrt(spread) / (self.n + Z * Z)


def excess(attack: Attempts, control: Attempts) -> Estimate:
    """Return the attack's rate minus the control's with Newcombe's interval, in [-1, 1]."""
    return difference(attack.rate, control.rate)


def risk(attack: Attempts, control: Attempts) -> Estimate:
    """Return (attack - control) / (1 - control) in [0, 1] with the errors propagated (their equations 4 and 5).

    Both rates are the shrunk ones, so the control's is always below 1.
    """
    (hit, hit_error), (chance, chance_error) = attack.shrunk, control.shrunk
    value = (hit - chance) / (1 - chance)
    error = math.hypot(hit_error / (1 - chance), chance_error * (hit - 1) / (1 - chance) ** 2)
    low, middle, high = (min(max(x, 0.0), 1.0) for x in (value - error, value, value + error))
    return middle, (low, high)
