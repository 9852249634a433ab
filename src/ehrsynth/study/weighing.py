"""Whether records under a condition are weighed by the likelihood of their model."""

from collections.abc import Mapping

from ehrsynth.errors import OptionError, expect
from ehrsynth.sampling.wanted import conditions, wanted
from ehrsynth.sampling.weighed import CANDIDATES, Weighing
from ehrsynth.study.calibration import pool_of
from ehrsynth.study.loaded_run import Loaded


def weighing_asked(
    loaded: Loaded,
    exact: bool,
    pool: float | None,
    condition: Mapping[str, object] | None,
    others: Mapping[str, object],
) -> Weighing | None:
    """Return by what the records of ``generate`` are weighed; None if they are not.

    Args:
        loaded: the run.
        exact: whether they are to be.
        pool: records drawn for each that is kept; None for the usual number.
        condition: what all records must have.
        others: options that say what records are to be, by name.

    Raises:
        OptionError: an option is none that could work, or the model cannot be told all of the condition.
    """
    expect(isinstance(exact, bool), "exact", exact, "true or false")
    if not exact:
        return None
    for name, value in others.items():
        if value:
            raise OptionError(f"exact=true: it weighs records under one condition.COLUMN=VALUE; leave out {name}")
    if not condition:
        raise OptionError("exact=true: there is no condition; condition.COLUMN=VALUE was expected")
    schema, model = loaded.model.schema, loaded.model
    names = {str(name): value for name, value in condition.items()}
    encoded = conditions(schema, 1, wanted(schema, names)).to(model.device)
    able = set(model.conditionable) if model.weighs else set()
    if missing := sorted(set(names) - able):
        raise OptionError(f"exact=true: {type(model).__name__} cannot weigh records under {missing[0]}; tally can")
    return Weighing(model, encoded, pool_of(pool, CANDIDATES))
