"""Scores of classifiers and their intervals."""

import lightgbm
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from ehrsynth.metrics import classification
from ehrsynth.metrics import dimension_wise_prediction as prediction
from ehrsynth.metrics.boosting import (
    contributions,
    fit_trees,
    packed,
    risk,
    top_overlap,
    top_overlap_draws,
    unpacked,
)
from ehrsynth.metrics.classification import called_at_share, f1
from ehrsynth.metrics.intervals import wilson
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points
from ehrsynth.metrics.other_models import Scale, logistic_scores, mlp_scores
from tests.evaluation_toy import toy_records


def drawn(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.random(n) < 0.3
    return labels, np.round(labels + rng.normal(0, 1, n), 1)  # rounded: with ties


def test_auroc_equals_sklearn_and_its_error_the_bootstrap() -> None:
    labels, scores = drawn()
    value, error = classification.auroc(labels, scores)
    assert value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, len(labels), len(labels)) for _ in range(400)]
    assert error == pytest.approx(np.std([roc_auc_score(labels[i], scores[i]) for i in rows]), rel=0.12)


def test_auroc_of_a_perfect_score_is_one_without_error() -> None:
    assert classification.auroc([0, 0, 1, 1], [1, 2, 3, 4]) == (1.0, 0.0)
    assert classification.auroc([0, 1, 0, 1], [7, 7, 7, 7])[0] == 0.5


def test_average_precision_lies_in_its_interval() -> None:
    labels, scores = drawn()
    value, (low, high) = classification.auprc(labels, scores)
    assert value == average_precision_score(labels, scores)
    assert 0 < low < value < high < 1


def test_called_at_share_calls_that_many_and_those_tied_at_the_cut() -> None:
    assert called_at_share(np.array([0.9, 0.8, 0.7, 0.1]), 0.5).tolist() == [True, True, False, False]
    assert called_at_share(np.array([0.9, 0.8, 0.8, 0.1]), 0.5).tolist() == [True, True, True, False]
    assert called_at_share(np.array([0.9, 0.1]), 0.0).tolist() == [True, False]  # at least one


