"""A search over settings of a model of visits: the one path of searches, on trajectories."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.data.trajectories import Trajectories
from ehrsynth.study.run_folder import RunFolder
from tests.conftest import Cli, without_figures
from tests.smoke.test_through_time import ASKED, ROWS

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("no_figures", "settled_by_few")]
PROFILE = """\
_target_: ehrsynth.evaluation.ranking.Profile
_convert_: all
name: short
description: what the suites of this test measure
weights: {temporal/gaps_ks: 0.5, fidelity/dimension_wise_distance: 0.25, privacy/sequence_prefix_excess: 0.25}
paper: ours
"""
SUITES = {"suite/visits": ASKED, "suite/rows": ROWS, "profile/short": PROFILE}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> list[str]:
    """A search on 120 simulated patients, as it is typed."""
    place = tmp_path_factory.mktemp("search")
    few, runs = place / "few", place / "runs"
    assert cli("prepare", "form=trajectories", "source=demo_visits", "source.n=120", f"out={few}") == 0
    for name, text in SUITES.items():
        file = place / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return [
        *(f"--config-dir={place / 'conf'}", f"data.matrix={few}", f"paths.runs={runs}", "study=tried", "profile=short"),
        *(f"suite@temporal.{which}=visits" for which in ("quick", "full")),
        *(f"suite@evaluation.{which}=rows" for which in ("quick", "full")),
        *("logger.mode=disabled", "trainer.accelerator=cpu", "trainer.max_epochs=2", "seed=3"),
        *("evaluation.checkpoints=2", "evaluation.rows=40", "search.eta=2", "model=visits/chronicle", "model.width=8"),
        *("search.space.model.width=[8,16]", "search.space.model.ranges=[8,16]", "~search.space.model.depth"),
    ]


@pytest.fixture(scope="module")
def study(asked: list[str], cli: Cli) -> Path:
    """Two trials, which saw training and validation patients alone."""
    opened, usual = [], Trajectories.open

    def noted(folder: Path, parts: tuple[str, ...]) -> Trajectories:
        opened.append(parts)
        return usual(folder, parts)

    with without_figures(), pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trajectories, "open", noted)
        patched.setattr("ehrsynth.study.train.open_data", lambda *_: pytest.fail("opens what is held out"))
        assert cli("search", *asked, "trials=2", "winners=0") == 0
    assert opened == [("train", "validation")]
    (runs,) = (text.removeprefix("paths.runs=") for text in asked if text.startswith("paths.runs="))
    return Path(runs) / "tried"


def test_trials_are_scored_by_what_visits_and_rows_say(study: Path) -> None:
    table = pd.read_csv(study / "search.csv")
    assert table["trial"].tolist() == [0, 1]
    assert set(table["state"]) <= {"finished", "pruned"}
    assert table["run"].nunique() == 2
    (best,) = (row for _, row in table.iterrows() if row["front"])
    scores = pd.read_csv(study / best["run"] / "metrics.csv").set_index("epoch").loc[best["epoch"]]
    for metric in ("temporal/gaps_ks", "fidelity/dimension_wise_distance", "privacy/sequence_prefix_excess"):
        assert best[metric] == pytest.approx(scores[metric])
    assert (study / "search.html").is_file()


@pytest.mark.study
def test_it_goes_on_and_its_winner_is_carried_out(
    study: Path, asked: list[str], cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    before = pd.read_csv(study / "search.csv").drop(columns=["seconds", "front"])
    assert cli("search", *asked, "trials=3", "winners=1") == 0
    table = pd.read_csv(study / "search.csv")
    pd.testing.assert_frame_equal(table.head(2)[before.columns], before)
    best = table[table["state"] == "finished"].sort_values("score").iloc[-1]
    (report,) = study.glob("chronicle/*/report.json")
    run = RunFolder.open(report.parent)
    assert run.path == study / best["run"]
    assert run.facts(tuning=dict)["tuning"]["judged_on"] == "validation"
    names = {score["metric"] for score in json.loads(report.read_text(encoding="utf-8"))["scores"]}
    assert {"temporal/gaps_ks", "fidelity/dimension_wise_distance"} <= names
    assert f"synthetic data   {run.synthetic_visits}" in capsys.readouterr().out.replace("\n", "")
