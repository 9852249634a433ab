"""Sites that train together: to the bit if repeated, interrupted or of one site; and what is done if one falls out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

import ehrsynth
from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import OptionError, SchemaError, TrainingError
from ehrsynth.files import read_json
from ehrsynth.models.base import read_checkpoint
from ehrsynth.study.federate import rounds
from ehrsynth.study.federate.carry_out import Federated
from ehrsynth.study.federate.local import Sent
from ehrsynth.study.federate.sites import Site
from ehrsynth.study.watch import Watch
from tests.conftest import Cli, without_figures
from tests.matrices import make

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("no_figures")]
SUITE: dict[str, Any] = {
    "_target_": "ehrsynth.evaluation.suite.Suite",
    "_convert_": "all",
    "evaluators": [{"_target_": "ehrsynth.evaluation.fidelity.dimension_wise_distance.DimensionWiseDistance"}],
}
GIVEN: dict[str, Any] = {
    "options": {"hidden": [16], "latent_width": 4},
    "max_epochs": 4,
    "batch_size": 32,
    "trainer": {"accelerator": "cpu"},
    "evaluation": {"checkpoints": 2, "rows": 50},
    "suite": SUITE,
    "quick": SUITE,
    "n": 60,
    "logger": "disabled",
    "study": "s",
}
BY = {"by": "race", "rounds": 4}
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return make(tmp_path_factory.mktemp("hospital") / "matrix", "source.n=500")


def weights_of(found: Federated) -> Weights:
    assert found.run is not None
    last = sorted((found.folder / "checkpoints").glob("*.ckpt"))[-1]
    return dict(read_checkpoint(last)["state_dict"])


def same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


Trained = Callable[..., Sent]


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, at: Callable[[Site, int], bool]) -> None:
    """Let a site raise after some of its training."""
    usual: Trained = rounds.trained_at

    def trained(spec: Any, site: Site, weights: Weights, done: int, until: int, folder: Path, looks: Any) -> Sent:
        found = usual(spec, site, weights, done, until, folder, looks)
        if at(site, until):
            raise error
        return found

    monkeypatch.setattr(rounds, "trained_at", trained)


@pytest.fixture(scope="module")
def together(hospital: Matrix, tmp_path_factory: pytest.TempPathFactory) -> Federated:
    with without_figures():
        return ehrsynth.federate(hospital, "vae", **GIVEN, **BY, runs=tmp_path_factory.mktemp("runs"))


def test_a_run_like_any_other(together: Federated, hospital: Matrix, tmp_path: Path) -> None:
    run = together.run
    assert run is not None
    assert len(together.sites) >= 2
    assert len(set(together.sites.values())) > 1  # unequal
    assert len(pd.read_parquet(run.synthetic)) == 60
    ehrsynth.generate(run, n=7, out=tmp_path / "more.csv")
    assert len(pd.read_csv(tmp_path / "more.csv")) == 7
    assert ehrsynth.verify(run).whole
    noted = read_json(run.sites)
    assert {one["site"]: one["patients"] for one in noted["sites"]} == dict(together.sites)
    assert all(one["epochs"] == 4 for one in noted["sites"])
    assert list(together.frame["site"]) == list(together.sites)
    assert together.frame["fidelity/dimension_wise_distance"].between(0, 0.5).all()
    assert not (run.path / "sites").exists()


def test_what_is_left_of_it_holds_no_row(together: Federated) -> None:
    """No file but the synthetic table has records, and the sums that records could be calibrated to are not there."""
    assert together.run is not None
    assert not together.run.targets.exists()
    assert {file.name for file in together.folder.rglob("*.parquet")} == {"synthetic.parquet", "report.parquet"}


@pytest.mark.study
def test_interrupted_and_gone_on_with_it_is_the_same(
    together: Federated, hospital: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a round and beyond the last checkpoint, some sites done and one not: the loop is repeated to the bit."""
    last = list(together.sites)[-1]
    with monkeypatch.context() as patched:
        failing(patched, KeyboardInterrupt(), lambda site, until: until == 3 and site.name == last)
        with pytest.raises(KeyboardInterrupt):
            ehrsynth.federate(hospital, "vae", **GIVEN, **BY, runs=tmp_path)
    broken = next(tmp_path.rglob("sites"))
    assert {len(list(folder.rglob("*.ckpt"))) for folder in broken.iterdir()} <= {1, 2}
    found = ehrsynth.federate(hospital, "vae", **GIVEN, **BY, runs=tmp_path)
    assert same(weights_of(found), weights_of(together))
    pd.testing.assert_frame_equal(pd.read_parquet(found.folder / "synthetic.parquet"), _table(together))


def _table(found: Federated) -> pd.DataFrame:
    return pd.read_parquet(found.folder / "synthetic.parquet")


