"""Compose the config of a verb with Hydra and turn what goes wrong into an exit status."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ehrsynth.errors import EhrsynthError, InputError, OptionError, machine_fault
from ehrsynth.files import sweep_scratch
from ehrsynth.study.conf import conf_dir

Task = Callable[[dict[str, Any]], object]

QUOTES = """names with signs or spaces in them need quotes, as in 'drop=["heart rate (1/min)"]'"""


def launch(verb: str, task: Task, arguments: list[str], finish: Callable[[], None] = lambda: None) -> int:
    """Run ``task`` on the config that ``arguments`` compose.

    Args:
        verb: name of the config and of the command in messages.
        task: what to do with a composed config; once a job in a sweep.
        arguments: Hydra overrides and flags.
        finish: called when all jobs are over, whether or not some failed.

    Returns:
        0 done; 2 the input is wrong (one line on stderr, no traceback); 1 a training that diverged or a machine that
        failed (one line), or our fault (traceback); 130 interrupted. ``HYDRA_FULL_ERROR=1`` shows the traceback in
        every case.
    """
    asked = os.environ.get("HYDRA_FULL_ERROR", "")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting with 1
    conditions = [argument for argument in arguments if argument.startswith("condition.")]
    sys.argv = [f"ehrsynth {verb}", *[argument for argument in arguments if argument not in conditions]]

    sweep_scratch()  # patients may lie in what a killed process has left
    failure: list[Exception] = []

    def checked(cfg: DictConfig) -> object:
        try:
            return checked_task(cfg)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra runs the other jobs and raises the first error at the end
            failure.append(error)  # raised below, where Hydra cannot add lines of its own
            return None

    def checked_task(cfg: DictConfig) -> object:
        if conditions:
            # Past Hydra's grammar, which would split a column's name at its dots and read "true" as a boolean.
            named = dict(argument.removeprefix("condition.").partition("=")[::2] for argument in conditions)
            OmegaConf.update(cfg, "condition", named, force_add=True)
        # A matrix that is there already needs no source.
        unused = ("hydra.", "source.") if OmegaConf.select(cfg, "data.matrix") else ("hydra.",)
        absent = sorted(key for key in OmegaConf.missing_keys(cfg) if not key.startswith(unused))
        if absent:
            listed = f"{', '.join(f'{key}=' for key in absent)} {'is' if len(absent) == 1 else 'are'} required and"
            raise OptionError(f"{listed} not given; see ehrsynth {verb} --help")
        return task(plain(cfg))

    try:
        try:
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(checked)()
        finally:
            finish()
        if failure:
            raise failure[0]
        return 0
    except KeyboardInterrupt:
        then = "goes on where it stopped" if verb == "train" else "starts it again"
        print(f"ehrsynth {verb}: interrupted; the same command {then}", file=sys.stderr)
        return 130
    except Exception as error:
        message = users_fault(error)
        failed = error if isinstance(error, EhrsynthError) else machine_fault(error)
        if asked == "1" or not (message or failed):
            traceback.print_exc()
        if message is not None:
            print(f"ehrsynth {verb}: error: {message}", file=sys.stderr)
        elif failed is not None:
            print(f"ehrsynth {verb}: failed: {failed}", file=sys.stderr)
        return 1 if message is None else 2
    finally:
        os.environ["HYDRA_FULL_ERROR"] = asked


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a config as plain containers with every interpolation resolved; Hydra ends here."""
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def users_fault(error: BaseException) -> str | None:
    """Return the one-line message of an error the user can mend, or None if the fault is ours.

    Hydra wraps what a constructor raises, so the chain of causes is searched.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return _one_line(cause)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not readable; {QUOTES}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        root = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
        return _one_line(error) + (f" {_one_line(root)}" if root else "")
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
