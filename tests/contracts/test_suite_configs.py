"""The suites that ship: they build, and every score they give carries a full card."""

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ehrsynth.cli.launch import conf_dir
from ehrsynth.evaluation.suite import Suite

PROMISED = {
    *(f"fidelity/{name}" for name in ("apd", "nonzero_columns", "wasserstein", "dimension_wise_distance")),
    *(f"fidelity/{name}" for name in ("correlation_distance", "correlation_frobenius", "latent_deviation")),
    *(f"fidelity/{name}" for name in ("concept_abundance", "dimension_wise_prediction")),
    *(f"utility/{name}" for name in ("trtr_auroc", "tstr_auroc", "feature_importance_overlap")),
    *(f"privacy/membership_{name}" for name in ("f1", "auc", "tpr_at_1pct_fpr")),
    *(f"privacy/attribute_f1{name}" for name in ("", "_holdout", "_excess", "_published")),
    *(f"privacy/{name}" for name in ("dcr_share", "exact_copies")),
    *(f"validity/{name}" for name in ("knowledge_violation", "constraint_violation")),
}


def suite(name: str) -> Suite:
    built = instantiate(OmegaConf.load(conf_dir() / "suite" / f"{name}.yaml"))
    assert isinstance(built, Suite)
    return built


@pytest.mark.parametrize("name", ["quick", "full"])
def test_every_score_carries_a_full_card(name: str) -> None:
    for card in suite(name).cards:
        assert card.family in ("fidelity", "utility", "privacy", "validity")
        assert card.direction in ("lower", "higher")
        assert card.low < card.high
        assert min(len(card.definition), len(card.reading)) > 20
        assert card.paper


def test_the_full_suite_gives_every_promised_score_and_all_that_quick_gives() -> None:
    full = {card.name for card in suite("full").cards}
    assert full >= PROMISED
    assert full >= {card.name for card in suite("quick").cards}
