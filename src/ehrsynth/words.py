"""Words of strangers, names of columns and places above all, where people read or paste them."""

import re
import shlex
from collections.abc import Sequence

SEEN = "\N{REPLACEMENT CHARACTER}"
# Escapes that steer a terminal, marks that turn the direction of writing, other ends of a line, halves of a character.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*|[A-Za-z0-9_.-]*/[A-Za-z0-9_./-]*")  # read alike with and without quotes
_MEANT = ("true", "false", "null", "inf", "nan")  # plain, but no text to the command line


def printable(text: str, *, keep: str = "") -> str:
    """Return ``text`` as it may be shown: what a terminal would act upon is replaced, but for the signs to ``keep``."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] in keep else SEEN, text)


def option(key: str, value: str | Sequence[str]) -> str:
    """Return an option of the command line, ready to be pasted into a shell."""
    written = _value(value) if isinstance(value, str) else f"[{','.join(map(_value, value))}]"
    return shlex.quote(f"{key}={written}") if '"' in written else f"{key}={written}"


def _value(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text.lower() not in _MEANT else quoted(text)


def quoted(text: str) -> str:
    """Return a text as Hydra's grammar takes it for itself, whatever it holds; nothing in it is looked up."""
    return between(re.sub(r"(\\*)\$\{", r"\1\1\\${", text), '"')


def between(text: str, quote: str) -> str:
    """Return a text between quotes of Hydra's grammar, in which interpolations stay what they are."""
    return quote + re.sub(rf"(\\*)({quote}|$)", lambda end: 2 * end[1] + (end[2] and f"\\{quote}"), text) + quote
