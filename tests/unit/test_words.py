"""Words of strangers: what is typed stays what it is, what is printed cannot steer, what is advised can be pasted."""

import io
import os
import shlex
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ehrsynth.chunks import write_chunks
from ehrsynth.cli import console
from ehrsynth.cli.console import Terminal
from ehrsynth.cli.generate import boosts, named
from ehrsynth.cli.overrides import readable, sorted_flags
from ehrsynth.cli.texts import keep_words
from ehrsynth.errors import OptionError
from ehrsynth.files import writable
from ehrsynth.words import option, printable, quoted

NAMES = ["a", "a b", "größe/cm", 'say "so"', "it's", "2024_10", "1.10", "true", "NULL", "a\\b", "a\\", '\\"', "${x}"]
NAMES += ["\\${oc.env:HOME}", "$(touch x)", "`ls`", "a,b", "[x]", "{y}", "~", "*", "hb=g:dl", "x\ty", "/tmp/a b/m"]
NAMES += ["日本"]


@pytest.mark.parametrize("name", [*NAMES, NAMES], ids=str)
def test_an_option_can_be_pasted_into_a_shell_whatever_it_names(name: str | list[str]) -> None:
    (argument,) = shlex.split(option("key", name))
    value = OverridesParser.create().parse_override(argument).value()
    assert OmegaConf.to_container(OmegaConf.create({"key": value}), resolve=True) == {"key": name}


@pytest.mark.parametrize(
    "text", ["a b", "a'b", 'a"b', r"\1", r"DX\|(.+)", "a\\", 'a\\"b', "{x: ,}[]=#", "a\tb", "\\\\"]
)
def test_the_command_line_reads_back_what_is_quoted(text: str) -> None:
    override = OverridesParser.create().parse_override(f"+x={{a: [{quoted(text)}], b: {quoted(text)}}}")
    value = override.value()
    assert isinstance(value, dict)
    assert (value["a"], value["b"]) == ([text], text)


def test_plain_names_need_no_quotes() -> None:
    assert option("data.matrix", "matrices/mimic4") == "data.matrix=matrices/mimic4"
    assert option("drop", ["day", "note"]) == "drop=[day,note]"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("out=2024_10", {"out": "2024_10"}),
        ("out=1.10", {"out": "1.10"}),
        ("out=True", {"out": "True"}),
        ("out=.5", {"out": ".5"}),
        ("out=1e5", {"out": "1e5"}),
        ("out=null", {"out": None}),
        ("drop=[2024_10,a,true]", {"drop": ["2024_10", "a", "true"]}),
        ("seed=1_0", {"seed": 10}),
        ("source.path=3.10", {"path": "3.10"}),
        ("source.drop=[1.10]", {"drop": ["1.10"]}),
        ("source.columns={code: 007, time: 1.10}", {"columns": {"code": "007", "time": "1.10"}}),
        ("+source={_target_: ehrsynth.data.sources.flat.Flat, path: 1e5}", {"path": "1e5"}),
        ("out=größe (1).csv", {"out": "größe (1).csv"}),
        ("out=a=b's", {"out": "a=b's"}),
        ("out=x~1", {"out": "x~1"}),
    ],
)
def test_texts_keep_the_words_of_the_command_line(typed: str, kept: dict[str, object]) -> None:
    override = OverridesParser.create().parse_override(readable(typed, sweep=False))
    cfg = OmegaConf.create({"source": {"_target_": "ehrsynth.data.sources.flat.Flat"}})
    OmegaConf.update(cfg, override.key_or_group, override.value(), force_add=True)
    keep_words(cfg, [typed])
    found = OmegaConf.to_container(cfg)
    assert isinstance(found, dict)
    assert {key: {**found, **found["source"]}[key] for key in kept} == kept


def test_flags_may_stand_anywhere() -> None:
    asked = ["a=1", "-m", "b=1,2", "--config-dir", "mine", "c=3"]
    assert sorted_flags(asked) == (["a=1", "b=1,2", "c=3"], ["-m", "--config-dir", "mine"])
    with pytest.raises(OptionError, match="a=1,2: several values; -m makes a run of each"):
        readable("a=1,2", sweep=False)
    assert readable("a=ö,b,ü", sweep=True) == "a='ö',b,'ü'"


