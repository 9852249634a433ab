"""How fast batches of patients through time are made, without a model.

    scripts/bench visits                                      # of 5,000 patients of the simulated hospital
    scripts/bench visits --patients 20000 --batch 1024

An epoch that is not timed comes first. Visits are those of training patients; a batch has about ``--batch`` of them.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benching import machine

import ehrsynth
from ehrsynth.data.encoding import fill_missing
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.data.trajectory_module import TrajectoryDataModule
from ehrsynth.seeding import torch_rng

EPOCHS = 3


def main() -> None:
    """Print a line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--patients", type=int, default=5000, help="of the simulated hospital")
    arguments.add_argument("--batch", type=int, default=256, help="visits of a batch, about")
    given = arguments.parse_args()
    print(f"batches of visits on {machine()}")
    with TemporaryDirectory() as folder:
        ehrsynth.prepare("demo_visits", n=given.patients, form="trajectories", out=Path(folder) / "visits")
        data = Trajectories.open(Path(folder) / "visits", parts=("train",))
        rows, visits = data.records("train"), data.visits("train")
        static = fill_missing(rows, rows, torch_rng(0, "train")).dense()
        batches = TrajectoryDataModule(
            visit_schema=data.visit_schema, static=static, visits=visits, batch_size=given.batch, seed=0
        ).train_dataloader()
        for _ in batches:
            pass
        start, seen = perf_counter(), 0
        for _ in range(EPOCHS):
            seen += sum(int(batch.lengths.sum()) for batch in batches)
        rate = seen / (perf_counter() - start)
        print(f"  {rate:,.0f} visits/s in batches of {given.batch}   ({len(visits):,} patients)")


if __name__ == "__main__":
    main()
