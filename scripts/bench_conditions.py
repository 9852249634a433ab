"""What a condition costs: `condition.X=1 n=5000` against an unconditional draw, for every model with exact ones.

Each model sees the simulated demo hospital and is trained for an epoch: how long it draws does not depend on what it
has learned. Both sides alternate, and the median ratio of the repetitions is printed; at most 1.5 is the aim.
"""

import logging
import statistics
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import pytorch_lightning as pl

import ehrsynth
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.models.base import SyntheticModel
from ehrsynth.sampling import sample_records
from ehrsynth.study.build import build
from ehrsynth.study.conf import compose, conf_dir

N = 5_000
REPETITIONS = 5

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")  # Lightning's advice about workers and steps would drown the table


def seconds(model: SyntheticModel, condition: dict[str, object] | None) -> float:
    """Return how long a draw takes."""
    start = perf_counter()
    sample_records(model, N, seed=0, condition=condition)
    return perf_counter() - start


def main() -> None:
    """Print a line for every model with exact conditions."""
    with TemporaryDirectory() as folder:
        matrix = ehrsynth.prepare("demo", n=4_000, out=Path(folder) / "m")
        data = EhrDataModule(matrix=matrix, batch_size=512, seed=0)
        data.setup("fit")
        outcome = matrix.schema.outcomes[0].name
        for name in sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml")):
            node = compose("train", {"model": name}, {})["model"]
            model = build(node, "model", late=True)(schema=matrix.schema, seed=0)
            if model.conditioning != "exact" or outcome not in model.conditionable:
                continue
            model.observe(data.filled)
            pl.Trainer(
                accelerator="cpu",
                max_epochs=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            ).fit(model, data)
            model.eval()
            pairs = [(seconds(model, None), seconds(model, {outcome: "1"})) for _ in range(REPETITIONS)]
            ratio = statistics.median(conditional / free for free, conditional in pairs)
            rate = N / statistics.median(free for free, _ in pairs)
            print(f"{name:24s} condition.{outcome}=1 n={N}: {ratio:.2f} times a free draw, {rate:,.0f} rows/s without")


if __name__ == "__main__":
    main()
