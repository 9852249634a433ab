"""What somebody asks for who calls a function, in the words of the configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.prepare import TRAJECTORIES, Recipe
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.errors import OptionError
from ehrsynth.study.build import node_of
from ehrsynth.study.conf import Choice, Node, compose, sorted_out
from ehrsynth.study.prepare import made, made_trajectories, matrix_folder
from ehrsynth.tracking import MODES


def asked(
    verb: str, given: Mapping[str, Any], more: Mapping[str, Choice] | None = None, **further: Any
) -> tuple[Node, str]:
    """Return the configuration that somebody asks for who calls a function, and the call in words.

    Args:
        verb: ``train``, or one whose configuration holds that of ``train``.
        given: the arguments of ``train`` by name, all of them.
        more: options of groups that ``train`` has not.
        further: values of keys that it has not; None leaves what the configuration has.

    Raises:
        OptionError: one of them is wrong.
    """
    data, watch = given["data"], given["watch"]
    if not isinstance(data, Matrix | Trajectories | Recipe | str | Path):
        raise OptionError(f"data: found a {type(data).__name__}; a matrix, its folder, or a recipe of one was expected")
    if isinstance(data, Recipe):
        make = made_trajectories if data.form == TRAJECTORIES else made
        data = make(data, matrix_folder(data, given["matrices"]), watch)
    folder = Path(data) if isinstance(data, str | Path) else data.folder
    chosen = {
        "model": node_of(given["model"], "model"),
        "trainer": given["trainer"],
        "profile": node_of(given["profile"], "profile"),
        "suite@evaluation.full": node_of(given["suite"], "suite"),
        "suite@evaluation.quick": node_of(given["quick"], "quick"),
        "logger": {"mode": given["logger"]} if given["logger"] in MODES else given["logger"],
        **{name: given.get(name) for name in ("evaluation", "constraints", "rows", "experiment", "privacy", "audit")},
    }
    choices, values = sorted_out({**chosen, **(more or {})})
    if isinstance(given.get("privacy"), Mapping):  # by default there is none, so no options either
        choices["privacy"] = "dp"
    own = {
        "trainer.max_epochs": given["max_epochs"],
        "data.batch_size": given["batch_size"],
        **{name: given[name] for name in ("seed", "n")},
        **further,
    }
    values |= {key: value for key, value in own.items() if value is not None}
    values |= {f"model.{name}": value for name, value in (given["options"] or {}).items()}
    values |= {"data.matrix": str(folder), "paths.runs": str(given["runs"]), "study": given["study"]}
    said = {key: value for key, value in given.items() if key not in ("data", "runs", "matrices", "watch")}
    words = [f"{key}={getattr(value, '__name__', repr(value))}" for key, value in said.items() if value is not None]
    return compose(verb, choices, values), f"ehrsynth.train({', '.join([repr(str(folder)), *words])})"
