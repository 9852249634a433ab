"""``report.html``: one file that opens offline, without scripts, and says how to read itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup

from ehrsynth.evaluation.card import FAMILIES, Card, catalogue, families
from ehrsynth.evaluation.evaluator import Undefined, Value
from ehrsynth.evaluation.score import ANCHORS, Score, anchors_of
from ehrsynth.files import write_text
from ehrsynth.reporting.audited import Audited
from ehrsynth.reporting.guarantee import Guarantee
from ehrsynth.reporting.privacy_statement import statement
from ehrsynth.reporting.reading import RULE, Verdict, judge
from ehrsynth.reporting.style import NamedFigure, data_uri
from ehrsynth.reporting.summary import leading, summarise
from ehrsynth.reporting.wording import inline, interval, number, sentence, unfenced
from ehrsynth.words import printable

PRIVACY_PAGE = "privacy.html"
Line = TypeVar("Line")
SHOWN_PARTS = 40
"""How many parts of one kind a page lists; all of them are in ``report.parquet``."""


@dataclass(frozen=True)
class ScoreLine:
    """One line of the table of scores, ready to show."""

    score: Score

    @cached_property
    def verdict(self) -> Verdict:
        """What the score means."""
        return judge(self.score)

    @property
    def parts(self) -> dict[str, dict[str, Value | Undefined]]:
        """Parts by kind and name, of the kinds that are few enough to list."""
        kinds: dict[str, dict[str, Value | Undefined]] = {}
        for (kind, name), part in self.score.parts.items():
            kinds.setdefault(kind, {})[name] = part
        return {kind: parts for kind, parts in kinds.items() if len(parts) <= SHOWN_PARTS}

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
    figures: Sequence[NamedFigure],
    provenance: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    guarantee: Guarantee | None = None,
    audited: Audited | None = None,
) -> None:
    """Write the report of one synthetic table and, beside it, its one-page privacy statement.

    Args:
        path: of the page; the statement is ``privacy.html`` in the same folder.
        title: heading, for example the model's name and the data's.
        facts: label -> text for the header (model, data, seed, chosen checkpoint, date, ...).
        rows: numbers of ``train``, ``holdout`` and ``synthetic`` records, as in ``report.json``.
        scores: all scores with their anchors.
        figures: in the order to show.
        provenance: label -> text for the table at the end (command, versions, hashes, ...).
        warnings: what a reader must know before any number.
        guarantee: of a private run, for the statement.
        audited: what its audit found, likewise.
    """
    templates, beside = environment(), path.with_name(PRIVACY_PAGE)
    shared = {"title": title, "facts": facts, "rows": rows, "warnings": warnings, "provenance": provenance or {}}
    said = statement(scores, rows)
    page = templates.get_template("privacy.html.j2").render(
        **shared, statement=said, guarantee=guarantee, audited=audited
    )
    write_text(beside, page)
    write_text(
        path,
        templates.get_template("report.html.j2").render(
            **shared,
            privacy_page=PRIVACY_PAGE,
            findings=summarise(scores, rows),
            leading=list(map(ScoreLine, leading(scores))),
            families=by_family(list(map(ScoreLine, scores)), [score.card for score in scores]),
            questions=FAMILIES,
            asked=next(card for card in catalogue().values() if card.power),
            figures=figures,
        ),
    )


def by_family(lines: Sequence[Line], cards: Sequence[Card]) -> dict[str, list[Line]]:
    """Group lines by the families of their cards."""
    pairs = list(zip(lines, cards, strict=True))
    return {name: [line for line, card in pairs if card.family == name] for name in families(cards)}


def environment() -> Environment:
    """Return the templates with the filters they use.

    Whatever is inserted may be a stranger's: it is escaped in HTML, loses in Markdown what makes a tag, a link, a cell
    or a line, and in both what steers a terminal or turns the direction of writing.
    """
    templates = Environment(
        loader=PackageLoader("ehrsynth.reporting"),
        autoescape=lambda name: bool(name and ".html" in name),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_harmless,
    )
    templates.filters |= {
        "number": number,
        "interval": interval,
        "sentence": sentence,
        "data_uri": data_uri,
        "code": lambda text: Markup(unfenced(text)),
    }
    templates.globals |= {"rule": RULE, "anchors_of": anchors_of, "scale_ends": (_percent(0), _percent(1))}
    templates.globals["anchor_names"] = ANCHORS
    return templates


@pass_eval_context
def _harmless(context: EvalContext, value: object) -> object:
    """Return what is inserted into a page; what a macro has made of its parts stays as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable(value, keep="\n\t") if context.autoescape else inline(value)


def _percent(position: float) -> float:
    """Place a position on a scale that shows a quarter beyond either end, at its edge if farther out."""
    return round(min(max((position + 0.25) / 1.5, 0.0), 1.0) * 100, 1)
