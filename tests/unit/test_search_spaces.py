"""What a search tries: spaces as they are written, and that every model takes all that its own space offers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ehrsynth.errors import OptionError
from ehrsynth.schema import Column, Schema
from ehrsynth.study.build import build
from ehrsynth.study.conf import Node, compose, conf_dir, names
from ehrsynth.study.search.spaces import Choices, Range, Space, changed, drawn_of, near, space_of, typed, values_of
from ehrsynth.study.search.spec import SearchSpec
from tests.visits import visit_schema

# They have no settings, are there to be caught, or spend epsilon in each trial.
UNSEARCHED = {"independent", "train_copy", "record_mixture", "dp_tree", "dp_mixture", "dp_merf"}
UNSEARCHED |= {"visits/independent_visits", "visits/train_copy_visits", "visits/record_mixture_visits", "visits/markov"}
UNSEARCHED |= {"visits/dp_markov", "visits/halo_published"}  # the latter is of the sizes of its paper
SEARCHED = [*names("search"), *(f"visits/{name}" for name in names("search/visits"))]
CONFIG: Node = {
    "model": {"_target_": "x.Y", "rate": 0.001, "widths": [8, 4], "told": False, "name": "a"},
    "data": {"batch_size": 64, "matrix": None},
    "trainer": {"max_epochs": 3},
    "seed": 0,
}
SCHEMA = Schema(
    (
        Column("sex", "categorical", levels=("F", "M")),
        *(Column(f"code{i}", "binary", domain="diagnosis") for i in range(4)),
        Column("age", "continuous", bounds=(0.0, 99.0)),
    )
)


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def searched(model: str, experiment: str = "none") -> tuple[Space, Node]:
    config = compose("search", {"model": model, "experiment": experiment}, {})
    return space_of(config["search"]["space"], config), config


def test_a_space_is_read_nested_and_dotted() -> None:
    node = {"model": {"rate": {"low": 1e-4, "high": 1e-2, "log": True}, "told": [False, True]}, "data.batch_size": [1]}
    space = space_of(node, CONFIG)
    assert space == {
        "model.rate": Range(1e-4, 1e-2, True),
        "model.told": Choices((False, True)),
        "data.batch_size": Choices((1,)),
    }
    assert [str(dimension) for dimension in space.values()] == ["0.0001 to 0.01, logarithmic", "false, true", "1"]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"model": {"rat": [1]}}, r"search.space.model.rat: no such option; use one of rate, widths, told, name"),
        ({"model.rate.x": [1]}, r"search.space.model.rate.x: no such option"),
        ({"model": {"_target_": ["a.B"]}}, r"search.space.model._target_: no such option"),
        ({"seed": [0, 1]}, r"search.space.seed: not to be searched.*use options of model, trainer"),
        ({"data": {"matrix": ["a"]}}, r"search.space.data.matrix: not to be searched"),
        ({"model": {"rate": 0.1}}, r"search.space.model.rate=0.1: \[a, b, c\] or \{low: a, high: b\} was expected"),
        ({"model": {"rate": []}}, r"search.space.model.rate=\[\]"),
        ({"model": {"rate": {"low": 2, "high": 1}}}, r"search.space.model.rate=.*a higher high"),
        ({"model": {"rate": {"low": 1}}}, r"search.space.model.rate=\{'low': 1\}: low, a higher high"),
        ({"model": {"rate": {"low": 0, "high": 1, "step": 2}}}, r"search.space.model.rate=.*low, a higher high"),
        ({"model": {"rate": {"low": True, "high": 2}}}, r"search.space.model.rate=.*low, a higher high"),
        ({"model": {"rate": {"low": 0, "high": 1, "log": True}}}, r"model.rate.low=0: a number above 0"),
        ({}, r"search.space: nothing to try for x.Y; name options, as search.space.model.OPTION="),
        ("model.rate", r"search.space=model.rate: options with the values to try was expected"),
    ],
)
def test_what_is_no_space_is_named(node: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        space_of(node, CONFIG)


def test_the_settings_as_they_stand_are_drawn_where_they_lie_in_the_space() -> None:
    space: Space = {
        "model.rate": Range(1e-4, 1e-2, True),
        "model.widths": Choices(([8, 4], [16])),
        "model.told": Choices((0, True)),  # 0 is another value than false
        "data.batch_size": Range(128, 256),
    }
    assert drawn_of(space, CONFIG) == {"model.rate": 0.001, "model.widths": "[8, 4]"}


def test_values_are_short_whole_where_both_ends_are_and_within_their_ends() -> None:
    space: Space = {"a": Range(0.12341, 0.12399), "b": Range(2, 9, True), "c": Choices(([1, [2]], None, "x"))}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [values_of(space, study.ask()) for _ in range(200)]
    assert {values["a"] for values in drawn} == {0.12341, 0.1235, 0.1236, 0.1237, 0.1238, 0.1239, 0.12399}
    assert {type(values["b"]) for values in drawn} == {int}
    assert {values["b"] for values in drawn} == set(range(2, 10))
    assert {str(values["c"]) for values in drawn} == {"[1, [2]]", "None", "x"}
    again = study.trials[0]
    assert values_of(space, optuna.trial.Trial(study, again._trial_id)) == drawn[0]


def test_draws_near_others_move_some_options_a_little_and_stay_within_the_space() -> None:
    space: Space = {
        "a": Range(1e-4, 1e-2, True),
        "b": Range(2, 9),
        "c": Choices((64, 128, 256, 512)),
        "d": Choices(("only",)),
        "e": Range(0.0, 1.0),
    }
    start = {"a": 1e-3, "b": 2, "c": "128", "d": '"only"', "e": 0.5}
    rng = np.random.default_rng(0)
    found = [near(space, start, rng) for _ in range(2000)]
    moved = {name: [draws[name] for draws in found if draws[name] != start[name]] for name in space}
    chance = 1 - (1 - 1 / 3) * (1 - 1 / 5)  # a third move, and one of five always does
    assert len(moved["a"]) / 2000 == pytest.approx(chance, abs=0.03)
    assert len(moved["c"]) / 2000 == pytest.approx(chance, abs=0.03)
    assert set(moved["c"]) == {"64", "256"}
    assert moved["d"] == []
    assert {type(value) for value in moved["b"]} == {int}
    assert min(moved["b"]) == 3  # and what falls below 2 stays there
    assert np.std(moved["e"]) == pytest.approx(1 / 8, rel=0.1)
    assert np.std(np.log10(moved["a"])) == pytest.approx(2 / 8, rel=0.1)
    assert min(min(values) for values in (moved["a"], moved["e"])) >= 0


def test_options_are_typed_as_hydra_reads_them() -> None:
    values = {
        **{
            "a.widths": [512, 256],
            "a.rate": 1e-05,
            "a.on": True,
            "a.none": None,
            "a.text": "00:10",
            "a.names": ["x y"],
        },
        "a.deep": [[1], [2, 3]],
    }
    parser = OverridesParser.create()
    words = [word.strip("'") for word in typed(values)]
    read = {found.key_or_group: found.value() for found in parser.parse_overrides(words)}
    assert {key: [str(v) for v in value] if key == "a.names" else value for key, value in read.items()} == values


def test_changed_leaves_the_configuration_it_was_given_alone() -> None:
    other = changed(CONFIG, {"model.widths": [1], "trainer.max_epochs": 9})
    assert (other["model"]["widths"], other["trainer"]["max_epochs"]) == ([1], 9)
    assert (CONFIG["model"]["widths"], CONFIG["trainer"]["max_epochs"]) == ([8, 4], 3)


def test_every_model_has_a_space_unless_there_is_nothing_to_try() -> None:
    assert set(SEARCHED) == {*names("model"), *(f"visits/{name}" for name in names("model/visits"))} - UNSEARCHED


@pytest.mark.parametrize("model", SEARCHED)
def test_a_model_takes_every_end_of_its_space(model: str) -> None:
    """The lowest and the highest settings, each end beside the usual others, and ends of all kinds together."""
    space, config = searched(model)
    rng = np.random.default_rng(0)
    trials = [{name: dimension.ends[place] for name, dimension in space.items()} for place in (0, -1)]
    trials += [{name: end} for name, dimension in space.items() for end in dimension.ends]
    for _ in range(10):
        trials.append({n: d.ends[rng.integers(len(d.ends))] for n, d in space.items()})
    for values in trials:
        node = changed(config, values)["model"]
        more = {"visit_schema": visit_schema(6)} if model.startswith("visits/") else {}
        build(node, "model", late=True)(schema=SCHEMA, seed=0, **more)


@pytest.mark.parametrize("model", SEARCHED)
def test_a_space_composes_as_under_hydra(model: str) -> None:
    ours = compose("search", {"model": model}, {})
    assert ours == OmegaConf.to_container(hydra_compose("search", [f"model={model}"]), resolve=True)


@pytest.mark.parametrize("model", ["vae", "emr_wgan", "ehrdiff", "tally"])
def test_a_search_begins_from_the_budget_of_an_experiment(model: str) -> None:
    """The settings of ``experiment=demo`` lie in the space, so that the first trial is just these."""
    space, config = searched(model, "demo")
    assert set(drawn_of(space, config)) == set(space)


def test_a_search_composes_everything_of_a_training() -> None:
    search, train = compose("search", {"model": "vae"}, {}), compose("train", {"model": "vae"}, {})
    assert {name: value for name, value in search.items() if name in train} == train
    spec = SearchSpec.of(search, "ehrsynth train")
    spec.check()
    assert spec.config == train


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trials": 0}, "trials=0: a whole number, at least 1"),
        ({"workers": 1.5}, "workers=1.5: a whole number"),
        ({"winners": -1}, "winners=-1: a whole number, at least 0"),
        ({"seconds": 0}, "seconds=0: a number above 0, or null, was expected"),
        ({"search.eta": 1}, "search.eta=1: a whole number, at least 2"),
        ({"search.grace": 0}, "search.grace=0"),
        ({"search.objectives": "utility"}, "search.objectives=utility: a list of names"),
        ({"search.objectives": ["utility", "auroc"]}, "search.objectives: auroc is not measured at the checkpoints"),
        ({"search.objectives": []}, r"search.objectives=\[\]: one or more"),
        ({"trainer.devices": 2, "trainer.strategy": "ddp_fork"}, "trainer.devices=2: .*use workers=2"),
    ],
)
def test_what_a_search_cannot_do_is_named(values: Node, message: str) -> None:
    spec = SearchSpec.of(compose("search", {"model": "vae"}, values), "")
    with pytest.raises(OptionError, match=message):
        spec.check()


def test_what_decides_the_trials_decides_the_name_of_a_search(tmp_path: Path) -> None:
    def named(**values: Any) -> str:
        return SearchSpec.of(
            compose("search", {"model": "vae"}, {k.replace("__", "."): v for k, v in values.items()}), ""
        ).name("f")

    usual = named()
    assert usual.startswith("vae-")
    assert usual == named(trials=99, seconds=5, workers=3, winners=0, paths__runs=str(tmp_path), study="x")
    others = [named(seed=1), named(search__eta=2), named(search__objectives=["utility"]), named(trainer__max_epochs=2)]
    others.append(named(search__space__model__kl_weight=[0.3]))
    assert len({usual, *others}) == 6
