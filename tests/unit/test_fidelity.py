"""What fidelity evaluators say of columns, groups of records, rare codes and tables that fall short."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from ehrsynth.evaluation.anchors import independent
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Undefined, Value
from ehrsynth.evaluation.fidelity import discriminator, distributions, manifold, rare_codes
from ehrsynth.evaluation.fidelity.concept_abundance import ConceptAbundance
from ehrsynth.evaluation.fidelity.correlation import Correlation
from ehrsynth.evaluation.fidelity.dimension_wise_distance import DimensionWiseDistance, Wasserstein
from ehrsynth.evaluation.fidelity.dimension_wise_prediction import DimensionWisePrediction
from ehrsynth.evaluation.fidelity.latent_deviation import LatentDeviation
from ehrsynth.evaluation.fidelity.prevalence import Prevalence
from ehrsynth.evaluation.groups import grouped, positives, sizes
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Schema
from tests.evaluation_toy import CODES, bits_only, code_schema, toy_real, toy_records

REAL = toy_real()
EVALUATORS: list[Callable[[], Evaluator]] = [
    Prevalence,
    DimensionWiseDistance,
    Wasserstein,
    Correlation,
    distributions.ColumnDistributions,
    LatentDeviation,
    ConceptAbundance,
    lambda: DimensionWisePrediction(codes=5),
    manifold.Manifold,
    manifold.Support,
    lambda: rare_codes.RarePrevalence(below=0.3),
    lambda: rare_codes.RarePairLift(below=0.3),
    discriminator.Discriminator,
]


def scores(evaluator: Evaluator, synthetic: Records, real: RealData = REAL) -> dict[str, Value | Undefined]:
    return dict(evaluator.fit(real, 0)(synthetic, 1))


def value_of(found: object) -> Value:
    assert isinstance(found, Value)
    return found


def test_groups_part_the_records_and_are_cut_once() -> None:
    synthetic = toy_records(103, 1)
    groups = grouped(REAL, synthetic)
    assert grouped(REAL, synthetic) is groups
    assert len(groups) == 20
    assert {len(group) for group in groups} == {5, 6}
    assert sorted(torch.cat([group.values[:, 1] for group in groups])) == sorted(synthetic.values[:, 1])
    counts, total = positives(REAL, synthetic), sizes(REAL, synthetic)
    assert counts[0].tolist() == synthetic.bits.sum(0).tolist()
    assert (counts[1:].sum(0) == 19 * counts[0]).all()
    assert total[0] == 103
    assert len(grouped(REAL, toy_records(3, 1))) == 3


@pytest.mark.parametrize("make", EVALUATORS)
def test_every_score_has_an_interval_around_it(make: Callable[[], Evaluator]) -> None:
    for name, found in scores(make(), toy_records(300, 3)).items():
        value = value_of(found)
        assert value.ci is not None, name
        assert value.ci[0] <= value.value <= value.ci[1]
        assert value.ci[0] < value.ci[1] or name == "fidelity/nonzero_columns"  # every code in every group
        assert all(map(math.isfinite, value.ci))


@pytest.mark.parametrize("make", EVALUATORS)
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_handful_of_records_gives_numbers_or_a_reason(make: Callable[[], Evaluator], rows: int) -> None:
    for found in scores(make(), toy_records(rows, 3)).values():
        if rows == 1 and isinstance(found, Undefined):
            assert found.reason
        if isinstance(found, Value):
            assert math.isfinite(found.value)
            assert found.ci is not None
            assert not any(map(math.isnan, found.ci))


@pytest.mark.parametrize("make", EVALUATORS)
def test_constant_columns_give_no_nan(make: Callable[[], Evaluator]) -> None:
    constant = toy_records(60, 3)
    constant.bits[:, : CODES + 2] = 0
    constant.values[:] = 0.5
    for found in scores(make(), constant).values():
        assert isinstance(found, Undefined) or math.isfinite(found.value)


def test_the_interval_covers_what_another_draw_gives() -> None:
    """The expected score at this size is the mean over draws; 19 of 20 intervals should hold it."""
    for make in (Prevalence, Correlation, distributions.ColumnDistributions):
        scorer = make().fit(REAL, 0)
        draws = [scorer(toy_records(400, seed), 0) for seed in range(40, 70)]
        for card in make.cards:
            found = [value_of(draw[card.name]) for draw in draws]
            mean = np.mean([value.value for value in found])
            held = np.mean([value.ci is not None and value.ci[0] <= mean <= value.ci[1] for value in found])
            assert held >= 0.8, card.name


def test_prevalence_and_wasserstein_carry_the_distance_of_each_column() -> None:
    synthetic = toy_records(200, 3)
    apd = value_of(scores(Prevalence(), synthetic)["fidelity/apd"])
    binary = REAL.layout.names[REAL.layout.binary]
    assert [name for _, name in apd.parts] == binary
    assert {kind for kind, _ in apd.parts} == {"column"}
    assert np.mean([value_of(part).value for part in apd.parts.values()]) == pytest.approx(apd.value)
    sex = (REAL.train.bits[:, 14].double().mean() - synthetic.bits[:, 14].double().mean()).abs()
    assert value_of(apd.parts["column", "sex=F"]).value == pytest.approx(float(sex))
    moved = value_of(scores(Wasserstein(), synthetic)["fidelity/wasserstein"])
    assert [name for _, name in moved.parts] == ["lab", "age"]
    assert np.mean([value_of(part).value for part in moved.parts.values()]) == pytest.approx(moved.value)


def test_distributions_are_told_by_column_and_by_domain() -> None:
    synthetic = toy_records(200, 3)
    synthetic.values[:, 1] = 1.5  # outside the range of R
    found = scores(distributions.ColumnDistributions(), synthetic)
    for name in ("fidelity/js_divergence", "fidelity/ks", "fidelity/kl_divergence"):
        value = value_of(found[name])
        columns = {part: value_of(x).value for (kind, part), x in value.parts.items() if kind == "column"}
        domains = {part: value_of(x).value for (kind, part), x in value.parts.items() if kind == "domain"}
        assert set(columns) == set(REAL.schema.names)
        assert set(domains) == {"diagnosis", "outcome", "demographics", "lab"}
        assert value.value == pytest.approx(np.mean(list(columns.values())))
        assert domains["demographics"] == pytest.approx((columns["sex"] + columns["age"]) / 2)
        if name != "fidelity/kl_divergence":
            assert columns["age"] == pytest.approx(1)


def test_a_number_that_is_never_observed_fails_ks_and_counts_as_missing_in_the_divergences() -> None:
    synthetic = toy_records(50, 3)
    synthetic.values[:, 0] = torch.nan
    found = scores(distributions.ColumnDistributions(), synthetic)
    assert isinstance(found["fidelity/ks"], Undefined)
    assert value_of(found["fidelity/js_divergence"]).value > 0.02


def test_the_number_of_clusters_is_part_of_the_name() -> None:
    names = {k: [card.name for card in LatentDeviation(k=k).cards] for k in (5, 20, "elbow")}  # type: ignore[arg-type]
    assert names[5] == ["fidelity/latent_deviation", "fidelity/latent_deviation_ln"]
    assert names[20] == ["fidelity/latent_deviation_k20", "fidelity/latent_deviation_ln_k20"]
    assert names["elbow"] == ["fidelity/latent_deviation_elbow", "fidelity/latent_deviation_ln_elbow"]


def test_the_natural_logarithm_is_the_same_deviation() -> None:
    found = scores(LatentDeviation(k="elbow"), toy_records(400, 3))
    bits, nats = (value_of(found[f"fidelity/latent_deviation{name}_elbow"]) for name in ("", "_ln"))
    assert nats.value == pytest.approx(bits.value * math.log(2))
    assert 2 <= value_of(bits.parts["clusters", "k"]).value <= 9


def test_too_few_rows_for_clusters_and_neighbours() -> None:
    small = replace(REAL, train=toy_records(4, 0))
    for evaluator in (LatentDeviation(k="elbow"), manifold.Manifold()):
        with pytest.raises(NotApplicableError):
            evaluator.fit(small, 0)
    (found, _) = scores(LatentDeviation(k=20), toy_records(3, 1), small).values()
    assert found == Undefined("fewer records than the 20 clusters")
    (found, *_) = scores(manifold.Manifold(), toy_records(4, 1)).values()
    assert isinstance(found, Undefined)


def test_equal_training_records_have_no_embedding() -> None:
    schema = code_schema(3)
    same = bits_only([[1, 0, 1]] * 20, schema)
    with pytest.raises(NotApplicableError, match="equal"):
        manifold.Support().fit(RealData(schema, same, same), 0)


def test_unrelated_columns_leave_the_relevant_distance_undefined() -> None:
    schema = code_schema(4)
    rows = bits_only(np.random.default_rng(0).integers(0, 2, (200, 4)).tolist(), schema)
    found = scores(Correlation(), rows, RealData(schema, rows, rows))
    assert isinstance(found["fidelity/correlation_distance_relevant"], Undefined)
    assert value_of(found["fidelity/correlation_distance"]).value == 0


def test_the_relevant_distance_tells_shuffled_columns_better_than_the_plain_one() -> None:
    real = toy_real(2000)
    tables = toy_records(2000, 50), independent(real.train, 0)
    fresh, loose = (scores(Correlation(), table, real) for table in tables)
    plain, relevant = (
        value_of(loose[name]).value / value_of(fresh[name]).value
        for name in ("fidelity/correlation_distance", "fidelity/correlation_distance_relevant")
    )
    assert relevant > plain > 1


def rare_data() -> RealData:
    """Code 0 in 10 of 200 records, 6 of them with code 1, which is common; code 2 in two records."""
    rows = np.zeros((200, 3), dtype=int)
    rows[:10, 0] = rows[4:100, 1] = rows[:2, 2] = 1
    schema: Schema = code_schema(3)
    table = bits_only(rows.tolist(), schema)
    return RealData(schema, table, table)


def test_rare_codes_by_hand() -> None:
    real = rare_data()
    lost = Records(real.layout, real.train.bits.clone(), real.train.values)
    lost.bits[:5, 0] = 0
    prevalence = rare_codes.RarePrevalence(below=0.1)
    assert [card.name for card in prevalence.cards] == ["fidelity/rare_prevalence_error_10pct"]
    assert [card.name for card in rare_codes.RarePairLift(below=0.001).cards] == ["fidelity/rare_pair_lift_error_01pct"]
    found = value_of(scores(prevalence, lost, real)["fidelity/rare_prevalence_error_10pct"])
    assert found.value == pytest.approx(0.5)  # code 2 has too few positives
    assert list(found.parts) == [("code", "c0")]
    lift = value_of(scores(rare_codes.RarePairLift(below=0.1), lost, real)["fidelity/rare_pair_lift_error_10pct"])
    assert lift.value == pytest.approx(abs(math.log(5.5 / 5.5 * 10.5 / 6.5)))  # 5 of 5 left, where 6 of 10 were


def test_rare_codes_need_some() -> None:
    real = rare_data()
    with pytest.raises(NotApplicableError, match=r"rarer than 0\.1 %"):
        rare_codes.RarePrevalence(below=0.001).fit(real, 0)
    alone = Records(real.layout, real.train.bits.clone(), real.train.values)
    alone.bits[:10, 1:] = 0
    with pytest.raises(NotApplicableError, match="with another one"):
        rare_codes.RarePairLift(below=0.1).fit(replace(real, train=alone), 0)


def test_a_discriminator_tells_shuffled_columns_and_not_fresh_records() -> None:
    real = toy_real(1500)
    evaluator = discriminator.Discriminator(rounds=40)
    fresh, loose = (
        value_of(scores(evaluator, table, real)["fidelity/discriminator_auc"])
        for table in (toy_records(1500, 60), independent(real.train, 0))
    )
    assert fresh.ci is not None
    assert loose.ci is not None
    assert fresh.ci[0] < 0.5 < fresh.ci[1]
    assert loose.ci[0] > 0.55


def test_a_discriminator_finds_a_broken_pair_where_every_column_alone_is_right() -> None:
    real = toy_real(3000)

    def twins(records: Records, order: torch.Tensor) -> Records:
        bits = records.bits.clone()
        bits[:, 3] = records.bits[order, 2]  # alike in every record if the order is kept
        return Records(records.layout, bits, records.values)

    kept = torch.arange(3000)
    mixed = torch.randperm(3000, generator=torch.Generator().manual_seed(3))
    scorer = discriminator.Discriminator().fit(replace(real, train=twins(real.train, kept)), 0)
    broken, whole = (scorer(twins(toy_records(3000, 9), order), 1) for order in (mixed, kept))
    assert value_of(broken["fidelity/discriminator_auc"]).value > 0.6
    assert value_of(whole["fidelity/discriminator_auc"]).value < 0.55


def test_prediction_carries_the_score_of_each_code_on_both_sides() -> None:
    found = scores(DimensionWisePrediction(codes=6), toy_records(300, 3))
    parts = value_of(found["fidelity/dimension_wise_prediction"]).parts
    real, synthetic = (
        {name: value_of(part).value for (kind, name), part in parts.items() if kind == side}
        for side in ("f1_real", "f1_synthetic")
    )
    assert list(real) == list(synthetic)
    assert len(real) == 6
    gap = value_of(found["fidelity/dimension_wise_prediction_gap"])
    assert gap.value == pytest.approx(np.mean([real[name] - synthetic[name] for name in real]))


def test_the_order_of_columns_is_of_no_matter() -> None:
    order = [*reversed(range(CODES)), *range(CODES, len(REAL.schema.columns))]
    schema = Schema(tuple(REAL.schema.columns[i] for i in order))

    def turned(table: Records) -> Records:
        bits = table.bits.clone()
        bits[:, :CODES] = bits[:, :CODES].flip(1)
        return Records(Layout.of(schema), bits, table.values)

    synthetic = toy_records(300, 3)
    real = RealData(schema, turned(REAL.train), turned(REAL.holdout))
    for evaluator in (Prevalence(), Correlation(), distributions.ColumnDistributions()):
        found = scores(evaluator, turned(synthetic), real)
        for name, value in scores(evaluator, synthetic).items():
            assert value_of(found[name]).value == pytest.approx(value_of(value).value, abs=1e-9)
