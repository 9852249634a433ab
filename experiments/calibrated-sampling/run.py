"""What calibrated sampling gives finished runs, and whether it costs privacy; see README.md.

python run.py RESULTS.jsonl SEEDS RUN...   score each run's records as drawn and as kept; print means over the seeds
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from time import process_time
from typing import Any

import torch

from ehrsynth.data.encoding import rescaled
from ehrsynth.data.matrix import Matrix
from ehrsynth.evaluation.anchors import anchor_scores
from ehrsynth.evaluation.fidelity.concept_abundance import ConceptAbundance
from ehrsynth.evaluation.fidelity.correlation import Correlation
from ehrsynth.evaluation.fidelity.dimension_wise_distance import Wasserstein
from ehrsynth.evaluation.fidelity.dimension_wise_prediction import DimensionWisePrediction
from ehrsynth.evaluation.fidelity.discriminator import Discriminator
from ehrsynth.evaluation.fidelity.latent_deviation import LatentDeviation
from ehrsynth.evaluation.fidelity.prevalence import Prevalence
from ehrsynth.evaluation.privacy.attribute_inference import AttributeInference
from ehrsynth.evaluation.privacy.copies import ExactCopies
from ehrsynth.evaluation.privacy.membership import ClassifierAttack, DensityAttack, Membership
from ehrsynth.evaluation.suite import FittedSuite, Suite
from ehrsynth.evaluation.utility.prediction import OutcomePrediction
from ehrsynth.evaluation.validity.knowledge import KnowledgeViolation
from ehrsynth.layout import Records
from ehrsynth.models.base import load_model
from ehrsynth.sampling import Calibration, calibrated, sample_records
from ehrsynth.sampling.targets import Targets
from ehrsynth.study.judge import real_rows
from ehrsynth.study.run_folder import RunFolder

POOLS = (1.5, 3.0, 6.0)  # until one is not refused
SHOWN = {  # title and factor of each score
    "fidelity/apd": ("APD x1000", 1000),
    "fidelity/correlation_distance_relevant": ("relevant correlations", 1),
    "fidelity/latent_deviation": ("LD, k = 5", 1),
    "fidelity/latent_deviation_k20": ("LD, k = 20", 1),
    "fidelity/concept_abundance": ("MCAD", 1),
    "fidelity/wasserstein": ("Wasserstein x1000", 1000),
    "fidelity/dimension_wise_prediction": ("prediction r", 1),
    "fidelity/discriminator_auc": ("discriminator AUROC", 1),
    "utility/tstr_auroc": ("TSTR AUROC", 1),
    "validity/knowledge_violation": ("knowledge violation", 1),
    "privacy/membership_auc": ("membership AUC", 1),
    "privacy/membership_density_auc": ("by density", 1),
    "privacy/membership_classifier_auc": ("by classifier", 1),
    "privacy/dcr_share": ("DCR share", 1),
    "privacy/exact_copies": ("copies of training", 1),
    "privacy/exact_copies_holdout": ("of held-out", 1),
    "privacy/copies_excess": ("copies, excess", 1),
    "privacy/attribute_f1_excess": ("attribute excess", 1),
}
Row = dict[str, Any]


def fitted(matrix: Matrix) -> FittedSuite:
    """Return the suite, fitted on training and held-out rows."""
    evaluators = [
        Prevalence(),
        ConceptAbundance(),
        Correlation(),
        LatentDeviation(k=5),
        LatentDeviation(k=20, max_rows=20_000),
        Wasserstein(),
        DimensionWisePrediction(codes=30, max_rows=20_000),
        Discriminator(rounds=100, max_rows=20_000),
        OutcomePrediction(rounds=100, learning_rate=0.1, explained_rows=0, ratios=None),
        KnowledgeViolation(),
        Membership(),
        DensityAttack(),
        ClassifierAttack(rounds=100, max_rows=10_000),
        ExactCopies(),
        AttributeInference(),
    ]
    return Suite(evaluators=evaluators).fit(real_rows(matrix, "holdout"), 0)


def rows_of(run: RunFolder, matrix: Matrix, suite: FittedSuite, targets: Targets, seed: int) -> Iterator[Row]:
    """Yield the scores of a run's records as drawn, and as kept at the first pool that is not refused.

    If all are refused, the last row is what the first pool would have given anyway.
    """
    model, n = load_model(run.chosen_checkpoint), len(matrix.records("train"))

    def scored(records: Records, **how: Any) -> Row:
        scores = suite.score(rescaled(records, matrix.schema, suite.real.schema))
        values = {score.metric: score.value for score in scores}
        return {"model": run.provenance["model"], "seed": seed, **how, "scores": values}

    for number, times in enumerate(POOLS):
        how, start = Calibration(targets, times, required=False), process_time()
        pool = sample_records(model, how.drawn(n), seed)
        drawn = process_time() - start
        if not number:
            yield scored(pool[:n], drawn=how.drawn(n), seconds=drawn)
        start = process_time()
        kept = Records.joined(how.kept([pool], n, seed))
        if how.refused is None:
            yield scored(kept, **how.to_dict(), seconds=process_time() - start)
            return
        if not number:
            first = pool
    calibrated.LEAST_WORTH = 0.0
    how, start = Calibration(targets, POOLS[0]), process_time()
    kept = Records.joined(how.kept([first], n, seed))
    yield scored(kept, **how.to_dict() | {"refused": "scored anyway"}, seconds=process_time() - start)
    calibrated.LEAST_WORTH = WORTH


WORTH = calibrated.LEAST_WORTH


def shown(rows: list[Row]) -> str:
    """Return a row of the table: means over the seeds."""
    first = rows[0]
    pool = "as drawn" if "pool" not in first else f"pool {first['pool']:g}"
    if first.get("refused"):
        pool += ", though refused"
    cells = [first["model"], pool, f"{mean([row['effective_share'] for row in rows]):.2f}" if "pool" in first else ""]
    for name, (_, factor) in SHOWN.items():
        values = [row["scores"][name] for row in rows if row["scores"].get(name) is not None]
        cells.append(f"{factor * mean(values):.4g}" if values else "")
    return f"| {' | '.join(cells)} |"


def main(results: Path, seeds: int, folders: list[Path]) -> None:
    """Score, keep, print."""
    torch.set_num_threads(1)
    runs = [RunFolder.open(folder) for folder in folders]
    matrix = Matrix.open(Path(runs[0].provenance["matrix"]["folder"]))
    suite, start = fitted(matrix), process_time()
    targets = Targets.of(matrix.records("train"), matrix.schema, 0)
    print(f"{len(targets)} targets in {process_time() - start:.1f} s\n")
    print("| model | records | effective share |", " | ".join(title for title, _ in SHOWN.values()), "|")
    print("|---|---|---|", "---|" * len(SHOWN), sep="")
    print(shown([{"model": "fresh real", "scores": anchor_scores(suite)["fresh_real"]}]), flush=True)
    with results.open("a", encoding="utf-8") as file:
        for run in runs:
            found: dict[Any, list[Row]] = {}
            for seed in range(seeds):
                for row in rows_of(run, matrix, suite, targets, seed):
                    found.setdefault(row.get("pool"), []).append(row)
                    file.write(json.dumps(row) + "\n")
            for rows in found.values():
                print(shown(rows), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [Path(argument) for argument in sys.argv[3:]])
