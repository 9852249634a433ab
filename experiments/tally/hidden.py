"""How likely held-out patients' hidden columns are, given the others: Tally beside the tree and the mixture.

    python experiments/tally/hidden.py RUNS [--into experiments/tally/README.md --name hidden-codes]

RUNS is the folder of a study with a run of each of ``tally``, ``chow_liu`` and ``mixture``. Numbers are never hidden,
for what a density counts (ranges, scores) differs by model; of bits and categories all count the same. Each question
hides the columns it names of ``ROWS`` held-out records and tells the rest; what is shown are nats a record, the mean
and half a 95 % interval, lower is better. *shares* knows the shares of the training rows alone. Tally's is a lower
bound of its likelihood, and of it alone: what is known is told as in training, not weighed.
"""

import argparse
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ehrsynth.data.encoding import fill_missing
from ehrsynth.data.matrix import Matrix
from ehrsynth.layout import Records
from ehrsynth.models.base import SyntheticModel, load_model
from ehrsynth.seeding import numpy_rng, torch_rng
from ehrsynth.study.rank import find_runs

sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
from table import line, put_into

ROWS = 2_000
MODELS = ("tally", "chow_liu", "mixture")
SETS = 5  # of codes hidden at random, whose nats are averaged
Floats = NDArray[np.float64]


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("--into", type=Path)
    arguments.add_argument("--name", default="hidden")
    asked = arguments.parse_args()
    every = find_runs(f"{asked.runs}/*/*")
    runs = {run.provenance["model"]: run for run in every if run.provenance["seed"] == 0}
    matrix = Matrix.open(Path(runs["tally"].provenance["matrix"]["folder"]), parts=("train", "holdout"))
    train = fill_missing(matrix.records("train"), matrix.records("train"), torch_rng(0, "hidden", "train"))
    records = fill_missing(matrix.records("holdout"), train, torch_rng(0, "hidden"))[:ROWS]
    models = {name: load_model(runs[name].chosen_checkpoint, matrix.schema).eval() for name in MODELS}
    lines = [line("hidden", ["columns", *MODELS, "shares"]), line("---", ["---"] * (len(MODELS) + 2))]
    for words, sets in questions(matrix).items():
        nats = {
            name: np.mean([hidden_nats(model, records, names) for names in sets], 0) for name, model in models.items()
        }
        nats["shares"] = np.mean([of_shares(train, records, names) for names in sets], 0)
        lines.append(line(words, [f"{len(sets[0])}", *(told(found) for found in nats.values())]))
    text = "\n".join(lines) + "\n"
    if asked.into:
        put_into(asked.into, asked.name, text)
    print(text)


def questions(matrix: Matrix) -> dict[str, list[list[str]]]:
    """Return sets of names to be hidden, by what they are."""
    columns = [column for column in matrix.schema.columns if not column.numeric]
    codes = [column.name for column in columns if column.is_code]
    rng = numpy_rng(0, "hidden columns")
    asked = {
        "every code": [codes],
        "every diagnosis": [[column.name for column in columns if column.domain == "diagnosis"]],
        "every drug": [[column.name for column in columns if column.domain == "medication"]],
        "half of the codes, at random": [list(rng.permutation(codes)[: len(codes) // 2]) for _ in range(SETS)],
        "a tenth of the codes, at random": [list(rng.permutation(codes)[: len(codes) // 10]) for _ in range(SETS)],
        **{f"outcome {column.name}": [[column.name]] for column in matrix.schema.outcomes},
        **{column.name: [[column.name]] for column in columns if column.role in ("sensitive", "demographic")},
    }
    return {words: sets for words, sets in asked.items() if sets[0]}


@torch.no_grad()
def hidden_nats(model: SyntheticModel, records: Records, names: Collection[str]) -> Floats:
    """Return -log p(hidden | the others) of each record."""
    found = model.log_likelihood(records, known=[name for name in model.schema.names if name not in names])
    assert found is not None
    nats: Floats = -found.double().numpy()
    return nats


def of_shares(train: Records, records: Records, names: Collection[str]) -> Floats:
    """Return the same where columns are drawn alone, from the training rows with half a row added."""
    layout, nats = records.layout, np.zeros(len(records))
    of_train, of_held_out = train.dense().double().numpy(), records.dense().double().numpy()
    for name in names:
        places = layout.places[name]
        if len(places) == 1:
            share = (of_train[:, places[0]].sum() + 0.5) / (len(train) + 1)
            nats -= np.log(np.where(of_held_out[:, places[0]] > 0, share, 1 - share))
        else:
            shares = (of_train[:, places].sum(0) + 0.5) / (len(train) + len(places) / 2)
            nats -= of_held_out[:, places] @ np.log(shares)
    return nats


def told(nats: Floats) -> str:
    """Return the mean and half a 95 % interval."""
    return f"{nats.mean():.3f} ± {1.96 * nats.std() / len(nats) ** 0.5:.3f}"


if __name__ == "__main__":
    main()
