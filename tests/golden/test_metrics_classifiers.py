"""Scores of classifiers and their intervals."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ehrsynth.metrics import classification, prediction
from ehrsynth.metrics.boosting import fit_trees, importance, top_overlap
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points
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


def test_f1_at_share_calls_that_many_positive() -> None:
    labels = np.array([1, 0, 1, 0])
    assert classification.f1_at_share(labels, np.array([0.9, 0.8, 0.7, 0.1]), 0.5) == 0.5
    assert classification.f1_at_share(labels, np.array([0.9, 0.1, 0.7, 0.1]), 0.5) == 1.0


def test_tpr_at_fpr_is_the_fpr_where_distances_tell_nothing() -> None:
    assert classification.tpr_at_fpr([0, 0, 1, 1], [3, 3, 3, 3], 0.01) == pytest.approx(0.01)
    assert classification.tpr_at_fpr([0, 0, 1, 1], [1, 2, 3, 4], 0.01) == 1.0


def test_wilson_by_hand() -> None:
    low, high = classification.wilson(5, 10)
    assert (low, high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert classification.wilson(0, 10)[0] == 0


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


def test_agreement_of_codes() -> None:
    real = np.array([0.1, 0.4, 0.7])
    assert prediction.agreement(real, real - 0.1) == (pytest.approx(1.0), pytest.approx(0.1))
    assert prediction.agreement(real, np.zeros(3)) == (0.0, pytest.approx(0.4))


def test_trees_find_the_feature_that_matters_and_repeat_themselves() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((400, 4)).astype(np.float32)
    y = (x[:, 2] > 0.5).astype(int)
    first, second = (importance(fit_trees(x, y, 20, seed=3), x[:50]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.argmax() == 2


def test_top_overlap_ignores_unused_features() -> None:
    assert top_overlap(np.array([3.0, 2.0, 0.0]), np.array([3.0, 0.0, 2.0]), top=2) == 0.5
    assert top_overlap(np.array([1.0, 0.0]), np.array([1.0, 0.0]), top=2) == 0.5
