import pytest

from ehrsynth.evaluation.score import Score
from ehrsynth.reporting.reading import judge, summarise

ROWS = {"train": 7000, "holdout": 3000, "synthetic": 5000}


def score(metric: str, value: float, fresh: float, copy: float, independent: float, direction: str = "lower") -> Score:
    return Score(
        metric, value, direction, anchors={"fresh_real": fresh, "train_copy": copy, "independent": independent}
    )


@pytest.mark.parametrize(
    ("value", "level", "position"),
    [
        (0.1, "good", 1.0),
        (0.05, "good", 1.125),
        (0.17, "good", 0.825),
        (0.19, "fair", 0.775),
        (0.3, "fair", 0.5),
        (0.5, "poor", 0.0),
    ],
)
def test_position_runs_from_the_floor_to_fresh_real(value: float, level: str, position: float) -> None:
    verdict = judge(score("fidelity/correlation_distance", value, 0.1, 0.0, 0.5))
    assert verdict.level == level
    assert verdict.position == pytest.approx(position)


def test_higher_is_better_turns_the_scale() -> None:
    verdict = judge(score("utility/tstr_auroc", 0.55, 0.8, 0.81, 0.5, "higher"))
    assert verdict.position == pytest.approx(1 / 6)
    assert verdict.level == "fair"


@pytest.mark.parametrize(("value", "level"), [(0.5, "good"), (0.56, "fair"), (0.75, "poor"), (1.0, "poor")])
def test_privacy_is_measured_against_the_copy_and_more_strictly(value: float, level: str) -> None:
    assert judge(score("privacy/membership_auc", value, 0.5, 1.0, 0.5)).level == level


@pytest.mark.parametrize(("value", "level"), [(0.0004, "none"), (0.0006, "none"), (0.0054, "poor")])
def test_a_floor_no_worse_than_fresh_real_gives_no_scale_but_spots_the_terrible(value: float, level: str) -> None:
    verdict = judge(score("fidelity/apd", value, 0.0004, 0.0, 0.0))
    assert verdict.position is None
    assert verdict.level == level


def test_the_interval_is_placed_in_ascending_order() -> None:
    anchors = {"fresh_real": 0.0, "independent": 1.0}
    verdict = judge(Score("validity/knowledge_violation", 0.5, "lower", (0.25, 0.75), anchors=anchors))
    assert verdict.interval == (0.25, 0.75)


def test_without_value_or_anchors_there_is_no_verdict() -> None:
    assert judge(Score("privacy/epsilon", 3.0, "lower")).word == "no anchors"
    assert judge(Score("fidelity/apd", None, "lower", status="failed", reason="r")).word == "failed"


def test_the_summary_follows_its_rules() -> None:
    kept = score("fidelity/correlation_distance", 0.1, 0.1, 0.0, 0.5)
    lost = score("fidelity/concept_abundance", 0.5, 0.1, 0.0, 0.5)
    leak = score("privacy/membership_auc", 0.9, 0.5, 1.0, 0.5)
    safe = score("privacy/dcr_share", 0.5, 0.5, 1.0, 0.5)
    assert [finding.level for finding in summarise([kept, safe], ROWS)] == ["none", "good", "good", "none"]
    nature, in_part, leaking, _ = summarise([kept, lost, leak, safe], ROWS)
    assert nature.answer == "5,000 synthetic records."
    assert in_part.level == "fair"
    assert leaking.level == "poor"
    assert "membership auc" in leaking.detail
    assert "dcr share" not in leaking.detail
    assert summarise([lost], ROWS)[1].level == "poor"
    assert summarise([lost], ROWS)[2].answer == "Not measured."


def test_the_summary_names_what_is_not_known() -> None:
    skipped = Score("utility/tstr_auroc", None, "higher", status="skipped", reason="no outcome")
    unknown = summarise([skipped, Score("privacy/epsilon", 1.0, "lower")], ROWS)[3]
    assert unknown.answer == "2 of 2 metrics."
    assert "tstr auroc" in unknown.detail
    assert "epsilon" in unknown.detail
