"""What a guarantee costs: seconds and memory of DP-SGD against the same training without, in a wide table.

    scripts/bench privacy                                     # 41,868 rows x 1,782 columns, every model that can
    scripts/bench privacy --models vae --rows 5000 --columns 300 --steps 3

Each model takes as many steps of as many rows on average, with noise and without, in a process of its own each; the
table is that of ``bench_evaluation.py``. Seconds are of the processor, after the first epoch, in which things are made.
"""

import json
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from typing import Any

import torch
from bench_evaluation import simulate, simulated_schema
from benching import Clock, by_gradient, chosen, in_child, machine, maker, resident, trainer

from ehrsynth.data.datamodule import IndexBatches
from ehrsynth.data.private_module import PoissonBatches
from ehrsynth.study.privacy import Privacy
from ehrsynth.study.private_run import private_gradients


def measured(given: Namespace) -> dict[str, Any]:
    """Return the processor seconds of a step, and the memory, of one model with or without a guarantee."""
    schema = simulated_schema(given.columns)
    train = simulate(schema, given.rows, "train").packed()
    model = maker(given.one)(schema=schema, seed=0)
    model.observe(train)
    rate, took = given.batch / given.rows, []
    for _ in range(2):  # the first time warms up
        clock, more = Clock(), dict[str, Any]()
        batches: Any = IndexBatches(train, batch_size=given.batch, seed=0, epoch=lambda: 0, drop_last=True)
        if given.private:
            coins = torch.Generator().manual_seed(0)
            batches = PoissonBatches(train, rate, given.steps, coins)
            more["strategy"] = private_gradients(Privacy(), [], given.rows, rate, torch.device("cpu"))
        trainer(1, given.steps, callbacks=[clock], **more).fit(model, batches)
        took.append(clock.took.processor / given.steps)
    return {"seconds": took[-1], "peak_gb": resident()}


def main() -> None:
    """Print a line a model."""
    arguments = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    arguments.add_argument("--models", nargs="+")
    arguments.add_argument("--rows", type=int, default=41_868)
    arguments.add_argument("--columns", type=int, default=1_782)
    arguments.add_argument("--batch", type=int, default=2_048)
    arguments.add_argument("--steps", type=int, default=10)
    arguments.add_argument("--one", help="a model, measured here: its numbers, and no table")
    arguments.add_argument("--private", action="store_true", help="with --one: under differential privacy")
    given = arguments.parse_args()
    if given.one:
        print(json.dumps(measured(given)))
        return
    able = [name for name in by_gradient() if maker(name).func.private == "gradients"]
    print(f"privacy on {machine()}; {given.rows:,} rows x {given.columns:,} columns, batches of {given.batch:,}")
    sizes = [part for name in ("rows", "columns", "batch", "steps") for part in (f"--{name}", getattr(given, name))]
    for name in chosen(given.models, able):
        plain, private = (in_child(__file__, "--one", name, *sizes, *more) for more in ([], ["--private"]))
        print(
            f"  {name:<20} {1000 * plain['seconds']:8.0f} ms a step {plain['peak_gb']:6.2f} GB   private"
            f" {1000 * private['seconds']:8.0f} ms {private['peak_gb']:6.2f} GB"
            f"   {private['seconds'] / plain['seconds']:5.2f} times the seconds",
            flush=True,
        )


if __name__ == "__main__":
    main()
