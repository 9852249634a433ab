"""A metric of one's own is one file and one YAML; report, rank, model card and privacy page follow from its card."""

import sys
from pathlib import Path

import pytest

from ehrsynth.files import read_json
from tests.conftest import Cli, small

METRIC = '''
"""An attack of one's own: does S hold the very codes of a patient?"""

from ehrsynth.bits import unpack
from ehrsynth.evaluation.card import Attack, Card
from ehrsynth.evaluation.evaluator import Evaluator, Value
from ehrsynth.metrics.intervals import difference, share

ECHO = Card(
    name="privacy/echo",
    direction="lower",
    low=-1,
    high=1,
    definition="Share of R whose 0/1 columns some record of S has, minus the same share of H.",
    reading="0: members are echoed no more than others.",
    paper="-",
    role="attack",
    null=0.0,
    grave=1,
    plain_words="echo of members",
    attack=Attack("Echo", "Does the table echo a patient?", "the codes of a person", "Numbers are not looked at.", 1),
    result="echoed patients, above unseen ones",
    headline=1,
)


class Echo(Evaluator):
    """Whether members are echoed more often than others."""

    cards = (ECHO,)
    uses_holdout = True

    def fit(self, real, seed):
        tables = [set(map(bytes, unpack(table.bits).numpy())) for table in (real.train, real.holdout)]

        def score(synthetic, seed):
            there = set(map(bytes, unpack(synthetic.bits).numpy()))
            found = (share(len(table & there), len(table)) for table in tables)
            return {ECHO.name: Value(*difference(*found))}

        return score
'''
SUITE = """
_target_: ehrsynth.evaluation.suite.Suite
evaluators:
  - _target_: ehrsynth.evaluation.fidelity.prevalence.Prevalence
  - _target_: own_metric.Echo
"""
PROFILE = """
_target_: ehrsynth.evaluation.ranking.Profile
name: quiet
description: Nobody may be echoed.
weights: {privacy/echo: 1}
paper: own
"""


@pytest.mark.usefixtures("no_figures")
def test_a_metric_is_one_file_and_one_yaml(
    matrix: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    for path, content in {
        tmp_path / "own_metric.py": METRIC,
        mine / "suite" / "own.yaml": SUITE,
        mine / "profile" / "quiet.yaml": PROFILE,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    options = [option for option in small(matrix, tmp_path / "runs") if not option.startswith("suite@")]
    suites = ["suite@evaluation.quick=own", "suite@evaluation.full=own", "profile=quiet"]
    with monkeypatch.context() as patched:
        patched.syspath_prepend(str(tmp_path))
        assert cli("train", f"--config-dir={mine}", "-m", "model=independent,train_copy", *suites, *options) == 0
    monkeypatch.delitem(sys.modules, "own_metric")  # whoever reads the reports has not got it

    (copy,) = (tmp_path / "runs" / "small" / "train_copy").iterdir()
    report = read_json(copy / "report.json")
    assert "privacy/echo" in [score["metric"] for score in report["scores"]]
    assert [card["name"] for card in report["cards"]] == ["privacy/echo"]
    assert "echo of members" in (copy / "report.html").read_text(encoding="utf-8")
    page = (copy / "privacy.html").read_text(encoding="utf-8")
    assert "<strong>Echo.</strong> Does the table echo a patient?" in page
    assert "echoed patients, above unseen ones" in page
    (line,) = (line for line in (copy / "card.md").read_text(encoding="utf-8").splitlines() if "| privacy/echo" in line)
    assert "leaks" in line

    capsys.readouterr()
    out = tmp_path / "rank.csv"
    assert cli("rank", f"--config-dir={mine}", "profile=quiet", f"runs={tmp_path / 'runs'}/**", f"out={out}") == 0
    assert out.read_text(encoding="utf-8").splitlines()[1].startswith("independent")
    assert "echo of members" in out.with_suffix(".html").read_text(encoding="utf-8")
