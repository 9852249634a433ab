"""``prepare``: a source's raw tables -> a matrix folder."""

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

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
from ehrsynth.data.plan import PLAN
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.proposals.file import write_rules
from ehrsynth.data.proposals.propose import PROPOSE, rules_file, rules_of
from ehrsynth.data.rare_codes import LOW_PREVALENCE, by_group, demographic_groups, save_rare
from ehrsynth.data.sources.base import Source
from ehrsynth.data.split import Rows, Split, TooFewRowsError
from ehrsynth.data.store import Store
from ehrsynth.data.wide import Wide, reconsidered, widen
from ehrsynth.errors import OptionError, TableError
from ehrsynth.files import aside_of, put_in_place, read_object, require, sha256, sweep_leftovers, write_json

IDENTITY = ("source", "cohort", "features", "inputs", "preprocess", "split", "seed", "constraints")
VERSIONS = ("ehrsynth", "numpy", "pandas", "pyarrow", "duckdb")
SHOWN = {  # of a provenance, on the screen and in cohort.html
    "outputs": dict[str, str],
    "rows": dict[str, int],
    "flow": [{"what": str, "subjects": int, "stays": int, "faults": dict[str, int]}],
    "steps": [{"step": str, "rows": int, "columns": int, "detail": dict}],
    "table_one": [{"group": str, "label": str, "before": str, "after": str}],
    "coverage": [get_type_hints(Coverage)],
    "versions": {"ehrsynth": str},
}


@dataclass(frozen=True)
class Recipe:
    """What a matrix is made from; two recipes with one ``digest`` make the same matrix.

    Attributes:
        source: where the patients come from.
        cohort: who belongs, seen from when.
        features: the columns, in their order; None leaves one out.
        preprocess: the steps from plausible to encodable.
        split: which subjects are held out, and the seed of that and of what fills gaps.
        constraints: ``propose`` rules that the training rows keep, ``none``, or a YAML file that declares them.
    """

    source: Source
    cohort: Cohort
    features: Mapping[str, Feature | None]
    preprocess: Preprocess
    split: Split
    constraints: str = PROPOSE

    @property
    def chosen(self) -> dict[str, Feature]:
        """The features that are not left out."""
        return {name: feature for name, feature in self.features.items() if feature is not None}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Every option and the SHA-256 of every input file, as provenance holds them.

        Raises:
            FileError: an input is missing.
        """
        files = self.source.inputs()
        for feature in self.chosen.values():
            files |= feature.inputs()
        if (declared := rules_file(self.constraints)) is not None:
            files |= {"constraints": declared}
        return {
            "source": {"name": self.source.name, **self.source.options()},
            "cohort": self.cohort.options(),
            "features": {name: feature.options() for name, feature in self.chosen.items()},
            "inputs": {name: _hash(require(path)) for name, path in files.items()},
            "preprocess": vars(self.preprocess),
            "split": self.split.options(),
            "seed": self.split.seed,
            "constraints": self.constraints if declared is None else "declared",  # by the file among the inputs
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
    progress("checking")
    sweep_leftovers(out.parent, out.name)
    identity, seed = recipe.identity, recipe.split.seed
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return _existing(out, identity)
    with Store() as store:
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
    progress("preprocessing")
    wide, kinds = infer_kinds(wide, rows["train"])
    prepared = recipe.preprocess.apply({name: wide[mine] for name, mine in rows.items()}, seed=seed)
    schema, parts = prepared.plan.schema, prepared.parts
    progress("finding rules")
    found, step = rules_of(recipe.constraints, schema, parts["train"])
    coverage += changed([*kinds, *prepared.steps], len(rows["train"]))
    provenance = {
        "version": 1,
        **identity,
        "flow": [asdict(step) for step in flow],
        "steps": [source, *kinds, *prepared.steps, {"rows": sum(map(len, parts.values())), **step}],
        "faults": {name: count for step in flow for name, count in step.faults.items()},
        "table_one": table_one(
            Described.of([wide], wide.specs),
            Described.of(list(parts.values()), {column.name: column for column in schema.columns}),
        ),
        "coverage": reported(coverage, asked),
        "rows": {name: len(part) for name, part in parts.items()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
    }
    progress("writing")
    aside = aside_of(out)
    aside.mkdir(parents=True)
    try:
        rules.save(aside / "constraints.json", found)
        write_rules(aside / "constraints.yaml", found, schema, parts["train"], parts["holdout"])
        for name, part in parts.items():
            write_chunks(aside / f"{name}.parquet", part.chunks())
        schema.save(aside / "schema.json")
        prepared.plan.save(aside / PLAN)
        groups = demographic_groups(schema, parts["train"])
        save_rare(
            aside / LOW_PREVALENCE,
            by_group(prepared.plan.rare, wide[rows["train"]], parts["train"], groups),
            groups,
        )
        write_json(aside / PROVENANCE, provenance | {"outputs": {name: sha256(aside / name) for name in OUTPUTS}})
        try:
            put_in_place(aside, out)
        except OSError:
            if not out.exists():
                raise
            return _existing(out, identity)  # another process was faster
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    progress("checking the folder")
    return Matrix.open(out)


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


def _existing(out: Path, identity: dict[str, Any]) -> Matrix:
    """Open the folder if ``identity`` made it."""
    if not (out / PROVENANCE).is_file():
        raise OptionError(f"out={out}: something else is there; name a folder that does not exist yet")
    there = read_object(out / PROVENANCE)
    read_object(out / PROVENANCE, **{key: kind for key, kind in SHOWN.items() if key in there or key != "coverage"})
    for key, wanted in json.loads(json.dumps(identity)).items():
        if there.get(key) != wanted:
            raise OptionError(
                f"out={out}: a matrix made with another {key} is there ({there.get(key)}, now {wanted});"
                " name another folder, or remove this one"
            )
    return Matrix.open(out)
