"""Which settings of a model a search tries: a range or a list for an option, in the words of the command line."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from ehrsynth.errors import OptionError, expect
from ehrsynth.study.conf import Node
from ehrsynth.words import option

if TYPE_CHECKING:
    from optuna.trial import Trial

DIGITS = 4  # of a number that is drawn from a range: as many as one types
MOVED = 1 / 3  # of the options of a trial that is near another
STEP = 1 / 8  # of a range: the deviation of such a move
KEYS = {"low", "high", "log"}
# What a trial may change: the training, and neither the data nor how it is judged, or trials could not be compared.
SEARCHED = ("model.", "trainer.", "rows.", "data.batch_size", "data.drop_last", "constraints.weight")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, whole ones if both ends are; ``log`` draws them on a logarithmic scale."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return self.low, self.high

    def draw(self, trial: "Trial", name: str) -> float:
        """Return what the option gets in a trial of optuna."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        drawn = trial.suggest_float(name, self.low, self.high, log=self.log)
        return min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high)

    def drawn(self, value: Any) -> float | None:
        """Return what optuna would have drawn for ``value``; None if it lies outside."""
        fits = _number(value) and self.low <= value <= self.high and (isinstance(value, int) or not self.whole)
        return value if fits else None

    def near(self, drawn: float, rng: np.random.Generator) -> float:
        """Return what optuna might have drawn near ``drawn``: a normal step away, and within the ends."""
        low, high, place = (log(number) if self.log else number for number in (self.low, self.high, drawn))
        place += STEP * (high - low) * rng.normal()
        found = min(max(exp(place) if self.log else place, self.low), self.high)
        return round(found) if self.whole else found

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """Values of any plain kind, each of which may be taken."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them: none is an end."""
        return self.values

    def draw(self, trial: "Trial", name: str) -> Any:
        """Return what the option gets in a trial of optuna, which takes texts for lists."""
        return json.loads(str(trial.suggest_categorical(name, [json.dumps(value) for value in self.values])))

    def drawn(self, value: Any) -> str | None:
        """Return what optuna would have drawn for ``value``; None if it is none of them."""
        text = json.dumps(value)
        return text if text in map(json.dumps, self.values) else None

    def near(self, drawn: str, rng: np.random.Generator) -> str:
        """Return what stands before or after ``drawn``, as optuna would have drawn it: sizes are listed in order."""
        texts = [json.dumps(value) for value in self.values]
        place = texts.index(drawn)
        beside = [other for other in (place - 1, place + 1) if 0 <= other < len(texts)]
        return texts[rng.choice(beside)] if beside else drawn

    def __str__(self) -> str:
        return ", ".join(map(json.dumps, self.values))


Space = dict[str, Range | Choices]


def space_of(node: Any, config: Node) -> Space:
    """Read a space.

    Args:
        node: options, nested or dotted, with ``[a, b, c]`` or ``{low: a, high: b, log: true}`` each.
        config: of the trainings, which must have these options.

    Raises:
        OptionError: it is none, or names an option that is not there or cannot be searched.
    """
    expect(isinstance(node, Mapping), "search.space", node, "options with the values to try")
    space = {name: _dimension(f"search.space.{name}", entry) for name, entry in _entries(node)}
    if not space:
        raise OptionError(
            f"search.space: nothing to try for {config['model'].get('_name_', config['model']['_target_'])}; name"
            " options, as search.space.model.OPTION=[1,2,3] or {low: 0.1, high: 10, log: true}, or a file with search="
        )
    for name in space:
        if not name.startswith(SEARCHED):
            raise OptionError(
                f"search.space.{name}: not to be searched, or trials could not be compared; use options of"
                f" {', '.join(part.removesuffix('.') for part in SEARCHED)}"
            )
        *above, last = name.split(".")
        there: Any = config
        for key in above:
            there = there.get(key) if isinstance(there, Mapping) else None
        if not isinstance(there, Mapping) or last not in there or last.startswith("_"):
            known = [key for key in there if not key.startswith("_")] if isinstance(there, Mapping) else []
            wanted = f"; use one of {', '.join(known)}" if known else ""
            raise OptionError(f"search.space.{name}: no such option{wanted}")
    return space


def _entries(node: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, entry in node.items():
        if isinstance(entry, Mapping) and not KEYS & set(entry):
            yield from _entries(entry, f"{above}{key}.")
        else:
            yield f"{above}{key}", entry


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _dimension(name: str, entry: Any) -> Range | Choices:
    if isinstance(entry, Mapping):
        low, high, log = entry.get("low"), entry.get("high"), entry.get("log", False)
        if not (_number(low) and _number(high) and low < high and set(entry) <= KEYS and isinstance(log, bool)):
            raise OptionError(f"{name}={dict(entry)}: low, a higher high, and log: true or false were expected")
        if log and low <= 0:
            raise OptionError(f"{name}.low={low}: a number above 0 was expected on a logarithmic scale")
        return Range(low, high, log)
    expect(isinstance(entry, list | tuple) and bool(entry), name, entry, "[a, b, c] or {low: a, high: b}")
    return Choices(tuple(entry))


def values_of(space: Space, trial: "Trial") -> Node:
    """Return option -> value of a trial; what was drawn before stays."""
    return {name: dimension.draw(trial, name) for name, dimension in space.items()}


def drawn_of(space: Space, config: Node) -> Node:
    """Return what optuna would have had to draw for the settings as they stand; what lies outside is left out."""
    found = {name: dimension.drawn(_at(config, name)) for name, dimension in space.items()}
    return {name: drawn for name, drawn in found.items() if drawn is not None}


def _at(config: Node, name: str) -> Any:
    for key in name.split("."):
        config = config[key]
    return config


def near(space: Space, drawn: Node, rng: np.random.Generator) -> Node:
    """Return draws near others: some options move, and one at least."""
    moved = rng.random(len(space)) < MOVED
    moved[rng.integers(len(space))] = True
    pairs = zip(space.items(), moved, strict=True)
    return {name: dimension.near(drawn[name], rng) if moves else drawn[name] for (name, dimension), moves in pairs}


def changed(config: Node, values: Mapping[str, Any]) -> Node:
    """Return a configuration with other values for some options."""
    config = deepcopy(config)
    for name, value in values.items():
        above, _, last = name.rpartition(".")
        _at(config, above)[last] = value
    return config


def typed(values: Mapping[str, Any]) -> list[str]:
    """Return options as one would type them."""
    return [_typed(name, value) for name, value in values.items()]


def _typed(name: str, value: Any) -> str:
    texts = value if isinstance(value, list) else [value]
    if all(isinstance(text, str) for text in texts):
        return option(name, value)
    return f"{name}={json.dumps(value, separators=(',', ':'))}"  # numbers and lists of them, true, false and null
