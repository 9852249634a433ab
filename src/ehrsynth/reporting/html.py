"""``report.html``: one file that opens offline, without scripts, and says how to read itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.score import ANCHORS, Score
from ehrsynth.files import write_text
from ehrsynth.reporting.gallery import NamedFigure
from ehrsynth.reporting.reading import RULE, Verdict, family, judge, summarise
from ehrsynth.reporting.style import data_uri

FAMILIES = {
    "fidelity": "Do the columns, and the relations between them, look like the real ones?",
    "utility": "Does what is learned from the synthetic data hold for real patients?",
    "validity": "Are single records possible in the clinic?",
    "privacy": "Can something about a training patient be learned from the synthetic data?",
    "fairness": "Is every group of patients served alike?",
}

DASH, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class ScoreLine:
    """One line of the table of scores, ready to show."""

    score: Score
    verdict: Verdict

    @property
    def name(self) -> str:
        """The metric without its family, in words."""
        return self.score.metric.split("/", 1)[1].replace("_", " ")

    @property
    def marks(self) -> dict[str, float]:
        """Places of value and interval ends on the scale, in percent of its width."""
        marks = {} if self.verdict.position is None else {"value": _percent(self.verdict.position)}
        if self.verdict.interval:
            low, high = map(_percent, self.verdict.interval)
            marks |= {"low": low, "width": high - low}
        return marks


def write_html(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    rows: Mapping[str, int],
    scores: Sequence[Score],
    cards: Iterable[Card],
    figures: Sequence[NamedFigure],
    provenance: Mapping[str, str] | None = None,
) -> None:
    """Write the report of one synthetic table.

    Args:
        path: of the page.
        title: heading, for example the model's name and the data's.
        facts: label -> text for the header (model, data, seed, chosen checkpoint, date, ...).
        rows: numbers of ``train``, ``holdout`` and ``synthetic`` records, as in ``report.json``.
        scores: all scores with their anchors.
        cards: of the metrics; a score without a card is shown without its definition.
        figures: in the order to show.
        provenance: label -> text for the table at the end (command, versions, hashes, ...).
    """
    page = environment().get_template("report.html.j2")
    write_text(
        path,
        page.render(
            title=title,
            facts=facts,
            findings=summarise(scores, rows),
            families=by_family([ScoreLine(score, judge(score)) for score in scores]),
            questions=FAMILIES,
            cards={card.name: card for card in cards},
            figures=figures,
            provenance=provenance or {},
        ),
    )


def by_family(lines: Sequence[ScoreLine]) -> dict[str, list[ScoreLine]]:
    """Group lines by family, in the order of ``FAMILIES``, unknown families last."""
    found = dict.fromkeys([*FAMILIES, *(family(line.score.metric) for line in lines)])
    grouped = {name: [line for line in lines if family(line.score.metric) == name] for name in found}
    return {name: members for name, members in grouped.items() if members}


def environment() -> Environment:
    """Return the templates with the filters they use; everything inserted into HTML is escaped."""
    templates = Environment(
        loader=PackageLoader("ehrsynth.reporting"),
        autoescape=lambda name: bool(name and ".html" in name),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"number": number, "interval": interval, "data_uri": data_uri}
    templates.globals |= {"rule": RULE, "anchor_names": ANCHORS, "scale_ends": (_percent(0), _percent(1))}
    return templates


def number(value: float | None, digits: int = 3) -> str:
    """Return ``value`` with so many significant digits, in raw units; a dash for None."""
    if value is None:
        return DASH
    if value and not 1e-4 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa}{TIMES}10{str(int(exponent)).translate(SUPERSCRIPT)}"
    else:
        text = f"{value:#.{digits}g}".rstrip(".") if 0 < abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", MINUS)


def interval(ci: tuple[float, float] | None) -> str:
    """Return a 95 % interval as text; a dash for None."""
    return f"{number(ci[0])} to {number(ci[1])}" if ci else DASH


def _percent(position: float) -> float:
    """Place a position on a scale that shows a quarter beyond either end, at its edge if farther out."""
    return round(min(max((position + 0.25) / 1.5, 0.0), 1.0) * 100, 1)
