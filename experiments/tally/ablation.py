"""What each part of Tally buys: one fit without it, by the nats of validation rows.

    python experiments/tally/ablation.py MATRIX [OPTION=VALUE ...] [--epochs 10] [--into README.md --name NAME]

MATRIX is a matrix folder; options are of the model. *validation* are nats of a validation record under the best average
of the weights, the least of its epochs; *training* are those of as many training rows, so that their distance is what
is remembered, beside what the two parts differ by from the start; *seconds* are of a processor. A fit is done once.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest.mock import patch

import pytorch_lightning as pl
import torch
import yaml

from ehrsynth.data.datamodule import IndexBatches
from ehrsynth.data.encoding import fill_missing
from ehrsynth.data.matrix import Matrix
from ehrsynth.layout import Layout, Records
from ehrsynth.models import tally
from ehrsynth.models.departures import network, variables
from ehrsynth.models.departures.pairs import Pairs
from ehrsynth.models.departures.variables import NEVER
from ehrsynth.models.tally import Tally
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng

sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
from table import line, put_into

FOREVER = 1e9  # epochs


class Part(NamedTuple):
    """How a fit is done without a part.

    Attributes:
        options: of the model.
        schema: that it is told instead of the true one.
        without: patches the part away.
    """

    options: Mapping[str, Any] = MappingProxyType({})
    schema: Callable[[Schema], Schema] = lambda schema: schema
    without: Callable[[], AbstractContextManager[Any]] = nullcontext


def of_domain(domain: str, schema: Schema) -> Schema:
    """Return a schema whose codes are all of one domain."""
    return replace(schema, columns=tuple(replace(c, domain=domain) if c.is_code else c for c in schema.columns))


@contextmanager
def no_waves() -> Iterator[None]:
    """Let each range of a number be learned alone."""
    with patch.object(network, "WAVES", 0), patch.object(network, "OWN", 1.0):
        yield


def no_pairs() -> AbstractContextManager[Any]:
    """Let no pair of categories and numbers start with what training rows say of it."""
    return patch.object(
        tally,
        "pairs_of",
        lambda variables, train: Pairs.none(len(variables.states.layout.groups) + len(variables.states.ranges)),
    )


def no_levels() -> AbstractContextManager[Any]:
    """Let categories know nothing of codes to begin with."""
    found = tally.log_odds_by_level
    return patch.object(tally, "log_odds_by_level", lambda *of: torch.zeros_like(found(*of)))


PARTS = {
    "all parts": Part(),
    "without tallies": Part(without=lambda: patch.object(variables, "FEWEST_CODES", NEVER)),
    "one tally for all domains": Part(schema=partial(of_domain, "code")),
    "without a horizon: no weight decays": Part({"horizon": FOREVER}),
    "without dropout": Part({"dropout": 0.0}),
    "without averages of the weights": Part({"ema_decay": 0.0}),
    "nothing is ever known in advance": Part(without=lambda: patch.object(tally, "TOLD", 0.0)),
    "two blocks": Part({"depth": 2}),
    "half as wide": Part({"width": 192}),
    "no pairs": Part(without=no_pairs),
    "ranges are learned alone": Part(without=no_waves),
    "categories start without codes": Part(without=no_levels),
}
NEEDS = {  # parts that a matrix has only if it has these
    "no pairs": ("numeric", "categorical"),
    "ranges are learned alone": ("numeric",),
    "categories start without codes": ("categorical",),
}


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("matrix", type=Path)
    arguments.add_argument("options", nargs="*")
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--batch", type=int, default=256)
    arguments.add_argument("--into", type=Path)
    arguments.add_argument("--name", default="ablation")
    asked = arguments.parse_args()
    options = {name: yaml.safe_load(value) for name, value in (option.split("=") for option in asked.options)}
    torch.set_num_threads(1)
    matrix = Matrix.open(asked.matrix, parts=("train", "validation"))
    kinds = {kind for c in matrix.schema.columns for kind in (c.kind, *(("numeric",) if c.numeric else ()))}
    lines = [line("", ["validation", "training", "seconds"]), line("---", ["---"] * 3)]
    for words, part in PARTS.items():
        if not NEEDS.get(words) or set(NEEDS[words]) & kinds:
            print(told := line(words, fit(matrix, part, options, asked.epochs, asked.batch)), flush=True)
            lines.append(told)
    if asked.into:
        put_into(asked.into, asked.name, "\n".join(lines) + "\n")


def fit(matrix: Matrix, part: Part, options: dict[str, Any], epochs: int, batch: int) -> list[str]:
    """Return the cells of one fit."""
    train, unseen = matrix.records("train"), matrix.records("validation")
    train, unseen = (fill_missing(rows, train, torch_rng(0, "ablation")) for rows in (train, unseen))
    schema = part.schema(matrix.schema)
    train, unseen = (Records(Layout.of(schema), rows.bits, rows.values) for rows in (train, unseen))
    with part.without():
        model = Tally(schema=schema, seed=0, **{**options, **part.options})
        model.observe(train)
        model.hold_out(unseen)
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        batches = IndexBatches(train, batch_size=batch, seed=0, epoch=lambda: trainer.current_epoch, drop_last=True)
        start = process_time()
        trainer.fit(model, batches)
        seconds = process_time() - start
        seen = -float(model.log_likelihood(train[torch.arange(min(len(train), len(unseen)))]).mean())
    return [f"{float(model.least):.2f}", f"{seen:.2f}", f"{seconds:.0f}"]


if __name__ == "__main__":
    main()
