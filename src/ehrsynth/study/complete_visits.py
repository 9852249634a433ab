"""``generate complete=``: some domains of the visits of patients drawn given the others, such as drugs given diagnoses.

OUT/0.parquet, 1.parquet, ...   a draw each, of the whole records: subject_id, time, code, numeric_value, text_value
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ehrsynth.errors import OptionError
from ehrsynth.models.visits.base import VisitModel
from ehrsynth.seeding import torch_rng
from ehrsynth.study.continue_visits import (
    TYPES,
    Prefixes,
    WrittenDraws,
    dated_events,
    opened,
    patients_of,
    require_new,
    write_draws,
)
from ehrsynth.study.generate_visits import loaded_model, note
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import whole
from ehrsynth.study.watch import Watch
from ehrsynth.visits import Visits


def complete_visits(
    folder: RunFolder,
    domains: Sequence[str],
    whose: str | Path,
    draws: int,
    out: str | Path | None,
    seed: int,
    device: str,
    model_class: type | str | None,
    watch: Watch,
) -> WrittenDraws:
    """Write the records of real patients with some domains of every visit drawn by a run's model.

    A visit is drawn given its date, its kind, its other domains, and the real visits before it.

    Args:
        folder: the run.
        domains: to be drawn; what the records have of them is not looked at in that visit.
        whose: ``train``, ``validation`` or ``holdout`` of the data of the run, a trajectories folder (its holdout), or
            a part of one, ``FOLDER/validation``.
        draws: of each record.
        out: a folder to be made.
        seed: of the draws.
        device: ``auto``, ``cpu``, ``cuda``.
        model_class: of the run, if it is not one of this package.
        watch: who is told what happens.

    Raises:
        InputError: the model cannot do this, the folder was prepared otherwise, or an option is wrong.
    """
    asked = f"complete={','.join(domains)}"
    made = require_new(out)
    draws = whole("draws", draws, least=1)
    model, facts = loaded_model(folder, device, model_class)
    if not model.completes:
        raise OptionError(f"{asked}: {facts['model']} draws whole visits; a run of visits/visit_diffusion can do this")
    data, part = opened(folder, whose, model, "of")
    given = patients_of(data, part, data.visits(part).per_patient > 0, seed)
    watch.warn(f"{asked}: all else in these records is that of real patients, under their numbers; keep them so")

    def table_of(number: int, aside: Path) -> pa.Table:
        events = dated_events(_completed(model, given, domains, seed, number), model.visit_schema, aside)
        subjects = given.subjects[events["subject_id"].to_numpy(np.int64) - 1]
        events = events.assign(subject_id=subjects).sort_values(["subject_id", "time"], kind="stable")
        types = pa.schema([field for field in TYPES if field.name in events])
        return pa.Table.from_pandas(events[types.names], schema=types, preserve_index=False).replace_schema_metadata()

    write_draws(made, draws, "completing", table_of, watch)
    written = WrittenDraws(made, len(given.subjects), draws)
    options = {
        "complete": list(domains),
        "of": str(whose),
        "part": part,
        "draws": draws,
        "seed": seed,
        "device": model.device.type,
    }
    about = {"patients": written.patients, "data": data.fingerprint}
    note(folder, made, written.provenance, {"model": facts["model"]}, options, about)
    return written


def _completed(model: VisitModel, given: Prefixes, domains: Sequence[str], seed: int, number: int) -> Visits:
    """Return the completed records of one draw, in the order of the patients."""
    parts = []
    for batch, start in enumerate(range(0, len(given.subjects), model.sample_batch)):
        rows = np.arange(start, min(start + model.sample_batch, len(given.subjects)))
        generator = torch_rng(seed, "complete", number, batch, device=model.device)
        static = given.static[torch.from_numpy(rows)].dense()
        parts.append(model.complete(given.visits.of_patients(rows), static, domains, generator))
    return Visits.joined(parts)
