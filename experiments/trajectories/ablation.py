"""What each part of Chronicle buys: one fit without it, judged by validation patients.

    python experiments/trajectories/ablation.py VISITS [OPTION=VALUE ...] [--epochs 10] [--into README.md]

VISITS is a trajectories folder; options are of the model. *nats* are of a validation patient under the best average of
the weights, the least of its epochs. The other columns are of drawn patients, ten for each validation patient, beside
the training patients: how far off the share is of each code's visits that have it again next time (``persistence
error``), how many of all codes of a visit the next one keeps, how many of a later visit's no earlier one had, codes by
number of the visit, and Kolmogorov-Smirnov distances of codes per visit and visits per patient. *seconds* are of a
processor, to train. A fit is done once; what real validation patients have stands first.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple
from unittest.mock import patch

import pytorch_lightning as pl
import torch
import yaml
from torch import Tensor

from ehrsynth.data.encoding import fill_missing
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.data.trajectory_module import TrajectoryDataModule
from ehrsynth.evaluation.evaluator import RealVisits, Value
from ehrsynth.evaluation.temporal.counts import VisitCounts
from ehrsynth.evaluation.temporal.progression import Persistence, Progression
from ehrsynth.models.visits.base import sampled
from ehrsynth.models.visits.chronicle import Chronicle
from ehrsynth.models.visits.chronicle_network import HistoryNetwork
from ehrsynth.models.visits.markers import Signs
from ehrsynth.seeding import torch_rng
from ehrsynth.visits import Visits

sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
from table import line, put_into

FOREVER = 1e9  # epochs
DRAWN = 10  # patients for each of validation
SHOWN = ("persistence_error", "codes_kept", "codes_new", "codes_by_visit_number", "codes_per_visit_ks", "visits_ks")


def no_companions() -> AbstractContextManager[Any]:
    """Let codes start at what is said of each and its own past."""
    return patch.object(HistoryNetwork, "start_told", lambda *of: None)


def no_markers() -> AbstractContextManager[Any]:
    """Let codes start at what is said of them, whatever is measured."""
    return patch.object(HistoryNetwork, "start_marked", lambda *of: None)


def no_signs() -> AbstractContextManager[Any]:
    """Let the latest measurement stand, though a diagnosis that it is a sign of came after it."""
    return patch.object(Signs, "learn", lambda *of: None)


def no_waits() -> AbstractContextManager[Any]:
    """Let what begins start as often after a short gap as after a long one."""
    return patch.object(HistoryNetwork, "start_waiting", lambda *of: None)


def unsettled() -> AbstractContextManager[Any]:
    """Let records be drawn as visits were learned."""
    return patch.object(Chronicle, "settle", lambda *of: None)


WITHOUT: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "all parts": nullcontext,
    "without companions": no_companions,
    "without markers": no_markers,
    "without signs": no_signs,
    "without waits": no_waits,
    "not settled": unsettled,
}


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("visits", type=Path)
    arguments.add_argument("options", nargs="*")
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--batch", type=int, default=256)
    arguments.add_argument("--only", nargs="*")
    arguments.add_argument("--into", type=Path)
    arguments.add_argument("--name", default="ablation")
    asked = arguments.parse_args()
    options = {name: yaml.safe_load(value) for name, value in (option.split("=") for option in asked.options)}
    torch.set_num_threads(1)
    data = Patients.of(Trajectories.open(asked.visits, parts=("train", "validation")))
    lines = [line("", ["nats", *(name.replace("_", " ") for name in SHOWN), "seconds"])]
    lines += [
        line("---", ["---"] * (len(SHOWN) + 2)),
        line("*validation patients*", ["", *data.scores(data.unseen[1]), ""]),
    ]
    print("\n".join(lines), flush=True)
    for words, without in WITHOUT.items():
        if asked.only and words not in asked.only:
            continue
        with without():
            lines.append(line(words, fit(data, options, asked.epochs, asked.batch)))
        print(lines[-1], flush=True)
    if asked.into:
        put_into(asked.into, asked.name, "\n".join(lines) + "\n")


class Patients(NamedTuple):
    """Rows and visits of training and of validation patients, and what scores are asked of drawn ones."""

    folder: Trajectories
    train: tuple[Tensor, Visits]
    unseen: tuple[Tensor, Visits]
    scorers: list[Any]

    @classmethod
    def of(cls, folder: Trajectories) -> "Patients":
        """Read a folder, and look at its training patients."""
        rows = folder.records("train")
        train, unseen = (
            (fill_missing(folder.records(part), rows, torch_rng(0, part)).dense(), folder.visits(part))
            for part in ("train", "validation")
        )
        real = RealVisits(folder.visit_schema, train[1], unseen[1])
        return cls(folder, train, unseen, [one.fit(real, 0) for one in (Persistence(), Progression(), VisitCounts())])

    def scores(self, visits: Visits) -> list[str]:
        """Return the cells of some patients."""
        found = {name: value for scorer in self.scorers for name, value in scorer(visits, 0).items()}
        values = (found[f"temporal/{name}"] for name in SHOWN)
        return [f"{value.value:.4f}" if isinstance(value, Value) else "" for value in values]


def fit(data: Patients, options: dict[str, Any], epochs: int, batch: int) -> list[str]:
    """Return the cells of one fit."""
    model = Chronicle(schema=data.folder.schema, visit_schema=data.folder.visit_schema, seed=0, **options)
    model.observe(*data.train)
    model.hold_out(*data.unseen)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = TrajectoryDataModule(
        visit_schema=data.folder.visit_schema,
        static=data.train[0],
        visits=data.train[1],
        batch_size=batch,
        seed=0,
    )
    start = process_time()
    trainer.fit(model, datamodule=batches)
    seconds = process_time() - start
    drawn = Visits.joined(visits for _, visits in sampled(model, DRAWN * len(data.unseen[1]), seed=0))
    return [f"{float(model.rows.least):.2f}", *data.scores(drawn), f"{seconds:.0f}"]


if __name__ == "__main__":
    main()
