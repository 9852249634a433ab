"""In five minutes on one GPU: does every model train, draw and get scored there, as on a CPU, and how much faster?

    scripts/bench gpu                                         # exit status 2, and one line, where there is no GPU
    scripts/bench gpu --batch 4096 --patients 60000 --compile --models vae tabsyn   # and what torch.compile gives
    scripts/bench gpu --device cpu --models vae --steps 2     # the same path without one

Every model takes some steps on the device in float32 with TF32 (as by default), without it, and in bf16,
and a few on the CPU. Its weights then draw the same number of records on both, the quick suite scores them, and the
scores agree if their 95 % intervals overlap. Printed are rows per second on the device, the ratio to the CPU, the
ratios of TF32 and bf16 to float32, draws per second and their ratio to the CPU, how often a step waits for the device,
its utilisation while training, and how many scores agree.
"""

import subprocess
import sys
import warnings
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from benching import BATCH, by_gradient, chosen, compiled, lightning, machine, made, opened

import ehrsynth
from ehrsynth.callbacks.tensor_float import TensorFloat
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.evaluation.suite import FittedSuite
from ehrsynth.layout import Records
from ehrsynth.models.base import SyntheticModel
from ehrsynth.sampling import sample_records
from ehrsynth.study.build import build
from ehrsynth.study.conf import compose
from ehrsynth.study.judge import real_rows

EPOCHS = 2  # a model of two phases has both in them
WARM_UP = 64  # records


