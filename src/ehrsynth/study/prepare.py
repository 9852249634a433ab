"""Raw tables -> a matrix or trajectories folder, made once by whoever comes first."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from os.path import isfile
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from ehrsynth.data import prepare as preparation
from ehrsynth.data.cohort.base import Cohort
from ehrsynth.data.matrix import PROVENANCE, Matrix
from ehrsynth.data.prepare import MATRIX, RULES_TO_EDIT, TRAJECTORIES, Form, Recipe, digest_of
from ehrsynth.data.prepare_trajectories import prepare_trajectories
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.sources.base import Source
from ehrsynth.data.split import Split
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.errors import OptionError
from ehrsynth.files import read_object, sha256, writable
from ehrsynth.reporting.cohort_report import COHORT_PAGE, write_cohort_report
from ehrsynth.reporting.trajectories_report import TRAJECTORIES_PAGE, write_trajectories_report
from ehrsynth.study.build import build
from ehrsynth.study.chain import LOG, Input, append, log_in
from ehrsynth.study.conf import Choice, compose, sorted_out
from ehrsynth.study.shared import owned
from ehrsynth.study.spec import RECIPE, rules_asked_for
from ehrsynth.study.watch import NOBODY, Watch

Prepared = TypeVar("Prepared", Matrix, Trajectories)
OBJECTS: dict[str, type | tuple[()]] = {
    "source": Source,
    "cohort": Cohort,
    "features": (),
    "preprocess": Preprocess,
    "split": Split,
}


@overload
def prepare(
    source: Recipe | Source | Choice = "demo", *, form: Literal["trajectories"], watch: Watch = NOBODY, **options: Any
) -> Trajectories: ...


@overload
def prepare(
    source: Recipe | Source | Choice = "demo",
    *,
    form: Literal["matrix"] = "matrix",
    watch: Watch = NOBODY,
    **options: Any,
) -> Matrix: ...


def prepare(
    source: Recipe | Source | Choice = "demo",
    *,
    form: Form = "matrix",
    cohort: Cohort | Choice = None,
    features: Choice = None,
    preprocess: Preprocess | Choice = None,
    split: Split | Choice = None,
    constraints: str | Path | None = None,
    experiment: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    matrices: str | Path = "matrices",
    watch: Watch = NOBODY,
    **options: Any,
) -> Matrix | Trajectories:
    """Prepare a matrix or trajectories folder, or open the one that was made from the same before.

    A part is an object, or a name in ``conf/``, a YAML file of one's own, or a mapping of options that differ from the
    default ones. What is not given is as ``ehrsynth prepare`` has it.

    Args:
        source: where the patients come from, such as ``"mimic_iv"``; or a whole recipe, which then is all that counts.
        form: ``"matrix"``, a row for each patient, or ``"trajectories"``, dated visits.
        cohort: who belongs, seen from when.
        features: the columns; a mapping changes those of the source, and None in it leaves a feature out.
        preprocess: the steps from plausible to encodable.
        split: which subjects are held out.
        constraints: ``"propose"``, ``"none"``, or a YAML file that declares them.
        experiment: a published recipe, such as ``"jmir_mimic4"``.
        seed: of the split and of what fills gaps.
        out: the folder; by default one below ``matrices``, named by what made it.
        matrices: where matrices without a name of their own are kept.
        watch: who is told what happens.
        options: of the source, such as ``root="mimiciv/3.1"``.

    Raises:
        InputError: a table or an option is wrong, or ``out`` holds something else.
    """
    if isinstance(source, Recipe):
        recipe = source
    else:
        ready: dict[str, Any] = {}
        named: dict[str, Choice] = {"experiment": experiment}
        given = {"source": source, "cohort": cohort, "features": features, "preprocess": preprocess, "split": split}
        for name, part in given.items():
            if isinstance(part, str | Path | Mapping | None):
                named[name] = part
            elif isinstance(part, OBJECTS[name]):
                ready[name] = part
            else:
                found = part.__name__ if isinstance(part, type) else f"a {type(part).__name__}"
                raise OptionError(f"{name}: found {found}; {name}= takes a name, a YAML file, a mapping or an object")
        for name, settled, asked in (("split", "seed", seed is not None), ("source", next(iter(options), ""), options)):
            if name in ready and asked:
                raise OptionError(f"{settled}=: the {name} is an object already; say it where that is made")
        if isinstance(source, Source):
            named["source"] = source.name  # which decides about the usual cohort and features
        choices, values = sorted_out(named)
        values |= {f"source.{name}": value for name, value in options.items()}
        if seed is not None:
            values["seed"] = seed
        if constraints is not None:
            values["constraints"] = str(constraints)
        recipe = recipe_of({**compose("prepare", choices, values | {"form": form}), **ready})
    place = ("matrices", matrix_folder(recipe, matrices)) if out is None else ("out", Path(out))
    make = made_trajectories if recipe.form == TRAJECTORIES else made
    return make(recipe, place[1], watch, option=place[0])


def recipe_of(parts: Mapping[str, Any]) -> Recipe:
    """Build a recipe from the parts of a configuration; parts that are objects already are taken as they are."""
    return Recipe(
        **{name: build(parts[name], name) for name in RECIPE if name != "constraints"},
        constraints=rules_asked_for(parts["constraints"]),
        form=parts.get("form", MATRIX),
    )


def matrix_folder(recipe: Recipe, matrices: str | Path, name: str | None = None) -> Path:
    """Return where the matrix of a recipe is kept: a readable name and the hash of what makes it."""
    return Path(matrices) / f"{name or data_name(recipe.source)}-{recipe.digest}"


def data_name(source: Source) -> str:
    """Return what the data of a source are called where nobody gave them a name."""
    simulated = source.options().get("n")
    return source.name if simulated is None else f"{source.name}-n{simulated}"


def readable_name(folder: Path) -> str:
    """Return the name of a matrix folder, without the hash that ``matrix_folder`` put behind it."""
    return folder.resolve().name.removesuffix(f"-{digest_of(read_object(folder / PROVENANCE))}")


def made(recipe: Recipe, folder: Path, watch: Watch = NOBODY, *, option: str = "out") -> Matrix:
    """Make a matrix folder with its page for people, ``cohort.html``, or open the one that is there.

    Args:
        recipe: what to make.
        folder: where.
        watch: who is told what happens.
        option: that says where, for messages.

    Raises:
        InputError: the input is wrong, or ``folder`` holds something else.
    """
    return _made(recipe, folder, watch, option, preparation.prepare, {COHORT_PAGE: write_cohort_report})


def made_trajectories(recipe: Recipe, folder: Path, watch: Watch = NOBODY, *, option: str = "out") -> Trajectories:
    """Make a trajectories folder, with ``trajectories.html`` beside ``cohort.html``; the rest is as of ``made``."""
    pages = {COHORT_PAGE: write_cohort_report, TRAJECTORIES_PAGE: write_trajectories_report}
    return _made(recipe, folder, watch, option, prepare_trajectories, pages)


def _made(
    recipe: Recipe,
    folder: Path,
    watch: Watch,
    option: str,
    prepared: Callable[..., Prepared],
    pages: Mapping[str, Callable[[Prepared], Path]],
) -> Prepared:
    there = all(isfile(folder / name) for name in (PROVENANCE, *pages))
    if not there:
        writable(option, folder)
    lock = folder.with_name(f".{folder.name}.lock")
    with nullcontext() if there else owned(lock, f"preparing {folder.name}", watch.say):
        with watch.steps(f"preparing {folder.name}", None) as step:
            made = prepared(recipe, folder, progress=step)
        if missing := [write for name, write in pages.items() if not (folder / name).is_file()]:
            for write in missing:
                write(made)
            _note(recipe, made)
    return made


def _note(recipe: Recipe, made: Matrix | Trajectories) -> None:
    """Begin the log of a folder, or go on with it; the rules that are there to be edited are none of its outputs."""
    folder, known = made.folder, recipe.identity
    beside = [file.name for file in sorted(folder.glob("[!.]*")) if file.is_file()]
    append(
        log_in(folder),
        "prepare",
        options={name: value for name, value in known.items() if name != "inputs"},
        inputs={name: Input(known["inputs"][name], file) for name, file in recipe.inputs.items()},
        outputs={name: sha256(folder / name) for name in beside if name not in (LOG, RULES_TO_EDIT)}
        | made.provenance["outputs"],
    )
