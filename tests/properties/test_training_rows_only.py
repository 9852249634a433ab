"""Fitting touches training rows only: whatever the other rows hold, what was fitted stays the same to the byte."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra.utils import instantiate
from scipy import sparse

from ehrsynth.data.encoding import Encoder
from ehrsynth.data.events import make_timeline
from ehrsynth.data.plan import Prepared
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.proposals.propose import propose
from ehrsynth.data.rare_codes import LOW_PREVALENCE
from ehrsynth.data.split import BySubject
from ehrsynth.data.store import Store
from ehrsynth.data.wide import Wide, widen
from ehrsynth.study.prepare import made
from tests import matrices

FITTED = ("schema.json", LOW_PREVALENCE, "constraints.json")
N = 1_000


@pytest.fixture(scope="module")
def parts() -> dict[str, Wide]:
    """The simulated hospital, split."""
    cfg = matrices.config(f"source.n={N}", "out=unused")
    source, cohort = instantiate(cfg.source, _convert_="all"), instantiate(cfg.cohort, _convert_="all")
    with Store(threads=1) as store:
        source.read(store)
        make_timeline(store)
        cohort.choose(store)
        wide = widen(store, matrices.features(cfg))
    return {name: wide[rows] for name, rows in BySubject().assign(wide).items()}


def changed(wide: Wide) -> Wide:
    """Return the rows with every single value replaced by another."""
    cells = {}
    for name, spec in wide.specs.items():
        if name in wide.cells:
            old = wide.cells[name]
            if spec.kind == "categorical":
                turned = {level: spec.levels[i - 1] for i, level in enumerate(spec.levels)}
                cells[name] = old.map(turned).fillna(spec.levels[0])
            elif spec.kind == "binary":
                cells[name] = 1 - old
            else:
                cells[name] = old.fillna(0) + 1
    codes = sparse.csr_array(1 - wide.codes.toarray())
    return replace(wide, cells=wide.cells.assign(**cells), codes=codes)


def state(prepared: Prepared, train: Wide) -> str:
    """Return everything that was fitted, as JSON."""
    encoder = Encoder(prepared.plan.schema)
    rules = [rule.to_dict() for rule in propose(prepared.plan.schema, train)]
    told: dict[str, Any] = {
        "schema": prepared.plan.schema.to_dict(),
        "rare": [asdict(code) for code in prepared.plan.rare],
        "rules": rules,
        "encoder": [encoder.layout.names, encoder.schema.to_dict()],
    }
    return json.dumps(told)


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(),
        Preprocess(outliers="missing", min_count=20),
        Preprocess(outliers="drop", impute="marginal", relations=["diastolic < systolic"], min_prevalence=0.01),
    ],
    ids=["jmir", "missing", "as published"],
)
@pytest.mark.parametrize("others", [("holdout",), ("validation", "holdout")])
def test_every_other_value_is_changed(parts: dict[str, Wide], preprocess: Preprocess, others: tuple[str, ...]) -> None:
    before = preprocess.apply(parts)
    other = parts | {name: changed(parts[name]) for name in others}
    for name in others:
        assert (parts[name].frame().iloc[:, 1:] != other[name].frame().iloc[:, 1:]).all(axis=None)
    after = preprocess.apply(other)
    assert state(before, before.parts["train"]) == state(after, after.parts["train"])
    pd.testing.assert_frame_equal(before.parts["train"].frame(), after.parts["train"].frame())


def test_a_training_value_does_count(parts: dict[str, Wide]) -> None:
    train = parts["train"]
    one = train.cells.assign(bmi=train.cells["bmi"].where(np.arange(len(train)) > 0, 33.333))
    before, after = (Preprocess().apply(parts | {"train": replace(train, cells=c)}) for c in (train.cells, one))
    assert state(before, before.parts["train"]) != state(after, after.parts["train"])


def rewritten(raw: Path, subjects: set[str]) -> None:
    """Change what the raw tables say about these subjects: all measurements, codes, sexes, dates of birth and death."""
    hosp = raw / "hosp"

    def change(name: str, new: Any) -> None:
        path = hosp / f"{name}.csv.gz"
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        mine = table["subject_id"].isin(subjects)
        assert mine.any()
        for column, value in new(table[mine]).items():
            table.loc[mine, column] = value
        table.to_csv(path, index=False)

    change("patients", lambda t: {"gender": t["gender"].map({"F": "M", "M": "F"}), "anchor_age": "33", "dod": ""})
    change("admissions", lambda t: {"race": "ASIAN"})
    change("diagnoses_icd", lambda t: {"icd_code": "4019", "icd_version": "9"})
    change("omr", lambda t: {"result_value": t["result_value"].str.replace(r"\d", "1", regex=True)})


@pytest.mark.parametrize("group", ["jmir", "jmir_as_published"])
def test_raw_tables_of_held_out_patients_are_changed(tmp_path: Path, group: str) -> None:
    raw = tmp_path / "raw"
    matrices.make(tmp_path / "first", f"source.n={N}", f"source.write_raw={raw}")
    overrides = [f"source.root={raw}", "source=mimic_iv", "cohort=demo", "features=demo", f"preprocess={group}"]
    before = made(matrices.recipe(*overrides), tmp_path / "before")
    held = set(before.holdout["subject_id"].astype(str)) | set(before.validation["subject_id"].astype(str))
    rewritten(raw, held)
    after = made(matrices.recipe(*overrides), tmp_path / "after")
    assert not before.holdout.drop(columns="subject_id").equals(after.holdout.drop(columns="subject_id"))
    for name in (*FITTED, "train.parquet"):
        assert (before.folder / name).read_bytes() == (after.folder / name).read_bytes(), name
    assert Encoder(before.schema).layout.names == Encoder(after.schema).layout.names
    assert after.constraints == before.constraints
