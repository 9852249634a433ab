"""Sites on machines of their own, by Flower: their weights are to the bit those of sites that take turns on one."""

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch

from ehrsynth.errors import OptionError
from ehrsynth.files import read_json
from ehrsynth.models.base import read_checkpoint
from ehrsynth.study.federate.flower import asked_for
from ehrsynth.study.federate.flower_server import server_app
from tests.matrices import make

TESTS = Path(__file__).parents[1]
APP = TESTS.parent / "experiments" / "federated" / "flower"
PYTHON = os.environ.get("EHRSYNTH_FLOWER") or (sys.executable if find_spec("flwr") else None)
WHY = (
    "flwr pins rich below 15 and packaging below 26, so it has an environment of its own: pip install"
    " 'ehrsynth[flower]' there, and name its python by EHRSYNTH_FLOWER"
)
ONE_METRIC = "[{_target_: ehrsynth.evaluation.fidelity.dimension_wise_distance.DimensionWiseDistance}]"
OPTIONS = (
    "model=vae",
    "model.hidden=[16]",
    "model.latent_width=4",
    "rounds=2",
    "trainer.max_epochs=3",  # one, then two
    "trainer.accelerator=cpu",
    "data.batch_size=32",
    "seed=5",
    "n=60",
    "evaluation.checkpoints=1",
    "evaluation.rows=50",
    f"evaluation.full.evaluators={ONE_METRIC}",
    f"evaluation.quick.evaluators={ONE_METRIC}",
    "logger.mode=disabled",
)
IN_TURN = """
import sys
from ehrsynth.cli.main import run
from ehrsynth.study import judge
judge.report_figures = lambda *_, **__: []
run("federate", sys.argv[1:])
"""


