"""What calibrated sampling gives finished runs over patients through time; see README.md.

python visits.py SEEDS RUN...   score each run's patients as drawn, and as kept at the first pool that is not refused

A run that is refused at every pool is scored at the first one anyway, to see whether refusing is right.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import torch

from ehrsynth.data.trajectories import Trajectories
from ehrsynth.evaluation.anchors import anchor_scores
from ehrsynth.evaluation.fidelity.correlation import Correlation
from ehrsynth.evaluation.fidelity.prevalence import Prevalence
from ehrsynth.evaluation.privacy.membership import Membership
from ehrsynth.evaluation.privacy.sequences import CopiedVisits, SequenceMembership
from ehrsynth.evaluation.suite import Suite
from ehrsynth.evaluation.temporal.counts import VisitCounts
from ehrsynth.evaluation.temporal.discriminator import SequenceDiscriminator
from ehrsynth.evaluation.temporal.gaps import Gaps
from ehrsynth.evaluation.temporal.ngrams import NGrams
from ehrsynth.evaluation.temporal.progression import Persistence, Progression
from ehrsynth.models.visits.base import load_visit_model
from ehrsynth.sampling import Calibration, calibrated
from ehrsynth.sampling.course import CourseView, calibrated_patients
from ehrsynth.sampling.patients import Patients, drawn_patients
from ehrsynth.sampling.targets import Targets
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.through_time import Judged

POOLS = (1.5, 3.0, 6.0)  # until one is not refused
SHOWN = {
    "fidelity/apd": "APD x1000",
    "fidelity/correlation_distance_relevant": "relevant correlations",
    "temporal/visits_ks": "visits KS",
    "temporal/codes_per_visit_ks": "codes per visit KS",
    "temporal/codes_kept": "codes kept",
    "temporal/persistence_error": "persistence error",
    "temporal/gaps_ks": "gaps KS",
    "temporal/halo_sequential_bigram_r2": "sequential bigram R2",
    "temporal/discriminator_auc": "discriminator AUROC",
    "privacy/membership_auc": "membership AUC",
    "privacy/sequence_bag_auc": "membership by visits",
    "privacy/sequence_prefix_excess": "copied prefix, excess",
}
Scores = dict[str, float | None]


def main(seeds: int, folders: list[Path]) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    runs = [RunFolder.open(folder) for folder in folders]
    data = Trajectories.open(Path(runs[0].provenance["matrix"]["folder"]))
    real, n = Judged(data, "holdout"), len(data.visits("train"))
    of_rows = Suite(evaluators=[Prevalence(), Correlation(), Membership()]).fit(real.rows, 0)
    asked = [VisitCounts(), Progression(), Persistence(), Gaps(), NGrams(), SequenceDiscriminator()]
    of_visits = Suite(evaluators=[*asked, CopiedVisits(), SequenceMembership()]).fit(real.visits, 0)

    def scored(patients: Patients) -> Scores:
        scores = [*of_rows.score(real.rows_of(*patients)), *of_visits.score(patients.visits)]
        return {score.metric: score.value for score in scores}

    def rows_of(run: RunFolder, seed: int) -> Iterator[tuple[str, float, Scores]]:
        model = load_visit_model(run.chosen_checkpoint, data.schema, data.visit_schema)
        view = CourseView(data.schema, data.visit_schema, float(model.calendar.most))
        targets = Targets.of(view.rows(data.records("train"), data.visits("train")), view.schema, 0)
        yield "as drawn", float("nan"), scored(Patients.joined(drawn_patients(model, n, seed)))
        for required, pool in (*((True, pool) for pool in POOLS), (False, POOLS[0])):
            calibrated.LEAST_WORTH = WORTH if required else 0.0
            how = Calibration(targets, pool, required=False)
            batches = drawn_patients(model, how.drawn(n), seed)
            kept = Patients.joined(calibrated_patients(batches, how, view, n, seed))
            if how.refused is None:
                said = f"calibrated, pool {pool:g}{'' if required else ', though refused'}, {len(targets)} targets"
                yield said, how.effective, scored(kept)
                return

    titles = ["model", "records", "effective sample size", *SHOWN.values()]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    fresh = {**anchor_scores(of_rows)["fresh_real"], **anchor_scores(of_visits)["fresh_real"]}
    print(line(["fresh real", "", ""], [fresh]), flush=True)
    for run in runs:
        found: dict[str, list[tuple[float, Scores]]] = {}
        for seed in range(seeds):
            for said, effective, scores in rows_of(run, seed):
                found.setdefault(said, []).append((effective, scores))
        for said, rows in found.items():
            share = mean(effective for effective, _ in rows)
            told = "" if said == "as drawn" else f"{share:.2f}"
            print(line([run.provenance["model"], said, told], [scores for _, scores in rows]), flush=True)


WORTH = calibrated.LEAST_WORTH


def line(first: list[str], rows: list[Scores]) -> str:
    """Return a row of the table: means over the seeds."""
    cells = []
    for name, title in SHOWN.items():
        values = [value for row in rows if (value := row.get(name)) is not None]
        cells.append(f"{mean(values) * (1000 if title.endswith('x1000') else 1):.4g}" if values else "")
    return f"| {' | '.join([*first, *cells])} |"


if __name__ == "__main__":
    main(int(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
