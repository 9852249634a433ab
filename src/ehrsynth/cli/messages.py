"""What went wrong, as the one line that a user reads."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from errno import EACCES, EISDIR, ELOOP, ENAMETOOLONG, ENOTDIR, EPERM, EROFS

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError

from ehrsynth.cli.overrides import written
from ehrsynth.errors import EhrsynthError, InputError, causes, machine_fault
from ehrsynth.words import printable

NOT_THERE = (EACCES, EPERM, EROFS, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG)  # what a user can say better, or allow
MOST_NAMES = 16  # of the options that are there
LAUNCHERS = "; pip install 'ehrsynth[launchers]' brings it"
EXTRAS = {f"hydra/launcher/{name}": LAUNCHERS for name in ("joblib", "submitit_local", "submitit_slurm")}
UNKNOWN_PLUGIN = re.compile(r"Unknown plugin class : '(hydra_plugins\.\S+)'")
QUOTES = """names with signs or spaces in them need quotes, as in 'drop=["heart rate (1/min)"]'"""


def users_fault(error: BaseException) -> str | None:
    """Return the one-line message of an error the user can mend, or None if the fault is ours.

    Hydra wraps what a constructor raises, so the chain of causes is searched.
    """
    for cause in causes(error):
        if isinstance(cause, InputError):
            return one_line(cause)
    if isinstance(error, OverrideParseException):
        how = QUOTES if "=" in error.override else "OPTION=VALUE was expected"
        return printable(f"{error.override}: not readable; {how}")
    root = error.__cause__
    if isinstance(error, ConfigCompositionException) and isinstance(root, ConfigAttributeError | ConfigKeyError):
        return printable(_unknown(root))
    if isinstance(error, MissingConfigException) and error.options:
        brings = EXTRAS.get(str(error.missing_cfg_file), "")
        return printable(f"'{error.missing_cfg_file}': no such option; use one of {', '.join(error.options)}{brings}")
    if isinstance(error, RuntimeError) and (found := UNKNOWN_PLUGIN.match(str(error))) is not None:
        return f"{found[1]} is not installed{LAUNCHERS}"
    if isinstance(error, OSError) and error.errno in NOT_THERE:
        return printable(f"{error.filename}: {error.strerror}")
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:  # of a configuration of the user's own
        mark = error.problem_mark
        return printable(f"{mark.name}, line {mark.line + 1}: not readable as YAML ({error.problem})")
    if isinstance(error, HydraException | OmegaConfBaseException):
        return one_line(error) + (f" {one_line(root)}" if isinstance(root, OmegaConfBaseException) else "")
    return None


def failure(error: BaseException) -> str:
    """Return what to say of an error in one line, whosever the fault is."""
    ours = error if isinstance(error, EhrsynthError) else machine_fault(error)
    return users_fault(error) or (one_line(ours) if ours else printable(f"{type(error).__name__}: {error}"))


def failed(overrides: Iterable[str], error: BaseException) -> str:
    """Return the line that a sweep says of a run that failed; its end repeats only the first error."""
    return printable(f"failed {' '.join(map(written, overrides))}: {failure(error)}")


def one_line(error: BaseException) -> str:
    """Return the message of an error without what would break the line or steer the terminal."""
    return printable(" ".join(str(error).split()))


def _unknown(error: OmegaConfBaseException) -> str:
    """Name an option that is not there, and those that could have been meant."""
    known = [str(name) for name in error.parent_node] if isinstance(error.parent_node, DictConfig) else []
    above = str(error.full_key).removesuffix(str(error.key))
    near = get_close_matches(str(error.key), known, n=2) or [
        name for name in known if name not in ("hydra", "_target_")
    ]
    if not near:
        return f"'{error.key}': no such option, and {above[:-1]} has none"
    listed = ", ".join(f"{above}{name}" for name in near[:MOST_NAMES]) + (", ..." if len(near) > MOST_NAMES else "")
    return f"'{error.key}': no such option; use {'one of ' if len(near) > 1 else ''}{listed}"
