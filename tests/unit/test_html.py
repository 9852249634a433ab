import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Undefined, Value
from ehrsynth.evaluation.score import Score
from ehrsynth.reporting.html import write_html
from ehrsynth.reporting.model_card import card_md
from ehrsynth.reporting.style import NamedFigure
from ehrsynth.reporting.wording import interval, number
from tests.scores import score_of

ROWS = {"train": 7000, "holdout": 3000, "synthetic": 5000}
ANCHORS = {"fresh_real": 0.1, "train_copy": 0.0, "independent": 0.5}
PARTS = {("subgroup", "sex=F"): Value(0.2), ("subgroup", "sex=M"): Undefined("too few records")}
PARTS |= {("column", f"CODE{i}"): Value(0.1) for i in range(50)}
CARD = Card(
    "fidelity/correlation_distance", "lower", 0, 2, "Mean abs difference.", "Cannot see triples.", "EHRDiff", headline=1
)
SCORES = [
    Score(CARD, 0.12, (0.11, 0.13), anchors=ANCHORS, parts=PARTS),
    score_of("utility/tstr_auroc", None, "higher", status="skipped", reason="no outcome <column>"),
    score_of("privacy/membership_auc", 0.95, "lower", anchors={"fresh_real": 0.5, "train_copy": 1.0}),
    score_of("novel/metric", 1.0, "higher"),
]


class Checker(HTMLParser):
    """Collects addresses and checks that every tag is closed in order."""

    VOID = ("meta", "img", "br", "col")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(tmp_path: Path) -> str:
    figure = NamedFigure("f", "A figure", "How to read it.", "alt text", Figure(figsize=(1, 1)))
    write_html(
        tmp_path / "report.html",
        title="VAE & co",
        facts={"model": "vae"},
        rows=ROWS,
        scores=SCORES,
        figures=[figure],
        provenance={"command": "ehrsynth train"},
        warnings=["The holdout <shares> rows."],
    )
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    checker = Checker()
    checker.feed(page(tmp_path))
    assert checker.open == []
    pictures = [address for address in checker.addresses if address != "privacy.html"]
    assert len(pictures) == len(checker.addresses) - 1, "the statement beside it is linked once"
    assert pictures
    assert all(address.startswith("data:image/png;base64,") for address in pictures)
    assert not checker.tags & {"script", "link", "svg", "iframe"}


def test_every_score_stands_with_anchors_verdict_word_and_reason(tmp_path: Path) -> None:
    text = page(tmp_path)
    rows = {name: row for row in re.findall(r"<tbody class=.*?</tbody>", text, re.S) for name in _metric(row)}
    assert set(rows) == {"correlation distance", "TSTR AUROC", "membership AUC", "metric"}
    kept = rows["correlation distance"]
    assert 'class="good"' in kept
    assert "close to fresh real" in kept
    assert "0.110 to 0.130" in kept
    assert "left:80.0%" in kept, "t = 0.95 lies at (0.95 + 0.25) / 1.5 of the scale"
    assert "no outcome &lt;column&gt;" in rows["TSTR AUROC"]
    assert "leaks" in rows["membership AUC"]
    assert "no anchors" in rows["metric"]
    assert "0.120, close to fresh real 0.100" in kept
    assert "sex=F: 0.200" in kept
    assert "too few records" in kept
    assert "CODE" not in kept, "a kind with many parts is left to the parquet file"


def test_the_page_explains_itself(tmp_path: Path) -> None:
    text = page(tmp_path)
    for piece in (
        "Cannot see triples.",
        "Position t =",
        "VAE &amp; co",
        "How to read it.",
        'alt="alt text"',
        "Yes: treat",
    ):
        assert piece in text


def test_a_warning_stands_before_any_number(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert 0 < text.index("The holdout &lt;shares&gt; rows.") < text.index("What is it?")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (0.0, "0"),
        (0.5, "0.500"),
        (-1.25, "\N{MINUS SIGN}1.25"),
        (12345.6, "12,346"),
        (0.0000123, "1.23\N{MULTIPLICATION SIGN}10⁻⁵"),
        (461.0, "461"),
        (1.6e-16, "0"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_an_absent_interval_is_a_dash() -> None:
    assert interval(None) == "\N{EN DASH}"


def card(keeps_rows: bool) -> str:
    return card_md(
        title="Card",
        facts={"model": "train_copy"},
        rows=ROWS,
        data={"train": "ab" * 32},
        choice="The only checkpoint.",
        scores=SCORES,
        command="ehrsynth train model=train_copy",
        keeps_rows=keeps_rows,
    )


def test_the_card_of_a_copy_says_first_that_it_is_patient_data() -> None:
    assert card(True).splitlines()[2].startswith("> **WARNING: THIS TABLE IS REAL PATIENT DATA.**")
    assert "WARNING" not in card(False)


def test_the_card_tells_what_how_and_what_for() -> None:
    text = card(False)
    for piece in ("7,000", "ab" * 32, "The only checkpoint.", "not a proof", "ehrsynth train model=train_copy"):
        assert piece in text
    line = next(line for line in text.splitlines() if line.startswith("| fidelity/correlation_distance"))
    assert line == (
        "| fidelity/correlation_distance | lower | 0.120 | 0.110 to 0.130 | 0.100 | 0 | 0.500 | close to fresh real |"
    )


def _metric(row: str) -> list[str]:
    return [name.strip() for name in re.findall(r'<td class="metric">.*</span> (.*?)</td>', row)]
