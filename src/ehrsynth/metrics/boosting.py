"""The utility models: gradient-boosted trees with the settings of the JMIR tutorial."""

import warnings
from collections.abc import Mapping
from typing import Any

import lightgbm
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

SETTINGS: Mapping[str, Any] = {
    "objective": "binary",
    "num_leaves": 50,
    "max_depth": 15,
    "feature_fraction": 0.9,
    "bagging_fraction": 0.9,
    "bagging_freq": 40,
    "lambda_l1": 1.3,
    "min_gain_to_split": 0.3,
}


KEEN: Mapping[str, Any] = {"lambda_l1": 0.0, "min_gain_to_split": 0.0}
"""For telling two tables apart: where every column alone looks right, the first splits of a tree gain next to nothing
and only pairs tell, so a tree that must gain at once finds none of it."""


def fit_trees(
    x: sparse.csr_matrix,
    y: NDArray[Any],
    rounds: int,
    seed: int,
    learning_rate: float = 0.01,
    changed: Mapping[str, Any] | None = None,
) -> lightgbm.Booster:
    """Fit boosted trees.

    Args:
        x: [n, p] features; missing values are stored as NaN.
        y: [n] 0/1, both present.
        rounds: number of trees; 2000 as published.
        seed: below 2**31, of bagging and feature sampling.
        learning_rate: weight of each tree; 0.01 as published.
        changed: settings that differ from the published ones, such as ``KEEN``.
    """
    # As many threads as torch may use; the row-wise histogram makes the trees the same for any number.
    settings = {
        **SETTINGS,
        **(changed or {}),
        "learning_rate": learning_rate,
        "seed": seed,
        "num_threads": torch.get_num_threads(),
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    return lightgbm.train(settings, lightgbm.Dataset(x, y), rounds)


def risk(model: lightgbm.Booster, x: sparse.csr_matrix) -> NDArray[np.float64]:
    """Return the predicted probability [n] of the outcome for the features ``x`` [n, p]."""
    return np.asarray(model.predict(x, num_threads=torch.get_num_threads()))


def packed(model: lightgbm.Booster) -> NDArray[np.uint8]:
    """Return a model as an array of bytes: its text, exact to the last digit."""
    return np.frombuffer(model.model_to_string().encode(), dtype=np.uint8)


def unpacked(content: NDArray[np.uint8]) -> lightgbm.Booster:
    """Inverse of ``packed``."""
    return lightgbm.Booster(model_str=content.tobytes().decode())


def contributions(model: lightgbm.Booster, x: sparse.csr_matrix) -> NDArray[np.float32]:
    """Return the absolute SHAP values [n, p] of each feature for each record of ``x`` [n, p].

    Exact TreeSHAP (Lundberg et al., Nature Machine Intelligence 2020), in log odds.
    """
    import shap  # here, because it takes seconds to import

    with warnings.catch_warnings():  # about a change of format between old versions of shap
        warnings.filterwarnings("ignore", message="LightGBM binary classifier")
        found = np.asarray(shap.TreeExplainer(model).shap_values(x.toarray()))
    return np.asarray(np.abs(found), dtype=np.float32)


def top_overlap(left: NDArray[np.floating], right: NDArray[np.floating], top: int = 20) -> float:
    """Return the share of their ``top`` features that two importance vectors [p] have in common.

    A feature that a model does not use is never among its top ones.
    """
    top = min(top, len(left))
    used = [{int(i) for i in np.argsort(-part, kind="stable")[:top] if part[i] > 0} for part in (left, right)]
    return len(used[0] & used[1]) / top


def top_overlap_draws(
    left: NDArray[np.float32], right: NDArray[np.float32], draws: int, rng: np.random.Generator, top: int = 20
) -> NDArray[np.float64]:
    """Return ``top_overlap`` of the mean contributions in each bootstrap draw [draws] of the explained records.

    Args:
        left: [n, p] absolute contributions in one model.
        right: [n, p] of the same records in the other.
        draws: number of bootstrap draws.
        rng: draws the records.
        top: how many features to compare.
    """
    n = len(left)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float32) / n
    pairs = zip(weights @ left, weights @ right, strict=True)
    return np.array([top_overlap(one, other, top) for one, other in pairs])
