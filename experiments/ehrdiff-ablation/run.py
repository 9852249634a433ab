"""What each change to EHRDiff buys, at equal processor time, on validation rows; see README.md.

python run.py MATRIX OUT MINUTES SETTING...   train each setting, weights to OUT; print a line for each way to draw
"""

import json
import sys
from pathlib import Path
from time import process_time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.encoding import rescaled
from ehrsynth.data.matrix import Matrix
from ehrsynth.evaluation.fidelity.concept_abundance import ConceptAbundance
from ehrsynth.evaluation.fidelity.correlation import Correlation
from ehrsynth.evaluation.fidelity.dimension_wise_prediction import DimensionWisePrediction
from ehrsynth.evaluation.fidelity.latent_deviation import LatentDeviation
from ehrsynth.evaluation.fidelity.prevalence import Prevalence
from ehrsynth.evaluation.suite import Suite
from ehrsynth.evaluation.utility.prediction import OutcomePrediction
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.diffusion.sampler import karras_schedule
from ehrsynth.models.ehrdiff import DenoisingMLP, EHRDiff
from ehrsynth.models.ehrdiff_tuned import EHRDiffTuned
from ehrsynth.sampling import sample_records
from ehrsynth.study.judge import real_rows

ROWS = 5_000
BATCH = 256
PUBLISHED = {
    "learning_rate": 1e-3,
    "warmup_steps": 500,
}  # as conf/budget/diabetes130: its own rate is for 205,000 steps
Draw = dict[str, Any]


class LinearStemMLP(DenoisingMLP):
    """The published network without its first ReLU, the one on the noisy row."""

    def forward(self, x: Tensor, noise: Tensor, *labels: Tensor) -> Tensor:
        """As published, but for the first layer."""
        time = self.time(noise)
        for index, (shift, layer) in enumerate(zip(self.shifts, self.layers, strict=True)):
            x = x + shift(time)
            x = layer(x.relu() if index else x)
        return x


class LinearStem(EHRDiff):
    """EHRDiff with it, from the same initial weights."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for network in (self.network, self.average.module):
            network.__class__ = LinearStemMLP


SHORT = {"steps": 12, "sigma_max": 80.0, "sigma_min": 0.2}
FULL = {"steps": 32, "sigma_max": 80.0, "sigma_min": 0.02}

# name: class, options, epochs in a minute of one core, draws
SETTINGS: dict[str, tuple[type[SyntheticModel], dict[str, Any], float, list[Draw]]] = {
    "published": (
        EHRDiff,
        PUBLISHED,
        4.3,
        [
            {"decoding": "threshold", **FULL},
            {"decoding": "threshold", **SHORT},
            {"decoding": "bernoulli", **SHORT},
            {"decoding": "prevalence", **SHORT},
        ],
    ),
    "linear_stem": (LinearStem, PUBLISHED, 4.3, [{"decoding": "bernoulli", **SHORT}]),
    "squared": (EHRDiffTuned, {"loss": "squared"}, 6.0, [{"decoding": "bernoulli"}, {"decoding": "calibrated"}]),
    "tuned": (
        EHRDiffTuned,
        {},
        6.0,
        [
            {"decoding": "calibrated"},
            {"decoding": "bernoulli"},
            {"decoding": "calibrated", "steps": 8, "sigma_max": 20.0, "sigma_min": 0.2},
            {"decoding": "calibrated", "steps": 12, "sigma_max": 20.0, "sigma_min": 0.4},
            {"decoding": "calibrated", "steps": 32, "sigma_max": 20.0, "sigma_min": 0.2},
        ],
    ),
    "higher_noise": (
        EHRDiffTuned,
        {"log_sigma_mean": -0.4, "log_sigma_std": 1.0},
        6.0,
        [{"decoding": "calibrated"}],
    ),
    "dropout": (EHRDiffTuned, {"dropout": 0.1}, 6.0, [{"decoding": "calibrated"}]),
    "wide": (EHRDiffTuned, {"width": 1024, "depth": 2}, 3.0, [{"decoding": "calibrated"}]),
}


def drawn_so(model: SyntheticModel, draw: Draw) -> None:
    """Change how a trained model draws."""
    model.decoding = draw["decoding"]
    if "steps" in draw:
        levels = {name: draw[name] for name in ("sigma_max", "sigma_min")}
        sigmas = karras_schedule(draw["steps"], rho=7.0, **levels)
        model.sigmas = sigmas if isinstance(model, EHRDiff) else sigmas[:-1]
    if isinstance(model, EHRDiffTuned):
        model.shifted_at.fill_(-1)


def main(matrix: Path, out: Path, minutes: float, names: list[str]) -> None:
    """Train, draw, score, print."""
    torch.set_num_threads(1)
    opened = Matrix.open(matrix)
    data = EhrDataModule(matrix=opened, batch_size=BATCH, seed=0)
    data.setup()
    suite = Suite(
        evaluators=[
            Prevalence(),
            DimensionWisePrediction(max_rows=ROWS),
            ConceptAbundance(),
            Correlation(),
            LatentDeviation(k=5, max_rows=5000),
            OutcomePrediction(rounds=50, learning_rate=0.2, max_rows=ROWS, explained_rows=0, ratios=None),
        ]
    ).fit(real_rows(opened, "validation"), 0)
    for name in names:
        cls, options, epochs, draws = SETTINGS[name]
        start = process_time()
        model = cls(schema=opened.schema, **options)
        model.observe(data.filled)
        weights, trained = out / f"{name}.pt", None
        if weights.is_file():
            model.load_state_dict(torch.load(weights, weights_only=True))
        else:
            trainer = pl.Trainer(
                max_epochs=round(minutes * epochs),
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(model, data)
            trained = round(process_time() - start)
            out.mkdir(parents=True, exist_ok=True)
            torch.save(model.state_dict(), weights)
        model.eval()
        for draw in draws:
            start = process_time()
            drawn_so(model, draw)
            records = sample_records(model, ROWS, 0)
            sampled = process_time() - start
            scores = suite.score(rescaled(records, opened.schema, suite.real.schema))
            row = {"setting": name, **draw, "trained": trained, "sampled": round(sampled)}
            row |= {score.metric: round(score.value, 5) for score in scores}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
