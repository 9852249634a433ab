"""Lines about what was understood, and the options in them."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ehrsynth.data.coverage import Coverage, in_hydra, reported


def test_what_is_worth_telling() -> None:
    lines = [
        Coverage("events", "a usual pattern", 3, 8),
        Coverage("events", "nothing", 0, 8),
        Coverage("events", "known as lab", 5, 8, domain="lab"),
        Coverage("events", "known as vital", 5, 8, domain="vital"),
    ]
    assert [line["means"] for line in reported(lines, {"lab", ""})] == ["a usual pattern", "known as vital"]


def test_few_subjects_are_not_counted() -> None:
    assert Coverage("events", "nothing", 3, 1500).share == "3 of 1,500 (0.2 %)"
    assert Coverage("subjects' race", "other", 9, 1500, people=True).share == "<10"
    assert Coverage("subjects' race", "other", 10, 1500, people=True).share == "10 of 1,500 (0.7 %)"


@pytest.mark.parametrize(
    "text", ["a b", "a'b", 'a"b', r"\1", r"DX\|(.+)", "a\\", 'a\\"b', "{x: ,}[]=#", "a\tb", "\\\\"]
)
def test_the_command_line_reads_back_what_is_quoted(text: str) -> None:
    override = OverridesParser.create().parse_override(f"+x={{a: [{in_hydra(text)}], b: {in_hydra(text)}}}")
    value = override.value()
    assert isinstance(value, dict)
    assert (value["a"], value["b"]) == ([text], text)
