"""What a metric is: the one place that knows its direction, its range, its role and how to read it.

The cards of the package are data: a YAML file beside the evaluators that give the scores, so that whoever reads a
report needs none of the code that made it. A metric of one's own may as well carry a ``Card`` written in Python.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

Direction = Literal["lower", "higher"]
Role = Literal["score", "attack", "control", "description"]

JMIR = "Yan et al., JMIR AI 2024 (tutorial)"
BENCHMARK = "Yan et al., Nature Communications 2022"
EHRDIFF = "Yuan et al., TMLR 2024 (EHRDiff)"

FAMILIES = {
    "fidelity": "Do the columns, and the relations between them, look like the real ones?",
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
    """

    name: str
    question: str
    knows: str
    limits: str
    place: int = 1000


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
            with what an attack was run, or lacks a control of its own. The last two get no verdict.
        aside: what stands in place of the verdict of a control or description, such as "describes the attack".
        null: the value without any leak; more is a leak, less is chance. None where the metric has no such value.
        grave: so many times the null and fresh real, beyond the interval, make an attack a leak at any position; None
            leaves that to the position.
        plain_words: the metric where people read it; from its name if empty.
        attack: which attack a privacy score is a result of.
        result: what the value is, for readers who do not know the metric ("AUC, 0.5 is a coin toss").
        headline: place on the model card, 1 is first; 0 is not there.
        short: name on the line of a checkpoint, whose order is that of ``headline``; empty is not there.
        figure: the figure of the report that shows its parts.
        subgroups: what is measured in each subgroup, where the score has such parts.
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
    plain_words: str = ""
    attack: Attack | None = None
    result: str = ""
    headline: int = 0
    short: str = ""
    figure: str = ""
    subgroups: str = ""

    @property
    def family(self) -> str:
        """``fidelity``, ``utility``, ``privacy``, ``validity`` or ``fairness``."""
        return self.name.split("/", 1)[0]

    @property
    def words(self) -> str:
        """The metric without its family, in words: ``privacy/membership_auc`` is "membership AUC"."""
        return self.plain_words or " ".join(ACRONYMS.get(w, w) for w in self.name.split("/", 1)[-1].split("_"))

    def filled(self, **values: object) -> "Card":
        """Return the card with ``{NAME}`` in its texts replaced by the values of the options that name it."""
        texts = {f.name: getattr(self, f.name) for f in fields(self)}
        named: dict[str, Any] = {key: _put(text, values) for key, text in texts.items() if isinstance(text, str)}
        return replace(self, **named)


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
    def load(cls, path: Path) -> "Cards":
        """Read a file of cards."""
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        texts: dict[str, object] = content.get("texts", {})
        attacks = {name: Attack(**entry) for name, entry in content.get("attacks", {}).items()}
        return cls({name: _card(name, entry, texts, attacks) for name, entry in content["cards"].items()})


@cache
def catalogue() -> Mapping[str, Card]:
    """Return every card that ships with the package, by name; those named by options keep their ``{NAME}``."""
    files = sorted(Path(__file__).parent.rglob("*.yaml"))
    return {name: card for file in files for name, card in Cards.load(file).items()}


def card_of(metric: str, direction: Direction = "lower") -> Card:
    """Return the card of a metric by its name, or a bare one with that direction if the package has none."""
    if card := catalogue().get(metric):
        return card
    for name, card in catalogue().items():
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(name))
        if "{" in name and (found := re.fullmatch(pattern, metric)):
            return card.filled(**found.groupdict())
    return Card(metric, direction, float("-inf"), float("inf"), "", "", "-")


def _card(name: str, entry: Mapping[str, Any], texts: Mapping[str, object], attacks: Mapping[str, Attack]) -> Card:
    given: dict[str, Any] = {k: _put(v, texts) if isinstance(v, str) else v for k, v in entry.items()}
    low, high = map(float, given.pop("range"))
    attack = given.pop("attack", None)
    return Card(name=name, low=low, high=high, attack=None if attack is None else attacks[attack], **given)


def _put(text: str, values: Mapping[str, object]) -> str:
    """Replace ``{NAME}`` by its value; other braces stay."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text
