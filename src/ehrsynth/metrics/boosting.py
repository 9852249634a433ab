"""The utility models: gradient-boosted trees with the settings of the JMIR tutorial."""

import warnings
from collections.abc import Mapping
from typing import Any

import lightgbm
import numpy as np
import torch
from numpy.typing import NDArray

SETTINGS: Mapping[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.01,
    "num_leaves": 50,
    "max_depth": 15,
    "feature_fraction": 0.9,
    "bagging_fraction": 0.9,
    "bagging_freq": 40,
    "lambda_l1": 1.3,
    "min_gain_to_split": 0.3,
}


def fit_trees(x: NDArray[np.float32], y: NDArray[Any], rounds: int, seed: int) -> lightgbm.Booster:
    """Fit boosted trees.

    Args:
        x: [n, p] features; missing values stay NaN.
        y: [n] 0/1, both present.
        rounds: number of trees.
        seed: below 2**31, of bagging and feature sampling.
    """
    # As many threads as torch may use; the row-wise histogram makes the trees the same for any number.
    settings = {
        **SETTINGS,
        "seed": seed,
        "num_threads": torch.get_num_threads(),
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    return lightgbm.train(settings, lightgbm.Dataset(x, y), rounds)


def importance(model: lightgbm.Booster, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean absolute SHAP value [p] of each feature over the records ``x`` [n, p] (TreeSHAP)."""
    import shap  # here, because it takes seconds to import

    with warnings.catch_warnings():  # about a change of format between old versions of shap
        warnings.filterwarnings("ignore", message="LightGBM binary classifier")
        contributions = np.asarray(shap.TreeExplainer(model).shap_values(x))
    return np.asarray(np.abs(contributions).mean(axis=0))


def top_overlap(left: NDArray[np.float64], right: NDArray[np.float64], top: int = 20) -> float:
    """Return the share of their ``top`` features that two importance vectors [p] have in common.

    A feature that a model does not use is never among its top ones.
    """
    top = min(top, len(left))
    used = [{int(i) for i in np.argsort(-part, kind="stable")[:top] if part[i] > 0} for part in (left, right)]
    return len(used[0] & used[1]) / top