def test_a_condition_may_have_equals_signs_in_its_column_and_in_its_value() -> None:
    columns = ["sex", "sex=F", "race=white", "unit"]
    asked = ["sex=F", "sex=F=1", "race=white=1", "unit=a=b", "dose=3"]
    assert named(asked, columns) == {"sex": "F", "sex=F": "1", "race=white": "1", "unit": "a=b", "dose": "3"}


def test_a_boost_may_have_points_and_equals_signs_in_its_column_and_level() -> None:
    columns = ["race", "phe_250.2", "phe_250", "unit=a.b"]
    asked = ["race.hispanic=3", "race.a=b=2", "phe_250.2.1=1.5", "unit=a.b.x.y=2", "dose.high=much"]
    assert boosts(asked, columns) == {
        "race": {"hispanic": 3.0, "a=b": 2.0},
        "phe_250.2": {"1": 1.5},
        "unit=a.b": {"x.y": 2.0},
        "dose": {"high": "much"},
    }


def test_names_cannot_steer_a_terminal() -> None:
    evil = "a\x1b]0;owned\x07\x1b[2J\u202eb\x9b31m\r"
    shown = io.StringIO()
    terminal = Terminal(file=shown, force_terminal=True, width=80)
    terminal.print(evil, style="bold red")
    assert printable(evil) == "a�]0;owned��[2J�b�31m�"
    own = shown.getvalue().replace("\x1b[1;31m", "").replace("\x1b[0m", "")
    assert not set("\x1b\x07\x9b\u202e") & set(own)
    assert "[red]x[/red] :heart:" in written(terminal, shown, "[red]x[/red] :heart:")


def written(terminal: Terminal, shown: io.StringIO, text: str) -> str:
    terminal.print(text)
    return shown.getvalue()


def test_a_reader_that_leaves_is_no_error() -> None:
    assert isinstance(console.out, Terminal)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:  # whose end is flushed as that of a process is
        terminal = Terminal(file=stream)
        for _ in range(9):
            terminal.print("x" * 9999)
        assert terminal.quiet


def test_signs_that_a_terminal_does_not_know_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    from ehrsynth.cli.main import main

    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr("sys.argv", ["ehrsynth", "日本"])
    with pytest.raises(SystemExit):
        main()
    stream.flush()
    assert b"unknown verb '??'" in raw.getvalue()


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert writable("out", tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    (tmp_path / "file").touch()
    for place, file, words in (
        ("file/r", False, "file is a file; a folder was expected"),
        (".", True, "it is a folder; the name of a file was expected"),
        ("x" * 300, False, "cannot be written to .File name too long"),
    ):
        with pytest.raises(OptionError, match=f"^out=.*{words}"):
            writable("out", tmp_path / place, file=file)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere but on a read-only disk
    with pytest.raises(OptionError, match=rf"^paths.runs={tmp_path}/runs: {tmp_path} cannot be written to$"):
        writable("paths.runs", tmp_path / "runs")


def test_a_spreadsheet_computes_nothing_of_a_quoted_table(tmp_path: Path) -> None:
    texts = ["=1+1", "@x", "-cmd", "-1.5", "ok"]
    table = pd.DataFrame({"=a": pd.Categorical(texts), "n": [-1, -2, 3, 4, 5], "x": [-0.5, 1, 2, 3, None]})
    file = tmp_path / "s.csv"
    assert write_chunks(file, [table.iloc[:3], table.iloc[3:]], quote_formulas=True) == 5
    assert file.read_text() == "'=a,n,x\n'=1+1,-1,-0.5\n'@x,-2,1.0\n'-cmd,3,2.0\n-1.5,4,3.0\nok,5,\n"
    write_chunks(file, [table])
    assert pd.read_csv(file)["=a"].tolist() == texts
