from dataclasses import replace

import pytest

from ehrsynth.evaluation.evaluator import Value
from ehrsynth.evaluation.nulls import null_of
from ehrsynth.evaluation.score import Score
from ehrsynth.reporting.reading import RULE, judge
from ehrsynth.reporting.summary import leading, leaks, summarise
from ehrsynth.reporting.wording import sentence
from tests.scores import score_of

ROWS = {"train": 7000, "holdout": 3000, "synthetic": 5000}


def score(metric: str, value: float, fresh: float, copy: float, independent: float, direction: str = "lower") -> Score:
    return score_of(
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
    verdict = judge(score_of("validity/knowledge_violation", 0.5, "lower", (0.25, 0.75), anchors=anchors))
    assert verdict.interval == (0.25, 0.75)


def test_without_value_or_anchors_there_is_no_verdict() -> None:
    assert judge(score_of("privacy/epsilon", 3.0, "lower")).word == "a guarantee"
    assert judge(score_of("privacy/nnaa_risk", 0.3, "lower")).word == "no anchors"
    assert judge(score_of("fidelity/apd", None, "lower", status="failed", reason="r")).word == "failed"


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
    assert "membership AUC" in leaking.detail
    assert "DCR share" not in leaking.detail
    assert summarise([lost], ROWS)[1].level == "poor"
    assert summarise([lost], ROWS)[2].answer == "Not measured."


def test_the_summary_names_what_is_not_known() -> None:
    skipped = score_of("utility/tstr_auroc", None, "higher", status="skipped", reason="no outcome")
    unknown = summarise([skipped, score_of("privacy/nnaa_risk", 1.0, "lower")], ROWS)[3]
    assert unknown.answer == "2 of 2 metrics."
    assert "TSTR AUROC" in unknown.detail
    assert "NNAA risk" in unknown.detail


@pytest.mark.parametrize(
    ("ci", "fresh", "level", "word"),
    [
        ((0.501, 0.52), 0.5, "fair", "small but beyond chance"),
        ((0.501, 0.52), 0.505, "good", "no leak seen"),
        ((0.499, 0.52), 0.49, "good", "no leak seen"),
        ((0.46, 0.48), 0.45, "good", "no leak seen"),
    ],
)
def test_an_attack_beyond_chance_and_beyond_fresh_real_is_a_leak_however_small(
    ci: tuple[float, float], fresh: float, level: str, word: str
) -> None:
    anchors = {"fresh_real": fresh, "train_copy": 1.0, "independent": 0.5}
    verdict = judge(score_of("privacy/membership_auc", sum(ci) / 2, "lower", ci, anchors=anchors))
    assert (verdict.level, verdict.word) == (level, word)


@pytest.mark.parametrize(
    ("metric", "null"),
    [
        ("privacy/membership_density_auc", 0.5),
        ("privacy/membership_tpr_at_1pct_fpr", 0.01),
        ("privacy/membership_classifier_tpr_at_01pct_fpr", 0.001),
        ("privacy/attribute_f1_excess", 0),
        ("privacy/copies_excess", 0),
        ("privacy/dcr_share", 0.5),
        ("privacy/nnaa_risk", 0),
        ("privacy/singling_out", 0),
        ("privacy/membership_f1", None),
        ("fidelity/discriminator_auc", None),
    ],
)
def test_nulls_are_known_by_the_end_of_the_name(metric: str, null: float | None) -> None:
    assert null_of(metric) == null


def test_beyond_chance_counts_even_where_the_anchors_do_not_discriminate() -> None:
    anchors = {"fresh_real": 0.0, "train_copy": 0.0, "independent": 0.0}
    assert judge(score_of("privacy/nnaa_risk", 0.05, "lower", (0.01, 0.09), anchors=anchors)).level != "none"
    assert judge(score_of("privacy/nnaa_risk", 0.0, "lower", (-0.01, 0.01), anchors=anchors)).level == "none"


def test_a_bad_position_within_chance_is_no_leak() -> None:
    anchors = {"fresh_real": 0.484, "train_copy": 0.537}
    verdict = judge(score_of("privacy/membership_classifier_auc", 0.533, "lower", (0.498, 0.568), anchors=anchors))
    assert (verdict.level, verdict.word) == ("none", "not beyond chance")
    sure = judge(score_of("privacy/membership_classifier_auc", 0.533, "lower", (0.52, 0.54), anchors=anchors))
    assert sure.word == "leaks"


def test_copies_beyond_chance_and_rates_that_name_people_are_poor_whatever_a_memoriser_scores() -> None:
    anchors = {"fresh_real": 0.0, "train_copy": 1.0}
    assert judge(score_of("privacy/copies_excess", 0.02, "lower", (0.01, 0.03), anchors=anchors)).level == "poor"
    assert judge(score_of("privacy/copies_excess", 0.0, "lower", (-0.01, 0.01), anchors=anchors)).level == "good"
    rate = "privacy/membership_tpr_at_1pct_fpr"
    assert judge(score_of(rate, 0.05, "lower", (0.04, 0.06), anchors=anchors)).level == "poor"
    assert judge(score_of(rate, 0.02, "lower", (0.015, 0.025), anchors=anchors)).word == "small but beyond chance"


def test_a_score_with_its_own_control_is_judged_by_the_difference() -> None:
    anchors = {"fresh_real": 0.05, "train_copy": 0.1}
    parts = {("side", "excess"): Value(0.0, (-0.02, 0.02))}
    even = score_of("privacy/identity_disclosure", 0.09, "lower", (0.08, 0.1), anchors=anchors, parts=parts)
    assert judge(even).word == "not beyond chance"
    assert sentence(even).endswith("0.100; above unseen patients by 0 (\N{MINUS SIGN}0.0200 to 0.0200).")
    ahead = {("side", "excess"): Value(0.05, (0.03, 0.07))}
    assert judge(replace(even, parts=ahead)).level == "poor"


def test_descriptions_and_controls_get_no_verdict_and_are_not_called_unknown() -> None:
    known = score("privacy/attribute_known_codes", 40, 40, 41, 42)
    control = score("privacy/attribute_f1_holdout", 0.5, 0.1, 1.0, 0.1)
    assert judge(known).word == "describes the attack"
    assert judge(control).word == "the control"
    assert summarise([known, control], ROWS)[3].answer == "Every metric has a verdict."


def test_the_rule_tells_of_chance() -> None:
    assert "small but beyond chance" in RULE


def test_a_value_is_read_aloud() -> None:
    anchors = {"fresh_real": 0.85, "train_copy": 0.86, "independent": 0.52}
    good = score_of("utility/tstr_auroc", 0.83, "higher", (0.82, 0.84), anchors=anchors)
    assert sentence(good) == (
        "0.830, close to fresh real 0.850; independent columns score 0.520; 95% interval 0.820 to 0.840."
    )
    anchors = {"fresh_real": 0.5, "train_copy": 1.0}
    leak = score_of("privacy/membership_auc", 0.51, "lower", (0.505, 0.515), anchors=anchors)
    assert sentence(leak) == (
        "0.510, above fresh real 0.500; a copy of the training rows scores 1.00;"
        " 95% interval 0.505 to 0.515, above 0.500, the value without any leak."
    )
    assert sentence(score_of("fidelity/apd", None, "lower", status="failed", reason="no code")) == "No value: no code."
    flat = score("fidelity/apd", 0.0004, 0.0004, 0.0, 0.0)
    assert sentence(flat).endswith("and the floor 0 do not differ enough to judge by.")
    lost = score("fidelity/concept_abundance", 0.6, 0.1, 0.0, 0.5)
    assert "no better than the floor: independent columns score 0.500, fresh real 0.100" in sentence(lost)
    assert "25% of the way" in sentence(score("fidelity/concept_abundance", 0.4, 0.1, 0.0, 0.5))
    assert "no merit in itself" in sentence(score("fidelity/concept_abundance", 0.05, 0.1, 0.0, 0.5))
    assert "worse than fresh real" in sentence(score("fidelity/apd", 0.5, 0.0004, 0.0, 0.0))


def test_what_discriminates_leads_and_of_privacy_the_worst() -> None:
    weak = score("fidelity/correlation_frobenius", 3.8, 3.67, 0.0, 4.19)
    strong = score("fidelity/concept_abundance", 0.1, 0.003, 0.0, 0.168)
    twin = score("fidelity/concept_abundance_published", 0.1, 0.004, 0.0, 0.168)
    flat = score("fidelity/apd", 0.0004, 0.0004, 0.0, 0.0)
    safe = score("privacy/dcr_share", 0.5, 0.5, 1.0, 0.5)
    leak = score("privacy/membership_auc", 0.9, 0.5, 0.87, 0.5)
    shown = [one.metric for one in leading([leak, safe, flat, weak, twin, strong])]
    assert shown == [
        "fidelity/concept_abundance",
        "fidelity/correlation_frobenius",
        "privacy/membership_auc",
        "privacy/dcr_share",
    ]
    reverse = [one.metric for one in leading([safe, leak])]
    assert reverse == ["privacy/membership_auc", "privacy/dcr_share"]


def test_what_real_data_alone_decide_gets_no_verdict() -> None:
    verdict = judge(score("utility/trtr_auroc", 0.8, 0.82, 0.8, 0.8, "higher"))
    assert (verdict.level, verdict.word) == ("none", "real data alone")


def area(value: float, margin: float) -> Score:
    ci = (value - margin, value + margin)
    anchors = {"fresh_real": 0.5, "train_copy": 1.0}
    return score_of("privacy/membership_auc", value, "lower", ci, anchors=anchors)


def test_a_clean_result_on_few_records_is_not_called_clean() -> None:
    assert leaks([area(0.5, 0.02)]).answer == "No leak was seen."
    few = leaks([area(0.5, 0.15)])
    assert few.answer == "Too few records to tell."
    assert few.level == "none"
    assert "membership AUC of 0.650" in few.detail


def test_a_table_made_from_held_out_patients_is_not_called_clean() -> None:
    found = leaks([area(0.25, 0.02)])
    assert found.level == "poor"
    assert found.short == "It cannot be told"
    assert "Was it made from them" in found.detail


def test_identity_disclosure_without_its_control_gets_no_verdict() -> None:
    assert judge(score("privacy/identity_disclosure", 0.1, 0.05, 0.1, 0.05)).level == "none"
