"""Training throughput of every model that learns by gradients: under the whole frame, against a bare PyTorch loop.

    scripts/bench training                                    # all of conf/model, some ten seconds each
    scripts/bench training --models vae emr_wgan --seconds 60
    scripts/bench training --compile                          # and what torch.compile of the networks gives

Both sides call the model's own ``training_step`` on batches of 512 rows of the same table, in the phases that so many
epochs have; the bare loop has no Trainer, no callbacks and no loggers. They alternate after a pair that is thrown
away. Overhead is the median over the pairs of processor seconds, less one: what else the machine does disturbs these
less than it does the clock, which gives rows/s.
"""

import argparse
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from benching import BATCH, bare, by_gradient, chosen, compiled, lightning, machine, made, opened

import ehrsynth
from ehrsynth.data.datamodule import EhrDataModule

LEAST = 2  # epochs: a model of two phases has both in them


def sizes(name: str, data: EhrDataModule, table: torch.Tensor, seconds: float) -> tuple[int, int]:
    """Return epochs, and batches in each, that take one side about so much of the processor."""
    bare(made(name, data), table, LEAST, 1)
    step = bare(made(name, data), table, LEAST, 1).processor / LEAST
    batches = max(1, min(len(table) // BATCH, int(seconds / step / LEAST)))
    return max(LEAST, round(seconds / step / batches)), batches


def compiled_gain(name: str, data: EhrDataModule, table: torch.Tensor, epochs: int, batches: int, pairs: int) -> str:
    """Return how many times faster steps are with compiled networks, and what compiling takes."""
    ours, plain = compiled(made(name, data)), made(name, data)
    if not list(plain.compilable()):
        return "nothing to compile"
    start = perf_counter()
    bare(ours, table, LEAST, 1)
    compiling = perf_counter() - start
    found = [[bare(model, table, epochs, batches).processor for model in (ours, plain)] for _ in range(pairs)]
    return f"compiled in {compiling:4.0f} s, then {statistics.median(b / a for a, b in found):.2f} times the rows/s"


def main() -> None:
    """Print a line a model."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--models", nargs="+")
    arguments.add_argument("--rows", type=int, default=8000, help="patients of the simulated hospital")
    arguments.add_argument("--seconds", type=float, default=10, help="for a model, both sides and all pairs together")
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--compile", action="store_true")
    given = arguments.parse_args()
    print(f"training on {machine()}")
    with TemporaryDirectory() as folder:
        data = opened(ehrsynth.prepare("demo", n=given.rows, out=Path(folder) / "m"))
        table = data.filled.dense()
        print(f"{len(table):,} rows x {table.shape[1]} encoded columns, batches of {BATCH}", flush=True)
        for name in chosen(given.models, by_gradient()):
            epochs, batches = sizes(name, data, table, given.seconds / (2 * given.pairs))
            pairs = [
                (lightning(made(name, data), data, epochs, batches), bare(made(name, data), table, epochs, batches))
                for _ in range(given.pairs + 1)
            ][1:]
            overhead = statistics.median(ours.processor / loop.processor for ours, loop in pairs) - 1
            seconds, steps = statistics.median(ours.seconds for ours, _ in pairs), epochs * batches
            weights = sum(tensor.numel() for tensor in made(name, data).parameters() if tensor.requires_grad)
            line = f"  {name:<20} {weights / 1e6:6.2f} M weights {1000 * seconds / steps:8.1f} ms a step"
            line += f" {steps * BATCH / seconds:10,.0f} rows/s   overhead {100 * overhead:5.1f} % ({steps} steps)"
            if given.compile:
                line += f"   {compiled_gain(name, data, table, epochs, batches, given.pairs)}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
