"""What a person reads at the terminal, without a run."""

import shlex
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

import ehrsynth
from ehrsynth.cli.tables import score_table
from ehrsynth.data.inference import infer_schema
from ehrsynth.data.tables import Reading, Source, read_schema, read_tables
from ehrsynth.errors import TableError
from tests.scores import score_of

Cli = Callable[..., int]
NAMES = ["day", "heart rate (1/min)", "größe/cm", "hb=g:dl, venous", 'say "so"', "1st", "it's"]


def table(seed: int) -> pd.DataFrame:
    draws = np.random.default_rng(seed)
    return pd.DataFrame({"mrn": np.arange(40) + 100 * seed, "age": draws.integers(20, 90, 40), "x": draws.random(40)})


def test_the_advice_to_drop_columns_can_be_pasted_whatever_their_names() -> None:
    frame = pd.DataFrame(dict.fromkeys(NAMES, "2020-01-31"), index=range(30)).assign(age=range(30, 60))
    with pytest.raises(TableError) as refused:
        infer_schema(frame.drop(columns="age"), "train.csv")
    advice = str(refused.value).split("leave them out with ")[1].split(" (subject=")[0]
    (argument,) = shlex.split(advice)
    assert OverridesParser.create().parse_override(argument).value() == NAMES


def test_every_absent_option_is_named_at_once(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("evaluate", "train=t.csv") == 2
    assert "holdout=, out=, synthetic= are required and not given" in capsys.readouterr().err
    assert cli("evaluate", "train=t.csv", "holdout=h.csv", "synthetic=s.csv") == 2
    assert "error: out= is required and not given" in capsys.readouterr().err


def test_a_name_that_needs_quotes_is_told_so(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("evaluate", "drop=[größe/cm]") == 2
    told = capsys.readouterr().err
    assert "drop=[größe/cm]: not readable" in told
    assert "need quotes, as in 'drop=[\"heart rate (1/min)\"]'" in told


def test_shared_subjects_are_told_under_the_name_of_their_own_column() -> None:
    tables = {"train": table(0), "holdout": table(0).assign(x=0.5), "synthetic": table(2)}
    sources = {role: Source.of(role, frame) for role, frame in tables.items()}
    reading = Reading(subject="mrn")
    with pytest.raises(TableError, match="column 'mrn': 40 rows belong to subjects"):
        read_tables(sources, read_schema(sources["train"], reading), reading)


def test_scores_that_are_absent_for_one_reason_share_a_line() -> None:
    absent = [score_of(f"utility/{name}", None, "higher", status="skipped", reason="no outcome") for name in "abc"]
    other = score_of("validity/d", None, "lower", status="failed", reason="no outcome")
    found = score_table([score_of("fidelity/apd", 0.25, "lower"), *absent, other], "s.csv")
    console = Console(width=120)
    with console.capture() as shown:
        console.print(found)
    assert "utility/a and 2 more" in shown.get()
    assert "utility/b" not in shown.get()
    assert "0.25" in shown.get()
    assert found.row_count == 3


def test_an_evaluation_at_the_prompt_shows_no_row() -> None:
    result = ehrsynth.evaluate(*(table(seed).drop(columns="mrn") for seed in range(3)))
    assert repr(result).startswith("<Evaluation of synthetic against train: ")
    assert "tensor" not in repr(result.evidence)
    assert [finding.question for finding in result.findings][2] == "Does it leak?"
