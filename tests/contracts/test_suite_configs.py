"""The suites that ship: they build, and every score they give carries a full card."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.suite import Suite
from ehrsynth.layout import Records
from ehrsynth.study.conf import conf_dir
from tests.evaluation_toy import toy_real, toy_records

COLUMNS = ("apd", "nonzero_columns", "wasserstein", "dimension_wise_distance", "js_divergence", "ks", "kl_divergence")
PAIRS = ("correlation_distance", "correlation_frobenius", "correlation_rmse")
RECORDS = ("latent_deviation", "concept_abundance", "dimension_wise_prediction", "discriminator_auc")
MANIFOLD = ("precision", "recall", "density", "coverage", "alpha_precision", "beta_recall")
PUBLISHED = ("fidelity/latent_deviation_ln", "fidelity/concept_abundance_published", "privacy/membership_f1_euclidean")
PROMISED = {
    *(f"fidelity/{name}" for name in (*COLUMNS, *PAIRS, *RECORDS, *MANIFOLD)),
    *(f"fidelity/rare_{name}" for name in ("prevalence_error_1pct", "prevalence_error_01pct")),
    *(f"fidelity/rare_{name}" for name in ("pair_lift_error_1pct", "pair_lift_error_01pct")),
    *(f"utility/{arm}_{score}" for arm in ("trtr", "tstr", "trts", "hybrid") for score in ("auroc", "auprc", "f1")),
    *(f"utility/{arm}_auroc_{model}" for arm in ("trtr", "tstr") for model in ("logistic", "mlp")),
    "utility/feature_importance_overlap",
    *(f"privacy/membership_{name}" for name in ("f1", "auc", "tpr_at_1pct_fpr", "tpr_at_01pct_fpr")),
    *(f"privacy/membership_{attack}_auc" for attack in ("density", "classifier")),
    *(
        f"privacy/membership_{attack}_tpr_at_{fpr}_fpr"
        for attack in ("density", "classifier")
        for fpr in ("1pct", "01pct")
    ),
    *(f"privacy/attribute_f1{name}" for name in ("", "_holdout", "_excess", "_published")),
    *(f"privacy/{name}" for name in ("nnaa_risk", "identity_disclosure", "singling_out", "linkability", "inference")),
    *(f"privacy/{name}" for name in ("dcr_share", "exact_copies", "near_copies", "copies_excess")),
    *(f"validity/{name}" for name in ("knowledge_violation", "knowledge_violation_published", "constraint_violation")),
    *(f"validity/{name}" for name in ("sex_restriction_violation", "value_range", "one_hot_violation", "unseen_level")),
    *(f"fairness/{name}" for name in ("representation", "utility_gap", "privacy_gap")),
    *(f"fairness/{name}" for name in ("equal_opportunity_gap", "demographic_parity_gap")),
    *PUBLISHED,
}
UNORDERED = {
    "fidelity/recall",  # noise that is everywhere leaves no real record out
    "fidelity/dimension_wise_prediction_gap",  # signed: what is lost on some codes is gained on others
}


def suite(name: str) -> Suite:
    built = instantiate(OmegaConf.load(conf_dir() / "suite" / f"{name}.yaml"))
    assert isinstance(built, Suite)
    return built


@pytest.mark.parametrize("name", ["quick", "full", "as_published"])
def test_every_score_carries_a_full_card(name: str) -> None:
    for card in suite(name).cards:
        assert card.family in ("fidelity", "utility", "privacy", "validity", "fairness")
        assert card.direction in ("lower", "higher")
        assert card.low < card.high
        assert min(len(card.definition), len(card.reading)) > 20
        assert card.paper


def test_the_full_suite_gives_every_promised_score_and_all_that_quick_gives() -> None:
    full = {card.name for card in suite("full").cards}
    assert full >= PROMISED
    assert full >= {card.name for card in suite("quick").cards}
    assert full >= {card.name for card in suite("as_published").cards}


@pytest.fixture(scope="module")
def scored() -> dict[str, dict[str, Score]]:
    """The full suite with few trees on the toy: a fresh draw, a copy of R, and bits thrown like coins."""
    cfg = OmegaConf.create({"evaluation": {"trees": 20}, "suite": OmegaConf.load(conf_dir() / "suite" / "full.yaml")})
    for node in cfg.suite.evaluators:
        if "known" in node:
            node.known = 4  # the toy has twelve codes
    real = toy_real(400, 300)
    fitted = instantiate(cfg.suite).fit(real, 0)
    fresh = toy_records(400, 5)
    bits, values = fresh.bits.clone(), torch.rand(fresh.values.shape, generator=torch.Generator().manual_seed(0))
    codes = fresh.layout.bits
    bits[:, codes] = torch.randint(0, 2, bits[:, codes].shape, generator=torch.Generator().manual_seed(1)).to(
        bits.dtype
    )
    noise = Records.of_dense(fresh.layout, torch.cat([bits.float(), values], dim=1))
    tables = {"fresh": fresh, "copy": real.train, "noise": noise}
    return {name: {score.metric: score for score in fitted.score(table)} for name, table in tables.items()}


def test_no_evaluator_fails_and_every_score_is_in_the_range_of_its_card(scored: dict[str, dict[str, Score]]) -> None:
    cards = {card.name: card for card in suite("full").cards}
    for scores in scored.values():
        for name, score in scores.items():
            assert score.status != "failed", (name, score.reason)
            if score.value is not None:
                assert cards[name].low <= score.value <= cards[name].high, name


def test_a_copy_and_noise_bracket_a_fresh_draw(scored: dict[str, dict[str, Score]]) -> None:
    for name, fresh in scored["fresh"].items():
        copy, noise = scored["copy"][name].value, scored["noise"][name].value
        if fresh.value is None or copy is None or noise is None or fresh.ci is None or name in UNORDERED:
            continue
        if fresh.card.null is not None:  # an attack: a copy is the worst there is
            assert copy >= max(fresh.ci[0], noise), name
        elif not name.startswith(("privacy/", "fairness/", "utility/trtr")):
            sign = 1 if fresh.direction == "lower" else -1
            best, worst = sorted(sign * end for end in fresh.ci)
            assert sign * copy <= worst, name
            assert best <= sign * noise, name


def test_every_score_has_an_interval_that_contains_it(scored: dict[str, dict[str, Score]]) -> None:
    described = {"privacy/attribute_known_codes", "privacy/attribute_hidden_positives"}  # of the attack, not of S
    for score in scored["fresh"].values():
        if score.status == "ok" and score.metric not in described:
            assert score.ci is not None, score.metric
            assert score.ci[0] - 1e-9 <= score.value <= score.ci[1] + 1e-9, score.metric
