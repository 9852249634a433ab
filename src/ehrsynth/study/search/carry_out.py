"""Search over the settings of a model: trials judged on validation rows, and the winners carried out in full."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth.chunks import write_table
from ehrsynth.files import sha256, writable
from ehrsynth.reporting.search_page import Searched, search_html, search_rows
from ehrsynth.study import train
from ehrsynth.study.call import asked
from ehrsynth.study.chain import Input, append, log_in
from ehrsynth.study.conf import Choice
from ehrsynth.study.run_folder import PROVENANCE, RunFolder
from ehrsynth.study.search.database import DATABASE, database, require_optuna
from ehrsynth.study.search.looked_at import Data, files_seen, open_seen
from ehrsynth.study.search.objectives import DEFINITION
from ehrsynth.study.search.processes import side_by_side
from ehrsynth.study.search.record import searches, tuning_of, winners_of
from ehrsynth.study.search.spec import SearchSpec
from ehrsynth.study.search.worker import work
from ehrsynth.study.shared import owned
from ehrsynth.study.spec import IDENTITY
from ehrsynth.study.watch import NOBODY, Watch
from ehrsynth.tracking import require_login


@dataclass(frozen=True, repr=False)
class Search:
    """What a search has found.

    Attributes:
        searched: its trials, on validation rows.
        winners: option -> value, of every trial on the Pareto front, the one with the best score first.
        runs: those of the winners that were carried out in full.
        page: about all searches of the study.
    """

    searched: Searched
    winners: tuple[Mapping[str, Any], ...]
    runs: tuple[RunFolder, ...]
    page: Path

    @property
    def frame(self) -> pd.DataFrame:
        """One row a trial: what became of it, its objectives, what it cost, its options as one would type them."""
        return self.searched.table

    def __repr__(self) -> str:
        """Say what it cost."""
        return f"<Search of {self.searched.model}: {self.searched.budget}, see .frame and {self.page}>"


def search(
    data: Any,
    model: Any = "vae",
    space: Choice = None,
    *,
    trials: int | None = None,
    seconds: float | None = None,
    workers: int | None = None,
    winners: int | None = None,
    objectives: Sequence[str] | None = None,
    watch: Watch = NOBODY,
    **options: Any,
) -> Search:
    """Find settings of a model that do well on validation patients; held-out ones are not read.

    What is not given is as ``ehrsynth search`` has it. A search that was begun before under the same options goes on;
    the same call in other processes takes part in it.

    Args:
        data: a matrix or trajectories, their folder, or a recipe of one.
        model: as ``train`` takes it.
        space: a name in ``conf/search`` (that of the model by default), a YAML file of one's own, or option ->
            ``[a, b, c]`` or ``{"low": a, "high": b, "log": True}``, such as ``{"model.learning_rate": ...}``.
        trials: there shall be in all.
        seconds: of processor time after which no trial begins.
        workers: processes that carry out trials.
        winners: to be carried out in full.
        objectives: ``"utility"``, ``"privacy"``, or names of metrics at the checkpoints.
        watch: who is told what happens.
        options: further arguments of ``train``, for all trials.

    Raises:
        InputError: an option, the space, the data or the database are wrong.
        MachineError: three trials in a row found no space or memory.
    """
    bound = signature(train.train).bind(data, model, watch=watch, **options)
    bound.apply_defaults()
    own = {"trials": trials, "seconds": seconds, "workers": workers, "winners": winners}
    asked_for = None if objectives is None else list(objectives)
    config, command = asked(
        "search",
        bound.arguments,
        {"search": None if isinstance(space, Mapping) else space},
        **own,
        **{"search.objectives": asked_for},
    )
    if isinstance(space, Mapping):
        config["search"]["space"] = dict(space)  # and nothing of the model's usual one
    return run(SearchSpec.of(config, command), watch)


def run(spec: SearchSpec, watch: Watch = NOBODY) -> Search:
    """Carry out a search, or what is left of it, with whoever else is at it; then its winners in full.

    Raises:
        InputError: an option, the space, the data or the database are wrong.
        MachineError: three trials in a row found no space or memory.
    """
    require_optuna()
    spec.check()
    writable("paths.runs", spec.study)
    require_login(spec.base.logger)
    given = spec.base.data["matrix"]
    folder = Path(str(given)) if given is not None else train.open_data(spec.base, watch).folder
    data = open_seen(spec.base, folder)
    with database(spec.database):
        work(spec, data, watch) if spec.workers == 1 else side_by_side(spec, folder, watch)
        (searched,) = [each for each in searches(spec.database) if each.name == spec.name(data.fingerprint)]
    front = winners_of(searched)
    if front.empty and spec.winners:
        watch.warn(f"{searched.model}: no trial has finished, so there is no winner")
    runs = [_winner(spec, data, searched, trial, watch) for _, trial in front.head(spec.winners).iterrows()]
    return Search(searched, tuple(front["values"]), tuple(runs), _page(spec, data, runs, watch))


def _winner(spec: SearchSpec, data: Data, searched: Searched, trial: "pd.Series[Any]", watch: Watch) -> RunFolder:
    """Carry out the run of a trial in full; it goes on from the trial's checkpoints."""
    tuned = replace(spec.trial(trial["values"]), tuning=tuning_of(searched, trial))
    folder = train.folder_of(tuned, data)
    if folder.finished and (folder.path / PROVENANCE).is_file() and folder.facts().get("tuning") != tuned.tuning:
        folder.report.unlink(missing_ok=True)  # it tells what the search took, and by now that is more
    return train.run(tuned, watch)


def _page(spec: SearchSpec, data: Data, runs: Sequence[RunFolder], watch: Watch) -> Path:
    """Write the table and the page of all searches in the study, and note the step in the log of the study.

    The database is known by its hash alone, for it goes on with the next trial.
    """
    page = spec.study / "search.html"
    table = page.with_suffix(".csv")
    with owned(spec.study / ".search.lock", str(page), watch.say):  # who takes part may end at the same time
        with database(spec.database):
            found = searches(spec.database)
        write_table(table, search_rows(found))
        search_html(page, found, DEFINITION)
        winners = {f"{run.path.parent.name}/{run.path.name}/{run.report.name}": Input.of(run.report) for run in runs}
        append(
            log_in(spec.study),
            "search",
            options={**_deciding(spec), "name": spec.name(data.fingerprint)},
            inputs={**files_seen(data), DATABASE: Input(sha256(spec.database)), **winners},
            outputs={file.name: sha256(file) for file in (table, page)},
        )
    return page


def _deciding(spec: SearchSpec) -> dict[str, Any]:
    """Return what decides what is found, for the log."""
    limits = {name: getattr(spec, name) for name in ("trials", "seconds", "winners")}
    config = spec.base.config
    return {
        **limits,
        "search": spec.search,
        **{name: config[name] for name in (*IDENTITY, "rows", "constraints", "data")},
    }
