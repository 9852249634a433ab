"""``generate continue=``: what may follow the first visits of patients, as trajectories that MEDS tools read.

    OUT/0.parquet, 1.parquet, ...   a draw each: subject_id, time, prediction_time, code, numeric_value, text_value

``prediction_time`` is the end of the last visit that was given (its start, where nobody wrote down the end); all
that is told comes at that time or after it. That is the GeneratedTrajectorySchema of MEDS_trajectory_evaluation.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from pyarrow import parquet

from ehrsynth.data.encoding import fill_missing
from ehrsynth.data.meds_out import write_meds
from ehrsynth.data.split import SPLITS
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.errors import OptionError
from ehrsynth.files import aside_of, put_in_place, sweep_leftovers
from ehrsynth.layout import Records
from ehrsynth.ledger import LEDGER
from ehrsynth.models.visits.base import VisitModel
from ehrsynth.schema import SUBJECT
from ehrsynth.seeding import torch_rng
from ehrsynth.study.generate_visits import loaded_model, note
from ehrsynth.study.run_folder import PROVENANCE, RunFolder
from ehrsynth.study.spec import whole
from ehrsynth.study.watch import Watch
from ehrsynth.visits import UNKNOWN, Integers, Visits, VisitSchema

TYPES = pa.schema(
    [
        ("subject_id", pa.int64()),
        ("time", pa.timestamp("us")),
        ("prediction_time", pa.timestamp("us")),
        ("code", pa.string()),
        ("numeric_value", pa.float32()),
        ("text_value", pa.string()),
    ]
)
BORN = "MEDS_BIRTH"


class WrittenDraws(NamedTuple):
    """Draws given the records of real patients on disk, a file each."""

    folder: Path
    patients: int
    draws: int

    @property
    def provenance(self) -> Path:
        """What made them, beside them."""
        return self.folder.with_name(f"{self.folder.name}.{PROVENANCE}")


class Prefixes(NamedTuple):
    """The first visits of real patients.

    Attributes:
        subjects: int64 [n].
        static: their rows.
        visits: theirs, one each at least.
    """

    subjects: Integers
    static: Records
    visits: Visits


def continue_visits(
    folder: RunFolder,
    prefixes: str | Path,
    after: int | None,
    draws: int,
    out: str | Path | None,
    seed: int,
    device: str,
    model_class: type | str | None,
    watch: Watch,
) -> WrittenDraws:
    """Write what a run's model draws after the first visits of real patients.

    Args:
        folder: the run.
        prefixes: ``train``, ``validation`` or ``holdout`` of the data of the run, a trajectories folder (its holdout),
            or a part of one, ``FOLDER/validation``.
        after: visits of each patient that are given; who has fewer is left out. None gives all of those not known to
            have died.
        draws: continuations of each patient.
        out: a folder to be made.
        seed: of the draws.
        device: ``auto``, ``cpu``, ``cuda``.
        model_class: of the run, if it is not one of this package.
        watch: who is told what happens.

    Raises:
        InputError: the model cannot go on from visits, the folder was prepared otherwise, or an option is wrong.
    """
    made = require_new(out)
    after, draws = None if after is None else whole("after", after, least=1), whole("draws", draws, least=1)
    model, facts = loaded_model(folder, device, model_class)
    if not model.continues:
        raise OptionError(
            f"continue={prefixes}: {facts['model']} draws whole records; it cannot go on from visits that are given"
        )
    data, part = opened(folder, prefixes, model, "continue")
    given = _prefixes(data, part, after, seed)
    if not len(given.subjects):
        raise OptionError(f"continue={prefixes}: nobody in {part} has so many visits and may live; a smaller after=")
    watch.warn(f"continue={prefixes}: the records go on from those of real patients, under their numbers; keep them so")
    write_draws(
        made,
        draws,
        "continuing",
        lambda number, aside: _as_events(_continued(model, given, seed, number), given, model.visit_schema, aside),
        watch,
    )
    written = WrittenDraws(made, len(given.subjects), draws)
    options = {
        "continue": str(prefixes),
        "part": part,
        "after": after,
        "draws": draws,
        "seed": seed,
        "device": model.device.type,
    }
    about = {"patients": written.patients, "data": data.fingerprint}
    note(folder, made, written.provenance, {"model": facts["model"]}, options, about)
    return written


def require_new(out: str | Path | None) -> Path:
    """Return where draws go; an ``OptionError`` unless it is a folder to be made."""
    if out is None or Path(out).exists():
        raise OptionError(f"out={out}: a folder that does not exist yet was expected, for a file of each draw")
    return Path(out)


def write_draws(out: Path, draws: int, doing: str, table_of: Callable[[int, Path], pa.Table], watch: Watch) -> None:
    """Write ``0.parquet``, ``1.parquet``, ... into a folder that is there only when all of them are.

    Args:
        out: the folder.
        draws: how many.
        doing: what the progress is of.
        table_of: of the number of a draw, and of a folder for what it writes meanwhile.
        watch: who is told what happens.
    """
    sweep_leftovers(out.parent, out.name)
    aside = aside_of(out)
    aside.mkdir(parents=True)
    try:
        with watch.bar(doing, draws) as advance:
            for number in range(draws):
                parquet.write_table(table_of(number, aside), aside / f"{number}.parquet")
                advance(number + 1, None)
        put_in_place(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def opened(folder: RunFolder, prefixes: str | Path, model: VisitModel, option: str) -> tuple[Trajectories, str]:
    """Return the folder whose patients an option asks for, and which part of them.

    Raises:
        InputError: it is no such folder, or was prepared otherwise than the data of the model.
    """
    place, own = Path(prefixes), Path(folder.facts(matrix={"folder": str})["matrix"]["folder"])
    part = place.name if place.name in SPLITS else "holdout"
    if str(prefixes) in SPLITS:
        place = own
    elif place.name in SPLITS and not (place / "schema.json").is_file():
        place = place.parent
    if LEDGER in folder.provenance and place.resolve() == own.resolve():
        raise OptionError(
            f"{option}={prefixes}: looks at training patients without noise, and {folder.shown} is private; a folder of"
            " other patients can be named"
        )
    data = Trajectories.open(place, tuple(dict.fromkeys(("train", part))))
    if data.schema != model.schema or data.visit_schema != model.visit_schema:
        raise OptionError(f"{option}={prefixes}: {data.folder} has other columns or visits than {folder.shown}")
    return data, part


def _prefixes(data: Trajectories, part: str, after: int | None, seed: int) -> Prefixes:
    """Return the patients of a part with the visits that are given."""
    visits = data.visits(part)
    alive = visits.died == UNKNOWN
    found = patients_of(
        data, part, (visits.per_patient > 0) & alive if after is None else visits.per_patient >= after, seed
    )
    if after is None:
        return found
    mine = found.visits
    return found._replace(visits=some_visits(mine, mine.number < after, np.full(len(mine), UNKNOWN)))


def patients_of(data: Trajectories, part: str, which: np.ndarray, seed: int) -> Prefixes:
    """Return some patients of a part, bool [n], with all their visits; gaps in their rows are filled."""
    chosen = np.flatnonzero(which)
    static = fill_missing(data.records(part), data.records("train"), torch_rng(seed, "fill missing", part))
    subjects = data.static(part)[SUBJECT].to_numpy(np.int64)[chosen]
    return Prefixes(subjects, static[torch.from_numpy(chosen)], data.visits(part).of_patients(chosen))


def some_visits(visits: Visits, which: np.ndarray, died: Integers) -> Visits:
    """Return the same patients with some of their visits, bool [V], and other deaths."""
    chosen = np.flatnonzero(which)
    counts = np.bincount(visits.patient[chosen], minlength=len(visits))
    offsets = np.concatenate([np.zeros(1, np.int64), counts.cumsum()])
    return visits.with_content(chosen, offsets, visits.starts[chosen], visits.ends[chosen], visits.born, died)


def _continued(model: VisitModel, given: Prefixes, seed: int, number: int) -> Visits:
    """Return the visits that follow those given, in one draw."""
    parts = []
    for batch, start in enumerate(range(0, len(given.subjects), model.sample_batch)):
        rows = np.arange(start, min(start + model.sample_batch, len(given.subjects)))
        prefix = given.visits.of_patients(rows)
        generator = torch_rng(seed, "continue", number, batch, device=model.device)
        with torch.inference_mode():
            longer = model.continue_from(prefix, given.static[torch.from_numpy(rows)].dense(), generator)
        new = longer.number >= prefix.per_patient[longer.patient]
        parts.append(some_visits(longer, new, longer.died))
    return Visits.joined(parts)


def dated_events(visits: Visits, schema: VisitSchema, aside: Path) -> pd.DataFrame:
    """Return visits as MEDS events, without births, of patients who are numbered from 1 on; ``aside`` is for files."""
    scratch = aside / "events"
    write_meds(visits, schema, pd.DataFrame(index=range(len(visits))), scratch)
    events = pd.concat([pd.read_parquet(file) for file in sorted((scratch / "data").iterdir())], ignore_index=True)
    shutil.rmtree(scratch)
    return events[events["time"].notna() & (events["code"] != BORN)]


def _as_events(later: Visits, given: Prefixes, schema: VisitSchema, aside: Path) -> pa.Table:
    """Return visits as events of the patients whose records they continue, from the prediction time on."""
    last = given.visits.offsets[1:] - 1
    ends = given.visits.ends[last]
    predicted = np.where(ends == UNKNOWN, given.visits.starts[last], ends)
    events = dated_events(later, schema, aside)
    patient = events["subject_id"].to_numpy(np.int64) - 1
    time = np.maximum(events["time"].to_numpy("datetime64[us]").astype(np.int64), predicted[patient])
    order = np.lexsort((time, given.subjects[patient]))
    stamps = pa.timestamp("us")
    columns = {
        "subject_id": pa.array(given.subjects[patient][order]),
        "time": pa.array(time[order], stamps),
        "prediction_time": pa.array(predicted[patient][order], stamps),
        **{
            name: pa.array(events[name].to_numpy()[order], TYPES.field(name).type, from_pandas=True)
            for name in ("code", "numeric_value", "text_value")
        },
    }
    return pa.table(columns, schema=TYPES)
