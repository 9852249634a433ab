"""Table 3 of the JMIR AI tutorial (2024): five runs, nine metrics, two weight profiles."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ehrsynth.evaluation.card import card_of
from ehrsynth.evaluation.ranking import Profile, metric_ranks, rank_runs, weighted_rank

PRINTED_RANKS = {
    "fidelity/dimension_wise_distance": (3, 1, 5, 4, 2),
    "fidelity/correlation_frobenius": (2, 1, 3, 5, 4),
    "fidelity/latent_deviation": (2, 1, 3, 5, 4),
    "fidelity/concept_abundance": (3, 2, 5, 4, 1),
    "validity/knowledge_violation": (2, 4, 1, 3, 5),
    "utility/tstr_auroc": (2, 1, 3, 5, 4),
    "utility/feature_importance_overlap": (2, 1, 4, 4, 4),
    "privacy/membership_f1": (3, 5, 2, 1, 4),
    "privacy/attribute_f1": (3, 2, 4, 1, 5),
}
PRINTED_RESULT = {"ml_development": (2.3, 1.8, 3.2, 3.7, 4.0), "education": (2.5, 3.2, 2.4, 2.5, 4.4)}
PROFILES = Path(__file__).parents[2] / "conf" / "profile"


def shipped(name: str) -> Profile:
    content = yaml.safe_load((PROFILES / f"{name}.yaml").read_text(encoding="utf-8"))
    assert content.pop("_target_") == "ehrsynth.evaluation.ranking.Profile"
    assert content.pop("_convert_") == "all"
    return Profile(**content)


@pytest.mark.parametrize("name", PRINTED_RESULT)
def test_the_printed_ranks_give_the_printed_weighted_ranks(name: str) -> None:
    ranks = pd.DataFrame(PRINTED_RANKS, index=range(1, 6))
    assert weighted_rank(ranks, shipped(name).weights).round(12).tolist() == list(PRINTED_RESULT[name])


@pytest.mark.parametrize(("name", "best"), [("ml_development", "2"), ("education", "3")])
def test_the_printed_winner_wins(name: str, best: str) -> None:
    ranks = pd.DataFrame(PRINTED_RANKS, index=list("12345"), dtype=float)
    directions = dict.fromkeys(ranks, "lower")
    cards = {metric: replace(card_of(metric), direction="lower") for metric in ranks}
    assert rank_runs(ranks, cards, shipped(name)).table.index[0] == best
    assert metric_ranks(ranks, directions).equals(ranks), "ranking ranks changes nothing, mean ranks of ties included"


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_profile_sums_to_one_and_is_named_as_its_file(path: Path) -> None:
    profile = shipped(path.stem)
    assert profile.name == path.stem
    assert sum(profile.weights.values()) == pytest.approx(1, abs=1e-12)
    assert profile.paper