class Watch(pl.Callback):
    """How often one step waits for a GPU, and how busy that is in the last one."""

    waits: float | None = None
    busy: float | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin to count in the second batch of the last epoch."""
        if trainer.current_epoch == EPOCHS - 1 and batch_idx == 1 and pl_module.device.type == "cuda":
            self.caught = warnings.catch_warnings(record=True)
            self.found = self.caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *more: Any) -> None:
        """Count, and ask how busy the device is."""
        if hasattr(self, "caught"):
            torch.cuda.set_sync_debug_mode("default")
            self.caught.__exit__(None, None, None)
            self.waits = sum("synchroniz" in str(warning.message) for warning in self.found)
            del self.caught
        elif trainer.is_last_batch and trainer.current_epoch == EPOCHS - 1:
            self.busy = utilisation(pl_module.device)


def utilisation(device: torch.device) -> float | None:
    """Return how much of the time the device worked lately, in percent, if its driver tells."""
    if device.type != "cuda":
        return None
    try:
        return float(torch.cuda.utilization(device))
    except (ImportError, RuntimeError):  # without pynvml
        try:
            told = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            return float(subprocess.run(told, capture_output=True, text=True, check=True).stdout.splitlines()[0])
        except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
            return None


def steps(
    name: str, data: EhrDataModule, device: str, batches: int, watch: Watch | None = None, **options: Any
) -> tuple[SyntheticModel, float]:
    """Train, and return the model and the rows a second of the second training: the first one warms up."""
    tf32, compile_it = options.pop("tf32", True), options.pop("compile_it", False)
    where = {"accelerator": "gpu" if device == "cuda" else "cpu", "devices": 1}
    model, floats = made(name, data), TensorFloat(allowed=tf32)  # compiled code is of one kind of floats
    first = compiled(model) if compile_it else made(name, data)
    lightning(first, data, EPOCHS, 1, callbacks=[floats], **where, **options)
    callbacks = [floats, *([watch] if watch else [])]
    took = lightning(model, data, EPOCHS, batches, callbacks=callbacks, **where, **options)
    return model, EPOCHS * batches * data.batch_size / took.seconds


def drawn(model: SyntheticModel, device: str, n: int) -> tuple[Records, float]:
    """Return records drawn on a device, and how many a second."""
    model.to(device)
    sample_records(model, WARM_UP, seed=1)
    start = perf_counter()
    return sample_records(model, n, seed=0), n / (perf_counter() - start)


def agreeing(suite: FittedSuite, one: Records, other: Records) -> tuple[int, list[str]]:
    """Return how many scores of two tables have an interval, and those whose intervals are apart."""
    pairs = [pair for pair in zip(suite.score(one), suite.score(other), strict=True) if all(s.ci for s in pair)]
    apart = [a.metric for a, b in pairs if a.ci and b.ci and (a.ci[0] > b.ci[1] or b.ci[0] > a.ci[1])]
    return len(pairs), apart


def line(name: str, data: EhrDataModule, suite: FittedSuite, device: str, batches: int, given: Namespace) -> str:
    """Return what one model does on the device, in a line."""
    watch, rows = Watch(), given.rows
    model, rate = steps(name, data, device, batches, watch)
    _, exact = steps(name, data, device, batches, tf32=False)
    _, half = steps(name, data, device, batches, precision="bf16-mixed")
    gains = f"TF32 {rate / exact:.2f}, bf16 {half / exact:.2f} x float32"
    if given.compile and list(made(name, data).compilable()):
        gains += f", compiled {steps(name, data, device, batches, compile_it=True)[1] / rate:.2f}"
    _, of_cpu = steps(name, data, "cpu", min(2, batches))
    there, draws = drawn(model, device, rows)
    here, draws_here = drawn(model, "cpu", rows)
    count, apart = agreeing(suite, there, here)
    watched = f"waits {_or_unknown(watch.waits)}, busy {_or_unknown(watch.busy)} %"
    return (
        f"{rate:10,.0f} rows/s {rate / of_cpu:6.1f} x CPU   {gains}"
        f"   draws {draws:9,.0f} rows/s {draws / draws_here:6.1f} x CPU   {watched}"
        f"   {count - len(apart)} of {count} scores agree{': not ' + ', '.join(apart) if apart else ''}"
    )


def _or_unknown(number: float | None) -> str:
    return "?" if number is None else f"{number:.0f}"


def main() -> None:
    """Print a line a model."""
    arguments = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments.add_argument("--models", nargs="+")
    arguments.add_argument("--patients", type=int, default=10_000, help="of the simulated hospital")
    arguments.add_argument("--steps", type=int, default=10, help="of an epoch; there are two")
    arguments.add_argument("--batch", type=int, default=BATCH)
    arguments.add_argument(
        "--compile", action="store_true", help="the networks that trainer.compile would, and train on"
    )
    arguments.add_argument("--rows", type=int, default=2000, help="records drawn and scored")
    arguments.add_argument("--seconds", type=float, default=280, help="after which no other model is begun")
    given = arguments.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print(
            "bench gpu: this machine has no GPU that torch can use; --device cpu tries the same path", file=sys.stderr
        )
        sys.exit(2)
    print(f"{torch.cuda.get_device_name() if given.device == 'cuda' else 'no GPU'}, {machine()}")
    begun, failed, left_out = perf_counter(), list[str](), list[str]()
    with TemporaryDirectory() as folder:
        matrix = ehrsynth.prepare("demo", n=given.patients, out=Path(folder) / "m")
        data = opened(matrix, given.batch)
        quick = build(compose("train", {}, {})["evaluation"]["quick"], "quick")
        suite = quick.fit(real_rows(matrix, "validation"), 0)
        batches = min(given.steps, len(data.filled) // given.batch)
        for name in chosen(given.models, by_gradient()):
            if perf_counter() - begun > given.seconds:
                left_out.append(name)
                continue
            try:
                found = line(name, data, suite, given.device, batches, given)
            except Exception as error:  # of one model: the others go on
                failed.append(name)
                found = f"FAILED: {type(error).__name__}: {error}"
            print(f"  {name:<20} {found}", flush=True)
    print(f"{perf_counter() - begun:.0f} s{'; no time for ' + ', '.join(left_out) if left_out else ''}")
    sys.exit(1 if failed or left_out else 0)


if __name__ == "__main__":
    main()