@pytest.mark.skipif(find_spec("flwr") is not None, reason="flwr is installed here")
def test_without_flower_the_extra_is_named() -> None:
    with pytest.raises(OptionError, match=r"need the package flwr; pip install 'ehrsynth\[flower\]'"):
        server_app()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("model=vae rounds", "options=rounds: NAME=VALUE"),
        ("by=race", "here sites are nodes"),
        ("method=merged", "here sites are nodes"),
        ("constraints.weight=1", r"constraints\.weight=1: 0, for each site knows its own rules alone"),
        ("model=vae privacy=dp", "privacy=dp: a round that is repeated"),
        ("no_such=1", "no_such"),
    ],
)
def test_options_that_are_none_of_it(options: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        asked_for(options)


def test_options_are_those_of_the_command() -> None:
    spec = asked_for("model=vae model.hidden='[16, 8]' trainer.max_epochs=4 rounds=2 experiment=demo")
    assert spec.model["hidden"] == [16, 8]
    assert spec.trainer["max_epochs"] == 4
    assert spec.federation == {"by": None, "rounds": 2}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of two sites, of unequal size and other columns."""
    folder = tmp_path_factory.mktemp("sites")
    return {name: make(folder / name, f"source.n={n}", seed=n).folder for name, n in (("north", 300), ("south", 200))}


@pytest.fixture(scope="module")
def in_turn(sites: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where these sites have agreed on columns (``m``), and trained in turn (``runs``)."""
    home = tmp_path_factory.mktemp("turns")
    where = f"sites=[{','.join(map(str, sites.values()))}]", "align=true", "paths.runs=runs", "paths.matrices=m"
    subprocess.run([str(PYTHON), "-c", IN_TURN, *OPTIONS, *where], cwd=home, env=_environment(home), check=True)
    return home


@pytest.mark.study
@pytest.mark.timeout(900)
@pytest.mark.skipif(PYTHON is None, reason=WHY)
def test_the_same_weights_as_in_turn(sites: dict[str, Path], in_turn: Path, tmp_path: Path) -> None:
    """The messages of Flower, carried within one process."""
    nodes = [json.dumps(node) for node in _configured(sites, in_turn)]
    command = [str(PYTHON), str(TESTS / "flower_in_process.py"), json.dumps(_run(sites)), *nodes]
    subprocess.run(command, cwd=tmp_path, env=_environment(tmp_path), check=True)
    assert_same(tmp_path, in_turn)


@pytest.mark.study
@pytest.mark.timeout(1800)
@pytest.mark.skipif(PYTHON is None, reason=WHY)
def test_so_have_nodes_that_ray_simulates(sites: dict[str, Path], in_turn: Path, tmp_path: Path) -> None:
    if subprocess.run([str(PYTHON), "-c", "import ray"], check=False, capture_output=True).returncode:
        pytest.skip("Flower simulates nodes by Ray: pip install 'ehrsynth[flower-simulation]' where its python is")
    run = {**_run(sites, tmp_path / "runs"), "simulated": json.dumps(_configured(sites, in_turn))}
    with _link("--simulation", home=tmp_path):
        _start(run, tmp_path, "--federation-config", f"num-supernodes={len(sites)} client-resources-num-cpus=1")
    assert_same(tmp_path, in_turn)


@pytest.mark.study
@pytest.mark.timeout(1800)
@pytest.mark.skipif(PYTHON is None, reason=WHY)
def test_so_have_nodes_that_are_processes(sites: dict[str, Path], in_turn: Path, tmp_path: Path) -> None:
    """A link, two nodes and ``flwr run``, as the study says it."""
    with _link(nodes=_configured(sites, in_turn), home=tmp_path):
        _start(_run(sites), tmp_path)
    assert_same(tmp_path, in_turn)


def assert_same(found: Path, wanted: Path) -> None:
    own, other = (next((home / "runs").rglob("sites.json")) for home in (found, wanted))
    assert read_json(own) == read_json(other)
    one, two = (sorted(file.parent.glob("checkpoints/*.ckpt"))[-1] for file in (own, other))
    weights, those = (read_checkpoint(file)["state_dict"] for file in (one, two))
    assert weights.keys() == those.keys()
    assert all(torch.equal(weights[name], those[name]) for name in those)


def _configured(sites: dict[str, Path], in_turn: Path) -> list[dict[str, str]]:
    schema = str(next((in_turn / "m").glob("*/schema.json")))
    return [{"site": name, "matrix": str(folder), "schema": schema} for name, folder in sites.items()]


def _run(sites: dict[str, Path], runs: Path = Path("runs")) -> dict[str, Any]:
    return {"sites": len(sites), "options": shlex.join([*OPTIONS, f"paths.runs={runs}"])}


def _start(run: dict[str, Any], home: Path, *more: str) -> None:
    """Have the link carry out a run."""
    (home / "run.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in run.items()))
    command = [_beside("flwr"), "run", str(APP), "here", "--stream", "--run-config", "run.toml", *more]
    subprocess.run(command, cwd=home, env=_environment(home), check=True)


@contextmanager
def _link(*options: str, home: Path, nodes: Sequence[dict[str, str]] = ()) -> Iterator[None]:
    """Start the link, and a node a site."""
    port, *ports = _free_ports(1 + len(nodes))
    (home / "config.toml").write_text(f'[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n')
    alone = "--insecure", "--host", "127.0.0.1", "--port"
    commands = [["flower-superlink", *alone, str(port), "--disable-runtime-dependency-installation", *options]]
    for own, node in zip(ports, nodes, strict=True):
        words = " ".join(f'{key}="{value}"' for key, value in node.items())
        link = "--superlink", f"127.0.0.1:{port}"
        commands.append(["flower-supernode", *alone, str(own), *link, "--node-config", words])
    running = []
    try:
        for number, (program, *arguments) in enumerate(commands):
            with (home / f"{number}.log").open("w") as log:
                command = [_beside(program), *arguments]
                running.append(subprocess.Popen(command, cwd=home, env=_environment(home), stdout=log, stderr=log))
        while running[0].poll() is None and not _listens(port):
            sleep(1)
        yield
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(60)


def _beside(program: str) -> str:
    return str(Path(str(PYTHON)).parent / program)


def _environment(home: Path) -> dict[str, str]:
    quiet = {"FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    return {**os.environ, **quiet, "OMP_NUM_THREADS": "1", "PATH": f"{_beside('')}:{os.environ['PATH']}"}


def _listens(port: int) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(number: int) -> list[int]:
    """Return ports that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
