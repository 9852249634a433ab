"""``generate`` of a run over patients through time: dated visits instead of a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from ehrsynth.data.encoding import Encoder
from ehrsynth.errors import OptionError
from ehrsynth.files import sha256, write_json
from ehrsynth.models.condition import Condition
from ehrsynth.models.visits.base import VisitModel, load_visit_model
from ehrsynth.sampling.patients import drawn_patients
from ehrsynth.sampling.wanted import conditions, wanted
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng
from ehrsynth.study.asked import as_plain
from ehrsynth.study.chain import Input, append, log_beside
from ehrsynth.study.describe import describe
from ehrsynth.study.loaded_run import model_class_of, torch_device
from ehrsynth.study.patients_out import require_format, write_patients
from ehrsynth.study.run_folder import PROVENANCE, RunFolder
from ehrsynth.study.spec import whole
from ehrsynth.study.watch import Watch
from ehrsynth.visits import Visits


class SyntheticPatients(NamedTuple):
    """Patients that were drawn.

    Attributes:
        static: what is said of each once, one row a patient.
        visits: theirs, in the same order.
    """

    static: pd.DataFrame
    visits: Visits


class WrittenVisits(NamedTuple):
    """Synthetic patients on disk, in a folder."""

    folder: Path
    patients: int
    visits: int

    @property
    def provenance(self) -> Path:
        """What made it, beside it."""
        return self.folder.with_name(f"{self.folder.name}.{PROVENANCE}")


def generate_visits(
    folder: RunFolder,
    n: int | None,
    out: str | Path | None,
    seed: int,
    condition: Mapping[str, object] | None,
    device: str,
    model_class: type | str | None,
    watch: Watch,
    out_format: str = "meds",
) -> SyntheticPatients | WrittenVisits:
    """Draw patients from the chosen checkpoint of a finished run.

    Args:
        folder: the run.
        n: patients; as many as the run had in training by default.
        out: a folder to be made; without one the patients are returned.
        seed: of the draws.
        condition: what all patients must have of what is said of them once.
        device: ``auto``, ``cpu``, ``cuda``.
        model_class: of the run, if it is not one of this package.
        watch: who is told what happens.
        out_format: of the folder: ``meds``, ``omop`` or ``fhir``.

    Raises:
        InputError: a file of the run is not as it was written, or an option is wrong.
    """
    require_format(out_format)
    if out is not None and Path(out).exists():
        raise OptionError(f"out={out}: something is there; name a folder that does not exist yet")
    folder.require(folder.path / PROVENANCE)
    folder.require(folder.chosen_checkpoint, folder.schema)
    facts = folder.facts(model=str, rows={"train": int})
    model = load_visit_model(
        folder.chosen_checkpoint, Schema.load(folder.schema), model_class=model_class_of(model_class, VisitModel)
    )
    model = model.to(torch_device(device))
    n = whole("n", facts["rows"]["train"] if n is None else n, least=1)
    asked = wanted(model.schema, condition or {})
    static = _given(model, conditions(model.schema, 1, asked), n, seed) if asked else None
    with watch.bar("generating", n) as advance:
        drawn = drawn_patients(model, n, seed, static, progress=lambda done: advance(done, None))
    told = Encoder(model.schema).decode(drawn.static)
    if out is None:
        return SyntheticPatients(told, drawn.visits)
    form = write_patients(out_format, drawn.visits, model.visit_schema, told, Path(out), keeps_rows=model.keeps_rows)
    written = WrittenVisits(Path(out), n, drawn.visits.count)
    checkpoint = folder.chosen_checkpoint
    options = {
        "n": n,
        "seed": seed,
        "device": model.device.type,
        "condition": {str(name): as_plain(value) for name, value in (condition or {}).items()},
        **form,
    }
    place = describe(folder, written.folder, f"{n:,} patients through time", model.schema, keeps_rows=model.keeps_rows)
    files = {
        f"{written.folder.name}/{file.relative_to(written.folder).as_posix()}": sha256(file)
        for file in sorted(written.folder.rglob("*.*"))
    }
    about = {"run_id": folder.path.name, "model": facts["model"], "checkpoint": checkpoint.name}
    write_json(written.provenance, {"run": about, **options, "files": files})
    append(
        log_beside(written.folder),
        "generate",
        options=options,
        inputs={name: Input.of(file) for name, file in {"checkpoint": checkpoint, "schema": folder.schema}.items()},
        outputs={**files, **{file.name: sha256(file) for file in (written.provenance, place)}},
    )
    return written


def _given(model: VisitModel, condition: Condition, n: int, seed: int) -> torch.Tensor:
    """Draw rows of patients that meet a condition, some at a time."""
    parts = []
    with torch.inference_mode():
        for number, start in enumerate(range(0, n, model.sample_batch)):
            generator = torch_rng(seed, "condition", number, device=model.device)
            rows = min(model.sample_batch, n - start)
            parts.append(model.static_rows(rows, generator, condition.to(model.device)).cpu())
    return torch.cat(parts)
