"""Private runs from the command line: what their ledger says, what they refuse, and that others do not notice."""

import json
from pathlib import Path

import pytest

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.public_matrix import PublicMatrix
from ehrsynth.errors import OptionError, SchemaError
from ehrsynth.ledger import Ledger
from ehrsynth.study.conf import compose
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import Spec
from tests.conftest import Cli, small

pytestmark = [pytest.mark.usefixtures("no_figures"), pytest.mark.filterwarnings("ignore")]
LEARNED = ["vocabulary and rare codes", "levels of categories", "bounds and decimals of numbers", "columns left out"]

TINY = {
    "ehrdiff_tuned": ["model.width=16", "model.depth=1", "model.steps=3"],
    "emr_wgan": ["model.width=16", "model.depth=2"],
    "masked_diffusion": ["model.width=16", "model.number_width=16", "model.steps=4", "model.number_steps=3"],
    "tabddpm": ["model.widths=[16]", "model.stem_width=8", "model.timesteps=3"],
    "tally": ["model.width=16"],
    "wgan_gp": ["model.hidden=[16]"],
}


def run_of(folder: Path) -> RunFolder:
    (found,) = folder.iterdir()
    return RunFolder.open(found)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory, matrix: Path) -> Path:
    """A schema from elsewhere: other bounds, a code that nobody has, and one column less."""
    content = json.loads((matrix / "schema.json").read_text(encoding="utf-8"))
    columns = content["columns"]
    dropped = next(column for column in columns if column["domain"] == "diagnosis")
    columns.remove(dropped)
    columns.append({"name": "elsewhere", "kind": "binary", "domain": "diagnosis"})
    next(column for column in columns if column["name"] == "age")["bounds"] = [20, 60]
    file = tmp_path_factory.mktemp("public") / "schema.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_a_training_alone_claims_no_total(
    matrix: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["privacy.noise_multiplier=4", "privacy.epsilon=8", "privacy.delta=1e-3", "data.batch_size=128"]
    assert cli("train", "model=vae", "privacy=dp", *options, *small(matrix, tmp_path)) == 0
    run = run_of(tmp_path / "small" / "vae")
    content = run.facts(ledger=dict)["ledger"]
    ledger = Ledger.from_dict(content)
    assert ledger.unaccounted == content["unaccounted"] == LEARNED
    assert content["total"] is None
    assert 0 < ledger.spent.value <= ledger.spent.rdp <= 8
    with pytest.raises(OptionError, match=r"no total epsilon can be claimed.*vocabulary and rare codes, levels"):
        _ = ledger.total
    scores = {score.metric: score for score in run.scores()}
    assert scores["privacy/epsilon"].value is None
    assert "vocabulary and rare codes" in str(scores["privacy/epsilon"].reason)
    assert not run.targets.is_file(), "counts of training rows without noise"
    assert run.provenance["epoch"] == 2
    assert "of the training alone" in (run.path / "card.md").read_text(encoding="utf-8")
    for page in ("card.md", "privacy.html"):
        assert "no total is claimed: learned without noise were" in (run.path / page).read_text(encoding="utf-8")
    assert cli("generate", f"run={run.path}", "n=5", f"out={tmp_path / 's.csv'}") == 0
    assert cli("generate", f"run={run.path}", "n=5", "calibrate=true", f"out={tmp_path / 'c.csv'}") == 2
    for asked in ("reintroduce=true", f"merge={run.path}", "mix=0.5", "post_selection=died"):
        assert cli("generate", f"run={run.path}", "n=5", asked, f"out={tmp_path / 'c.csv'}") == 2, asked
        assert "looks at training patients without noise" in capsys.readouterr().err


LOOKS = {
    "ehrdiff_tuned": ["means of columns", "ranges of numbers", "training"],
    "emr_wgan": ["means of columns", "training"],
    "masked_diffusion": ["means of columns", "ranges of numbers", "training"],
    "tabddpm": ["means of columns", "ranges of numbers", "training"],
    "tally": ["means of columns", "ranges of numbers", "numbers of codes", "training"],
    "wgan_gp": ["means of columns", "training"],
}


