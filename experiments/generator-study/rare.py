"""What each remedy does for a rare disease and for few patients, on a simulated hospital whose truth is known.

    OMP_NUM_THREADS=1 python experiments/generator-study/rare.py OUT [--models vae ...] [--experiment equal_budget]

Tuberculosis, 0.2 % of the patients, is one of the outcomes. Each model trains as it is, on rows in which it is
oversampled, on its patients only (to be merged in), on rows without the code (brought back at generation, everywhere or
where demographics say), and on rows in which every race weighs the same; models that condition exactly are also asked
for more of its patients. Tables as large as the training rows are judged against a separate simulated sample: patients
in 100,000, how much likelier the ten most related codes are in them (lift), AUROC of predicting it, its prevalence by
sex, race and age, and AUROC of death by race; and tables of which a part are training rows. OUT gets the data, the
runs, ``rare.csv``, ``rare-groups.csv`` and ``rare.png``. What is there is not made again.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from table import line, put_into

from ehrsynth.data.encoding import Encoder
from ehrsynth.data.hospital import RACES, Patients, conditions, draw_conditions, draw_deaths
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.training_rows import TrainingRows
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Value
from ehrsynth.evaluation.fidelity.rare_codes import RarePairLift, RarePrevalence
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.suite import FittedSuite, Suite
from ehrsynth.evaluation.utility.prediction import OutcomePrediction
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.schema import Schema
from ehrsynth.seeding import numpy_rng
from ehrsynth.study.build import located
from ehrsynth.study.conf import compose
from ehrsynth.study.generate import generate
from ehrsynth.study.prepare import prepare
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.train import train

MODELS = ("emr_wgan_tuned", "vae", "masked_diffusion", "chow_liu")
EXACT = ("masked_diffusion", "chow_liu")  # by whatever is asked for
CODE, DEATH = "dx_011", "died"
TIMES = 20  # how much more often its patients come when oversampled or boosted
OWN_EPOCHS = 1000  # at most, of a model of its about 100 patients, whose epoch is one step
COMMON, RELATED = 0.01, 10  # codes of this share at least count as related, and so many of them
MIXED = (0.5, 0.9)
BANDS = {  # of prevalence, over all codes
    "codes < 1 %": "rare_prevalence_error_1pct",
    "codes < 0.1 %": "rare_prevalence_error_01pct",
    "pairs of codes < 1 %": "rare_pair_lift_error_1pct",
}
AGES = [0, 40, 60, 75, 200]
HOLDOUT, BLOCK = 100_000, 50_000


def hospital(n: int, seed: int) -> pd.DataFrame:
    """Return simulated patients, a row each: sex, race, age, death, and every condition."""
    rng, parts, names = numpy_rng(seed, "rare study"), [], [f"dx_{code}" for code in conditions()["icd9"]]
    for start in range(0, n, BLOCK):
        patients = Patients.draw(min(BLOCK, n - start), rng)
        codes = pd.DataFrame(draw_conditions(patients, rng).astype(np.int8), columns=names)
        codes.insert(0, DEATH, draw_deaths(patients, rng).astype(np.int8))
        codes.insert(0, "age", patients.age)
        codes.insert(0, "race", np.array(list(RACES))[patients.race])
        codes.insert(0, "sex", np.where(patients.female, "F", "M"))
        parts.append(codes)
    return pd.concat(parts, ignore_index=True)


class Study:
    """The data, the models that are trained, and how a table is judged.

    Args:
        asked: what stands on the command line.
    """

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self.out = asked, asked.out
        asked.out.mkdir(parents=True, exist_ok=True)
        file = asked.out / "hospital.parquet"
        if not file.exists():
            table = hospital(asked.patients, 0)
            table.insert(0, "subject_id", np.arange(len(table)))
            table.to_parquet(file, index=False)
        self.matrix = self._prepared(file, "with", [DEATH, CODE], 10)
        share = int(self.matrix.train[CODE].sum())
        self.without = self._prepared(file, "without", [DEATH], share + 1)  # too rare to train on
        self.truth = hospital(asked.truth, 1)

    def _prepared(self, file: Path, name: str, outcomes: list[str], least: int) -> Matrix:
        options: dict[str, Any] = {"path": str(file), "subject": "subject_id", "outcomes": outcomes}
        return prepare(
            "flat", **options, sensitive=["race"], preprocess={"min_count": least}, out=self.out / f"matrix-{name}"
        )

    def run(self, model: str, how: str, matrix: Matrix | None = None, **rows: Any) -> RunFolder:
        """Return a model that is trained on rows, chosen or repeated as said, or that was before; equally long each."""
        matrix, epochs = matrix or self.matrix, self.asked.max_epochs
        config = compose("train", {"model": model, "experiment": self.asked.experiment}, {})
        if epochs is None and not issubclass(located(config["model"]["_target_"]), GradientFree):
            train_rows = matrix.records("train")
            seen = TrainingRows(**rows).chosen(train_rows, matrix.schema, 0)
            epochs = max(1, round(config["trainer"]["max_epochs"] * len(train_rows) / len(seen)))
            epochs = min(epochs, OWN_EPOCHS) if "only" in rows else epochs
        return train(
            matrix,
            model,
            rows=rows or None,
            experiment=self.asked.experiment,
            max_epochs=epochs,
            suite="quick",
            logger="disabled",
            study=how,
            runs=self.out / "runs",
        )

    @cached_property
    def lifts(self) -> "pd.Series[float]":
        """The codes that are likeliest in its patients, by how much likelier than in anybody, in truth."""
        codes = [name for name in self.truth if str(name).startswith("dx_") and name != CODE]
        codes = [name for name in codes if self.truth[name].mean() >= COMMON]
        return lift(self.truth, codes).nlargest(RELATED)

    @cached_property
    def suites(self) -> dict[str, tuple[Encoder, FittedSuite]]:
        """What predicts the disease, and what predicts death, from everything else, on patients of the truth."""
        found = {}
        for outcome, other in ((CODE, DEATH), (DEATH, CODE)):
            columns = (replace(c, role="feature") if c.name == other else c for c in self.matrix.schema.columns)
            encoder = Encoder(Schema(tuple(columns)))
            sides = (encoder.encode(self.fits(rows)) for rows in (self.matrix.train, self.truth[:HOLDOUT]))
            judges: list[Evaluator] = [OutcomePrediction(rounds=300, learning_rate=0.05, explained_rows=0, ratios=None)]
            if outcome == CODE:
                judges += [RarePrevalence(below=0.01), RarePrevalence(below=0.001), RarePairLift(below=0.01)]
            found[outcome] = encoder, Suite(evaluators=judges).fit(RealData(encoder.schema, *sides), 0)
        return found

    def scored(self, outcome: str, table: pd.DataFrame) -> dict[str, Score]:
        """Return the scores of a table, those of prediction being of this outcome."""
        encoder, suite = self.suites[outcome]
        return {score.metric: score for score in suite.score(encoder.encode(self.fits(table)))}

    def fits(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the columns of the schema, ages within its bounds."""
        low, high = self.matrix.schema.by_name["age"].bounds or (0, 200)
        return table[list(self.matrix.schema.names)].assign(age=table["age"].clip(low, high))

    def judged(self, table: pd.DataFrame) -> dict[str, Any]:
        """Return what is said of a table."""
        disease, death = self.scored(CODE, table), self.scored(DEATH, table)["utility/tstr_auroc"]
        races = {name: part.value for (_, name), part in death.parts.items() if isinstance(part, Value)}
        found = lift(table, list(self.lifts.index))
        return {
            "patients in 100,000": 1e5 * table[CODE].mean(),
            "lift": float(found.mean()),
            "error of log lifts": float(np.abs(np.log2(found / self.lifts)).mean()),
            "AUROC of it": disease["utility/tstr_auroc"].value,
            **{words: disease[f"fidelity/{metric}"].value for words, metric in BANDS.items()},
            "AUROC of death": death.value,
            **{f"death, {name}": value for name, value in races.items() if name.startswith("race=")},
            "by group": by_group(table),
        }


