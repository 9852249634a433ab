"""``prepare form=trajectories``: the patients of a matrix through time, in a trajectories folder.

Everything up to the plan is that of the matrix: cohort, window, vocabulary, split, faults, which codes are too rare.
Of its columns those that tell of the patient once stay columns; codes and measurements are told visit by visit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth import constraints as rules
from ehrsynth.chunks import write_chunks
from ehrsynth.data.coverage import Coverage, changed
from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.matrix import PROVENANCE
from ehrsynth.data.plan import PLAN, Prepared
from ehrsynth.data.prepare import RULES_TO_EDIT, Gathered, Recipe, filled, fitted, gather, provenance_of
from ehrsynth.data.proposals.file import write_rules
from ehrsynth.data.proposals.over_time import over_time_of, write_over_time
from ehrsynth.data.proposals.propose import rules_of
from ehrsynth.data.store import Store
from ehrsynth.data.trajectories import OUTPUTS, STATIC, VISITS_JSON, Trajectories, save_visits
from ehrsynth.data.visit_arrays import made_visits, require_times
from ehrsynth.data.visit_tables import list_visits
from ehrsynth.data.wide import Wide
from ehrsynth.disclosure import shared_bounds
from ehrsynth.errors import OptionError
from ehrsynth.files import sha256, write_json
from ehrsynth.schema import Column, Schema
from ehrsynth.visits import Visits

COUNT = "visits"  # the column of a source that tells nothing of patients but their visits


def prepare_trajectories(
    recipe: Recipe, out: Path, *, progress: Callable[[str], None] = lambda step: None
) -> Trajectories:
    """Make a trajectories folder, or open the one that the same recipe made before.

    Args:
        recipe: what to make.
        out: the folder; it appears under this name only when it is complete.
        progress: called with the name of each step as it begins.

    Raises:
        InputError: the input is wrong, the source dates nothing, or ``out`` holds something else (``OptionError``).
    """

    def fill(aside: Path, identity: Mapping[str, Any]) -> None:
        with Store() as store:
            collected = gather(recipe, store, progress)
            list_visits(store, recipe.cohort)
            require_times(store, recipe.source.name)
            told = [feature for feature in recipe.chosen.values() if feature.in_trajectories == "visits"]
            if not told:
                raise OptionError("features: none of codes or measurements; visits would be empty; add one of them")
            gathered, prepared = fitted(recipe, collected, progress)
            progress("placing codes and values in visits")
            visit_schema, visits, found = made_visits(
                store, told, prepared.parts, prepared.plan.schema.names, recipe.preprocess, recipe.cohort.visit_faults
            )
        schema, parts = _told_once(gathered, prepared, visits)
        progress("finding rules")
        found_rules, step = rules_of(recipe.constraints, schema, parts["train"])
        over_time = over_time_of(recipe.constraints, visit_schema, visits["train"])
        step["detail"]["rules over time"] = len(over_time)
        gathered = _of_columns(gathered, collected.coverage)
        placed = {"step": "visits", "columns": len(schema.columns), "detail": found}
        provenance = provenance_of(identity, gathered, parts, schema, placed, step)
        provenance["visits"] = {part: _size(visits[part]) for part in visits}
        progress("writing")
        aside.mkdir(parents=True)
        rules.save(aside / "constraints.json", found_rules, over_time)
        write_rules(aside / RULES_TO_EDIT, found_rules, schema, parts["train"], parts["holdout"])
        write_over_time(aside / RULES_TO_EDIT, over_time, visit_schema, visits)
        schema.save(aside / "schema.json")
        prepared.plan.save(aside / PLAN)
        write_json(aside / VISITS_JSON, visit_schema.to_dict())
        for name, part in parts.items():
            (aside / name).mkdir()
            write_chunks(aside / name / STATIC, part.chunks())
            save_visits(aside / name, visits[name])
        write_json(aside / PROVENANCE, provenance | {"outputs": {name: sha256(aside / name) for name in OUTPUTS}})

    return filled(recipe, out, fill, Trajectories.open, progress)


def _of_columns(gathered: Gathered, coverage: Sequence[Coverage]) -> Gathered:
    """Return what is to be told of the columns that are told once; ``coverage`` is that of the source."""
    told = gathered.wide.told
    steps = [
        {**step, "detail": {name: n for name, n in step["detail"].items() if told.get(name, "patient") == "patient"}}
        for step in gathered.steps
    ]
    wide = gathered.wide.only({name: spec for name, spec in gathered.wide.specs.items() if told[name] == "patient"})
    lines = [*coverage, *changed(steps[1:], len(gathered.rows["train"]))]
    return replace(gathered, wide=wide, steps=steps, coverage=lines)


def _told_once(gathered: Gathered, prepared: Prepared, visits: Mapping[str, Visits]) -> tuple[Schema, dict[str, Wide]]:
    """Return the columns that are told of a patient once; where there are none, the number of visits is one."""
    columns = tuple(c for c in prepared.plan.schema.columns if gathered.wide.told[c.name] == "patient")
    if columns:
        return Schema(columns), {
            name: part.only({column.name: part.specs[column.name] for column in columns})
            for name, part in prepared.parts.items()
        }
    spec = ColumnSpec("count", domain="utilisation", label="Number of visits")
    counts = {name: pd.Series(mine.per_patient) for name, mine in visits.items()}
    low, high = shared_bounds(counts["train"].value_counts().sort_index())
    column = Column(COUNT, "count", bounds=(low, high), domain=spec.domain, label=spec.label, decimals=0)
    return Schema((column,)), {
        name: replace(
            part.only({}),
            specs={COUNT: spec},
            cells=pd.DataFrame({COUNT: counts[name].clip(low, high).astype(int).set_axis(part.cells.index)}),
        )
        for name, part in prepared.parts.items()
    }


def _size(visits: Visits) -> dict[str, int]:
    return {
        "patients": len(visits),
        "visits": visits.count,
        "codes": len(visits.codes),
        "values": len(visits.values),
    }
