"""The benchmarks do what they say; how fast anything is, no test asks."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPTS = Path(__file__).parents[2] / "scripts"
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield import_module("benching")
    for name in [name for name in sys.modules if name.startswith("bench")]:
        del sys.modules[name]


def carried_out(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    import_module(name).main()


@pytest.mark.parametrize("name", ["vae", "ehrdiff_tuned", "emr_wgan_tuned", "tabsyn_tuned"])
def test_the_bare_loop_takes_the_steps_that_lightning_takes(
    name: str, script: ModuleType, matrix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ehrsynth.data.matrix import Matrix

    monkeypatch.setattr(script, "BATCH", 32)
    data = script.opened(Matrix.open(matrix), 32)
    ours, plain = script.made(name, data), script.made(name, data)
    script.lightning(ours, data, 2, 2)
    script.bare(plain, data.filled.dense(), 2, 2)
    left, right = ours.state_dict(), plain.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert not torch.equal(script.weights(ours), script.weights(script.made(name, data)))


def test_an_exponent_is_that_of_the_last_three_sizes(script: ModuleType) -> None:
    sizes = [1, 10, 100, 1000]
    assert script.exponent(sizes, [5000, 3 * 10**1.5, 3 * 100**1.5, 3 * 1000**1.5]) == pytest.approx(1.5)


def test_models_by_gradient_are_those_that_descend_a_loss(script: ModuleType) -> None:
    found = script.by_gradient()
    assert {"vae", "emr_wgan", "tally", "ehrdiff"} <= set(found)
    assert set(script.every_model()) - set(found) >= {
        "chow_liu", "independent", "mixture", "record_mixture", "train_copy"
    }  # fmt: skip
    with pytest.raises(SystemExit, match="--models foo: one of corgan"):
        script.chosen(["foo"], found)


def test_what_was_measured_is_not_measured_again(script: ModuleType, tmp_path: Path) -> None:
    measured = iter([{"total": 1.0}, {"total": 2.0}])
    for key, total in (("a", 1.0), ("a", 1.0), ("b", 2.0), ("a", 1.0)):
        assert script.kept_in(tmp_path / "kept.json", key, lambda: next(measured)) == {"total": total}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.usefixtures("script")
def test_without_a_gpu_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        carried_out(monkeypatch, "bench_gpu")
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("bench gpu: this machine has no GPU that torch can use")


@pytest.mark.usefixtures("script")
def test_the_script_for_gpus_runs_on_a_cpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--device", "cpu", "--models", "vae", "--steps", "2", "--patients", "1500", "--rows", "200"]
    with pytest.raises(SystemExit) as ended:
        carried_out(monkeypatch, "bench_gpu", *options)
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    (line,) = [line for line in said.splitlines() if line.startswith("  vae")]
    counts = line.split(" scores agree")[0].split()[-3:]
    assert counts[0] == counts[2]  # the same weights on the same device draw the same
    assert int(counts[0]) > 10


@pytest.mark.study
@pytest.mark.usefixtures("script")
@pytest.mark.parametrize(
    ("name", "options", "lines"),
    [
        ("bench_training", ["--models", "vae", "medgan", "--rows", "1500", "--seconds", "1", "--pairs", "2"], 4),
        ("bench_sampling", ["--models", "vae", "mixture", "--patients", "800", "--rows", "500", "--seconds", "1"], 3),
        ("bench_ddp", ["--models", "vae", "independent", "--patients", "1500", "--steps", "2"], 3),
        ("bench_visits", ["--patients", "200"], 2),
        ("bench_privacy", ["--models", "vae", "--rows", "800", "--columns", "60", "--batch", "64", "--steps", "2"], 2),
    ],
)
def test_a_benchmark_prints_a_line_a_model(
    name: str, options: list[str], lines: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    carried_out(monkeypatch, name, *options)
    assert len(capfd.readouterr().out.splitlines()) == lines


@pytest.mark.study
@pytest.mark.usefixtures("script")
def test_growth_is_measured_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ["--rows", "600", "1200", "--columns", "40", "--out", str(tmp_path)]
    carried_out(monkeypatch, "bench_growth", "--what", "quick", "training", "sampling", *sizes)
    assert {path.name for path in tmp_path.iterdir()} == {"growth.json", "growth.png"}
