"""A metric of one's own is treated as its card says by whoever reads the report, without the code that made it."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from ehrsynth.errors import FileError
from ehrsynth.evaluation.card import Attack, Card, card_of
from ehrsynth.evaluation.evaluator import Value
from ehrsynth.evaluation.ranking import Profile, rank_runs
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.score_table import tabulate
from ehrsynth.files import read_json, write_json
from ehrsynth.reporting.comparison import Section, comparison_html
from ehrsynth.reporting.html import write_html
from ehrsynth.reporting.model_card import card_md
from ehrsynth.reporting.parts import read_parts, write_parts
from ehrsynth.reporting.reading import judge
from ehrsynth.reporting.report import FIELDS, build_report, read_report
from ehrsynth.reporting.summary import leading, summarise
from tests.evaluation_toy import toy_real
from tests.scores import score_of

ROWS = {"train": 7, "holdout": 3, "synthetic": 5}
GUESS = Attack("Guessing", "Who <was> it?", "the weather", "Only in autumn.", place=5, strengths={"n": "umbrellas"})
LEAK = Card(
    "privacy/rain",
    "lower",
    0,
    1,
    "The share of <wet> patients.",
    "Tells of rain.",
    "own",
    role="attack",
    null=0.25,
    grave=2,
    plain_words="rain & <shine>",
    attack=GUESS,
    result="wet patients, 0.25 is the climate",
    headline=1,
)
DRY = replace(LEAK, name="privacy/rain_control", role="control", aside="the dry ones", headline=0, attack=None)
CLOUDS = Card("utility/clouds", "higher", 0, float("inf"), "Clouds.", "More is more.", "own", headline=2)
ANCHORS = {"fresh_real": 0.26, "train_copy": 0.9, "independent": 0.25}


def scores(leak: float = 0.28, clouds: float = 3.0) -> list[Score]:
    parts = {("strength", "n"): Value(42.0)}
    return [
        Score(LEAK, leak, (leak - 0.01, leak + 0.01), anchors=ANCHORS, parts=parts),
        Score(DRY, 0.25, (0.24, 0.26), anchors=ANCHORS),
        Score(CLOUDS, clouds, (clouds - 0.1, clouds + 0.1), anchors={"fresh_real": 4.0, "independent": 1.0}),
        score_of("fidelity/apd", 0.1, "lower", (0.09, 0.11)),
    ]


def written(folder: Path, found: list[Score]) -> list[Score]:
    """Write a report and return what a stranger reads."""
    real = toy_real()
    write_parts(folder / "report.parquet", found)
    write_json(folder / "report.json", build_report(found, real, real.train, data={"train": "a", "holdout": "b"}))
    parts = read_parts(folder / "report.parquet")
    read = read_report(folder / "report.json").scores
    return [replace(score, parts=parts.get(score.metric, {})) for score in read]


def test_only_cards_that_the_package_lacks_are_written_and_they_come_back_whole(tmp_path: Path) -> None:
    read = written(tmp_path, scores())
    assert [card["name"] for card in read_json(tmp_path / "report.json")["cards"]] == [LEAK.name, DRY.name, CLOUDS.name]
    assert [score.card for score in read] == [LEAK, DRY, CLOUDS, card_of("fidelity/apd")]
    written(tmp_path, scores()[3:])
    assert "cards" not in read_json(tmp_path / "report.json")


def test_a_shipped_name_takes_the_shipped_card_whatever_the_file_says(tmp_path: Path) -> None:
    written(tmp_path, scores())
    content = read_json(tmp_path / "report.json")
    content["cards"].append({**LEAK.to_dict(), "name": "fidelity/apd", "direction": "higher"})
    write_json(tmp_path / "report.json", content)
    assert read_report(tmp_path / "report.json").scores[3].card == card_of("fidelity/apd")


def test_verdict_null_and_role_are_those_of_the_card(tmp_path: Path) -> None:
    small, control, clouds, _ = written(tmp_path, scores())
    assert judge(small).word == "small but beyond chance"
    assert judge(written(tmp_path, scores(leak=0.24))[0]).word == "no leak seen"
    assert judge(written(tmp_path, scores(leak=0.6))[0]).word == "leaks", "beyond twice the null and fresh real"
    assert judge(control).word == "the dry ones"
    assert judge(clouds).level == "fair"
    assert [score.metric for score in leading([small, control, clouds])] == [CLOUDS.name, LEAK.name]
    assert "rain & <shine>" in summarise([small, control, clouds], ROWS)[2].detail


def test_pages_and_card_say_what_the_card_says_and_escape_it(tmp_path: Path) -> None:
    read = written(tmp_path, scores())
    write_html(tmp_path / "report.html", title="t", facts={}, rows=ROWS, scores=read, figures=())
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "rain &amp; &lt;shine&gt;" in report
    assert "The share of &lt;wet&gt; patients." in report
    statement = (tmp_path / "privacy.html").read_text(encoding="utf-8")
    assert "<strong>Guessing.</strong> Who &lt;was&gt; it?" in statement
    assert "the weather; umbrellas 42" in statement
    assert "wet patients, 0.25 is the climate" in statement
    assert (
        statement.index("<strong>Guessing.") < statement.index("Not run:") < statement.index("membership by distance")
    )
    text = card_md(title="t", facts={}, rows=ROWS, data={}, choice="", scores=read, command="x")
    lines = [line for line in text.splitlines() if line.startswith("| privacy/rain") or line.startswith("| utility/")]
    assert [line.split(" | ")[0] for line in lines] == ["| privacy/rain", "| utility/clouds"]


def test_runs_are_ranked_and_compared_by_what_their_cards_say(tmp_path: Path) -> None:
    runs = {
        name: written(tmp_path / name, scores(*values))
        for name, values in {"wet": (0.3, 3.0), "dry": (0.2, 2.0), "driest": (0.1, 1.0)}.items()
    }
    table = tabulate(runs)
    profile = Profile("p", "", {LEAK.name: 1.0, CLOUDS.name: 2.0}, "")
    axes = (CLOUDS.name, LEAK.name)
    ranking = rank_runs(table.values, table.cards, profile, errors=table.errors, axes=axes)
    assert ranking.table.index[0] == "wet"
    assert ranking.plane is not None
    assert ranking.plane.points[LEAK.name].to_dict() == {"wet": 0.3, "dry": 0.25, "driest": 0.25}
    assert ranking.plane.front == {"wet": True, "dry": True, "driest": False}, "less than no leak is no merit"
    comparison_html(tmp_path / "x.html", [Section(ranking, {name: tmp_path / name / "report.json" for name in runs})])
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "rain &amp; &lt;shine&gt;" in page
    assert "rain & <shine>" not in page
    assert '<td class="n best">3.00' in page
    assert page.count('class="n best"') == 2, "a control has no best"


def _of(**change: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda card: {**card, **change}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda _: [1], r"cards\[0\]: found"),
        (_of(name="rain"), r"cards\[0\]\.name: found 'rain'; expected a text FAMILY/METRIC"),
        (_of(name=None), r"cards\[0\]\.name"),
        (_of(direction="up"), r"cards\[0\] \(privacy/rain\)\.direction: found 'up'"),
        (_of(role="king"), r"role: found 'king'; expected one of score, attack"),
        (_of(role=["score"]), "role: found"),
        (_of(range=[0]), "range: found"),
        (_of(range=["0", 1]), "range: found"),
        (_of(definition=3), "definition: found '3'; expected a text"),
        (_of(plain_words="\x1b[2J"), "plain_words: found .*; expected a text without control characters"),
        (_of(null="0"), "null: found '0'; expected a finite number or null"),
        (_of(grave=True), "grave: found"),
        (_of(power=[0.4]), "power: found"),
        (_of(headline="first"), "headline: found"),
        (_of(attack="all"), "attack: found"),
        (_of(attack={**GUESS.__dict__, "knows": None}), r"attack\.knows: found 'None'"),
        (_of(attack={**GUESS.__dict__, "place": "first"}), r"attack\.place: found"),
        (_of(attack={**GUESS.__dict__, "strengths": {"n": 1}}), r"attack\.strengths: found"),
        (lambda card: {key: value for key, value in card.items() if key != "reading"}, "reading: found 'None'"),
    ],
)
def test_a_wrong_card_is_named_by_file_and_key(tmp_path: Path, change: Callable[[Any], Any], named: str) -> None:
    written(tmp_path, scores())
    content = read_json(tmp_path / "report.json")
    content["cards"][0] = change(content["cards"][0])
    write_json(tmp_path / "report.json", content)
    with pytest.raises(FileError, match=named) as caught:
        read_report(tmp_path / "report.json")
    assert "\n" not in str(caught.value)
    write_json(tmp_path / "report.json", {**content, "cards": {}})
    with pytest.raises(FileError, match="cards: found"):
        read_report(tmp_path / "report.json")


def test_every_field_of_a_card_is_checked_when_it_is_read() -> None:
    assert {field.name for kind in (Card, Attack) for field in fields(kind) if field.type not in FIELDS} == {
        "low",
        "high",
    }


def test_what_a_later_card_may_hold_does_not_disturb(tmp_path: Path) -> None:
    written(tmp_path, scores())
    content = read_json(tmp_path / "report.json")
    content["cards"][0] |= {"colour": "blue", "attack": {**content["cards"][0]["attack"], "hat": "black"}}
    write_json(tmp_path / "report.json", content)
    assert read_report(tmp_path / "report.json").scores[0].card == LEAK


def test_a_sentence_of_a_stranger_is_filled_in_and_nothing_else(tmp_path: Path) -> None:
    sly = replace(CLOUDS, control=LEAK.name, sentence="Clouds {value}, rain {control}, {value.__class__} {0:>9}.")
    read = written(tmp_path, [Score(sly, 3.0, anchors={"fresh_real": 4.0, "independent": 1.0}), *scores()[:1]])
    assert summarise(read, ROWS)[1].detail.endswith(" Clouds 3.00, rain 0.28, {value.__class__} {0:>9}.")
