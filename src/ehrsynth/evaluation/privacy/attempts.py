"""What the attacks of Giomi et al. (PoPETs 2023, Anonymeter) report: three rates."""

from collections.abc import Mapping

from ehrsynth.evaluation.evaluator import Undefined, Value
from ehrsynth.metrics.rates import Attempts, risk

GIOMI = "Giomi et al., PoPETs 2023 (Anonymeter)"
RATES = (
    " Parts: the rates of attack, control and a guesser that learns nothing from S (baseline), and risk, the published"
    " (attack - control) / (1 - control) of Wilson-shrunk rates with propagated errors."
)


def rate_parts(kind: str, found: Mapping[str, Attempts]) -> dict[tuple[str, str], Value | Undefined]:
    """Return the parts of one attack: its rates, the normalised risk, and how many attacks were made.

    Args:
        kind: of the parts.
        found: ``attack``, ``control`` and ``baseline``.
    """
    rates: dict[tuple[str, str], Value | Undefined] = {(kind, name): as_value(tried) for name, tried in found.items()}
    rates[kind, "risk"] = Value(*risk(found["attack"], found["control"]))
    rates["attacks", kind] = Value(float(found["attack"].n))
    return rates


def as_value(tried: Attempts) -> Value:
    """Return the rate with its Wilson interval."""
    return Value(*tried.rate)
