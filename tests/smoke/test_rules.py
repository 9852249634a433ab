"""Rules from the command line: a weight in the loss, a policy of sampling, and what a run says about them."""

from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.constraints import Rules, load
from ehrsynth.data.encoding import Encoder
from ehrsynth.files import read_json
from ehrsynth.schema import Schema
from tests.conftest import Cli, small


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(("model", "policy", "weight"), [("independent", "repair", 0), ("vae", "reject", 2)])
def test_no_record_of_a_run_breaks_a_rule(
    model: str, policy: str, weight: int, matrix: Path, cli: Cli, tmp_path: Path
) -> None:
    what = [f"model={model}", f"constraints.policy={policy}", f"constraints.weight={weight}"]
    asked = [*what, "constraints=none"]  # which are for a matrix that is yet to be made
    assert cli("train", *asked, *small(matrix, tmp_path)) == 0
    (run,) = (tmp_path / "small" / model).iterdir()
    schema = Schema.load(run / "schema.json")
    rules = Rules(load(run / "constraints.json", schema), schema)
    assert (run / "constraints.json").read_bytes() == (matrix / "constraints.json").read_bytes()
    table = pd.read_parquet(run / "synthetic.parquet")
    assert not rules.broken(Encoder(schema).encode(table).dense()).any()
    said = read_json(run / "provenance.json")["constraints"]
    assert (said["rules"], said["policy"], said["weight"]) == (len(rules), policy, weight)
    assert said["share_broken"] > 0.01
    assert (said["share_of_cells_changed"] > 0) == (policy == "repair")
    assert f"policy {policy}" in (run / "report.html").read_text()
    assert "constraints.json" in read_json(run / "manifest.json")["files"]


def test_a_run_that_keeps_all_says_how_many_break_a_rule(study: Path) -> None:
    said = [read_json(file)["constraints"] for file in study.glob("*/*/provenance.json")]
    assert {(facts["policy"], facts["weight"]) for facts in said} == {("keep", 0)}
    assert max(facts["share_broken"] for facts in said) > 0.01


def test_a_penalty_needs_a_loss(matrix: Path, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("train", "model=independent", "constraints.weight=2", *small(matrix, tmp_path)) == 2
    assert "constraints.weight=2: independent has no loss" in capsys.readouterr().err
