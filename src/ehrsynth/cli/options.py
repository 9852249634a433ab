"""Options as the verbs need them: checked once, with a message that names the option."""

from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from ehrsynth.errors import OptionError


def whole_number(cfg: DictConfig, key: str, *, least: int | None = None) -> int:
    """Return the whole number that ``key`` holds.

    Raises:
        OptionError: it holds something else, or less than ``least``.
    """
    value = OmegaConf.select(cfg, key)
    if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
        wanted = "a whole number" if least is None else f"a whole number, at least {least},"
        raise OptionError(f"{key}={value}: {wanted} was expected")
    return value


def path(cfg: DictConfig, key: str) -> Path:
    """Return the path that ``key`` holds; a name of digits arrives from the command line as a number."""
    return Path(str(OmegaConf.select(cfg, key)))


def device(name: str) -> torch.device:
    """Return the device to sample on: ``auto`` takes a GPU if there is one.

    Raises:
        OptionError: no such device, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError):
        raise OptionError(f"device={name}: not on this machine; use auto, cpu or cuda") from None
    return found
