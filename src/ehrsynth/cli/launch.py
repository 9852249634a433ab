"""Compose the config of a verb with Hydra and turn what goes wrong into an exit status."""

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ehrsynth.cli.messages import one_line, users_fault
from ehrsynth.cli.overrides import FREE, keyed, readable, rules_below, sorted_flags, spaces_apart, written
from ehrsynth.cli.texts import keep_words
from ehrsynth.errors import EhrsynthError, OptionError, machine_fault
from ehrsynth.files import sweep_scratch
from ehrsynth.study.conf import conf_dir

Task = Callable[[dict[str, Any]], object]

TRAINING = ("train", "search")  # verbs that take the options of a training
NAMED = re.compile(r"\+{0,2}(condition|boost)\.")  # options that name columns of the data


def launch(verb: str, task: Task, arguments: list[str]) -> int:
    """Run ``task`` on the config that ``arguments`` compose.

    Args:
        verb: name of the config and of the command in messages.
        task: what to do with a composed config; once a job in a sweep.
        arguments: Hydra overrides and flags.

    Returns:
        0 done; 2 the input is wrong (one line on stderr, no traceback); 1 a training that diverged, a machine that
        failed, a claim that an audit excludes or what ``verify`` found altered (one line), or our fault (traceback);
        130 interrupted.
        ``HYDRA_FULL_ERROR=1`` shows the traceback in every case.
    """
    asked = os.environ.get("HYDRA_FULL_ERROR", "")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting with 1
    sweep_scratch()  # patients may lie in what a killed process has left
    failure: list[Exception] = []
    options: list[str] = []
    spaces: dict[str, Any] = {}
    typed: dict[str, list[str]] = {"condition": [], "boost": []}

    def checked(cfg: DictConfig) -> object:
        try:
            return checked_task(cfg)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra runs the other jobs and raises the first error at the end
            failure.append(error)  # raised below, where Hydra cannot add lines of its own
            return None

    def checked_task(cfg: DictConfig) -> object:
        for key, values in spaces.items():
            OmegaConf.update(cfg, key, values, merge=False, force_add=True)
        config = composed(verb, cfg, options)
        if verb == "generate":  # what is asked of the data is nothing to look up
            config |= {"condition": unresolved(cfg.condition), "boost": unresolved(cfg.boost), "typed": typed}
        return task(config)

    try:
        options, flags = sorted_flags(arguments)
        if verb == "generate":  # past Hydra's grammar, which would split a column's name at its dots
            for option in options:
                if (found := NAMED.match(option)) is not None:
                    typed[found[1]].append(option[found.end() :])
            options = [option for option in options if not NAMED.match(option)]
        if verb in TRAINING:
            options = [keyed(rules_below(option)) for option in options]
        if verb == "search":
            spaces, options = spaces_apart(options)
        sweep = bool({"-m", "--multirun"} & set(flags))
        sys.argv = [f"ehrsynth {verb}", *(readable(option, sweep=sweep) for option in options), *flags]
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(checked)()
        if failure:
            raise failure[0]
        return 0
    except KeyboardInterrupt:
        then = "goes on where it stopped" if verb in TRAINING else "starts it again"
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
            print(f"ehrsynth {verb}: failed: {one_line(failed)}", file=sys.stderr)
        return 1 if message is None else 2
    finally:
        os.environ["HYDRA_FULL_ERROR"] = asked


def composed(verb: str, cfg: DictConfig, options: Iterable[str]) -> dict[str, Any]:
    """Return the config of a job as plain values.

    Args:
        verb: whose config it is.
        cfg: as Hydra composed it.
        options: as they were typed.

    Raises:
        OptionError: one that is required was not given.
    """
    keep_words(cfg, options)
    # A matrix that is there already needs no source.
    unused = ("hydra.", "source.") if OmegaConf.select(cfg, "data.matrix") else ("hydra.",)
    absent = sorted(key for key in OmegaConf.missing_keys(cfg) if not key.startswith(unused))
    if absent:
        listed = f"{', '.join(f'{key}=' for key in absent)} {'is' if len(absent) == 1 else 'are'} required and"
        raise OptionError(f"{listed} not given; see ehrsynth {verb} --help")
    config = plain(cfg)
    if verb in TRAINING and isinstance(rows := config["rows"], dict):
        for name in (free.partition(".")[2] for free in FREE):
            rows[name] = _written(rows.get(name))
    return config


def _written(node: Any) -> Any:
    return {written(str(key)): below for key, below in node.items()} if isinstance(node, dict) else node


def unresolved(node: Any) -> Any:
    """Return a part of a config as it was typed."""
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a config as plain containers with every interpolation resolved; Hydra ends here."""
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
