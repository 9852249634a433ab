"""Whether records of a run are calibrated, and to what."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from ehrsynth.chunks import ROWS
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.training_rows import TrainingRows
from ehrsynth.errors import OptionError, expect
from ehrsynth.ledger import LEDGER
from ehrsynth.models.base import SyntheticModel
from ehrsynth.sampling.calibrated import POOL, Calibration
from ehrsynth.sampling.targets import Targets
from ehrsynth.schema import Schema
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.watch import Watch


def targets_of(data: EhrDataModule, seed: int) -> Targets:
    """Return the targets of the training rows as they are, however often a model sees each; of a cohort, its own."""
    rows = TrainingRows(only=data.rows.only).chosen(data.records["train"], data.schema, seed)
    return Targets.of(rows, data.schema, seed)


def judged_calibrated(model: SyntheticModel | type[SyntheticModel], rows: Mapping[str, Any]) -> bool:
    """Return whether what a model draws is calibrated unless told otherwise: not if its rows are to have other shares.

    Args:
        model: or its class.
        rows: ``oversample`` and ``reweight`` as the run was asked for.
    """
    return model.calibrated and not (rows.get("oversample") or rows.get("reweight"))


def pool_of(pool: object, usual: float) -> float:
    """Return how many records are drawn for each that is kept."""
    number = isinstance(pool, int | float) and not isinstance(pool, bool) and isfinite(pool)
    expect(pool is None or (number and float(pool) > 1), "pool", pool, "a number above 1")  # type: ignore[arg-type]
    return float(pool) if isinstance(pool, int | float) else usual


def calibration_asked(
    folder: RunFolder,
    schema: Schema,
    calibrate: bool | None,
    pool: float | None,
    others: Mapping[str, object],
    watch: Watch,
    *,
    usual: bool = False,
    as_trained: bool = True,
    held: int = ROWS,
) -> Calibration | None:
    """Return what the records of ``generate`` are calibrated to; None if they are not.

    Args:
        folder: of the run.
        schema: of the records as they are looked at.
        calibrate: None leaves it to ``usual``.
        pool: records drawn for each that is kept; None for the usual number.
        others: options that say what records are to be, by name.
        watch: is told why a model is not calibrated that is by default.
        usual: whether the class of the model is calibrated unless told otherwise.
        as_trained: whether the model was trained to have the shares of the training rows.
        held: records that are kept at a time, at most.

    Raises:
        OptionError: an option is none that could work, or the run cannot be calibrated, or not beside the others.
    """
    expect(calibrate is None or isinstance(calibrate, bool), "calibrate", calibrate, "true or false")
    pool_size = pool_of(pool, POOL)
    if not (usual if calibrate is None else calibrate):
        if pool is not None:
            raise OptionError(
                f"pool={pool}: of the records that are drawn for one that is kept; calibrate=true or exact=true"
            )
        return None
    why = _prevented(folder, as_trained or calibrate is not None, others)
    if why is None:
        folder.require(folder.targets)
        return Calibration(Targets.load(folder.targets, schema), pool_size, held, required=bool(calibrate))
    if calibrate:
        raise OptionError(f"calibrate=true: {why}")
    watch.say(f"calibrate: off, {why}")
    return None


def _prevented(folder: RunFolder, as_trained: bool, others: Mapping[str, object]) -> str | None:
    """Return why records cannot be calibrated."""
    given = [name for name, value in others.items() if value]
    if given:
        return f"for its shares are those of all training rows, and {given[0]} asks for others; leave out one"
    if not as_trained:
        return "for rows.oversample or rows.reweight gave the model other shares; calibrate=true takes them back"
    if LEDGER in folder.facts():
        return f"for {folder.path} is private, and calibration would take shares of training rows without noise"
    if folder.sites.is_file():
        return f"for the sites that trained {folder.path} have told no shares of their rows"
    if not folder.targets.is_file():
        return f"for {folder.path} has no {folder.targets.name}, by the version that trained it; train again"
    return None
