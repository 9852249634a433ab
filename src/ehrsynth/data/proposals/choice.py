"""Where the rules of a matrix come from: the training rows, a file, or nowhere."""

from pathlib import Path
from typing import Any

from ehrsynth.constraints import Constraint
from ehrsynth.data.proposals.file import read_rules
from ehrsynth.data.proposals.propose import contradicted, propose
from ehrsynth.data.wide import Wide
from ehrsynth.errors import OptionError
from ehrsynth.schema import Schema

PROPOSE, NONE = "propose", "none"


def rules_file(option: str) -> Path | None:
    """Return the file that ``constraints=option`` names, if it names one.

    Raises:
        OptionError: it is neither a choice nor the name of a YAML file.
    """
    if option in (PROPOSE, NONE):
        return None
    if not str(option).endswith((".yaml", ".yml")):
        raise OptionError(f"constraints={option}: {PROPOSE}, {NONE} or a .yaml file was expected")
    return Path(option)


def rules_of(option: str, schema: Schema, train: Wide) -> tuple[tuple[Constraint, ...], dict[str, Any]]:
    """Return the rules, and the step for provenance.

    Args:
        option: ``propose`` those that hold in the training rows, ``none``, or the YAML file that declares them.
        schema: fitted on the training rows.
        train: the training rows.

    Raises:
        InputError: the file is not readable, or a rule does not fit schema or training rows.
    """
    file = rules_file(option)
    detail = {}
    if file is not None:
        rules = read_rules(file, schema, train)
    else:
        rules = propose(schema, train) if option == PROPOSE else ()
        if wrong := contradicted(schema, train) if option == PROPOSE else 0:
            detail["codes of one sex, by the vocabulary, that training rows contradict"] = wrong
    step = f"constraints: {option if file is None else 'declared'}"
    detail = {"rules": len(rules), **detail}
    return rules, {"step": step, "columns": len(schema.columns), "detail": detail}
