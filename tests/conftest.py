"""Fixtures: a small demo matrix, finished runs on it, and the command line called in this process."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

Cli = Callable[..., int]

torch.set_num_threads(1)

# Figures take longest, and are drawn in other tests: ``python -c WITHOUT_FIGURES OPTION ...`` is ``train`` without.
WITHOUT_FIGURES = """
import sys
from ehrsynth.cli.main import run
from ehrsynth.study import judge, rank
judge.report_figures = lambda *_, **__: []
rank.Comparison._figures = lambda *_: []
run("train", sys.argv[1:])
"""


def pytest_collection_finish() -> None:
    """Keep what is imported by now from the garbage collector, which spent a twelfth of the time on looking at it."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Give it back, so that the process ends as it would."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real open data beside the checkout; tests that need it skip without it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not beside the checkout")
    return folder


@pytest.fixture(scope="session")
def cli() -> Iterator[Cli]:
    """Call ``ehrsynth VERB ...`` in this process and return its exit status.

    Hydra composes every config twice, at first only to see whether it sets ``hydra.mode``. None of ours does.
    """
    from hydra._internal.hydra import Hydra

    from ehrsynth.cli.main import run

    def call(verb: str, *arguments: object) -> int:
        with pytest.raises(SystemExit) as ended:
            run(verb, [str(argument) for argument in arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Hydra, "get_mode", lambda *_, **__: None)
        yield call


@pytest.fixture(scope="session")
def matrix(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A prepared demo matrix of 800 simulated patients."""
    folder = tmp_path_factory.mktemp("matrices") / "small"
    options = "source.n=800", "preprocess.min_count=3", "preprocess.min_aside=1"
    assert cli("prepare", *options, f"out={folder}") == 0
    return folder


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, cli: Cli, matrix: Path) -> Path:
    """A finished sweep of two models on the small matrix."""
    runs = tmp_path_factory.mktemp("runs")
    assert cli("train", "-m", "model=vae,independent", *small(matrix, runs)) == 0
    return runs / "small"


@contextmanager
def without_figures() -> Iterator[None]:
    """Draw none: they take longest, and ``study`` has them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ehrsynth.study.judge.report_figures", lambda *_, **__: [])
        patched.setattr("ehrsynth.study.rank.Comparison._figures", lambda *_: [])
        yield


@pytest.fixture
def no_figures() -> Iterator[None]:
    """Draw none in a test; what tests share is made by ``without_figures``."""
    with without_figures():
        yield


@pytest.fixture(scope="module")
def settled_by_few() -> Iterator[None]:
    """Let Chronicle settle by fewer patients than it would, however few it learned from."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ehrsynth.models.visits.chronicle.SETTLED_BY", (1, 1))
        yield


def small(matrix: Path, runs: Path) -> list[str]:
    """Overrides for a run of seconds: two epochs, the quick suite instead of the full one, no tracking."""
    return [
        f"data.matrix={matrix}",
        f"paths.runs={runs}",
        "study=small",
        "data.batch_size=128",
        "trainer.max_epochs=2",
        "trainer.accelerator=cpu",
        "evaluation.checkpoints=2",
        "evaluation.rows=300",
        "suite@evaluation.full=quick",
        "logger.mode=disabled",
    ]
