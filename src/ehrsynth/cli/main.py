"""``ehrsynth VERB [overrides]``: the door. Nothing heavy is imported until a verb runs."""

import importlib
import re
import sys
import textwrap
from io import TextIOWrapper
from itertools import takewhile

from ehrsynth.study.conf import conf_dir, names

VERBS = ("prepare", "train", "generate", "evaluate", "rank", "study", "compare", "search", "federate", "verify")

# What an argument at the front that is no option stands for.
FIRST = {"study": "study", "compare": "runs", "verify": "place"}

USAGE = """\
ehrsynth: train, judge, choose and hand over generators of synthetic health records

usage: ehrsynth VERB [option=value ...]

  {verbs}

start here:
  ehrsynth train                                       a VAE on the simulated demo hospital
  ehrsynth train -m model=emr_wgan,vae,ehrdiff experiment=demo
  ehrsynth rank runs='runs/demo-n10000/**' profile=ml_development

ehrsynth VERB --help teaches a verb by example.
"""


def help_of(verb: str) -> str:
    """Return what the comment at the head of ``conf/VERB.yaml`` teaches; ``{group}`` stands for its other options."""
    lines = (conf_dir() / f"{verb}.yaml").read_text(encoding="utf-8").splitlines()
    return "\n".join(_filled_in(line[2:]) for line in takewhile(lambda line: line.startswith("#"), lines))


def _filled_in(line: str) -> str:
    if (found := re.match(r"  \S+=(\S+) +or \{([\w/]+)\}", line)) is None:
        return line
    _, slash, below = found[2].partition("/")
    options = [f"{below}{slash}{name}" for name in names(found[2])]
    others = ", ".join(option for option in options if option != found[1])
    column = line.index(" or {") + 1
    return textwrap.fill(line.replace(f"{{{found[2]}}}", others), 120, subsequent_indent=" " * column)


def main() -> None:
    """Entry point of the ``ehrsynth`` command."""
    _take_any_sign()
    arguments = sys.argv[1:]
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help", "help"):
        print(USAGE.format(verbs="\n  ".join(f"{verb:<10}{help_of(verb).splitlines()[0]}" for verb in VERBS)))
        raise SystemExit(0)
    if verb == "--version":
        from ehrsynth import __version__

        print(__version__)
        raise SystemExit(0)
    if verb not in VERBS:
        print(f"ehrsynth: error: unknown verb {verb!r}; use one of {', '.join(VERBS)}", file=sys.stderr)
        raise SystemExit(2)
    run(verb, arguments[1:])


def _take_any_sign() -> None:
    """Let signs that the terminal does not know be replaced: a report is complete without its arrows."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="replace")


def run(verb: str, arguments: list[str]) -> None:
    """Run a verb with its overrides; ``python -m ehrsynth.cli.VERB`` comes here too."""
    _take_any_sign()
    if {"-h", "--help"} & set(arguments):
        print(f"ehrsynth {verb}: {help_of(verb)}")
        raise SystemExit(0)
    from ehrsynth.cli.launch import launch

    module = importlib.import_module(f"ehrsynth.cli.{verb}")
    if verb in FIRST and arguments and "=" not in arguments[0] and not arguments[0].startswith("-"):
        arguments = [f"{FIRST[verb]}={arguments[0]}", *arguments[1:]]
    if verb == "study":
        arguments = ["watch=true" if argument == "--watch" else argument for argument in arguments]
    raise SystemExit(launch(verb, module.task, arguments))
