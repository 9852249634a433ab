"""The loader of the library against Hydra: the same configurations and objects from every file in ``conf/``."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ehrsynth.errors import FileError, OptionError
from ehrsynth.study.build import build
from ehrsynth.study.conf import compose, conf_dir, load, names

MODELS, EXPERIMENTS = names("model"), names("experiment")
LATE = ("model", "trainer", "source")  # bound to a schema, callbacks, or files that a test has not
SUITE = "suite@evaluation.full"
GIVEN = {
    "path": "table.csv",
    "root": "folder",
    "by": ["died_within_year"],
    "max_epochs": 3,
}  # options without a value of their own


def cases() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a verb and its choices, so that every option of every group is chosen once; of several groups at a time."""
    yield from (("train", choices) for choices in together(model="model", trainer="trainer", suite=SUITE))
    yield from (("train", {"experiment": experiment}) for experiment in EXPERIMENTS)
    budgets = sorted((conf_dir() / "budget").glob("*/*.yaml"))
    yield from (("train", {"model": path.stem, "experiment": path.parent.name}) for path in budgets)
    own = ("source", "cohort", "features", "preprocess", "split")
    yield from (("prepare", choices) for choices in together(**{group: group for group in own}))
    yield from (("prepare", choices) for choices in together(faults="faults@cohort.faults"))
    yield from (("prepare", choices) for choices in together(vocabulary="vocabulary@features.diagnoses.vocabulary"))
    yield from (("evaluate", choices) for choices in together(suite="suite"))
    yield from (("rank", choices) for choices in together(profile="profile"))


def together(**groups: str) -> Iterator[dict[str, str]]:
    """Yield choices of an option of each group, by the key under which it is chosen, until all have been chosen."""
    columns = ([(key, option) for option in names(group)] for group, key in groups.items())
    yield from (dict(filter(None, row)) for row in zip_longest(*columns))


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


@pytest.mark.parametrize(
    ("verb", "choices"), list(cases()), ids=lambda case: case if isinstance(case, str) else str(case)
)
def test_every_option_composes_as_under_hydra(verb: str, choices: dict[str, str]) -> None:
    theirs = hydra_compose(verb, [f"{group}={option}" for group, option in choices.items()])
    assert compose(verb, choices, {}) == OmegaConf.to_container(theirs, resolve=True)


@pytest.mark.parametrize("options", [[name] for name in names("logger")] + [["wandb", "tensorboard", "mlflow"]])
def test_several_options_of_a_group_compose_as_under_hydra(options: list[str]) -> None:
    theirs = hydra_compose("train", [f"logger=[{','.join(options)}]"])
    assert compose("train", {"logger": options}, {}) == OmegaConf.to_container(theirs, resolve=True)


def test_the_last_word_is_the_callers() -> None:
    values = {"data.n": 123, "seed": 7, "trainer.max_time": "00:00:10:00", "features.insurance": None}
    choices = {"experiment": "jmir_mimic4", "model": "vae", "source": "demo", "cohort": "demo", "features": "demo"}
    overrides = [f"{key}={'null' if value is None else value}" for key, value in {**choices, **values}.items()]
    ours = compose("train", choices, values)
    assert ours == OmegaConf.to_container(hydra_compose("train", overrides), resolve=True)
    assert (ours["source"]["n"], ours["features"]["insurance"]) == (123, None)


def test_what_is_empty_takes_keys_of_the_users_own() -> None:
    assert compose("train", {}, {"rows.oversample": {"E10": 20}})["rows"]["oversample"] == {"E10": 20}
    with pytest.raises(OptionError, match=r"rows\.oversampled: no such option"):
        compose("train", {}, {"rows.oversampled": {"E10": 20}})


@pytest.mark.parametrize("group", ["cohort", "preprocess", "split", "suite", "profile", "faults", "vocabulary"])
def test_every_option_builds_what_hydra_builds(group: str) -> None:
    for option in names(group):
        node = filled(load(group, option))
        assert same(build(node, group), instantiate(OmegaConf.create(node), _convert_="all")), option


@pytest.mark.parametrize("source", names("source"))
def test_the_columns_of_every_source_are_those_that_hydra_builds(source: str) -> None:
    node = filled(compose("prepare", {"source": source}, {})["features"])
    assert same(build(node, "features"), instantiate(OmegaConf.create(node), _convert_="all"))


@pytest.mark.parametrize("group", LATE)
def test_what_is_bound_late_gets_the_options_that_hydra_gives(group: str) -> None:
    for option in names(group):
        node = filled(load(group, option))
        node.pop("_name_", None)  # is ours: Hydra would take it for an option of the class
        late, theirs = build(node, group, late=True), instantiate(OmegaConf.create(node), _partial_=True)
        assert (late.func, late.keywords) == (theirs.func, theirs.keywords), option


def filled(node: Any) -> Any:
    """Give options that are required a value."""
    if isinstance(node, Mapping):
        return {key: GIVEN[key] if value == "???" else filled(value) for key, value in node.items()}
    return [filled(value) for value in node] if isinstance(node, list) else node


def same(one: Any, other: Any) -> bool:
    """Whether two objects hold the same, down to the last attribute."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one).__module__.startswith("ehrsynth.") and hasattr(one, "__dict__"):
        return same(vars(one), vars(other))
    return bool(one == other) or callable(one)


def test_a_yaml_of_ones_own_and_what_is_wrong_with_one(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("# @package _global_\nmodel: {_target_: mine.Model, rate: 1e-3}\ntrainer: {max_epochs: 3}\n")
    made = compose("train", {"model": own}, {})
    assert (made["model"], made["trainer"]["max_epochs"]) == ({"_target_": "mine.Model", "rate": 0.001}, 3)
    own.write_text("split: 2020-01-31\n")
    assert load("x", own) == {"split": "2020-01-31"}
    with pytest.raises(OptionError, match=r"model=gan: no such model; use one of .*ehrdiff, "):
        compose("train", {"model": "gan"}, {})
    with pytest.raises(OptionError, match="modle: train has no such group"):
        compose("train", {"modle": "vae"}, {})
    with pytest.raises(FileError, match=r"gone.yaml: no such file"):
        load("suite", tmp_path / "gone.yaml")
    own.write_text("a: [")
    with pytest.raises(FileError, match="not readable as YAML"):
        load("suite", own)
    with pytest.raises(OptionError, match=r"source.root= is required and not given"):
        build(load("source", "mimic_iv"), "source")
    with pytest.raises(OptionError, match=r"no_such_module.Thing: cannot be imported"):
        build({"_target_": "no_such_module.Thing"})
    with pytest.raises(OptionError, match=r"split: BySubject does not take these options .*'holdut'"):
        build({"_target_": "ehrsynth.data.split.BySubject", "holdut": 0.3}, "split")
