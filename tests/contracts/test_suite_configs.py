"""The suites that ship: they build, and every score they give carries a full card."""

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ehrsynth.cli.launch import conf_dir
from ehrsynth.evaluation.suite import Suite
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


def test_every_score_has_an_interval_that_contains_it() -> None:
    cfg = OmegaConf.create({"evaluation": {"trees": 20}, "suite": OmegaConf.load(conf_dir() / "suite" / "full.yaml")})
    for node in cfg.suite.evaluators:
        if "known" in node:
            node.known = 4  # the toy has twelve codes
    scores = instantiate(cfg.suite).fit(toy_real(400, 300), 0).score(toy_records(400, 5), 0)
    assert not [score for score in scores if score.status == "failed"]
    described = {"privacy/attribute_known_codes", "privacy/attribute_hidden_positives"}  # of the attack, not of S
    for score in scores:
        if score.status == "ok" and score.metric not in described:
            assert score.ci is not None, score.metric
            assert score.ci[0] - 1e-9 <= score.value <= score.ci[1] + 1e-9, score.metric