@pytest.mark.parametrize(
    "model", [model if model == "tally" else pytest.param(model, marks=pytest.mark.study) for model in LOOKS]
)
def test_other_models_say_what_they_spent(model: str, matrix: Path, public: Path, tmp_path: Path, cli: Cli) -> None:
    options = ["privacy.epsilon=8", "privacy.noise_multiplier=2", f"privacy.public={public}", *TINY[model]]
    assert cli("train", f"model={model}", "privacy=dp", *options, *small(matrix, tmp_path)) == 0
    run = run_of(tmp_path / "small" / model)
    ledger = Ledger.from_dict(run.facts(ledger=dict)["ledger"])
    assert [look.what for look in ledger.looks if not isinstance(look.mechanism, str)] == LOOKS[model]
    assert 0 < ledger.total.value <= 8.0
    assert run.provenance["epoch"] == 2
    assert not run.targets.is_file()
    assert cli("generate", f"run={run.path}", "n=5", f"out={tmp_path / 's.csv'}") == 0


@pytest.mark.study
@pytest.mark.parametrize("model", LOOKS)
def test_other_models_spend_what_they_are_asked_to(
    model: str, matrix: Path, public: Path, tmp_path: Path, cli: Cli
) -> None:
    """To look for the noise takes a minute."""
    options = ["privacy.epsilon=8", f"privacy.public={public}", *TINY[model]]
    assert cli("train", f"model={model}", "privacy=dp", *options, *small(matrix, tmp_path)) == 0
    ledger = Ledger.from_dict(run_of(tmp_path / "small" / model).facts(ledger=dict)["ledger"])
    assert 7.9 < ledger.total.value <= 8.0


