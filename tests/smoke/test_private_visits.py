"""Private runs over patients through time: what their ledger says, what a total takes, and who is refused."""

import json
import shutil
from pathlib import Path

import pytest

from ehrsynth.data.trajectories import Trajectories
from ehrsynth.ledger import Ledger
from ehrsynth.models.visits.base import load_visit_model
from ehrsynth.study.run_folder import RunFolder
from tests.conftest import Cli
from tests.smoke.test_through_time import ASKED, ROWS

pytestmark = [pytest.mark.usefixtures("no_figures"), pytest.mark.filterwarnings("ignore")]
NOISY = [
    "counts of columns",
    "choice of pairs",
    "counts of pairs",
    "shares of patients, ticks, ages",
    "ranges of dates and measurements",
    "shares of codes and numbers",
    "training",
]
COUNTED = ["numbers of visits, deaths, lengths of counts", "visits and their codes"]
LEARNED = [
    "vocabulary and rare codes",
    "levels of categories",
    "bounds and decimals of numbers",
    "columns left out",
    "kinds of visits",
]


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A trajectories folder of 300 simulated patients."""
    folder = tmp_path_factory.mktemp("trajectories") / "few"
    assert cli("prepare", "form=trajectories", "source=demo_visits", "source.n=300", f"out={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def same(patients: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of runs of seconds."""
    folder = tmp_path_factory.mktemp("conf")
    (folder / "suite").mkdir()
    (folder / "suite" / "visits.yaml").write_text(ASKED, encoding="utf-8")
    (folder / "suite" / "rows.yaml").write_text(ROWS, encoding="utf-8")
    suites = [f"suite@temporal.{which}=visits" for which in ("quick", "full")]
    suites += [f"suite@evaluation.{which}=rows" for which in ("quick", "full")]
    return [
        f"--config-dir={folder}",
        f"data.matrix={patients}",
        *suites,
        "model=visits/halo",
        "model.width=16",
        "model.hidden=16",
        "model.visits=6",
        "data.batch_size=32",
        "trainer.max_epochs=2",
        "trainer.accelerator=cpu",
        "evaluation.checkpoints=1",
        "evaluation.rows=100",
        "logger.mode=disabled",
        "privacy=dp",
        "privacy.epsilon=8",
        "privacy.noise_multiplier=2",
        "privacy.marginals=0.5",
    ]


def run_of(folder: Path) -> RunFolder:
    (found,) = (folder / "few" / "halo").iterdir()
    return RunFolder.open(found)


@pytest.mark.study
def test_a_training_alone_claims_no_total(
    same: list[str], tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("train", *same, f"paths.runs={tmp_path}") == 0
    run = run_of(tmp_path)
    ledger = Ledger.from_dict(run.facts(ledger=dict)["ledger"])
    assert ledger.unaccounted == LEARNED
    assert [look.what for look in ledger.looks if not isinstance(look.mechanism, str)] == NOISY
    assert 0 < ledger.spent.value <= 8
    for page in ("card.md", "privacy.html"):
        text = (run.path / page).read_text(encoding="utf-8")
        assert "no total is claimed: learned without noise were" in text
        assert f"{ledger.spent.value:.3f}" in text
    assert not run.targets.is_file(), "counts of training patients without noise"
    assert run.provenance["epoch"] == 2
    assert cli("generate", f"run={run.path}", "n=5", f"out={tmp_path / 'some'}") == 0
    for asked in ("calibrate=true", "continue=holdout", "continue=train"):
        assert cli("generate", f"run={run.path}", asked, f"out={tmp_path / 'other'}") == 2, asked
        assert "private" in capsys.readouterr().err


def test_under_public_schemas_all_is_accounted_for(same: list[str], patients: Path, tmp_path: Path, cli: Cli) -> None:
    """Schemas from elsewhere: a code that nobody has, one less, and other bounds."""
    public = tmp_path / "public"
    public.mkdir()
    shutil.copy(patients / "schema.json", public)
    content = json.loads((patients / "visits.json").read_text(encoding="utf-8"))
    gone = content["codes"].pop(0)["name"]
    content["codes"][0]["label"] = "a label of its own"
    content["codes"].append({**content["codes"][-1], "name": "elsewhere"})
    (public / "visits.json").write_text(json.dumps(content), encoding="utf-8")
    runs, more = tmp_path / "runs", f"privacy.public={public / 'schema.json'}"
    assert cli("train", *same, f"paths.runs={runs}", more) == 0
    run = run_of(runs)
    ledger = Ledger.from_dict(run.facts(ledger=dict)["ledger"])
    scores = {score.metric: score for score in run.scores()}
    assert not ledger.unaccounted
    assert scores["privacy/epsilon"].value == pytest.approx(ledger.total.value)
    assert 0 < ledger.total.value <= 8
    assert f"{ledger.total.value:.3f} (RDP" in (run.path / "privacy.html").read_text(encoding="utf-8")
    model = load_visit_model(run.chosen_checkpoint)
    names = [code.name for code in model.visit_schema.codes]
    assert "elsewhere" in names
    assert gone not in names
    assert len(Trajectories.open(patients).visit_schema.codes) == len(names)


def test_counts_of_visits_are_released_once(
    same: list[str], patients: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [option for option in same if not option.startswith(("model", "trainer.max", "privacy", "data.batch"))]
    asked += ["model=visits/dp_markov", f"paths.runs={tmp_path}"]
    private = ["privacy=dp", "privacy.epsilon=3", f"privacy.public={patients / 'schema.json'}"]
    assert cli("train", *asked, *private) == 0
    (found,) = (tmp_path / "few" / "dp_markov").iterdir()
    run = RunFolder.open(found)
    ledger = Ledger.from_dict(run.facts(ledger=dict)["ledger"])
    assert not ledger.unaccounted
    assert [look.what for look in ledger.looks if not isinstance(look.mechanism, str)] == [*NOISY[:5], *COUNTED]
    assert 2.9 < ledger.total.value <= 3
    assert f"{ledger.total.value:.3f} (RDP" in (run.path / "privacy.html").read_text(encoding="utf-8")
    assert not run.targets.is_file(), "counts of training patients without noise"
    model = load_visit_model(run.chosen_checkpoint)
    assert model.hparams["epsilon"] == 3
    assert cli("train", *asked, "privacy=none") == 2
    assert "privacy=none model=dp_markov: it spends epsilon" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            "model=visits/chronicle",
            "what it learns of one record cannot be told apart; visits/halo and visits/dp_markov can be private",
        ),
        ("model.head=square", "head=square: the norms of gradients are known of head=made alone"),
        ("privacy.marginals=0", "privacy.marginals=0: rows and dates of patients are drawn as noisy sums tell them"),
        ("privacy.draws=2", "privacy.draws=2: 1, for the loss of halo draws nothing, was expected"),
        ("privacy.schema=0.3", "privacy.schema=0.3: of rows alone so far"),
        ("privacy.epsilon=-1", "privacy.epsilon=-1"),
        ("audit.canaries=50", "audit.canaries: they are rows"),
        ("privacy.public={tmp}/schema.json", "schema.json: no such file"),
    ],
)
def test_what_cannot_be_is_said(
    same: list[str], asked: str, said: str, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [option for option in same if not (asked.startswith("model=") and option.startswith("model"))]
    if not asked.startswith("model="):
        kept = [option for option in kept if option.split("=")[0] != asked.split("=")[0]]
    assert cli("train", *kept, asked.format(tmp=tmp_path), f"paths.runs={tmp_path / 'runs'}") == 2
    assert said in " ".join(capsys.readouterr().err.split())
