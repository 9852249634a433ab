"""Run folders as a study leaves them, made without training."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehrsynth.evaluation.card import shipped
from ehrsynth.evaluation.score import Score
from ehrsynth.files import write_json, write_text
from ehrsynth.study.conf import compose, dumped
from ehrsynth.study.run_folder import RunFolder
from tests.scores import score_of

HIGHER = ("utility/tstr_auroc", "utility/feature_importance_overlap")
METRICS = (
    *("fidelity/dimension_wise_distance", "fidelity/correlation_distance", "fidelity/correlation_frobenius"),
    *("fidelity/latent_deviation", "fidelity/concept_abundance", "validity/knowledge_violation", *HIGHER),
    *("privacy/membership_auc", "privacy/membership_f1", "privacy/attribute_f1", "privacy/dcr_share"),
)
ANCHORS = {"fresh_real": 0.2, "train_copy": 0.9, "independent": 0.6}
RECIPE = {"source": {"name": "demo", "n": 300}}


@cache
def _config() -> dict[str, Any]:
    config = compose("train", {}, {})
    config["features"], config["cohort"] = {}, {}
    config["evaluation"] |= {"quick": {"evaluators": ["quick"]}, "full": {"evaluators": ["full"]}}
    return config


def config_of(seed: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``train`` writes down, with the longest lists left out."""
    config = deepcopy(_config()) | {"seed": seed}
    for name, value in options.items():
        *above, last = name.split(".")
        part = config
        for key in above:
            part = part[key]
        part[last] = value
    return config


def begun(folder: Path, seed: int, options: Mapping[str, Any], epochs: int = 6) -> pd.DataFrame:
    """Write what a run has after so many epochs, a checkpoint each, and return the scores at these."""
    write_text(folder / "config.yaml", dumped(config_of(seed, options)))
    rng = np.random.default_rng([seed, *f"{folder.parent.name}/{folder.name}".encode()])
    values = {name: rng.uniform(0.3, 0.8, epochs) for name in METRICS}
    checkpoints = pd.DataFrame({"epoch": range(1, epochs + 1), "checkpoint": "a", "seconds": 0.5, **values})
    if epochs:
        checkpoints.to_csv(folder / "metrics.csv", index=False)
    return checkpoints


def scores_at(values: Mapping[str, float]) -> list[Score]:
    """Return scores with intervals and anchors."""
    found = []
    for name, value in values.items():
        card = shipped(name)
        direction = "higher" if card is not None and card.direction == "higher" else "lower"
        found.append(score_of(name, float(value), direction, (value - 0.01, value + 0.01), anchors=ANCHORS))
    return found


def finished(
    folder: Path, seed: int, options: Mapping[str, Any] | None = None, *, rows: str = "aa", **more: Any
) -> RunFolder:
    """Write a finished run; its final scores are those of the last checkpoint.

    Args:
        folder: ``.../MODEL/RUN_ID``.
        seed: of its training.
        options: that differ from the usual ones.
        rows: the hash of its training rows.
        more: of the provenance.
    """
    options = options or {}
    checkpoints = begun(folder, seed, options)
    provenance = {
        "model": folder.parent.name,
        "variant": sha256(repr((folder.parent.name, options)).encode()).hexdigest()[:10],
        "seed": seed,
        "command": "ehrsynth train",
        "epoch": len(checkpoints),
        "matrix": {"folder": "gone", "recipe": RECIPE | {"rows": rows}},
        "seconds": {"train": 10.5 + seed, "generate": 1.25, "evaluate": 3.0},
        "manifest": "manifest.json",
        **more,
    }
    write_json(folder / "provenance.json", provenance)
    (folder / "report.html").write_text("page", encoding="utf-8")
    scores = scores_at(checkpoints[list(METRICS)].iloc[-1].to_dict())
    content = {"rows": {"train": 70, "holdout": 30}, "versions": {}, "data": {"train": rows, "holdout": "h"}}
    run = RunFolder(folder)
    run.finish({"scores": [score.to_dict() for score in scores], **content}, {}, {})
    return run