def test_a_tree_under_a_public_schema_claims_its_epsilon(matrix: Path, public: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("train", "model=dp_tree", f"privacy.public={public}", *small(matrix, tmp_path)) == 0
    run = run_of(tmp_path / "small" / "dp_tree")
    ledger = Ledger.from_dict(run.facts(ledger=dict)["ledger"])
    scores = {score.metric: score for score in run.scores()}
    assert not ledger.unaccounted
    assert scores["privacy/epsilon"].value == pytest.approx(ledger.total.value)
    assert ledger.total.value == pytest.approx(3.0, rel=1e-3)
    assert scores["privacy/delta"].value == pytest.approx(1 / len(Matrix.open(matrix).records("train")))


def test_a_mean_embedding_is_paid_for_once_whatever_its_training(
    matrix: Path, public: Path, tmp_path: Path, cli: Cli
) -> None:
    tiny = ["model.features=50", "model.hidden=[16]", "model.generated=16"]
    assert cli("train", "model=dp_merf", f"privacy.public={public}", *tiny, *small(matrix, tmp_path)) == 0
    run = run_of(tmp_path / "small" / "dp_merf")
    ledger = Ledger.from_dict(run.facts(ledger=dict)["ledger"])
    assert [look.what for look in ledger.looks if not isinstance(look.mechanism, str)] == ["mean embedding"]
    assert ledger.spent.rdp == pytest.approx(3.0, rel=1e-3)
    assert ledger.total.value <= ledger.spent.rdp <= 3.0
    assert run.provenance["epoch"] == 2
    assert cli("generate", f"run={run.path}", "n=5", f"out={tmp_path / 's.csv'}") == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A matrix that has all that patients have."""
    folder = tmp_path_factory.mktemp("whole") / "all"
    assert cli("prepare", "source.n=800", "preprocess=none", f"out={folder}") == 0
    return folder


def test_a_schema_of_noisy_counts_is_learned_once_and_paid_for(whole: Path, tmp_path: Path, cli: Cli) -> None:
    options = ["privacy.epsilon=20", "privacy.schema=0.5", f"paths.matrices={tmp_path / 'kept'}"]
    assert cli("train", "model=dp_tree", *options, *small(whole, tmp_path)) == 0
    (file,) = (tmp_path / "kept").glob("*.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    run = run_of(tmp_path / "small" / "dp_tree")
    ledger = Ledger.from_dict(run.facts(ledger=dict)["ledger"])
    assert not ledger.unaccounted
    assert ledger.total.value == pytest.approx(20, rel=1e-3)
    kept, had = len(content["schema"]["columns"]), len(Matrix.open(whole).schema.columns)
    assert 5 < kept < had
    assert cli("train", "model=vae", "privacy=dp", "privacy.noise_multiplier=4", *options, *small(whole, tmp_path)) == 0
    other = Ledger.from_dict(run_of(tmp_path / "small" / "vae").facts(ledger=dict)["ledger"])
    assert set(map(str, content["looks"])) <= {str(look.to_dict()) for look in other.looks}, "the same, not another"
    assert not other.unaccounted


def test_rows_under_a_public_schema(matrix: Path, public: Path, tmp_path: Path) -> None:
    own = Matrix.open(matrix)
    seen = PublicMatrix(own, public)
    assert seen.fingerprint != own.fingerprint
    assert seen.constraints == ()
    before, after = own.records("train"), seen.records("train")
    assert len(before) == len(after)
    assert seen.train["age"].between(20, 60).all()
    assert seen.train["age"].tolist() == own.train["age"].clip(20, 60).tolist()
    assert (seen.train["elsewhere"] == 0).all()
    assert seen.schema.names[:-1] == [name for name in own.schema.names if name in seen.schema.by_name]
    content = json.loads(public.read_text(encoding="utf-8"))
    content["columns"].append({"name": "weight", "kind": "continuous", "bounds": [0, 1]})
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SchemaError, match="column 'weight': the matrix has no such column"):
        PublicMatrix(own, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["model=medgan"], "privacy=dp model=medgan: what it learns of one record cannot be told apart; vae,"),
        (["model=ehrdiff", "model.decoding=prevalence"], "model.decoding=prevalence takes prevalences"),
        (["model=ehrdiff_tuned", "model.dropout=0.1"], "model.dropout draws from a stream that is not secret"),
        (["model=vae", "model.condition=[sex]"], "model.condition counts which labels"),
        (["model=vae", "+trainer.accumulate_grad_batches=2"], "trainer.accumulate_grad_batches=2: a private training"),
        (["model=vae", "constraints.weight=1"], "constraints.weight=1: no part of a private loss"),
        (["model=vae", "rows.reweight=[sex]"], "rows.reweight: repeats patients"),
        (["model=vae", "privacy.epsilon=0"], "privacy.epsilon=0: a finite number above zero was expected"),
        (["model=vae", "privacy.delta=2"], "privacy.delta=2: a number between 0 and 1, or null, was expected"),
        (["model=vae", "privacy.public=nowhere.json"], "nowhere.json"),
        (["model=vae", "privacy.schema=0.3"], "prepared with preprocess.min_count=3; prepare with preprocess=none"),
        (["model=vae", "privacy.schema=1"], "privacy.schema=1: a share of epsilon from 0 to less than 1 was expected"),
        (["model=vae", "privacy.noise_multiplier=0.1"], "privacy.noise_multiplier=0.1: more noise was expected"),
    ],
)
def test_what_a_private_run_refuses(
    options: list[str], message: str, matrix: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("train", "privacy=dp", *options, *small(matrix, tmp_path)) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_runs_without_privacy_are_known_by_what_they_were(matrix: Path, tmp_path: Path) -> None:
    config = compose("train", {}, {"data.matrix": str(matrix), "paths.runs": str(tmp_path)})
    spec = Spec.of(config, "")
    del config["privacy"]
    assert Spec.of(config, "").identity("0") == spec.identity("0")
    assert "privacy" not in spec.config
    one, other = (Spec.of({**config, "privacy": {"epsilon": value}}, "") for value in (1.0, 2.0))
    assert len({spec.identity("0"), one.identity("0"), other.identity("0")}) == 3
