"""``generate`` of a run over patients through time: dated visits instead of a table."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from ehrsynth.constraints.over_time import RulesOverTime, load_over_time
from ehrsynth.constraints.policy import Policy
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.trajectories_out import PATIENTS, Portion
from ehrsynth.errors import OptionError
from ehrsynth.files import sha256, write_json
from ehrsynth.models.condition import Condition
from ehrsynth.models.visits.base import VisitModel, load_visit_model
from ehrsynth.sampling.acceptance import Acceptance
from ehrsynth.sampling.course import CourseView, calibrated_patients
from ehrsynth.sampling.in_time import InTime, in_time, is_in_time
from ehrsynth.sampling.patients import Patients, accepted_patients, drawn_patients
from ehrsynth.sampling.wanted import conditions, wanted
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng
from ehrsynth.study.asked import as_plain
from ehrsynth.study.calibration import calibration_asked
from ehrsynth.study.chain import Input, append, log_beside
from ehrsynth.study.describe import describe
from ehrsynth.study.loaded_run import model_class_of, torch_device
from ehrsynth.study.patients_out import require_format, write_patients
from ehrsynth.study.run_folder import PROVENANCE, RunFolder
from ehrsynth.study.spec import whole
from ehrsynth.study.watch import Watch
from ehrsynth.visits import Visits, VisitSchema


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
    calibrate: bool | None,
    pool: float | None,
    policy: Policy,
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
        condition: what all patients must have: of what is said of them once, or of their visits, see
            ``sampling.in_time``.
        calibrate: draw more patients, and keep those that together have the shares of the training patients, see
            ``sampling.course``.
        pool: patients that are drawn for each that is kept.
        policy: of patients who break the rules over time of the run's data, see ``sampling.accepted_patients``.
        device: ``auto``, ``cpu``, ``cuda``.
        model_class: of the run, if it is not one of this package.
        watch: who is told what happens.
        out_format: of the folder: ``meds``, ``omop`` or ``fhir``.

    Raises:
        InputError: a file of the run is not as it was written, an option is wrong, or hardly any patient that the model
            draws has what is asked for.
    """
    require_format(out_format)
    if out is not None and Path(out).exists():
        raise OptionError(f"out={out}: something is there; name a folder that does not exist yet")
    model, facts = loaded_model(folder, device, model_class)
    n = whole("n", facts["rows"]["train"] if n is None else n, least=1)
    once, over_time = _sorted(condition or {}, model.schema, model.visit_schema)
    given = conditions(model.schema, 1, wanted(model.schema, once)) if once else None
    rules = rules_over_time(folder, policy, model.visit_schema)
    acceptance = Acceptance(
        {**dict.fromkeys(once, "exact"), **dict.fromkeys(over_time.asked if over_time else (), "rejection")}
    )
    view = CourseView(model.schema, model.visit_schema, float(model.calendar.most))
    calibration = calibration_asked(
        folder, view.schema, calibrate, pool, {"condition": condition}, watch, held=PATIENTS
    )
    count = n if calibration is None else calibration.drawn(n)
    with watch.bar("generating", n) as advance:

        def progress(done: int) -> None:
            advance(done * n // count, None)

        if over_time is None and rules is None:
            static = None if given is None else _given(model, given, n, seed)
            batches = drawn_patients(model, count, seed, static, progress)
        else:
            batches = accepted_patients(
                model,
                count,
                seed,
                acceptance,
                rows=lambda count, seed: None if given is None else _given(model, given, count, seed),
                asked=over_time,
                rules=rules,
                policy=policy,
                progress=progress,
            )
        if calibration is not None:
            batches = calibrated_patients(batches, calibration, view, n, seed)
        decode = Encoder(model.schema).decode
        if out is None:
            drawn = Patients.joined(batches)
        else:
            visits = 0

            def portions() -> Iterator[Portion]:
                nonlocal visits
                for some in Patients.pooled(batches, repeat(PATIENTS)):
                    visits += some.visits.count
                    yield some.visits, decode(some.static)

            form = write_patients(out_format, portions(), model.visit_schema, Path(out), keeps_rows=model.keeps_rows)
    _tell(watch, acceptance, over_time, policy)
    if calibration is not None:
        watch.say(f"calibrate: {calibration}")
    if out is None:
        return SyntheticPatients(decode(drawn.static), drawn.visits)
    written = WrittenVisits(Path(out), n, visits)
    options = {
        "n": n,
        "seed": seed,
        "device": model.device.type,
        "condition": {str(name): as_plain(value) for name, value in (condition or {}).items()},
        "calibrate": calibrate,
        "pool": pool,
        "constraints.policy": policy,
        **form,
    }
    how = {"how": acceptance.to_dict()} if acceptance.drawn else {}
    if calibration is not None:
        how["calibration"] = calibration.to_dict()
    place = describe(folder, written.folder, f"{n:,} patients through time", model.schema, keeps_rows=model.keeps_rows)
    note(folder, written.folder, written.provenance, {"model": facts["model"]}, options, how, [place])
    return written


def loaded_model(
    folder: RunFolder, device: str, model_class: type | str | None
) -> tuple[VisitModel, Mapping[str, Any]]:
    """Return the model of a run on a device, and what the run says of itself.

    Raises:
        InputError: a file of the run is missing, or not as it was written.
    """
    folder.require(folder.path / PROVENANCE)
    folder.require(folder.chosen_checkpoint, folder.schema)
    facts = folder.facts(model=str, rows={"train": int})
    own_class = model_class_of(model_class, VisitModel)
    model = load_visit_model(folder.chosen_checkpoint, Schema.load(folder.schema), model_class=own_class)
    return model.to(torch_device(device)), facts


def note(
    folder: RunFolder,
    made: Path,
    provenance: Path,
    about: Mapping[str, Any],
    options: Mapping[str, Any],
    more: Mapping[str, Any],
    beside: Sequence[Path] = (),
) -> None:
    """Write down beside a folder what made it, and bind both to the run, with other files ``beside`` it."""
    checkpoint = folder.chosen_checkpoint
    files = {f"{made.name}/{file.relative_to(made).as_posix()}": sha256(file) for file in sorted(made.rglob("*.*"))}
    run = {"run_id": folder.path.name, **about, "checkpoint": checkpoint.name}
    write_json(provenance, {"run": run, **options, **more, "files": files})
    append(
        log_beside(made),
        "generate",
        options=options,
        inputs={name: Input.of(file) for name, file in {"checkpoint": checkpoint, "schema": folder.schema}.items()},
        outputs={**files, **{file.name: sha256(file) for file in (provenance, *beside)}},
    )


def rules_over_time(folder: RunFolder, policy: Policy, schema: VisitSchema) -> RulesOverTime | None:
    """Return the rules over time of the data that a run was trained on, if they are to be kept."""
    if policy == "keep":
        return None
    folder.require(folder.constraints)
    rules = RulesOverTime(load_over_time(folder.constraints, schema), schema)
    if not len(rules):
        raise OptionError(
            f"constraints.policy={policy}: the data of {folder.shown} have no rules over time; declare some in their"
            " constraints.yaml, and prepare them with constraints=FILE"
        )
    return rules


def _sorted(
    asked: Mapping[str, object], schema: Schema, visit_schema: VisitSchema
) -> tuple[dict[str, object], InTime | None]:
    """Return what is asked of rows, and what of visits."""
    later = {str(name): value for name, value in asked.items() if name not in schema.by_name and is_in_time(str(name))}
    once = {str(name): value for name, value in asked.items() if str(name) not in later}
    for name in once:
        if name not in schema.by_name:
            raise OptionError(
                f"condition.{name}: no such column; the model's schema has {', '.join(schema.names)}, and of visits"
                f" there are first.{next(iter(visit_schema.domains), 'DOMAIN')}=CODE, ever.CODE=1 and dies=1"
            )
    return once, in_time(visit_schema, later) if later else None


def _tell(watch: Watch, acceptance: Acceptance, asked: InTime | None, policy: Policy) -> None:
    """Say how patients came to be what was asked for."""
    if asked is not None:
        watch.say(f"condition {asked}: {100 * acceptance.share:.1f} % of {acceptance.drawn:,} patients drawn had it")
    if policy != "keep":
        broken = f"{100 * acceptance.broken / max(acceptance.accepted, 1):.2f} % of {acceptance.accepted:,} patients"
        mended = f", {acceptance.changed:,} codes and dates were changed" if policy == "repair" else ""
        watch.say(f"constraints.policy={policy}: {broken} broke a rule over time{mended}")


def _given(model: VisitModel, condition: Condition, n: int, seed: int) -> torch.Tensor:
    """Draw rows of patients that meet a condition, some at a time."""
    parts = []
    with torch.inference_mode():
        for number, start in enumerate(range(0, n, model.sample_batch)):
            generator = torch_rng(seed, "condition", number, device=model.device)
            rows = min(model.sample_batch, n - start)
            parts.append(model.static_rows(rows, generator, condition.to(model.device)).cpu())
    return torch.cat(parts)
