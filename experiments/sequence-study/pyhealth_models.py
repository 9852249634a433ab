"""PyHealth's generators on the visits of this study, in an environment of their own; see README.md.

    python pyhealth_models.py frames TRAJECTORIES RUNS OUT    with ehrsynth: real patients, and what runs of OURS draw
    python pyhealth_models.py draw OUT MODEL                  with pyhealth: train, draw, write OUT/pyhealth_MODEL.csv
    python pyhealth_models.py table OUT [--into README.md]    with ehrsynth: a row for each report of OUT

RUNS is the folder of a study, as ``runs/sequence-study/runs/hospital``; the first run of each model draws. MODEL is
halo, gpt2 or promptehr. Each gets five minutes of a processor (``BUDGET``); all draw 4,000 patients. Those of PyHealth
have neither dates nor values, so all patients are judged as visits in order, with their codes alone.
"""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import pandas as pd

BUDGET = float(os.environ.get("BUDGET", "300"))  # seconds of a processor
PARTS, JUDGED = 20, 50  # of the training patients, and unseen ones
# For five minutes of a processor, and not for a GPU as PyHealth's own; halo as in conf/model/visits/halo.yaml.
SIZES: dict[str, dict[str, Any]] = {
    "halo": {"embed_dim": 128, "n_heads": 4, "n_layers": 2, "lr": 1e-3},
    "gpt2": {"embed_dim": 128, "n_heads": 4, "n_layers": 2, "lr": 1e-3},
    "promptehr": {"embed_dim": 128, "n_heads": 4, "n_layers": 2, "lr": 1e-3, "batch_size": 64},
}
DRAWN = 4_000  # patients
OURS = ("chronicle", "halo", "train_copy_visits")
SHOWN = {
    "temporal/halo_visit_unigram_r2": "codes of a visit R2",
    "temporal/halo_record_unigram_r2": "of a record",
    "temporal/halo_visit_bigram_r2": "pairs of a visit R2",
    "temporal/halo_record_bigram_r2": "of a record",
    "temporal/halo_sequential_bigram_r2": "sequential R2",
    "temporal/visits_ks": "visits KS",
    "temporal/codes_per_visit_ks": "codes per visit KS",
    "temporal/persistence_error": "persistence",
    "temporal/asymmetry": "asymmetry",
    "temporal/discriminator_auc": "told from real",
    "temporal/vocabulary_coverage": "codes used",
    "temporal/distinct_records": "distinct records",
    "privacy/sequence_bag_auc": "membership, bags",
}


def frames(folder: Path, runs: Path, out: Path) -> None:
    """Write long tables of training, validation and held-out patients, and of what runs draw."""
    import ehrsynth
    from ehrsynth.data.long_frames import long_frame
    from ehrsynth.data.trajectories import Trajectories

    sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
    from table import first_runs

    data = Trajectories.open(folder)
    firsts, _ = first_runs(runs)
    out.mkdir(parents=True, exist_ok=True)
    for part in ("train", "validation", "holdout"):
        long_frame(data.visits(part), data.visit_schema).to_csv(out / f"{part}.csv", index=False)
    for name in OURS:
        if not (table := out / f"{name}.csv").exists():
            drawn = ehrsynth.generate(firsts[name].path, DRAWN).visits
            long_frame(drawn, data.visit_schema).to_csv(table, index=False)


def draw(out: Path, name: str) -> None:
    """Train one of PyHealth's generators until its time is over.

    It takes up a training from the checkpoint that it wrote when it last judged unseen patients; so it is given a part
    of the patients at a time, and a few to judge.
    """
    import torch
    from pyhealth.datasets import create_sample_dataset
    from pyhealth.models.generators.gpt2 import GPT2
    from pyhealth.models.generators.halo import HALO
    from pyhealth.models.generators.promptehr import PromptEHR
    from pyhealth.processors import NestedMultiHotProcessor, NestedSequenceProcessor
    from pyhealth.tasks.generate_ehr import to_evaluation_dataframe

    torch.set_num_threads(1)
    torch.manual_seed(0)
    kinds: dict[str, Any] = {"halo": HALO, "gpt2": GPT2, "promptehr": PromptEHR}
    form = NestedMultiHotProcessor if name == "halo" else NestedSequenceProcessor
    train, unseen = (_samples(pd.read_csv(out / f"{part}.csv", dtype=str)) for part in ("train", "validation"))
    given = {"input_schema": {"visits": form}, "output_schema": {}}
    learned = create_sample_dataset(samples=train, **given)
    fitted = {**given, "input_processors": learned.input_processors}
    parts = [create_sample_dataset(samples=train[start::PARTS], **fitted) for start in range(PARTS)]
    judged = create_sample_dataset(samples=unseen[:JUDGED], **fitted)
    with TemporaryDirectory(dir=out) as checkpoints:  # of this training alone: an interrupted one starts anew
        model = kinds[name](learned, epochs=1, save_dir=checkpoints, **SIZES[name])
        start, seen = process_time(), 0
        while process_time() - start < BUDGET:
            model.train_model(parts[seen % PARTS], judged, device="cpu")
            seen += 1
    epochs = seen / PARTS
    weights = sum(weight.numel() for weight in model.parameters())
    print(f"{name}: {weights:,} weights, {epochs:.1f} epochs in {process_time() - start:.0f} s")
    start = process_time()
    drawn = to_evaluation_dataframe(model.generate(DRAWN, device="cpu"))
    print(f"{name}: {DRAWN} patients in {process_time() - start:.0f} s")
    drawn[["id", "time", "visit_codes"]].to_csv(out / f"pyhealth_{name}.csv", index=False)


def _samples(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the patients of a long table as PyHealth has them."""
    by_visit = frame.assign(time=frame["time"].astype(int)).groupby(["id", "time"])["visit_codes"].agg(list)
    by_patient = by_visit.groupby(level="id").agg(list)
    return [{"patient_id": patient, "visits": visits} for patient, visits in by_patient.items()]


def table(out: Path, into: Path | None) -> None:
    """Print a row of scores for each report."""
    sys.path.append(str(Path(__file__).parents[1] / "generator-study"))
    from table import line, put_into

    lines = [line("", list(SHOWN.values())), line("---", ["---"] * len(SHOWN))]
    for report in sorted(out.glob("*/report.json")):
        scores = json.loads(report.read_text())["scores"]
        by_name = {score["metric"]: score for score in scores}
        if len(lines) == 2:
            fresh = [by_name[name]["anchors"].get("fresh_real") for name in SHOWN]
            lines.append(line("*fresh real*", ["" if value is None else f"{value:.3f}" for value in fresh]))
        lines.append(line(report.parent.name, [f"{by_name[name]['value']:.3f}" for name in SHOWN]))
    text = "\n".join(lines) + "\n"
    if into:
        put_into(into, "pyhealth", text)
    print(text)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["frames", folder, runs, out]:
            frames(Path(folder), Path(runs), Path(out))
        case ["draw", out, name]:
            draw(Path(out), name)
        case ["table", out]:
            table(Path(out), None)
        case ["table", out, "--into", into]:
            table(Path(out), Path(into))
        case _:
            raise SystemExit(__doc__)
