"""Audited runs from the command line: canaries are seen by the model alone, and a claim that is wrong ends in red."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ehrsynth.data.matrix import Matrix
from ehrsynth.ledger import Ledger
from ehrsynth.models.private import PrivateGradients
from ehrsynth.reporting.report import read_report
from ehrsynth.study import private_run
from ehrsynth.study.conf import compose
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import Spec
from tests.conftest import Cli, small

pytestmark = [pytest.mark.usefixtures("no_figures"), pytest.mark.filterwarnings("ignore")]


def run_of(folder: Path) -> RunFolder:
    (found,) = folder.iterdir()
    return RunFolder.open(found)


def test_a_copy_of_its_rows_gives_the_planted_canaries_away(
    matrix: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["model=train_copy", "audit.canaries=200", "audit.kinds=[random,all_rare]", *small(matrix, tmp_path)]
    assert cli("train", *options, "n=1000") == 0
    run, patients = run_of(tmp_path / "small" / "train_copy"), len(Matrix.open(matrix).train)
    audit = run.facts(audit=dict)["audit"]
    coins = json.loads(run.canaries.read_text(encoding="utf-8"))["planted"]
    assert audit["planted"] == {kind: each.count("1") for kind, each in coins.items()}
    assert audit["rows"] == patients == run.rows["train"] == run.facts(training_rows=dict)["training_rows"]["seen"]
    assert audit["canaries"] == 200
    assert audit["claimed"] is audit["contradiction"] is None
    assert {each["of"] for each in audit["audits"]} == {"release"}
    assert all(each["epsilon"] > 1.5 for each in audit["audits"]), "some of these rows are handed out"
    assert json.loads(run.report.read_text(encoding="utf-8"))["audit"]["audits"] == audit["audits"]
    assert "privacy/audit_release" in {score.metric for score in read_report(run.report).scores}
    assert "canaries.json" in (run.hashes or {})
    assert "audit: epsilon is at least" in capsys.readouterr().out
    assert cli("train", *options, "n=1000") == 0
    assert "finished already" in capsys.readouterr().out

    assert cli("verify", run.path) == 0

    plain = ["model=train_copy", *small(matrix, tmp_path)]
    assert cli("train", *plain, "n=1000", "study=plain") == 0
    other = run_of(tmp_path / "plain" / "train_copy")
    assert not other.canaries.exists()
    assert "audit" not in other.provenance
    anchors = [
        {score.metric: score.anchors for score in each.scores() if "audit" not in score.metric} for each in (run, other)
    ]
    assert anchors[0] == anchors[1], "canaries are rows of no anchor"
    synthetic = pd.read_parquet(run.synthetic)
    codes = [column.name for column in Matrix.open(matrix).schema.columns if column.is_code]
    assert (synthetic[codes].sum(axis=1) >= 30).any() or len(codes) < 60


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoiseOff(PrivateGradients):
        def setup(self, trainer: Any) -> None:
            super().setup(trainer)
            self.optimizers[0].noise_multiplier = 0.0
            self.hooks.max_grad_norm = 1e9

    monkeypatch.setattr(private_run, "PrivateGradients", NoiseOff)


PRIVATE = ["model=vae", "privacy=dp", "privacy.delta=1e-6", "audit.canaries=400"]
LEARNS = ["model.kl_weight=0.001", "model.learning_rate=0.003", "trainer.max_epochs=60", "evaluation.checkpoints=1"]


def test_a_private_run_is_audited_against_what_it_claims(matrix: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("train", *PRIVATE, *small(matrix, tmp_path), "privacy.epsilon=8") == 0
    run = run_of(tmp_path / "small" / "vae")
    audit, ledger = run.facts(audit=dict)["audit"], run.facts(ledger=dict)["ledger"]
    patients = len(Matrix.open(matrix).train)
    training = ledger["looks"][-1]
    assert training["sample_rate"] == pytest.approx(128 / patients), "canaries do not change the rate"
    assert audit["claimed"] == pytest.approx(Ledger.from_dict(ledger).spent.value)
    assert {each["of"] for each in audit["audits"]} == {"mechanism", "release"}
    assert run.contradiction is None
    page, card = ((run.path / name).read_text(encoding="utf-8") for name in ("privacy.html", "card.md"))
    assert "<h2>Audit</h2>" in page
    assert "### Audit" in card
    assert "THE CLAIM" not in page + card


@pytest.mark.study
@pytest.mark.usefixtures("broken")
def test_a_claim_that_an_audit_excludes_is_told_everywhere(
    matrix: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*PRIVATE, *small(matrix, tmp_path), *LEARNS, "privacy.epsilon=0.05"]
    assert cli("train", *options) == 1
    said = capsys.readouterr()
    assert "WARNING: THE CLAIM IS WRONG" in said.out
    assert "failed: " in said.err
    assert "THE CLAIM IS WRONG" in said.err
    assert "Traceback" not in said.err
    run = run_of(tmp_path / "small" / "vae")
    assert "THE CLAIM IS WRONG" in str(run.contradiction)
    assert "THE CLAIM IS WRONG" in run.warnings[0]
    for page in ("privacy.html", "report.html", "card.md"):
        assert "THE CLAIM IS WRONG" in (run.path / page).read_text(encoding="utf-8")
    assert cli("train", *options) == 1, "a finished run is no better the second time"


def test_what_cannot_be_audited_is_refused(
    matrix: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ("audit.canaries=3", "audit.kinds=[rare]", "audit.guesses=900", "audit.delta=2"):
        assert cli("train", "audit.canaries=30", wrong, *small(matrix, tmp_path)) == 2
        assert wrong.split("=")[0] in capsys.readouterr().err
    assert cli("search", "model=vae", "audit.canaries=30", f"data.matrix={matrix}", f"paths.runs={tmp_path}") == 2
    assert "audit.canaries=30" in capsys.readouterr().err


def test_patients_through_time_have_no_canaries(tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    through_time = ["form=trajectories", "source=demo_visits", "model=visits/chronicle", f"paths.runs={tmp_path}"]
    assert cli("train", *through_time, "audit.canaries=30", "logger.mode=disabled") == 2
    assert "audit.canaries" in capsys.readouterr().err


def test_audited_runs_are_others_and_runs_of_before_are_the_same(matrix: Path, tmp_path: Path) -> None:
    config = compose("train", {}, {"data.matrix": str(matrix), "paths.runs": str(tmp_path)})
    spec = Spec.of(config, "")
    before = {name: value for name, value in config.items() if name != "audit"}
    assert Spec.of(before, "").identity("0") == spec.identity("0")
    assert "audit" not in Spec.of(before, "").config
    some, more = (Spec.of({**config, "audit": {"canaries": n}}, "") for n in (100, 200))
    assert len({spec.identity("0"), some.identity("0"), more.identity("0")}) == 3
