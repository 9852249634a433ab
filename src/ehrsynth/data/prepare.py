"""``prepare``: a source's raw tables -> a matrix folder; ``prepare_trajectories`` builds on its parts."""

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import pandas as pd

from ehrsynth import constraints as rules
from ehrsynth.chunks import write_chunks
from ehrsynth.data.cohort.base import Cohort, FlowStep
from ehrsynth.data.cohort.table_one import Described, table_one
from ehrsynth.data.coverage import Coverage, changed, reported
from ehrsynth.data.events import EVENTS, make_timeline
from ehrsynth.data.features.base import TRAINING, Feature
from ehrsynth.data.features.outcomes import Outcome
from ehrsynth.data.inference import infer_kinds
from ehrsynth.data.matrix import OUTPUTS, PROVENANCE, Matrix
from ehrsynth.data.plan import PLAN, Prepared
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.proposals.file import write_rules
from ehrsynth.data.proposals.propose import PROPOSE, require_rules_of_rows, rules_file, rules_of
from ehrsynth.data.rare_codes import LOW_PREVALENCE, by_group, demographic_groups, save_rare
from ehrsynth.data.sources.base import Source
from ehrsynth.data.split import Rows, Split, TooFewRowsError
from ehrsynth.data.store import Store
from ehrsynth.data.wide import Wide, reconsidered, widen
from ehrsynth.errors import OptionError, TableError, expect
from ehrsynth.files import aside_of, put_in_place, read_object, require, sha256, sweep_leftovers, write_json
from ehrsynth.schema import Schema

Form = Literal["matrix", "trajectories"]
MATRIX, TRAJECTORIES = get_args(Form)
Folder = TypeVar("Folder")
IDENTITY = ("source", "cohort", "features", "inputs", "preprocess", "split", "seed", "constraints")
RULES_TO_EDIT = "constraints.yaml"
FORM = "form"  # of the identity, but for a matrix
VERSIONS = ("ehrsynth", "numpy", "pandas", "pyarrow", "duckdb")
SHOWN = {  # of a provenance, on the screen and in cohort.html
    "outputs": dict[str, str],
    "rows": dict[str, int],
    "flow": [{"what": str, "subjects": int, "stays": int, "faults": dict[str, int]}],
    "steps": [{"step": str, "rows": int, "columns": int, "detail": dict}],
    "table_one": [{"group": str, "label": str, "before": str, "after": str}],
    "coverage": [get_type_hints(Coverage)],
    FORM: {"name": str},
    "versions": {"ehrsynth": str},
}


