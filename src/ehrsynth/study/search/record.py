"""What became of the trials of a search, read back from its database."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ehrsynth.evaluation.pareto import undominated
from ehrsynth.reporting.search_page import Searched
from ehrsynth.study.conf import Node
from ehrsynth.study.search.database import opened
from ehrsynth.study.search.spaces import typed

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}

COLUMNS = (
    *("trial", "state", "reason", "counts", "score"),
    *("front", "epoch", "seconds", "run", "options", "values", "metrics"),
)


def searches(file: Path) -> list[Searched]:
    """Return every search that a database keeps, in the order in which they began."""
    import optuna

    storage = opened(file)
    studies = [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
    return [recorded(study) for study in studies if study.get_trials(deepcopy=False)]


def recorded(study: "Study") -> Searched:
    """Return a search as its pages and tables show it."""
    facts = study.user_attrs
    table = trial_table(study.get_trials(deepcopy=False), list(facts["objectives"]))
    return Searched(
        name=study.study_name,
        model=facts["model"],
        command=facts["command"],
        space=facts["space"],
        objectives=facts["objectives"],
        weights=facts["weights"],
        left_out=facts["left_out"],
        table=table,
        importance=importance(study, list(facts["objectives"])),
    )


def trial_table(trials: "Sequence[FrozenTrial]", objectives: Sequence[str]) -> pd.DataFrame:
    """Return one row a trial.

    Columns: ``trial``, ``state``, ``reason``, ``counts`` (whether it is one of those that were asked for), ``score``,
    the objectives, ``front`` (whether no other finished trial is at least as good on all objectives and better on
    one), ``epoch``, ``seconds``, ``run``, ``options`` as one would type them, ``values``, and the metrics. What a trial
    that did not finish had come to by its last checkpoint is its score, and never on the front.
    """
    rows = [_row(trial, objectives) for trial in trials if trial.state.name in STATES]
    table = pd.DataFrame(rows, columns=[*COLUMNS[:5], *objectives, *COLUMNS[5:]])
    finished = table["state"] == "finished"
    if finished.any():
        points = table.loc[finished, list(objectives)].to_numpy(np.float64)
        table.loc[finished, "front"] = undominated(-points)
    return table


def _row(trial: "FrozenTrial", objectives: Sequence[str]) -> Node:
    facts = trial.user_attrs
    notes: Mapping[str, Any] = facts.get("checkpoints", {})
    last: Mapping[str, Any] = notes[max(notes, key=int)] if notes else {"objectives": {}}
    reached = facts.get("chosen", last)
    return {
        "trial": trial.number,
        "state": STATES[trial.state.name],
        "reason": facts.get("reason", ""),
        "counts": facts.get("counts", True),
        "score": reached.get("score"),
        **{name: reached["objectives"].get(name) for name in objectives},
        "front": False,
        "epoch": reached.get("epoch"),
        "seconds": facts.get("seconds", 0.0),
        "run": facts.get("run", ""),
        "options": " ".join(typed(facts.get("values", {}))),
        "values": facts.get("values", {}),
        "metrics": facts.get("metrics", {}),
    }


def importance(study: "Study", objectives: Sequence[str]) -> pd.DataFrame:
    """Return how much of what sets finished trials apart an option explains, options x objectives (fANOVA).

    It has no rows where less than two trials have finished, and NaN where all of them came to the same.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    found: dict[str, dict[str, float]] = {}
    for place, name in enumerate(objectives):
        values = [trial.values[place] for trial in finished]
        if len(finished) < 2 or min(values) == max(values):
            continue
        own = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), target=partial(_value, place))
        found[name] = {option: float(share) for option, share in own.items()}
    return pd.DataFrame(found, columns=list(objectives), dtype=float).sort_index()


def _value(place: int, trial: "FrozenTrial") -> float:
    return float(trial.values[place])


def winners_of(searched: Searched) -> pd.DataFrame:
    """Return the finished trials that no other beats on all objectives, the one with the best score first."""
    front = searched.table[searched.table["front"].astype(bool)]
    return front.sort_values(["score", "trial"], ascending=[False, True])


def tuning_of(searched: Searched, trial: "pd.Series[Any]") -> Node:
    """Return what it took to find the settings of a trial, for the provenance of its run."""
    states = searched.table["state"].value_counts()
    return {
        "search": searched.name,
        "trial": int(trial["trial"]),
        "trials": {state: int(states.get(state, 0)) for state in ("finished", "pruned", "failed")},
        "processor_seconds": round(float(searched.table["seconds"].sum()), 1),
        "options": json.loads(json.dumps(trial["values"])),
        "searched": dict(searched.space),
        "judged_on": "validation",
        "objectives": {name: float(trial[name]) for name in searched.objectives},
        "score": float(trial["score"]),
        "metrics": {name: dict(part) for name, part in searched.objectives.items()},
    }
