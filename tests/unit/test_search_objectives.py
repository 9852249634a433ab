"""What a search maximises and which trials go on, by hand."""

import pytest

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.ranking import Profile
from ehrsynth.study.search.halving import goes_on, rungs
from ehrsynth.study.search.objectives import Objectives, objectives_of, scale_of


def card(name: str, direction: str = "lower") -> Card:
    return Card(name, direction, 0, 1, "", "", "-")  # type: ignore[arg-type]


CARDS = {
    name: card(name, "higher" if name == "utility/auroc" else "lower")
    for name in ("utility/auroc", "fidelity/apd", "fidelity/flat", "privacy/auc", "privacy/blind")
}
ANCHORS: dict[str, dict[str, float | None]] = {
    "fresh_real": {"utility/auroc": 0.9, "fidelity/apd": 0.02, "fidelity/flat": 0.0, "privacy/auc": 0.5},
    "train_copy": {"utility/auroc": 0.9, "fidelity/apd": 0.0, "fidelity/flat": 0.0, "privacy/auc": 1.0},
    "independent": {"utility/auroc": 0.5, "fidelity/apd": 0.01, "fidelity/flat": 0.0, "privacy/auc": 0.5},
}
PROFILE = Profile(
    "p",
    "",
    {
        **{"utility/auroc": 0.3, "fidelity/apd": 0.1, "fidelity/flat": 0.1, "fidelity/unmeasured": 0.3},
        **{"privacy/auc": 0.1, "privacy/blind": 0.1, "fidelity/weightless": 0.0},
    },
    "",
)


def test_a_metric_lies_between_its_floor_and_fresh_real() -> None:
    """Training rows that are no better than fresh real patients are no mark beyond them."""
    assert scale_of(CARDS["utility/auroc"], ANCHORS) == (0.5, 0.9, 0.9)
    assert scale_of(CARDS["privacy/auc"], ANCHORS) == (1.0, 0.5, 0.5)


def test_where_the_floor_is_no_worse_the_worse_of_the_two_is_good() -> None:
    """Independent columns have the prevalences right: 0.02 is chance, and 0.04 as far off again as the anchors lie."""
    assert scale_of(CARDS["fidelity/apd"], ANCHORS) == (0.04, 0.02, 0.0)


def test_anchors_that_do_not_lie_apart_give_no_scale() -> None:
    assert scale_of(CARDS["fidelity/flat"], ANCHORS) is None
    assert scale_of(CARDS["privacy/blind"], ANCHORS) is None


def test_objectives_are_weighted_shares() -> None:
    found = objectives_of(["utility", "privacy"], PROFILE, CARDS, ANCHORS)
    assert found.parts == {
        "utility": {"utility/auroc": pytest.approx(0.75), "fidelity/apd": pytest.approx(0.25)},
        "privacy": {"privacy/auc": 1.0},
    }
    assert found.weights == {"utility": pytest.approx(0.8), "privacy": pytest.approx(0.2)}  # as the profile has it
    assert found.left_out == {
        "fidelity/flat": "its anchors do not lie apart",
        "fidelity/unmeasured": "not measured at the checkpoints",
        "privacy/blind": "its anchors do not lie apart",
    }
    scores = {"utility/auroc": 0.7, "fidelity/apd": 0.025, "privacy/auc": 0.6, "epoch": 3, "checkpoint": "x"}
    objectives = found.of(scores)
    assert objectives == {"utility": pytest.approx(0.75 * 0.5 + 0.25 * 0.75), "privacy": pytest.approx(0.8)}
    assert found.score(objectives) == pytest.approx(0.8 * 0.5625 + 0.2 * 0.8)


def test_shares_end_at_fresh_real_and_as_far_below_the_floor() -> None:
    found = objectives_of(["utility/auroc"], PROFILE, CARDS, ANCHORS)
    values = {0.99: 1.0, 0.9: 1.0, 0.5: 0.0, 0.3: -0.5, 0.0: -1.0, float("nan"): -1.0, None: -1.0}
    for value, share in values.items():
        assert found.of({"utility/auroc": value}) == {"utility/auroc": pytest.approx(share)}
    assert found.of({}) == {"utility/auroc": -1.0}


def test_a_tenth_is_to_be_had_beyond_fresh_real_but_not_of_privacy() -> None:
    found = objectives_of(["fidelity/apd", "privacy/auc"], PROFILE, CARDS, ANCHORS)
    for value, share in {0.02: 1.0, 0.01: 1.05, 0.0: 1.1, 0.03: 0.5}.items():
        assert found.of({"fidelity/apd": value})["fidelity/apd"] == pytest.approx(share)
    assert found.of({"privacy/auc": 0.3})["privacy/auc"] == 1.0


def test_metrics_by_name_weigh_alike() -> None:
    found = objectives_of(["utility", "utility/auroc", "privacy/auc"], PROFILE, CARDS, ANCHORS)
    assert found.weights == dict.fromkeys(["utility", "utility/auroc", "privacy/auc"], pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["utility", "utility"], "each once"),
        (["privacy/none"], "privacy/none is not measured at the checkpoints; use utility, privacy, or one of"),
        (["fidelity/flat"], r"fidelity/flat has no metric that tells good from bad here: .*do not lie apart"),
    ],
)
def test_objectives_that_say_nothing_are_named(asked: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        objectives_of(asked, PROFILE, CARDS, ANCHORS)


def test_a_profile_without_privacy_has_no_such_objective() -> None:
    blind = Profile("blind", "", {"utility/auroc": 1.0}, "")
    with pytest.raises(OptionError, match="privacy has no metric that tells good from bad here: blind has none"):
        objectives_of(["utility", "privacy"], blind, CARDS, ANCHORS)
    assert isinstance(objectives_of(["utility"], blind, CARDS, ANCHORS), Objectives)


def test_rungs_grow_by_eta_and_end_before_the_last_checkpoint() -> None:
    assert rungs(3, 1, 10) == [1, 3, 9]
    assert rungs(3, 1, 9) == [1, 3]
    assert rungs(2, 2, 8) == [2, 4]
    assert rungs(2, 1, 1) == []


def test_one_of_eta_goes_on() -> None:
    others = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert goes_on(0.45, others, 3)  # second of six: two go on
    assert not goes_on(0.35, others, 3)  # third of six
    assert goes_on(0.35, others, 2)  # of which three go on
    assert goes_on(0.4, others, 3)  # as good as the second


def test_of_few_trials_the_best_goes_on() -> None:
    assert goes_on(0.1, [], 3)
    assert goes_on(0.2, [0.1], 3)
    assert not goes_on(0.1, [0.2], 3)
    assert not goes_on(0.15, [0.2, 0.1], 3)
