"""What a metric is: the one place that knows its direction, its range, its role and how to read it.

The cards of the package are data: a YAML file beside the evaluators that give the scores, so that whoever reads a
report needs none of the code that made it. A metric of one's own may as well carry a ``Card`` written in Python.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

Direction = Literal["lower", "higher"]
Role = Literal["score", "attack", "control", "description", "guarantee"]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times faster where it was compiled

FAMILIES = {
    "fidelity": "Do the columns, and the relations between them, look like the real ones?",
    "temporal": "Do patients go through time as real ones do: what follows what, when, and for how long?",
    "utility": "Does what is learned from the synthetic data hold for real patients?",
    "validity": "Are single records possible in the clinic?",
    "privacy": "Can something about a training patient be learned from the synthetic data?",
    "fairness": "Is every group of patients served alike?",
}
"""The families of metrics and the question each asks."""

ACRONYMS = {
    "01pct": "0.1 %",
    "1pct": "1 %",
    **{word: word.upper() for word in ("auc", "auprc", "auroc", "dcr", "f1", "fpr", "kl", "ks", "mlp", "nnaa", "rmse")},
    **{word: word.upper() for word in ("tpr", "trtr", "trts", "tstr", "apd")},
    "js": "Jensen-Shannon",
    "k20": "K 20",
}


@dataclass(frozen=True)
class Attack:
    """One way to learn about a patient, as a privacy officer asks about it.

    Attributes:
        name: in plain words.
        question: what the attacker wants to know.
        knows: what the attacker is given.
        limits: what a clean result does not show.
        place: on the page, lowest first.
        strengths: what the parts of its scores that say how strong it was are called, where their own name is short.
    """

    name: str
    question: str
    knows: str
    limits: str
    place: int = 1000
    strengths: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Card:
    """The label on a metric.

    Attributes:
        name: ``family/metric``, as in ``report.json``.
        direction: whether lower or higher is better.
        low, high: the range of possible values; ``inf`` where there is no bound.
        definition: the formula in words, with the symbols of the docs (R, H, S, p, B, C).
        reading: plain language for a privacy officer, including what the metric cannot tell.
        paper: where it comes from.
        unit: of the value, empty for a pure number.
        role: ``score`` is a finding about the synthetic table; ``attack`` one about what it gives away; a ``control``
            is the same measured where the table has no part (unseen patients, real data alone); a ``description`` says
            with what an attack was run, or lacks a control of its own; a ``guarantee`` is what private training spent.
            The last three get no verdict.
        aside: what stands in place of the verdict of those three ("the control"); and of an attack that carries the
            difference from its own control as part ``side, excess``, where that part is not at hand.
        null: the value without any leak; more is a leak, less is chance. None where the metric has no such value.
        grave: so many times the null and fresh real, beyond the interval, make an attack a leak at any position; None
            leaves that to the position.
        power: for the attack that is asked whether a leak could have been seen at all: where its interval ends below
            the first number, the held-out patients are no control; where it reaches the second, a leak that matters
            may have been missed. None for all others.
        alarm: how much worse than fresh real, beyond the interval, is a sign that a generator has collapsed, of which a
            report warns before any number; None is never.
        plain_words: the metric where people read it; from its name if empty.
        attack: which attack a privacy score is a result of. A description with an attack says how strong that was.
        result: what the value is, for readers who do not know the metric ("AUC, 0.5 is a coin toss").
        headline: place on the model card, 1 is first; 0 is not there.
        short: name on the line of a checkpoint, whose order is that of ``headline``; empty is not there.
        figure: the figure of the report that shows its parts.
        subgroups: what is measured in each subgroup, where the score has such parts and they are drawn first.
        control: the metric that the ``sentence`` needs beside it; of a guarantee, the one without which it is none.
        sentence: what the summary of a report says of it, with ``{value}`` and ``{control}``; empty is nothing.
    """

    name: str
    direction: Direction
    low: float
    high: float
    definition: str
    reading: str
    paper: str
    unit: str = ""
    role: Role = "score"
    aside: str = ""
    null: float | None = None
    grave: float | None = None
    power: tuple[float, float] | None = None
    alarm: float | None = None
    plain_words: str = ""
    attack: Attack | None = None
    result: str = ""
    headline: int = 0
    short: str = ""
    figure: str = ""
    subgroups: str = ""
    control: str = ""
    sentence: str = ""

    @property
    def family(self) -> str:
        """``fidelity``, ``temporal``, ``utility``, ``privacy``, ``validity`` or ``fairness``."""
        return self.name.split("/", 1)[0]

    @property
    def stem(self) -> str:
        """The first word of the metric's own name; what begins alike is one measure in several forms."""
        return self.name.split("/", 1)[-1].split("_")[0]

    @property
    def floor(self) -> str:
        """The anchor that marks the bad end of the scale: a memoriser for privacy, else columns drawn alone."""
        return "train_copy" if self.family == "privacy" else "independent"

    @property
    def is_finding(self) -> bool:
        """Whether the metric says something about the synthetic table and may get a verdict."""
        return self.role in ("score", "attack")

    @property
    def arrow(self) -> str:
        """The direction as a sign."""
        return "↓" if self.direction == "lower" else "↑"

    @property
    def words(self) -> str:
        """The metric without its family, in words: ``privacy/membership_auc`` is "membership AUC"."""
        return self.plain_words or " ".join(ACRONYMS.get(w, w) for w in self.name.split("/", 1)[-1].split("_"))

    def filled(self, **values: object) -> "Card":
        """Return the card with ``{NAME}`` in its texts replaced by the values of the options that name it.

        In the name of the card a number loses its point: 0.1 becomes 01.
        """
        texts = {f.name: text for f in fields(self) if isinstance(text := getattr(self, f.name), str)}
        named: dict[str, Any] = {key: _put(text, values) for key, text in texts.items()}
        return replace(
            self, **{**named, "name": _put(self.name, {k: str(v).replace(".", "") for k, v in values.items()})}
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what ``from_dict`` takes: every field that is not left at its default; no bound is None."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        bounds = [None if math.isinf(bound) else bound for bound in (given.pop("low"), given.pop("high"))]
        return {**given, "range": bounds, **({"attack": asdict(self.attack)} if self.attack else {})}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Card":
        """Inverse of ``to_dict``; an entry of a YAML file, with its attack written out, will do as well.

        Raises:
            KeyError, TypeError, ValueError: the content is no card.
        """
        given = dict(content)
        low, high = given.pop("range")
        given |= {"low": -math.inf if low is None else float(low), "high": math.inf if high is None else float(high)}
        if given.get("attack"):
            given["attack"] = Attack(**given["attack"])
        if given.get("power"):
            given["power"] = tuple(map(float, given["power"]))
        return cls(**given)


class Cards(dict[str, Card]):
    """The cards of one YAML file by their names.

    The file has up to three parts: ``texts`` (phrases that the cards share, written ``{NAME}`` in them), ``attacks``
    (name -> fields of ``Attack``) and ``cards`` (name -> fields of ``Card``, with ``range: [low, high]``).
    """

    @classmethod
    def beside(cls, module: str) -> "Cards":
        """Read the cards of a module, given its ``__file__``."""
        return cls.load(Path(module).with_suffix(".yaml"))

    @classmethod
    @cache
    def load(cls, path: Path) -> "Cards":
        """Read a file of cards."""
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
        texts: dict[str, object] = content.get("texts", {})
        attacks: dict[str, object] = content.get("attacks", {})
        cards = cls()
        for name, entry in content["cards"].items():
            given = {key: _put(value, texts) if isinstance(value, str) else value for key, value in entry.items()}
            given |= {"null": given.pop(None)} if None in given else {}  # as which YAML reads the word
            given |= {"attack": attacks[given["attack"]]} if "attack" in given else {}
            cards[name] = Card.from_dict({"name": name, **given})
        return cards


@cache
def catalogue() -> Mapping[str, Card]:
    """Return every card that ships with the package, by name; those named by options keep their ``{NAME}``."""
    files = sorted(Path(__file__).parent.rglob("*.yaml"))
    return {name: card for file in files for name, card in Cards.load(file).items()}


def shipped(metric: str) -> Card | None:
    """Return the card of a metric that the package has, with the options that are in its name filled in."""
    if card := catalogue().get(metric):
        return card
    for name, card in catalogue().items():
        if "{" in name:
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[0-9]+)", re.escape(name))
            if found := re.fullmatch(pattern, metric):
                return card.filled(**{key: re.sub("^0(?=.)", "0.", value) for key, value in found.groupdict().items()})
    return None


def card_of(metric: str, direction: Direction = "lower", own: Mapping[str, Card] | None = None) -> Card:
    """Return the card of a metric by its name.

    Args:
        metric: the name.
        direction: of a metric that has no card: it gets a bare one, which says nothing else.
        own: cards that came with the score; one that ships with the package goes before.
    """
    bare = Card(metric, direction, -math.inf, math.inf, "", "", "-")
    return shipped(metric) or (own or {}).get(metric, bare)


def families(cards: Iterable[Card]) -> list[str]:
    """Return the families of some cards: those of ``FAMILIES`` in their order, then others as they come."""
    there = dict.fromkeys(card.family for card in cards)
    return [*(name for name in FAMILIES if name in there), *(name for name in there if name not in FAMILIES)]


def _put(text: str, values: Mapping[str, object]) -> str:
    """Replace ``{NAME}`` by its value; other braces stay."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text
