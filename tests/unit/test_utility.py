"""Utility on toy patients: all arms, several outcomes, subgroups, and nothing fitted twice."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ehrsynth.evaluation.anchors import independent
from ehrsynth.evaluation.evaluator import NotApplicableError, RealData, Undefined, Value
from ehrsynth.evaluation.fairness.outcomes import OutcomeFairness
from ehrsynth.evaluation.utility.other_models import OtherModels
from ehrsynth.evaluation.utility.prediction import OutcomePrediction
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics import boosting
from ehrsynth.schema import Column, Schema
from tests.evaluation_toy import CODES, toy_real, toy_records, toy_schema

REAL = toy_real()
OPTIONS = {"rounds": 20, "learning_rate": 0.1}


def with_fate(records: Records) -> Records:
    """Add a categorical outcome of three levels, which the first code tells, and a fourth that never occurs."""
    layout = Layout.of(fate_schema())
    fate = (records.bits[:, 2] + records.bits[:, 3]).long()
    levels = torch.nn.functional.one_hot(fate, 4).to(torch.uint8)
    return Records(layout, torch.cat([records.bits, levels], dim=1), records.values)


def fate_schema() -> Schema:
    fate = Column("fate", "categorical", levels=("home", "care", "hospice", "other"), role="outcome")
    return Schema((*toy_schema().columns, fate))


@pytest.fixture(scope="module")
def fate_real() -> RealData:
    return RealData(fate_schema(), with_fate(REAL.train), with_fate(REAL.holdout))


def test_every_level_of_a_categorical_outcome_is_a_task_unless_rare(fate_real: RealData) -> None:
    found = OutcomePrediction(**OPTIONS).fit(fate_real, 0)(with_fate(toy_records(500, 8)), 0)["utility/tstr_auroc"]
    assert isinstance(found, Value)
    value = {key: part.value for key, part in found.parts.items() if isinstance(part, Value)}
    levels = [value["level", f"fate={level}"] for level in ("home", "care", "hospice")]
    assert ("level", "fate=other") not in found.parts
    assert value["outcome", "fate"] == pytest.approx(sum(levels) / 3)
    assert found.value == pytest.approx((value["outcome", "died"] + value["outcome", "fate"]) / 2)


def test_a_level_that_the_synthetic_table_lacks_is_named(fate_real: RealData) -> None:
    records = toy_records(200, 8)
    records.bits[:, 2:4] = 0
    found = OutcomePrediction(**OPTIONS).fit(fate_real, 0)(with_fate(records), 0)
    assert found["utility/tstr_auroc"] == Undefined("outcome 'fate=home' is constant in the synthetic rows")
    assert isinstance(found["utility/hybrid_auroc"], Value)


def test_a_numeric_outcome_is_not_applicable() -> None:
    schema = Schema(tuple(replace(c, role="feature") if c.role == "outcome" else c for c in toy_schema().columns))
    schema = Schema(tuple(replace(c, role="outcome") if c.name == "lab" else c for c in schema.columns))
    real = RealData(schema, REAL.train, REAL.holdout)
    for evaluator in (OutcomePrediction(**OPTIONS), OtherModels(), OutcomeFairness(**OPTIONS)):
        with pytest.raises(NotApplicableError, match="'lab' is continuous"):
            evaluator.fit(real, 0)


def test_all_arms_of_fresh_patients_beat_those_of_independent_columns() -> None:
    scorer = OutcomePrediction(rounds=40, learning_rate=0.1).fit(REAL, 0)
    fresh, loose = (scorer(table, 0) for table in (toy_records(600, 9), independent(REAL.train, 0)))
    for name in ("tstr_auroc", "tstr_auprc", "tstr_f1", "trts_auroc", "trts_auprc", "trts_f1", "hybrid_auroc"):
        good, bad = fresh[f"utility/{name}"], loose[f"utility/{name}"]
        assert isinstance(good, Value)
        assert isinstance(bad, Value)
        assert good.value > bad.value, name
    for found in (fresh, loose):
        for value in found.values():
            assert isinstance(value, Value)
            assert value.ci is not None
            assert 0 <= value.ci[0] <= value.value <= value.ci[1] <= 1


def test_the_hybrid_tells_mixing_ratios_and_subgroups() -> None:
    found = OutcomePrediction(**OPTIONS, ratios=(0.25, 2)).fit(REAL, 0)(toy_records(700, 9), 0)["utility/hybrid_auroc"]
    assert isinstance(found, Value)
    assert isinstance(found.parts["ratio", "0.25"], Value)
    assert found.parts["ratio", "1"] == Value(found.value, found.ci)
    assert isinstance(found.parts["ratio", "2"], Undefined)
    assert isinstance(found.parts["subgroup", "sex=F"], Value)
    short = OutcomePrediction(**OPTIONS).fit(REAL, 0)(toy_records(100, 9), 0)["utility/hybrid_auroc"]
    assert isinstance(short, Value)
    assert isinstance(short.parts["ratio", "1"], Undefined)


def test_a_small_subgroup_is_marked_and_never_scored() -> None:
    found = OutcomePrediction(**OPTIONS, min_rows=10).fit(REAL, 0)(toy_records(300, 9), 0)["utility/tstr_auroc"]
    assert isinstance(found, Value)
    empty = found.parts["subgroup", "age=0-17"]
    assert isinstance(empty, Undefined)
    assert empty.reason.startswith("too small: ")
    none = OutcomePrediction(**OPTIONS, min_rows=1000).fit(REAL, 0)(toy_records(300, 9), 0)["utility/tstr_auroc"]
    assert isinstance(none, Value)
    assert all(isinstance(part, Undefined) for (kind, _), part in none.parts.items() if kind == "subgroup")


def test_the_overlap_tells_the_importance_of_the_top_features_of_both() -> None:
    found = OutcomePrediction(**OPTIONS, explained_rows=60).fit(REAL, 0)(toy_records(400, 9), 0)
    overlap = found["utility/feature_importance_overlap"]
    assert isinstance(overlap, Value)
    kinds = {kind: {name for k, name in overlap.parts if k == kind} for kind, _ in overlap.parts}
    assert set(kinds) == {"importance_real", "importance_synthetic"}
    assert kinds["importance_real"] == kinds["importance_synthetic"]
    assert "age" in kinds["importance_real"]
    assert "died" not in kinds["importance_real"]


def test_trees_are_fitted_once_for_utility_and_fairness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fits = []
    plain = boosting.fit_trees

    def counted(*given: object) -> object:
        fits.append(given)
        return plain(*given)

    monkeypatch.setattr(boosting, "fit_trees", counted)
    synthetic = toy_records(300, 3)

    def both() -> list[object]:
        real = replace(REAL, cache=tmp_path)
        evaluators = (OutcomePrediction(**OPTIONS, ratios=None), OutcomeFairness(**OPTIONS))
        return [evaluator.fit(real, seed)(synthetic, seed) for seed, evaluator in enumerate(evaluators)]

    first = both()
    assert len(fits) == 2  # on R and on S
    assert both() == first
    assert len(fits) == 3  # R is known from the folder


def test_a_row_cap_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    plain = boosting.fit_trees
    monkeypatch.setattr(boosting, "fit_trees", lambda x, *rest: (sizes.append(x.shape[0]), plain(x, *rest))[1])
    OutcomePrediction(**OPTIONS, max_rows=200, ratios=(0.5,)).fit(REAL, 0)(toy_records(300, 3), 0)
    assert sizes == [200, 400, 300, 200]


def test_other_models_of_a_copy_equal_those_of_the_training_rows_and_beat_noise() -> None:
    scorer = OtherModels().fit(REAL, 0)
    copy, loose = scorer(REAL.train, 0), scorer(independent(REAL.train, 0), 0)
    for model in ("logistic", "mlp"):
        found, bad = copy[f"utility/tstr_auroc_{model}"], loose[f"utility/tstr_auroc_{model}"]
        assert found == copy[f"utility/trtr_auroc_{model}"]
        assert isinstance(found, Value)
        assert isinstance(bad, Value)
        assert found.value > max(bad.value, 0.65)


def test_other_models_of_a_constant_outcome_fail_with_the_reason() -> None:
    synthetic = toy_records(100, 2)
    synthetic.bits[:, CODES] = 0
    found = OtherModels(max_rows=80).fit(REAL, 0)(synthetic, 0)
    assert isinstance(found["utility/trtr_auroc_mlp"], Value)
    assert found["utility/tstr_auroc_mlp"] == Undefined("outcome 'died' is constant in the synthetic rows")