def test_f1_equals_sklearn_and_its_interval_the_bootstrap_of_records() -> None:
    labels, scores = drawn()
    called = called_at_share(scores, 0.3)
    value, (low, high) = f1(labels, called, np.random.default_rng(0))
    assert value == pytest.approx(f1_score(labels, called), abs=1e-12)
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, len(labels), len(labels)) for _ in range(600)]
    drawn_f1 = [2 * (labels[i] & called[i]).sum() / (labels[i].sum() + called[i].sum()) for i in rows]
    expected = np.quantile(drawn_f1, [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(expected), abs=0.02)
    assert f1(np.array([0, 1]), np.array([True, False]), rng)[0] == 0


def test_tpr_at_fpr_is_the_fpr_where_distances_tell_nothing() -> None:
    assert classification.tpr_at_fpr([0, 0, 1, 1], [3, 3, 3, 3], 0.01) == pytest.approx(0.01)
    assert classification.tpr_at_fpr([0, 0, 1, 1], [1, 2, 3, 4], 0.01) == 1.0


def test_wilson_by_hand() -> None:
    low, high = wilson(5, 10)
    assert (low, high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson(0, 10)[0] == 0


def test_entropy_is_largest_at_one_half() -> None:
    assert prediction.entropy(torch.tensor([0.0, 0.5, 1.0, 0.25])).tolist() == pytest.approx(
        [0, 1, 0, 0.811278], abs=1e-6
    )


def test_code_f1_is_that_of_a_logistic_regression_on_the_other_columns() -> None:
    train, test = (toy_records(n, seed) for n, seed in ((500, 1), (300, 2)))
    means = observed_means(train.values)
    x, y = (prediction.design_matrix(Points.of(table, means)) for table in (train, test))
    dense = [np.delete(table.toarray(), 2, axis=1) for table in (x, y)]
    model = LogisticRegression(max_iter=1000).fit(dense[0], train.bits[:, 2].numpy())
    expected = f1_score(test.bits[:, 2].numpy(), model.predict(dense[1]))
    assert prediction.code_f1(x, y, [2], seed=0)[0] == pytest.approx(expected, abs=0.03)


def test_code_f1_of_a_constant_code() -> None:
    train = sparse.csc_array(np.array([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]]))
    test = sparse.csc_array(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
    assert prediction.code_f1(train, test, [0, 1], seed=0).tolist() == [0.0, pytest.approx(2 / 3)]


def one_feature_matters() -> tuple[sparse.csr_matrix, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.random((400, 4)).astype(np.float32)
    return sparse.csr_matrix(x), (x[:, 2] > 0.5).astype(np.uint8)


def test_trees_find_the_feature_that_matters_and_repeat_themselves() -> None:
    x, y = one_feature_matters()
    first, second = (contributions(fit_trees(x, y, 20, seed=3), x[:50]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.mean(axis=0).argmax() == 2


def test_trees_of_sparse_features_are_those_of_dense_ones_with_gaps() -> None:
    rng = np.random.default_rng(1)
    dense = (rng.random((500, 5)) < 0.3).astype(np.float32)
    dense[:, 4] = np.where(rng.random(500) < 0.3, np.nan, rng.random(500))
    y = ((dense[:, 0] > 0) ^ np.isnan(dense[:, 4])).astype(np.uint8)
    model = fit_trees(sparse.csr_matrix(dense), y, 30, seed=0, learning_rate=0.1)
    settings = dict(model.params, num_threads=1)
    settings.pop("num_iterations", None)
    plain = lightgbm.train(settings, lightgbm.Dataset(dense, y), 30)
    np.testing.assert_allclose(risk(model, sparse.csr_matrix(dense)), plain.predict(dense), atol=1e-12)
    assert roc_auc_score(y, risk(model, sparse.csr_matrix(dense))) > 0.9


def test_a_packed_model_predicts_the_same() -> None:
    x, y = one_feature_matters()
    model = fit_trees(x, y, 20, seed=3)
    np.testing.assert_array_equal(risk(unpacked(packed(model)), x), risk(model, x))


def test_contributions_are_the_absolute_shap_values() -> None:
    x, y = one_feature_matters()
    model = fit_trees(x, y, 20, seed=3)
    expected = np.abs(model.predict(x[:40], pred_contrib=True).toarray()[:, :-1])  # LightGBM's own TreeSHAP
    np.testing.assert_allclose(contributions(model, x[:40]), expected, atol=1e-5)


def test_draws_of_the_overlap_are_one_for_equal_models_and_vary_for_others() -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.random((60, 40)).astype(np.float32) for _ in range(2))
    assert (top_overlap_draws(left, left, 20, rng) == 1).all()
    draws = top_overlap_draws(left, right, 200, rng)
    assert draws.min() < draws.mean() < draws.max() < 1


def test_logistic_scores_are_those_of_sklearn_on_standardised_columns() -> None:
    rng = np.random.default_rng(2)
    dense = np.column_stack([rng.random(300) < 0.1, rng.normal(5, 3, 300), np.ones(300)]).astype(np.float32)
    y = (rng.random(300) < 1 / (1 + np.exp(-(dense[:, 0] * 2 + dense[:, 1] - 5)))).astype(np.uint8)
    x = sparse.csr_matrix(dense)
    scale = Scale.of(x)
    standard = StandardScaler().fit(dense.astype(float))
    np.testing.assert_allclose(scale.deviation, standard.scale_, rtol=1e-6)
    expected = LogisticRegression().fit(standard.transform(dense), y).decision_function(standard.transform(dense))
    np.testing.assert_allclose(logistic_scores(x, y, x, scale), expected, atol=0.01)


def test_the_network_learns_what_no_line_can_and_repeats_itself() -> None:
    rng = np.random.default_rng(3)
    dense = rng.integers(0, 2, (1600, 4)).astype(np.float32)
    y = (dense[:, 0] != dense[:, 1]).astype(np.uint8)
    x = sparse.csr_matrix(dense)
    state = torch.random.get_rng_state()
    first, second = (mlp_scores(x[:1400], y[:1400], x[1400:], Scale.of(x), seed=1) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert roc_auc_score(y[1400:], first) > 0.9
    assert roc_auc_score(y[1400:], logistic_scores(x[:1400], y[:1400], x[1400:], Scale.of(x))) < 0.6


def test_the_network_takes_a_handful_of_rows() -> None:
    x = sparse.csr_matrix(np.eye(3, dtype=np.float32))
    assert np.isfinite(mlp_scores(x, np.array([0, 1, 0], np.uint8), x, Scale.of(x), seed=0)).all()


def test_top_overlap_ignores_unused_features() -> None:
    assert top_overlap(np.array([3.0, 2.0, 0.0]), np.array([3.0, 0.0, 2.0]), top=2) == 0.5
    assert top_overlap(np.array([1.0, 0.0]), np.array([1.0, 0.0]), top=2) == 0.5
