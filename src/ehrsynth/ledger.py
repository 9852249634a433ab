"""Every look at patients, by which mechanism, and what all of them spent; the unit is one patient with all visits.

Dwork et al., Calibrating noise to sensitivity in private data analysis, TCC 2006. A guarantee is of everything that was
learned from patients, or it is none: one look without a mechanism undoes it. So a ledger that has such a look can tell
what the others spent, and refuses to call that the whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, Self, get_args

from ehrsynth.accounting import (
    Epsilon,
    Gaussian,
    Mechanism,
    SampledGaussian,
    Unlikely,
    ZeroConcentrated,
    accountants,
    epsilon_of,
)
from ehrsynth.errors import OptionError

Free = Literal["public", "unaccounted"]
UNIT, NEIGHBOURS = "one patient, all visits", "add or remove one patient"
RANDOMNESS = "seed from the operating system, not stored; PyTorch's generator, which is not cryptographic"
COVERS = (
    "the weights and the synthetic table of this run alone: what several runs spend on the same patients adds up, and"
    " scores, losses and figures are of real rows without noise"
)
LEDGER = "ledger"  # its key in a provenance
MECHANISMS = {
    "gaussian": Gaussian,
    "sampled_gaussian": SampledGaussian,
    "zero_concentrated": ZeroConcentrated,
    "unlikely": Unlikely,
}


@dataclass(frozen=True)
class Look:
    """Something that was learned from patients, or might have been.

    Attributes:
        what: in words, such as ``bounds of numbers``.
        mechanism: that noise was added by; ``public`` is known without patients, ``unaccounted`` is learned from them
            without noise.
        why: more about it, such as where a public value is from.
    """

    what: str
    mechanism: Mechanism | Free
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        if isinstance(self.mechanism, str):
            how: dict[str, Any] = {"mechanism": self.mechanism}
        else:
            name = next(name for name, kind in MECHANISMS.items() if isinstance(self.mechanism, kind))
            how = {"mechanism": name, **asdict(self.mechanism)}
        return {"what": self.what, **how, "why": self.why}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` returned.

        Raises:
            KeyError, TypeError: it is something else.
        """
        how = {key: value for key, value in content.items() if key not in ("what", "why", "mechanism")}
        named = content["mechanism"]
        mechanism = named if named in get_args(Free) else MECHANISMS[named](**how)
        return cls(str(content["what"]), mechanism, str(content["why"]))


def mechanisms_of(looks: Iterable[Look]) -> list[Mechanism]:
    """Return the mechanisms of those looks that have one."""
    return [look.mechanism for look in looks if not isinstance(look.mechanism, str)]


@dataclass(frozen=True)
class Ledger:
    """All looks at the patients of a training table, and the delta at which their epsilon is told.

    Attributes:
        delta: chance with which the bound may fail.
        looks: in the order in which they were.
    """

    delta: float
    looks: tuple[Look, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1:
            raise OptionError(f"privacy.delta={self.delta}: a number between 0 and 1 was expected")

    def after(self, *looks: Look) -> "Ledger":
        """Return the ledger with further looks."""
        return Ledger(self.delta, (*self.looks, *looks))

    @property
    def unaccounted(self) -> list[str]:
        """What was learned from patients without a mechanism."""
        return [look.what for look in self.looks if look.mechanism == "unaccounted"]

    @cached_property
    def spent(self) -> Epsilon:
        """What the looks with a mechanism spent together, whatever the others did."""
        return epsilon_of(mechanisms_of(self.looks), self.delta)

    def spent_at(self, delta: float) -> float:
        """Return epsilon of the same looks at another delta, of which what happens by a small chance is no part."""
        looks = [look.mechanism for look in self.looks if not isinstance(look.mechanism, str | Unlikely)]
        return epsilon_of(looks, delta).value

    @property
    def total(self) -> Epsilon:
        """What was spent in all.

        Raises:
            OptionError: some look has no mechanism, so that no epsilon holds.
        """
        if self.unaccounted:
            raise OptionError(
                f"privacy: no total epsilon can be claimed, for these were learned from patients without noise:"
                f" {', '.join(self.unaccounted)}; privacy.public=schema.json says what was known without"
                " them, and preprocess=none privacy.schema=0.3 has noisy counts tell it"
            )
        return self.spent

    def __str__(self) -> str:
        """Say what was spent, and of what that is the whole."""
        spent, by = self.spent, "" if self.spent.pld is None else f", PLD {self.spent.pld:.3f}"
        said = (
            f"epsilon {spent.value:.3f} at delta {self.delta:.3g} (RDP {spent.rdp:.3f}{by}); unit: {UNIT}; {NEIGHBOURS}"
        )
        if not self.unaccounted:
            return f"{said}; of all that was learned from patients"
        return f"{said}; of the training alone, no total: learned without noise were {', '.join(self.unaccounted)}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it, with what was spent; ``total`` is null where none can be claimed."""
        return {
            "version": 1,
            "unit": UNIT,
            "neighbours": NEIGHBOURS,
            "covers": COVERS,
            "delta": self.delta,
            "looks": [look.to_dict() for look in self.looks],
            "spent": asdict(self.spent),
            "total": None if self.unaccounted else asdict(self.total),
            "unaccounted": self.unaccounted,
            "accountants": accountants(),
            "randomness": RANDOMNESS,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` returned; what was spent is computed again, not believed.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        if content["version"] != 1:
            raise ValueError("version")
        return cls(float(content["delta"]), tuple(map(Look.from_dict, content["looks"])))
