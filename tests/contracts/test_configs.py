"""Every YAML that names a class fits its constructor, and every verb composes."""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf

from ehrsynth.cli.main import VERBS, help_of
from ehrsynth.study.conf import compose as loaded
from ehrsynth.study.conf import conf_dir
from ehrsynth.study.spec import OURS

LATE_BOUND = {"schema", "seed", "callbacks", "logger"}
MODELS = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))


def targets(node: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every mapping with a ``_target_`` below ``node``."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def plain_yamls() -> list[Path]:
    """Return the YAMLs that name a class, at their top or one level below."""
    named = re.compile("^[^#]*_target_:", re.MULTILINE)
    return [path for path in sorted(conf_dir().rglob("*.yaml")) if named.search(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", plain_yamls(), ids=lambda path: str(path.relative_to(conf_dir())))
def test_yaml_fits_the_constructor_it_names(path: Path) -> None:
    content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    found = list(targets(content))
    assert found
    for node in found:
        signature = inspect.signature(get_class(node["_target_"]))
        ours = OURS if path.parent.name == "trainer" else {}  # options of the trainer that Lightning does not know
        given = [str(key) for key in node if not str(key).startswith("_") and key not in ours]
        signature.bind_partial(**dict.fromkeys(given))
        order = [name for name in signature.parameters if name in given]
        if path.parent.name == "model":
            assert given == order, "the YAML lists a model's options in the order of its constructor"
            required = {n for n, p in signature.parameters.items() if p.default is p.empty}
            assert required - set(given) <= LATE_BOUND


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_config_and_help_that_names_its_options(verb: str) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose(verb)
    own = {key for key in cfg if key not in ("hydra", "paths", "data", "trainer", "logger", "model", "source")}
    assert own
    assert f"ehrsynth {verb}" in help_of(verb)
    assert not re.search(r"\{\w+\}", help_of(verb)), "a placeholder is left"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_composes_under_every_experiment(model: str, experiment: str) -> None:
    """By our own loader, which is faster than Hydra and composes the same, see ``test_conf_loader``."""
    cfg = loaded("train", {"model": model, "experiment": experiment}, {})
    assert cfg["model"].get("_name_", cfg["model"]["_target_"].split(".")[2]) == model
    assert cfg["trainer"]["max_epochs"] >= 1
    get_class(cfg["model"]["_target_"])(schema=_schema(), seed=0, **_options(cfg["model"]))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_has_the_last_word(experiment: str) -> None:
    """What it sets is what a run gets, also where ``train.yaml`` has a value of its own."""
    own = OmegaConf.to_container(OmegaConf.load(conf_dir() / "experiment" / f"{experiment}.yaml")) or {}
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[f"experiment={experiment}"])
    assert isinstance(own, dict)
    for key, value in own.get("evaluation", {}).items():
        assert cfg.evaluation[key] == value


def _options(node: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in node.items() if not str(key).startswith("_")}


def _schema() -> Any:
    from ehrsynth.schema import Column, Schema

    return Schema((Column("a", "binary"), Column("sex", "categorical", levels=("F", "M"))))


def test_budgets_name_models_that_exist() -> None:
    for path in (conf_dir() / "budget").rglob("*.yaml"):
        assert path.stem in MODELS
        assert path.parent.name in EXPERIMENTS