def test_a_site_that_dies_is_left_out_and_asked_again(
    together: Federated, hospital: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying, told = next(iter(together.sites)), list[str]()
    calls = {dying: 0}

    def second(site: Site, until: int) -> bool:
        calls[site.name] = calls.get(site.name, 0) + 1
        return site.name == dying and calls[site.name] == 2

    failing(monkeypatch, ValueError("heart rate 300 of patient 17"), second)
    found = ehrsynth.federate(hospital, "vae", **GIVEN, **BY, runs=tmp_path, watch=Watch(warn=told.append))
    noted = read_json(found.folder / "sites.json")
    assert noted["absent"] == [{"round": 2, "site": dying, "reason": "ValueError"}]  # what it says may quote the data
    assert {one["site"]: one["epochs"] for one in noted["sites"]} == {
        name: 3 if name == dying else 4 for name in together.sites
    }
    assert any(f"round 2: site {dying} fell out (ValueError)" in line for line in told)
    assert not same(weights_of(found), weights_of(together))


def test_a_round_without_any_site_ends_it(hospital: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ValueError(), lambda site, until: until == 2)
    with pytest.raises(TrainingError, match="round 2: no site has finished; ValueError"):
        ehrsynth.federate(hospital, "vae", **GIVEN, **BY, runs=tmp_path)


def test_one_site_trains_as_train_does_to_the_bit(hospital: Matrix, tmp_path: Path) -> None:
    """Two rounds of two epochs each, or four epochs: weights, optimizer and every draw are the same."""
    found = ehrsynth.federate([hospital.folder], "vae", **GIVEN, rounds=2, runs=tmp_path, matrices=tmp_path / "m")
    alone = ehrsynth.train(hospital, "vae", **GIVEN, runs=tmp_path)
    last = sorted((alone.path / "checkpoints").glob("*.ckpt"))[-1]
    assert same(weights_of(found), dict(read_checkpoint(last)["state_dict"]))


@pytest.mark.parametrize(
    ("model", "options"),
    [("ehrdiff", {"widths": [16]}), pytest.param("wgan_gp", {"hidden": [16]}, marks=pytest.mark.study)],
)
def test_so_do_other_models(model: str, options: dict[str, Any], hospital: Matrix, tmp_path: Path) -> None:
    """A learning rate that falls over the whole training, an average of weights, and two optimizers."""
    given = {**GIVEN, "options": options}
    found = ehrsynth.federate([hospital.folder], model, **given, rounds=4, runs=tmp_path, matrices=tmp_path / "m")
    alone = ehrsynth.train(hospital, model, **given, runs=tmp_path)
    last = sorted((alone.path / "checkpoints").glob("*.ckpt"))[-1]
    assert same(weights_of(found), dict(read_checkpoint(last)["state_dict"]))


def test_a_site_with_other_columns(hospital: Matrix, tmp_path: Path) -> None:
    other = make(tmp_path / "elsewhere", "source.n=400", "features.bmi=null", seed=1)
    here = {*hospital.schema.names}
    assert here != {*other.schema.names}
    folders = [hospital.folder, other.folder]
    with pytest.raises(SchemaError, match=r"site elsewhere: other columns than site matrix has: '.*align=true"):
        ehrsynth.federate(folders, "vae", **GIVEN, rounds=1, runs=tmp_path, matrices=tmp_path / "m")


def test_models_without_an_average_are_refused(hospital: Matrix, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"method=fedavg model=chow_liu: .*no average; vae.*method=merged"):
        ehrsynth.federate(hospital, "chow_liu", **{**GIVEN, "options": {}}, **BY, runs=tmp_path)
    with pytest.raises(OptionError, match=r"model\.condition counts"):
        ehrsynth.federate(hospital, "vae", **{**GIVEN, "options": {"condition": ["sex"]}}, **BY, runs=tmp_path)


def test_tables_of_local_models_are_put_together(hospital: Matrix, tmp_path: Path) -> None:
    given = {**GIVEN, "options": {}}
    found = ehrsynth.federate(hospital, "independent", **given, by="race", method="merged", runs=tmp_path)
    assert len(_table(found)) == pytest.approx(60, abs=2)
    assert set(_table(found)["race"]) <= set(found.sites)
    assert list(found.frame["table"].unique()) == ["merged", "local"]
    assert ehrsynth.verify(found.folder).whole
    assert ehrsynth.rank(tmp_path / "s" / "*" / "*") is not None


@pytest.mark.study
def test_sites_that_train_privately(hospital: Matrix, tmp_path: Path) -> None:
    """A patient is at one site: what all spend on a patient is what the most spending of them does."""
    pytest.importorskip("opacus")
    private = {"epsilon": 3.0, "public": str(hospital.folder / "schema.json")}
    found = ehrsynth.federate(hospital, "vae", **GIVEN, by="sex", method="merged", privacy=private, runs=tmp_path)
    noted = read_json(found.folder / "sites.json")
    spent = [one["ledger"]["total"]["pld"] for one in noted["sites"]]
    assert len(spent) == 2
    assert noted["privacy"]["epsilon"] <= 3
    assert noted["privacy"]["epsilon"] == max(spent)
    assert noted["privacy"]["delta"] == max(1 / patients for patients in found.sites.values())


@pytest.fixture(scope="module")
def in_private(hospital: Matrix, tmp_path_factory: pytest.TempPathFactory) -> Federated:
    """Two sites whose weights are averaged, of which one fell out of the second of four rounds."""
    pytest.importorskip("opacus")
    private = {"epsilon": 3.0, "public": str(hospital.folder / "schema.json")}
    with without_figures(), pytest.MonkeyPatch.context() as patched:
        failing(patched, ValueError(), lambda site, until: site.name == "F" and until == 2 and not fell)
        fell = list[int]()

        def said(line: str) -> None:
            if "fell out" in line:
                fell.append(1)

        runs = tmp_path_factory.mktemp("private")
        given = {**GIVEN, "privacy": private, "watch": Watch(warn=said)}
        return ehrsynth.federate(hospital, "vae", **given, by="sex", rounds=4, runs=runs)


def test_private_sites_spend_no_more_than_epsilon_over_all_rounds(in_private: Federated, hospital: Matrix) -> None:
    """By the accountant itself: the noisy means that a site begins with, and all its steps, each at its own rate."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, pld

    run, n = in_private.run, len(hospital.train)
    assert run is not None
    noted = {one["site"]: one for one in read_json(run.sites)["sites"]}
    assert {site: one["epochs"] for site, one in noted.items()} == {"F": 3, "M": 4}
    assert noted["F"]["epsilon"] < noted["M"]["epsilon"] <= 3
    ledger = run.facts()["ledger"]
    assert ledger["total"]["pld"] == noted["M"]["epsilon"]
    assert ledger["delta"] == 1 / n
    looks = {look["what"]: look for look in ledger["looks"]}
    assert looks["which site a patient is at"]["why"].endswith("site M")
    means, training = looks["means of columns"], looks["training"]
    rate = GIVEN["batch_size"] / noted["M"]["patients"]
    assert training["sample_rate"] == rate
    assert training["steps"] == 4 * round(1 / rate)
    again = pld.PLDAccountant().compose(GaussianDpEvent(means["noise_multiplier"]))
    again.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(training["noise_multiplier"])), training["steps"])
    assert again.get_epsilon(1 / n) == pytest.approx(noted["M"]["epsilon"], rel=1e-3)
    assert noted["M"]["epsilon"] > 2.9


def test_what_private_sites_made_says_so(in_private: Federated) -> None:
    run = in_private.run
    assert run is not None
    assert "which site a patient is at" in (run.path / "privacy.html").read_text(encoding="utf-8")
    assert ehrsynth.verify(run).whole
    assert len(_table(in_private)) == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "no such column"}, "by=no such column: a column with levels, such as"),
        ({"by": "age"}, "by=age: a column with levels"),
        ({}, "who are the sites"),
        ({"by": "race", "rounds": 9}, "rounds=9: at most trainer.max_epochs=4"),
        ({"by": "race", "method": "magic"}, "method=magic: fedavg or merged"),
        ({"by": "race", "privacy": {"noise_multiplier": 1.0}}, "noise_multiplier=1.0: sites train equally many"),
        ({"by": "race", "privacy": {"schema": 0.3}}, "privacy.schema=0.3: counts of all sites together"),
        ({"by": "race", "align": True}, "align=True"),
    ],
)
def test_what_cannot_work_is_said(options: dict[str, Any], message: str, hospital: Matrix, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=message):
        ehrsynth.federate(hospital, "vae", **GIVEN, **options, runs=tmp_path)


def test_the_command(cli: Cli, hospital: Matrix, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = f"[{{_target_: {SUITE['evaluators'][0]['_target_']}}}]"
    options = (
        f"data.matrix={hospital.folder}",
        "by=race",
        "rounds=2",
        "trainer.max_epochs=2",
        "trainer.accelerator=cpu",
        "evaluation.checkpoints=1",
        "evaluation.rows=50",
        "model.hidden=[16]",
        "n=60",
        "logger.mode=disabled",
        f"evaluation.full.evaluators={asked}",
        f"evaluation.quick.evaluators={asked}",
        f"paths.runs={tmp_path}",
    )
    assert cli("federate", *options) == 0
    assert "against the patients that each site held out" in capsys.readouterr().out