@dataclass(frozen=True)
class Recipe:
    """What a folder is made from; two recipes with one ``digest`` make the same.

    Attributes:
        source: where the patients come from.
        cohort: who belongs, seen from when.
        features: the columns, in their order; None leaves one out.
        preprocess: the steps from plausible to encodable.
        split: which subjects are held out, and the seed of that and of what fills gaps.
        constraints: ``propose`` rules that the training rows keep, ``none``, or a YAML file that declares them.
        form: ``matrix``, a row for each patient, or ``trajectories``, the same patients through time.

    Raises:
        OptionError: an unknown form.
    """

    source: Source
    cohort: Cohort
    features: Mapping[str, Feature | None]
    preprocess: Preprocess
    split: Split
    constraints: str = PROPOSE
    form: Form = "matrix"

    def __post_init__(self) -> None:
        expect(self.form in get_args(Form), "form", self.form, f"{MATRIX} or {TRAJECTORIES}")

    @property
    def chosen(self) -> dict[str, Feature]:
        """The features that are not left out."""
        return {name: feature for name, feature in self.features.items() if feature is not None}

    @property
    def inputs(self) -> dict[str, Path]:
        """Every file that is read, by the name it has in provenance."""
        files = self.source.inputs()
        for feature in self.chosen.values():
            files |= feature.inputs()
        declared = rules_file(self.constraints)
        return files if declared is None else files | {"constraints": declared}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Every option and the SHA-256 of every input file, as provenance holds them.

        Raises:
            FileError: an input is missing.
        """
        declared = rules_file(self.constraints)
        return {
            "source": {"name": self.source.name, **self.source.options()},
            "cohort": self.cohort.options(),
            "features": {name: feature.options() for name, feature in self.chosen.items()},
            "inputs": {name: _hash(require(path)) for name, path in self.inputs.items()},
            "preprocess": vars(self.preprocess),
            "split": self.split.options(),
            "seed": self.split.seed,
            "constraints": self.constraints if declared is None else "declared",  # by the file among the inputs
            **({FORM: {"name": self.form, "faults": self.cohort.visit_faults}} if self.form != MATRIX else {}),
        }

    @property
    def digest(self) -> str:
        """Hash of the identity, ten hexadecimal digits."""
        return digest_of(self.identity)


def _hash(file: Path) -> str:
    """Return the SHA-256 of a file, read once by this process: the jobs of a sweep ask for it again and again."""
    state = file.stat()
    return _hash_of_state(file.resolve(), state.st_size, state.st_mtime_ns)


@cache
def _hash_of_state(file: Path, size: int, changed: int) -> str:
    return sha256(file)


def digest_of(made_from: Mapping[str, Any]) -> str:
    """Return the digest of the recipe whose identity, and perhaps more, is in ``made_from``, such as a provenance."""
    identity = {key: made_from.get(key) for key in IDENTITY}
    identity |= {FORM: made_from[FORM]} if FORM in made_from else {}  # matrices were known before there was another
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]


def prepare(recipe: Recipe, out: Path, *, progress: Callable[[str], None] = lambda step: None) -> Matrix:
    """Make a matrix folder, or open the one that the same recipe made before.

    Args:
        recipe: what to make.
        out: the folder; it appears under this name only when it is complete.
        progress: called with the name of each step as it begins.

    Raises:
        InputError: the input is wrong, or ``out`` holds something else (``OptionError``).
    """

    def fill(aside: Path, identity: Mapping[str, Any]) -> None:
        require_rules_of_rows(recipe.constraints)
        with Store() as store:
            gathered = gather(recipe, store, progress)
        gathered, prepared = fitted(recipe, gathered, progress)
        schema, parts = prepared.plan.schema, prepared.parts
        progress("finding rules")
        found, step = rules_of(recipe.constraints, schema, parts["train"])
        provenance = provenance_of(identity, gathered, parts, schema, step)
        progress("writing")
        aside.mkdir(parents=True)
        rules.save(aside / "constraints.json", found)
        write_rules(aside / RULES_TO_EDIT, found, schema, parts["train"], parts["holdout"])
        for name, part in parts.items():
            write_chunks(aside / f"{name}.parquet", part.chunks())
        schema.save(aside / "schema.json")
        prepared.plan.save(aside / PLAN)
        groups = demographic_groups(schema, parts["train"])
        save_rare(
            aside / LOW_PREVALENCE,
            by_group(prepared.plan.rare, gathered.wide[gathered.rows["train"]], parts["train"], groups),
            groups,
        )
        write_json(aside / PROVENANCE, provenance | {"outputs": {name: sha256(aside / name) for name in OUTPUTS}})

    return filled(recipe, out, fill, Matrix.open, progress)


def filled(
    recipe: Recipe,
    out: Path,
    fill: Callable[[Path, Mapping[str, Any]], None],
    open_: Callable[[Path], Folder],
    progress: Callable[[str], None],
) -> Folder:
    """Make a folder, or open the one that the same recipe made before.

    Args:
        recipe: what to make.
        out: the folder; it appears under this name only when it is complete.
        fill: makes it under another name, with the identity of the recipe in its provenance.
        open_: opens and checks it.
        progress: called with the name of each step as it begins.
    """
    progress("checking")
    sweep_leftovers(out.parent, out.name)
    identity = recipe.identity
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        _require_same(out, identity)
        return open_(out)
    aside = aside_of(out)
    try:
        fill(aside, identity)
        try:
            put_in_place(aside, out)
        except OSError:
            if not out.exists():
                raise
            _require_same(out, identity)  # another process was faster
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    progress("checking the folder")
    return open_(out)


@dataclass(frozen=True, eq=False)
class Gathered:
    """The rows of a cohort and how they came about.

    Attributes:
        wide: the rows.
        rows: of each part.
        flow: how the cohort was chosen.
        steps: what became of rows and columns; the first is what the source gave.
        coverage: what was understood of the source.
        asked: domains that a feature asks for.
    """

    wide: Wide
    rows: Mapping[str, Rows]
    flow: Sequence[FlowStep]
    steps: Sequence[dict[str, Any]]
    coverage: Sequence[Coverage]
    asked: Set[str]


def gather(recipe: Recipe, store: Store, progress: Callable[[str], None]) -> Gathered:
    """Read the source, choose the cohort, collect its features and split its rows."""
    progress("reading the source")
    recipe.source.read(store)
    make_timeline(store)
    progress("choosing the cohort")
    flow = _chosen(recipe, store)
    progress("collecting the features")
    features = recipe.chosen.values()
    wide = widen(store, [feature for feature in features if not feature.after_split])
    rows = _split(recipe.split, wide, flow)
    _require_outcomes(recipe.chosen, wide, rows["train"])
    store.register(TRAINING, pd.DataFrame({"row": rows["train"]}))
    wide, words = reconsidered(store, wide, features)
    wide = wide.beside(widen(store, [feature for feature in features if feature.after_split]))
    asked = {feature.domain for feature in features if hasattr(feature, "domain")}
    unused = recipe.cohort.unused(store, asked)
    coverage = [*recipe.source.coverage(store), *words, *unused]
    unknown = store.value(f"SELECT count(*) FROM {EVENTS} WHERE domain = 'other'")
    counts = {**({"events with a code that no pattern knows": unknown} if unknown else {}), **wide.remarks}
    source = {"step": "source", "rows": len(wide), "columns": len(wide.specs), "detail": counts}
    return Gathered(wide, rows, flow, [source], coverage, asked)


def fitted(recipe: Recipe, gathered: Gathered, progress: Callable[[str], None]) -> tuple[Gathered, Prepared]:
    """Learn a plan from training rows and apply it to all; what it changed is told in the steps."""
    progress("preprocessing")
    wide, kinds = infer_kinds(gathered.wide, gathered.rows["train"])
    parts = {name: wide[mine] for name, mine in gathered.rows.items()}
    prepared = recipe.preprocess.apply(parts, seed=recipe.split.seed)
    steps = [*kinds, *prepared.steps]
    coverage = [*gathered.coverage, *changed(steps, len(gathered.rows["train"]))]
    return replace(gathered, wide=wide, steps=[*gathered.steps, *steps], coverage=coverage), prepared


def provenance_of(
    identity: Mapping[str, Any],
    gathered: Gathered,
    parts: Mapping[str, Wide],
    schema: Schema,
    *more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a folder tells of its making.

    Args:
        identity: of the recipe.
        gathered: rows as they were collected.
        parts: the rows that fit the schema.
        schema: of these.
        more: steps that came after those of ``gathered``.
    """
    rows = sum(map(len, parts.values()))
    return {
        "version": 1,
        **identity,
        "flow": [asdict(step) for step in gathered.flow],
        "steps": [*gathered.steps, *({"rows": rows, **step} for step in more)],
        "faults": {name: count for step in gathered.flow for name, count in step.faults.items()},
        "table_one": table_one(
            Described.of([gathered.wide], gathered.wide.specs),
            Described.of(list(parts.values()), {column.name: column for column in schema.columns}),
        ),
        "coverage": reported(gathered.coverage, gathered.asked),
        "rows": {name: len(part) for name, part in parts.items()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
    }


def _chosen(recipe: Recipe, store: Store) -> list[FlowStep]:
    """Choose the cohort; where nobody is left since the source has no stay, the message tells what would help."""
    try:
        return recipe.cohort.choose(store)
    except TableError as error:
        if recipe.cohort.stay is None or store.value("SELECT count(*) FROM stays"):
            raise
        raise TableError(f"{error}; the source has no stay: {recipe.source.without_stays}") from None


def _split(split: Split, wide: Wide, flow: Sequence[FlowStep]) -> dict[str, Rows]:
    """Assign the rows to parts; where they are too few, the message tells how the cohort came to them."""
    try:
        return split.assign(wide)
    except TooFewRowsError as error:
        losing = [step for before, step in pairwise(flow) if step.subjects < before.subjects]
        told = ", ".join(f"{step.subjects:,} {step.what}" for step in [flow[0], *losing])
        raise TooFewRowsError(f"{error}; how these were chosen: {told}") from None


def _require_outcomes(features: Mapping[str, Feature], wide: Wide, training: Rows) -> None:
    """Raise a ``TableError`` that names the option if an outcome that a feature asks for is constant."""
    for option, feature in features.items():
        if isinstance(feature, Outcome) and wide.column(feature.name).iloc[training].nunique() < 2:
            raise TableError(
                f"train: column {feature.name!r}: a constant outcome; nothing can be learned from it; leave it out with"
                f" features.{option}=null"
            )


def _require_same(out: Path, identity: Mapping[str, Any]) -> None:
    """Raise an ``OptionError`` unless ``identity`` made the folder."""
    if not (out / PROVENANCE).is_file():
        raise OptionError(f"out={out}: something else is there; name a folder that does not exist yet")
    there = read_object(out / PROVENANCE)
    read_object(
        out / PROVENANCE, **{key: kind for key, kind in SHOWN.items() if key in there or key not in ("coverage", FORM)}
    )
    is_there, asked = (told.get(FORM, {"name": MATRIX})["name"] for told in (there, identity))
    what = "a matrix" if is_there == MATRIX else is_there
    if is_there != asked:
        raise OptionError(f"out={out}: {what} is there, and form={asked} was asked for; name another folder")
    for key, wanted in json.loads(json.dumps(identity)).items():
        if there.get(key) != wanted:
            raise OptionError(
                f"out={out}: {what} made with another {key} is there ({there.get(key)}, now {wanted});"
                " name another folder, or remove this one"
            )
