"""How fast every model draws, alone and on the whole way to a decoded table, and how much memory that takes.

    scripts/bench sampling                                    # all of conf/model
    scripts/bench sampling --models vae tally --rows 100000 --seconds 60

Every model is trained for two epochs of two batches (without gradients: of all rows) in a process of its own: how fast
it draws hardly depends on what it has learned. ``sample`` is ``sample_records``, the encoded records; ``synthesize``
decodes them besides. After a first batch that is not timed it draws as many records as take the seconds, at most
``--rows``. Memory is what was resident at most, and what of it before the first draw, Python and libraries included.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benching import chosen, every_model, in_child, machine, made, opened, resident, trainer

import ehrsynth
from ehrsynth.data.matrix import Matrix
from ehrsynth.sampling import sample_records, synthesize


def drawn(name: str, folder: Path, rows: int, seconds: float) -> dict[str, float]:
    """Train one model a little, and return how many records a second it draws."""
    data = opened(Matrix.open(folder))
    model = made(name, data)
    trainer(2, None if model.needs_every_row else 2).fit(model, data)
    before = resident()
    sample_records(model, first := min(rows, model.sample_batch), seed=0)
    start = perf_counter()
    sample_records(model, first, seed=1)
    n = min(rows, max(first, int(first * seconds / (perf_counter() - start))))
    start = perf_counter()
    sample_records(model, n, seed=2)
    middle = perf_counter()
    done = sum(map(len, synthesize(model, n, seed=2)))
    return {"rows": n, "sample": n / (middle - start), "synthesize": done / (perf_counter() - middle),
            "before_gb": before, "peak_gb": resident()}  # fmt: skip


def main() -> None:
    """Print a line a model, or be the process of one."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--models", nargs="+")
    arguments.add_argument("--patients", type=int, default=8000, help="of the simulated hospital")
    arguments.add_argument("--rows", type=int, default=100_000, help="to draw at most")
    arguments.add_argument("--seconds", type=float, default=5, help="of one draw, about")
    arguments.add_argument("--of", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.of:
        print(json.dumps(drawn(given.of[0], Path(given.of[1]), given.rows, given.seconds)))
        return
    models = chosen(given.models, every_model())
    print(f"sampling on {machine()}")
    with TemporaryDirectory() as folder:
        matrix = ehrsynth.prepare("demo", n=given.patients, out=Path(folder) / "m")
        for name in models:
            found = in_child(__file__, "--rows", given.rows, "--seconds", given.seconds, "--of", name, matrix.folder)
            print(
                f"  {name:<20} sample {found['sample']:10,.0f} rows/s   synthesize {found['synthesize']:10,.0f} rows/s"
                f"   peak {found['peak_gb']:.2f} GB, before {found['before_gb']:.2f}   ({found['rows']:,} rows)",
                flush=True,
            )


if __name__ == "__main__":
    main()