def lift(table: pd.DataFrame, codes: Sequence[str]) -> "pd.Series[float]":
    """Return how much likelier each code is in patients with the disease than in all; one such patient is added."""
    share, having = (table[codes].sum() + 0.5) / len(table), table.loc[table[CODE] == 1, codes]
    return (having.sum() + share) / (len(having) + 1) / share


def by_group(table: pd.DataFrame) -> dict[str, float]:
    """Return how many in 100,000 have it, by sex, race and age."""
    ages = pd.cut(table["age"], AGES, right=False).astype(str)
    groups = {"sex": table["sex"], "race": table["race"], "age": ages}
    return {
        f"{name} {group}": 1e5 * float(share)
        for name, of in groups.items()
        for group, share in table[CODE].groupby(of.astype(str)).mean().items()
    }


def remedies(study: Study, model: str) -> Mapping[str, Callable[[], pd.DataFrame]]:
    """Return what makes the table of each remedy of a model."""
    n = len(study.matrix.train)

    def made(run: RunFolder, **how: Any) -> pd.DataFrame:
        table = generate(run, n, device="cpu", **how)
        assert isinstance(table, pd.DataFrame)
        return table

    def plain() -> RunFolder:
        return study.run(model, "nothing")

    def given() -> pd.DataFrame:
        some = round(n * study.matrix.train[CODE].mean())
        parts = [
            generate(plain(), count, seed=value, condition={CODE: value}, device="cpu")
            for value, count in ((1, some), (0, n - some))
        ]
        return pd.concat(parts, ignore_index=True)

    def merged() -> pd.DataFrame:
        return made(plain(), merge=study.run(model, "own", only={CODE: 1}))

    found = {
        "nothing": lambda: made(plain()),
        "oversampled": lambda: made(study.run(model, "oversampled", oversample={CODE: TIMES})),
        "a model of its own": merged,
        "brought back everywhere": lambda: made(study.run(model, "without", study.without), reintroduce=True),
        "brought back by demographics": lambda: made(
            study.run(model, "without", study.without), reintroduce="demographics"
        ),
        "races reweighted": lambda: made(study.run(model, "reweighted", reweight=["race"])),
    }
    if model in EXACT:
        found |= {"given at its share": given, "boosted": lambda: made(plain(), boost={CODE: {"1": TIMES}})}
    for share in MIXED:
        found[f"{share:.0%} patients"] = lambda share=share: made(plain(), mix=share)
    return found


