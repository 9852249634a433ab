"""In what the real rows that sets of runs were judged on differ: by how they were prepared, or else by their hash."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from ehrsynth.errors import FileError
from ehrsynth.study.run_folder import PROVENANCE, RunFolder

CLASS = ("source.name", "split.split", ".feature", ".rule", ".vocabulary.vocabulary")  # where a recipe has the class
ABSENT, MIXED = object(), object()
MOST_OPTIONS = 6  # in a title


def titles(sets: Sequence[Sequence[RunFolder]]) -> list[str]:
    """Say in what the rows of each set differ from the others'; nothing of a single one."""
    if len(sets) == 1:
        return [""]
    made = [[_recipe(run) for run in runs if run.trained] for runs in sets]
    recipes = [reduce(_agreed, own) if own else {} for own in made]
    named = [{"split.seed" if key == "seed" else key: part for key, part in recipe.items()} for recipe in recipes]
    apart = iter(_apart([recipe for recipe in named if recipe]))  # how the rows of other reports came about, none knows
    said = [", ".join(_few(next(apart))) if recipe else "" for recipe in named]
    hashes = [f"rows {str(runs[0].real_data[0])[:8]}" for runs in sets]
    return [
        title if title and said.count(title) == 1 else ", ".join(filter(None, (title, other)))
        for title, other in zip(said, hashes, strict=True)
    ]


def _recipe(run: RunFolder) -> Mapping[str, Any]:
    recipe = run.provenance["matrix"].get("recipe", {})
    if not isinstance(recipe, Mapping):
        raise FileError(f"{run.path / PROVENANCE}: matrix.recipe: an object of options was expected")
    return recipe


def _agreed(one: Any, other: Any) -> Any:
    """Return a recipe of which two have made the same rows; an option that made no difference is ``MIXED``."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return {key: _agreed(one.get(key, ABSENT), other.get(key, ABSENT)) for key in {**one, **other}}
    return one if one == other else MIXED


def _apart(parts: Sequence[Mapping[str, Any]], within: str = "") -> list[list[str]]:
    """Return for each of several recipes, or parts of them, the options that set it apart, as one would type them."""
    found: list[list[str]] = [[] for _ in parts]
    for key in dict.fromkeys(key for part in parts for key in part):
        values = [part.get(key, ABSENT) for part in parts]
        name = within if within and f"{within}.{key}".endswith(CLASS) else f"{within}.{key}".strip(".")
        if all(isinstance(value, Mapping) for value in values):
            below = _apart(values, name)
        elif any(value != values[0] for value in values):
            below = [_said(name, value, any(isinstance(other, Mapping) for other in values)) for value in values]
        else:
            continue
        for own, more in zip(found, below, strict=True):
            own += more
    return found


def _said(name: str, value: Any, is_part: bool) -> list[str]:
    """Return an option as one would type it; a part that others have and this one has not was left out by null."""
    if isinstance(value, Mapping):
        return [f"{name}={next(iter(value.values()), '')}"]  # its class comes first
    if value is ABSENT or value is MIXED:
        return [f"{name}=null"] if is_part and value is ABSENT else []
    return [f"{name}={'null' if value is None else value}"]


def _few(options: Sequence[str]) -> list[str]:
    more = len(options) - MOST_OPTIONS
    return [*options[:MOST_OPTIONS], *([f"and {more} more"] if more > 0 else [])]
