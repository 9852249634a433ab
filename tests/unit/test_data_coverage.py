"""Lines about what was understood."""

from ehrsynth.data.coverage import Coverage, reported


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