def main() -> None:
    """Make and judge what is not there yet; write tables and figure."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--models", nargs="+", default=list(MODELS))
    arguments.add_argument("--experiment", default="equal_budget")
    arguments.add_argument("--max-epochs", type=int, help="for a trial")
    arguments.add_argument("--patients", type=int, default=76_800, help="simulated, of whom 65 % are trained on")
    arguments.add_argument("--truth", type=int, default=500_000)
    arguments.add_argument("--into", type=Path)
    asked = arguments.parse_args()
    study = Study(asked)
    sides = {
        "the truth": lambda: study.truth[-len(study.matrix.train) :],
        "training rows": lambda: study.matrix.train,
    }
    everything = [("real patients", name, make) for name, make in sides.items()]
    everything += [(m, name, make) for m in asked.models for name, make in remedies(study, m).items()]
    rows = []
    for model, remedy, make in everything:
        kept = asked.out / "judged" / f"{model}-{remedy}.json"
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(study.judged(make()), indent=1) + "\n", encoding="utf-8")
        rows.append({"model": model, "remedy": remedy, **json.loads(kept.read_text(encoding="utf-8"))})
        print({name: value for name, value in rows[-1].items() if name != "by group"}, flush=True)
    groups = pd.DataFrame([{"model": r["model"], "remedy": r["remedy"], **r.pop("by group")} for r in rows])
    true = by_group(study.truth)
    groups = pd.concat([pd.DataFrame([{"model": "500,000 patients", "remedy": "the truth", **true}]), groups])
    groups.to_csv(asked.out / "rare-groups.csv", index=False)
    table = pd.DataFrame(rows)
    table["error by group"] = [
        float(np.mean([abs(np.log2((row[g] + 10) / (true[g] + 10))) for g in true if g in row]))
        for row in groups.iloc[1:].to_dict("records")
    ]
    table.to_csv(asked.out / "rare.csv", index=False)
    drawn(table, asked.out / "rare.png")
    text = markdown(table)
    if asked.into:
        put_into(asked.into, "rare", text)
    print(text)


def markdown(table: pd.DataFrame) -> str:
    """Return the table for people."""
    decimals = {"patients in 100,000": 0, "lift": 2, "error of log lifts": 2, "error by group": 2}
    columns = [name for name in table if name not in ("model", "remedy")]
    lines = [line("model", ["remedy", *columns]), line("---", ["---"] * (len(columns) + 1))]
    for row in table.to_dict("records"):
        cells = ["" if pd.isna(row[c]) else f"{row[c]:.{decimals.get(str(c), 3)}f}" for c in columns]
        lines.append(line(str(row["model"]), [str(row["remedy"]), *cells]))
    return "\n".join(lines) + "\n"


def drawn(table: pd.DataFrame, file: Path) -> None:
    """Draw a panel for each number, a row for each remedy, a dot for each model; real patients are lines."""
    numbers = [
        "patients in 100,000",
        "lift",
        "error of log lifts",
        "AUROC of it",
        "error by group",
        "AUROC of death",
    ]
    own = table[table["model"] != "real patients"]
    remedies = list(dict.fromkeys(own["remedy"]))
    figure = Figure(figsize=(2.6 * len(numbers), 0.32 * len(remedies) + 1.6), layout="constrained")
    all_axes = figure.subplots(1, len(numbers), sharey=True)
    for axes, number in zip(all_axes, numbers, strict=True):
        for model, mine in own.groupby("model", sort=False):
            axes.plot(mine[number], [remedies.index(r) for r in mine["remedy"]], "o", label=model, alpha=0.8)
        for words, style in (("training rows", "-"), ("the truth", ":")):
            if len(real := table.loc[table["remedy"] == words, number].dropna()):
                axes.axvline(real.iloc[0], color="gray", linestyle=style, label=words)
        axes.set_title(number, fontsize=9)
        axes.grid(alpha=0.3)
    all_axes[0].set_yticks(range(len(remedies)), remedies)
    all_axes[0].invert_yaxis()
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=8)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
