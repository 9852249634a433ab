"""Patients through time, from raw tables to the report: one command each, as for rows."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import ehrsynth
from ehrsynth.constraints.over_time import RulesOverTime
from ehrsynth.data.sources.meds.standard import validated
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.sampling import calibrated
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.visits import UNKNOWN
from tests.conftest import Cli, without_figures

ASKED = """\
_target_: ehrsynth.evaluation.suite.Suite
_convert_: all
evaluators:
  - _target_: ehrsynth.evaluation.temporal.counts.VisitCounts
  - _target_: ehrsynth.evaluation.temporal.gaps.Gaps
  - _target_: ehrsynth.evaluation.temporal.rules.RuleViolation
  - _target_: ehrsynth.evaluation.privacy.sequences.CopiedVisits
"""
ROWS = """\
_target_: ehrsynth.evaluation.suite.Suite
_convert_: all
evaluators:
  - _target_: ehrsynth.evaluation.fidelity.dimension_wise_distance.DimensionWiseDistance
"""
pytestmark = pytest.mark.usefixtures("no_figures", "settled_by_few")


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A trajectories folder of 300 simulated patients."""
    folder = tmp_path_factory.mktemp("trajectories") / "few"
    assert cli("prepare", "form=trajectories", "source=demo_visits", "source.n=300", f"out={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Suites of seconds."""
    folder = tmp_path_factory.mktemp("conf")
    (folder / "suite").mkdir()
    (folder / "suite" / "visits.yaml").write_text(ASKED, encoding="utf-8")
    (folder / "suite" / "rows.yaml").write_text(ROWS, encoding="utf-8")
    return folder


def options(conf: Path, patients: Path, runs: Path) -> list[str]:
    suites = [f"suite@temporal.{which}=visits" for which in ("quick", "full")]
    suites += [f"suite@evaluation.{which}=rows" for which in ("quick", "full")]
    return [
        *(f"--config-dir={conf}", *suites, f"data.matrix={patients}", f"paths.runs={runs}", "logger.mode=disabled"),
        *("trainer.accelerator=cpu", "evaluation.checkpoints=2", "evaluation.rows=40", "seed=3"),
    ]


@pytest.fixture(scope="module")
def study(conf: Path, patients: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """Runs of two models, one of them with weights."""
    runs = tmp_path_factory.mktemp("runs")
    with without_figures():
        same = options(conf, patients, runs)
        assert cli("train", *same, "model=visits/chronicle", "model.width=16", "trainer.max_epochs=2") == 0
        assert cli("train", "-m", *same, "model=visits/markov") == 0
    return runs / "few"


def test_what_is_handed_over_is_what_was_judged(study: Path, patients: Path) -> None:
    (report,) = study.glob("chronicle/*/report.json")
    run = RunFolder.open(report.parent)
    names = {score["metric"] for score in json.loads(report.read_text(encoding="utf-8"))["scores"]}
    assert {
        "temporal/gaps_ks",
        "temporal/visits_ks",
        "fidelity/dimension_wise_distance",
        "privacy/sequence_prefix_excess",
        "privacy/sequence_likelihood_auc",
        "temporal/continuation_auroc",
    } <= names
    anchors = next(score.anchors for score in run.scores() if score.metric == "temporal/gaps_by_number")
    assert set(anchors) == {"fresh_real", "train_copy", "independent", "order_shuffled"}
    assert pd.read_csv(run.metrics)["epoch"].tolist() == [1, 2]
    train = Trajectories.open(patients).visits("train")
    assert run.rows["synthetic"] == len(train) == run.rows["train"]
    events = pd.read_parquet(run.synthetic_visits / "data")
    assert events["subject_id"].nunique() == len(train)
    page = run.html.read_text(encoding="utf-8")
    assert "Do patients go through time as real ones do" in page
    assert "order shuffled" in page
    assert run.missing() == []


def test_the_same_command_finds_what_is_finished(
    study: Path, conf: Path, patients: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*.ckpt")}
    assert cli("train", *options(conf, patients, study.parent), "model=visits/markov") == 0
    assert "finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*.ckpt")} == before


@pytest.mark.study
def test_an_interrupted_run_ends_as_one_that_was_not(
    study: Path, conf: Path, patients: Path, tmp_path: Path, cli: Cli
) -> None:
    same = *options(conf, patients, tmp_path), "model=visits/chronicle", "model.width=16"
    assert cli("train", *same, "trainer.max_epochs=2", "trainer.limit_train_batches=0") == 2, "nothing was trained"
    (whole,) = study.glob("chronicle/*/metrics.csv")
    broken = tmp_path / "few" / "chronicle" / whole.parent.name
    (broken / "checkpoints").mkdir(parents=True)
    first = "checkpoints/epoch=000001.ckpt"
    (broken / first).write_bytes((whole.parent / first).read_bytes())
    assert cli("train", *same, "trainer.max_epochs=2") == 0
    pd.testing.assert_frame_equal(
        pd.read_csv(broken / "metrics.csv").drop(columns="seconds"), pd.read_csv(whole).drop(columns="seconds")
    )
    mine, other = (pd.read_parquet(run / "synthetic" / "data") for run in (broken, whole.parent))
    pd.testing.assert_frame_equal(mine, other)


def test_patients_that_were_asked_for(
    study: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = study.glob("chronicle/*")
    assert cli("generate", f"run={run}", "n=30", f"out={tmp_path / 'women'}", "condition.sex=F", "seed=1") == 0
    assert "30 patients" in capsys.readouterr().out
    again = ehrsynth.generate(run, 30, condition={"sex": "F"}, seed=1)
    assert (again.static["sex"] == "F").all()
    again.visits.check(Trajectories.open(Path(RunFolder(run).provenance["matrix"]["folder"])).visit_schema, "drawn")
    events = pd.read_parquet(tmp_path / "women" / "data")
    admissions = events[events["code"].str.startswith("HOSPITAL_ADMISSION")]
    starts = admissions.groupby("subject_id")["time"].min().reindex(range(1, 31))
    first = again.visits.starts[again.visits.offsets[:-1][again.visits.per_patient > 0]]
    np.testing.assert_array_equal(starts.dropna().astype("datetime64[us]").astype(np.int64), first)


def test_visits_that_were_asked_for(study: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = study.glob("markov/*")
    schema = Trajectories.open(Path(RunFolder(run).provenance["matrix"]["folder"])).visit_schema
    code = schema.codes[int(np.bincount(ehrsynth.generate(run, 100).visits.codes).argmax())].name
    asked = f"condition.ever.{code}=1", "condition.dies=0", "condition.sex=M"
    assert cli("generate", f"run={run}", "n=20", f"out={tmp_path / 'men'}", *asked) == 0
    assert f"condition ever.{code}=1, dies=0: " in capsys.readouterr().out
    events = pd.read_parquet(tmp_path / "men" / "data")
    with_code = events.loc[events["code"].str.endswith(f"//{code}"), "subject_id"]
    assert with_code.nunique() == 20
    assert not (events["code"] == "MEDS_DEATH").any()
    assert (events.loc[events["code"].str.startswith("GENDER"), "code"] == "GENDER//M").sum() == 20
    how = json.loads((tmp_path / "men.provenance.json").read_text(encoding="utf-8"))["how"]
    assert how["ways"] == {"sex": "exact", f"ever.{code}": "rejection", "dies": "rejection"}
    assert how["drawn"] >= how["accepted"] >= 20


def test_rules_over_time_are_proposed_kept_and_scored(
    study: Path, conf: Path, patients: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = tmp_path / "constraints.yaml"
    content = yaml.safe_load((patients / "constraints.yaml").read_text(encoding="utf-8"))
    drugs = [entry for entry in content["over_time"] if entry["rule"] == "only_after"]
    assert len(drugs) > 3  # the hospital gives each drug for one diagnosis
    content["over_time"] = drugs
    declared.write_text(yaml.safe_dump(content), encoding="utf-8")
    data = tmp_path / "ruled"
    recipe = "form=trajectories", "source=demo_visits", "source.n=300"
    assert cli("prepare", *recipe, f"constraints={declared}", f"out={data}") == 0
    rules = RulesOverTime(Trajectories.open(data).over_time, Trajectories.open(data).visit_schema)
    assert len(rules) == len(drugs)
    same = options(conf, data, tmp_path / "runs")
    assert cli("train", *same, "model=visits/markov", "constraints.policy=repair") == 0
    (report,) = (tmp_path / "runs").glob("ruled/markov/*/report.json")
    scores = {score["metric"]: score for score in json.loads(report.read_text(encoding="utf-8"))["scores"]}
    assert scores["temporal/rule_violation"]["value"] == 0
    assert scores["temporal/rule_violation"]["anchors"]["train_copy"] == 0
    assert RunFolder.open(report.parent).provenance["over_time"]["share_broken"] > 0.1
    capsys.readouterr()
    for policy in ("keep", "reject", "repair"):
        drawn = ehrsynth.generate(report.parent, 30, policy=policy)
        assert rules.broken(drawn.visits).any() == (policy == "keep")
    assert cli("generate", f"run={report.parent}", "n=30", f"out={tmp_path / 'd'}", "constraints.policy=reject") == 0
    assert "constraints.policy=reject: " in capsys.readouterr().out


def test_records_of_patients_go_on(study: Path, patients: Path, tmp_path: Path, cli: Cli) -> None:
    (run,) = study.glob("chronicle/*")
    asked = f"run={run}", "continue=validation", "after=2", "draws=2"
    assert cli("generate", *asked, f"out={tmp_path / 'split'}") == 0
    assert cli("generate", *asked, f"continue={patients}/validation", f"out={tmp_path / 'folder'}") == 0
    data = Trajectories.open(patients)
    visits = data.visits("validation")
    some = visits.per_patient >= 2
    numbers = data.static("validation")["subject_id"].to_numpy()[some]
    second = visits.offsets[:-1][some] + 1
    ends = np.where(visits.ends[second] == UNKNOWN, visits.starts[second], visits.ends[second])
    draws = [pd.read_parquet(tmp_path / "split" / f"{number}.parquet") for number in range(2)]
    assert not draws[0].equals(draws[1])
    for number, events in enumerate(draws):
        pd.testing.assert_frame_equal(events, pd.read_parquet(tmp_path / "folder" / f"{number}.parquet"))
        assert set(events["subject_id"]) <= set(numbers)
        if find_spec("meds") is not None:
            validated(tmp_path / "split" / f"{number}.parquet", "DataSchema")
        assert events["subject_id"].nunique() > len(numbers) / 3
        predicted = pd.Series(ends.astype("datetime64[us]"), numbers).reindex(events["subject_id"])
        np.testing.assert_array_equal(events["prediction_time"], predicted)
        assert (events["time"] >= events["prediction_time"]).all()
        assert (events.groupby("subject_id")["time"].diff().dropna() >= pd.Timedelta(0)).all()
        assert not events["code"].str.startswith(("MEDS_BIRTH", "STATIC", "GENDER")).any()
        assert events["code"].str.startswith(("HOSPITAL_ADMISSION", "VISIT")).any()
    assert sorted(path.name for path in (tmp_path / "split").iterdir()) == ["0.parquet", "1.parquet"]
    assert (tmp_path / "split.provenance.json").is_file()


def test_parts_of_visits_are_drawn_given_the_rest(
    conf: Path, patients: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    small = "model.width=8", "model.reveal_width=8", "model.steps=2", "trainer.max_epochs=1"
    asked = options(conf, patients, tmp_path / "runs")
    assert cli("train", *asked, "model=visits/visit_diffusion", *small, "temporal.model.patients=0") == 0
    (run,) = (tmp_path / "runs" / "few").glob("visit_diffusion/*")
    for number, whose in enumerate(("validation", f"{patients}/validation")):
        told = f"run={run}", "complete=medication", f"of={whose}", "draws=2", f"out={tmp_path / str(number)}"
        assert cli("generate", *told) == 0
    assert "all else in these records is that of real patients" in " ".join(capsys.readouterr().out.split())
    data = Trajectories.open(patients)
    visits, drugs = data.visits("validation"), data.visit_schema.domains["medication"]
    draws = [pd.read_parquet(tmp_path / "0" / f"{number}.parquet") for number in range(2)]
    assert draws[0].equals(pd.read_parquet(tmp_path / "1" / "0.parquet"))
    assert not draws[0].equals(draws[1])
    numbers = data.static("validation")["subject_id"].to_numpy()
    for events in draws:
        assert events["subject_id"].is_monotonic_increasing
        assert (events.groupby("subject_id")["time"].diff().dropna() >= pd.Timedelta(0)).all()
        diagnoses = events[events["code"].str.startswith("DIAGNOSIS//")]
        there = numbers[visits.patient[visits.visit_of_code[visits.codes < drugs.start]]]
        pd.testing.assert_series_equal(
            diagnoses["subject_id"].value_counts().sort_index(),
            pd.Series(there).value_counts().sort_index(),
            check_names=False,
        )
        assert events["code"].str.startswith("MEDICATION//").any()
    about = json.loads((tmp_path / "0.provenance.json").read_text(encoding="utf-8"))
    assert {name: about[name] for name in ("complete", "of", "part", "draws")} == {
        **{"complete": ["medication"], "of": "validation"},
        **{"part": "validation", "draws": 2},
    }
    assert ehrsynth.verify(tmp_path / "0").findings == ()
    capsys.readouterr()
    for option, said in (
        ("complete=drugs", "complete=drugs: one of diagnosis, medication, measurements was expected"),
        ("complete=[diagnosis,medication] n=3", "n: complete=diagnosis,medication draws a part of each visit"),
        ("complete=medication continue=holdout", "continue: complete=medication draws a part of each visit"),
        ("complete=medication of=nobody", "nobody"),
    ):
        assert cli("generate", f"run={run}", *option.split(), f"out={tmp_path / 'other'}") == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_patients_in_the_forms_of_others(study: Path, tmp_path: Path, cli: Cli) -> None:
    (run,) = study.glob("markov/*")
    for form, file in (("omop", "visit_occurrence.parquet"), ("fhir", "Encounter.ndjson")):
        assert cli("generate", f"run={run}", "n=20", f"out={tmp_path / form}", f"out_format={form}") == 0
        assert (tmp_path / form / file).is_file()
        assert ehrsynth.verify(tmp_path / form).findings == ()
    about = json.loads((tmp_path / "omop.provenance.json").read_text(encoding="utf-8"))
    conditions = pd.read_parquet(tmp_path / "omop" / "condition_occurrence.parquet")
    assert about["without_standard_concept"]["condition_occurrence"] == len(conditions) > 0


def test_patients_who_are_calibrated(
    study: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated, "PER_TARGET", 3)
    (run,) = study.glob("markov/*")
    asked = f"run={run}", "n=150", "calibrate=true", "seed=1"
    assert cli("generate", *asked, f"out={tmp_path / 'refused'}") == 2
    assert "calibrate=true: weighted so that they have the shares" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
    monkeypatch.setattr(calibrated, "LEAST_WORTH", 0.0)
    assert cli("generate", *asked, "pool=3", f"out={tmp_path / 'near'}") == 0
    assert "calibrate: " in (said := capsys.readouterr().out)
    assert "effective sample size 0." in said
    about = json.loads((tmp_path / "near.provenance.json").read_text(encoding="utf-8"))["calibration"]
    assert about["largest_deviation"]["after"]["share"] < about["largest_deviation"]["before"]["share"]
    events = pd.read_parquet(tmp_path / "near" / "data")
    assert events["subject_id"].nunique() == 150
    assert ehrsynth.verify(tmp_path / "near").findings == ()
    again = ehrsynth.generate(run, 150, calibrate=True, pool=3, seed=1)
    assert again.visits.count == events["hadm_id"].nunique()


@pytest.mark.parametrize(
    ("verb", "asked", "said"),
    [
        ("train", "model=vae", "model=vae: generates rows"),
        (
            "train",
            "model=visits/markov rows.reweight=[race]",
            "rows.oversample, rows.reweight and rows.only: of rows alone",
        ),
        ("train", "model=visits/markov temporal.model.draws=0", "temporal.model.draws=0: a whole number, at least 1"),
        ("train", "model=visits/markov privacy=dp", "privacy=dp model=markov: what it learns of one record cannot be"),
        ("train", "model=visits/markov constraints.weight=1", "constraints.weight: of rows alone"),
        ("search", "model=visits/halo search.objectives=[gaps]", "search.objectives: gaps is not measured"),
        ("generate", "out={tmp}/some balance=sex", "balance: of rows alone so far"),
        ("generate", "out={tmp}/some calibrate=true condition.sex=F", "and condition asks for others"),
        ("generate", "out={tmp}/some pool=2", "pool=2: of the records that are drawn"),
        ("generate", "out={tmp}/some continue=holdout calibrate=true", "calibrate: continue=holdout says whose"),
        ("generate", "out={tmp}", "out={tmp}: something is there"),
        ("generate", "out={tmp}/some out_format=csv", "out_format=csv: one of meds, omop, fhir was expected"),
        ("generate", "out={tmp}/some condition.height=3", "condition.height: no such column"),
        ("generate", "out={tmp}/some condition.first.lab=3", "condition.first.lab: the visits have codes of"),
        ("generate", "out={tmp}/some condition.ever.zzz=1", "zzz is no code of the visits"),
        ("generate", "out={tmp}/some complete=medication", "complete=medication: chronicle draws whole visits"),
        ("generate", "out={tmp}/some continue=holdout n=3", "n: continue=holdout says whose records are to go on"),
        ("generate", "out={tmp}/some continue=holdout after=0", "after=0: a whole number"),
        ("generate", "out={tmp}/some continue=holdout after=999", "nobody in holdout has so many visits"),
        ("generate", "out={tmp}/some continue={tmp}/gone", "no such folder"),
    ],
)
def test_what_cannot_be_is_said(
    verb: str,
    asked: str,
    said: str,
    study: Path,
    conf: Path,
    patients: Path,
    tmp_path: Path,
    cli: Cli,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (run,) = study.glob("chronicle/*")
    given = [f"run={run}"] if verb == "generate" else options(conf, patients, tmp_path / "runs")
    assert cli(verb, *given, *asked.replace("{tmp}", str(tmp_path)).split()) == 2
    assert said.replace("{tmp}", str(tmp_path)) in capsys.readouterr().err


def test_a_model_of_visits_needs_visits(
    matrix: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = f"data.matrix={matrix}", "model=visits/markov", f"paths.runs={tmp_path}", "logger.mode=disabled"
    assert cli("train", *asked) == 2
    assert "model=markov: generates visits" in capsys.readouterr().err


def test_runs_are_ranked_and_compared(study: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("rank", f"runs={study}/*/*", "profile=visits/course", f"out={tmp_path / 'ranking.csv'}") == 0
    assert set(pd.read_csv(tmp_path / "ranking.csv")["group"].str.split().str[0]) == {"chronicle", "markov"}
    assert cli("compare", f"runs={study}") == 0
    assert "temporal/gaps_ks" in (study / "compare.html").read_text(encoding="utf-8")
