"""Every model there is, found in ``conf/model``, in sizes that a test trains in a blink."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from hydra.utils import get_class

from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.study.conf import load

CONF = Path(__file__).parents[1] / "conf" / "model"
SMALL = 8  # widths, steps, ...
TOLD = ["sex", "code0"]  # columns that a network is told, in the schema of the contract

Trial = tuple[type[SyntheticModel], dict[str, Any]]


def discovered(folder: Path = CONF) -> dict[str, Trial]:
    """Return class and options of each YAML, and once more for every other choice it offers, such as a decoding.

    A model that can be told some columns is there a further time, as ``NAME_told``.
    """
    found: dict[str, Trial] = {}
    nodes = {path: load("model", path) for path in sorted(folder.glob("*.yaml"))}
    own = {node["_target_"] for node in nodes.values() if "_name_" not in node}
    for path, node in nodes.items():
        cls = get_class(node["_target_"])
        options = {str(name): _small(value) for name, value in node.items() if not str(name).startswith("_")}
        if cls.private == "release":
            options["epsilon"] = 1e4  # the noise has a secret seed, and shall decide no test
        found[path.stem] = cls, options
        if "_name_" in node and node["_target_"] in own:  # its choices are tried under the class's own name
            continue
        for name, hint in get_type_hints(cls.__init__).items():
            choices = get_args(hint) if get_origin(hint) is Literal else (True, False) if hint is bool else ()
            for choice in (choice for choice in choices if choice != options.get(name)):
                found[f"{path.stem}_{name if hint is bool else choice}"] = cls, {**options, name: choice}
        if "condition" in options:
            found[f"{path.stem}_told"] = cls, {**options, "condition": TOLD}
    return dict(sorted(found.items()))


def learns(cls: type[SyntheticModel]) -> bool:
    """Return whether training changes it; some models see all they need in one look before."""
    return not issubclass(cls, GradientFree) or cls.update is not GradientFree.update


def _small(value: Any) -> Any:
    if isinstance(value, list):
        return [_small(entry) for entry in value]
    return min(value, SMALL) if isinstance(value, int) and not isinstance(value, bool) else value


def with_told_noise(model: SyntheticModel) -> SyntheticModel:
    """Return a model whose release, if it has one, has noise of a known seed: else no two are alike."""
    if model.private == "release" and not isinstance(model, GradientFree):
        vars(model)["noise"] = torch.Generator().manual_seed(0)
    return model
