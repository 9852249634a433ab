"""Which codes of a MEDS dataset look like ICD, learned prefix by prefix from what stands behind it.

A prefix is everything up to a separator: ``DX|`` and ``DX|local|`` of ``DX|local|E11.9``. No single code tells what it
is, since ``A10`` may be anything; the codes behind one prefix together do.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from ehrsynth.data.sources.meds_words import DIAGNOSES, PROCEDURES
from ehrsynth.data.vocabulary.icd import ICD9CM, ICD9PCS, ICD10CM, ICD10PCS, canonical

MOSTLY = 0.9  # of the codes behind a prefix
FEWEST = 3  # of them, different ones
FEWEST_CHAPTERS = 3  # or one dot: L01, L02, ... are somebody's own numbers
MOST_NUMBERS = 0.1  # of the events with a number: a diagnosis has none
_TOKEN = re.compile(r"[A-Za-z0-9.]+")
_TEN_PCS = re.compile(r"[0-9A-HJ-NP-Z]{7}")
_IN_NINE_TOO = re.compile(r"V[0-9]{2}|E[0-9]{3}")  # V58 and E885 are codes of both
_SAYS_DIAGNOSIS = re.compile(rf"(?i)(?:.*[\W_])?(?:{DIAGNOSES}|ICD)[\W_].*")
_SAYS_PROCEDURE = re.compile(rf"(?i)(?:.*[\W_])?{PROCEDURES}[\W_].*")


@dataclass
class _Behind:
    """What stands behind a prefix: the tokens that come next, and their events."""

    tokens: set[str] = field(default_factory=set)
    events: int = 0
    numbers: int = 0


def shaped(codes: pd.DataFrame) -> pd.DataFrame:
    """Return ``raw, domain, vocabulary, code, prefix`` of codes that look like ICD behind their prefix.

    Args:
        codes: ``raw, events, numbers``, with how many events a code has and how many of them have a number.
    """
    behind = defaultdict[str, _Behind](_Behind)
    for raw, events, numbers in codes[["raw", "events", "numbers"]].itertuples(index=False):
        for prefix, token in _splits(raw):
            group = behind[prefix]
            group.tokens.add(token)
            group.events += events
            group.numbers += numbers
    learned = {prefix: found for prefix, group in behind.items() if (found := _vocabularies(prefix, group)) is not None}
    rows = []
    for raw in codes["raw"]:
        for prefix, token in _splits(raw):
            vocabulary = _vocabulary(token, learned[prefix]) if prefix in learned else None
            if vocabulary is not None:
                domain = "procedure" if vocabulary in (ICD9PCS, ICD10PCS) else "diagnosis"
                rows.append((raw, domain, vocabulary, token, prefix))
                break
    return pd.DataFrame(rows, columns=["raw", "domain", "vocabulary", "code", "prefix"], dtype=object)


def _splits(raw: str) -> Iterator[tuple[str, str]]:
    return ((raw[: found.start()], found[0]) for found in _TOKEN.finditer(raw))


def _vocabularies(prefix: str, group: _Behind) -> tuple[str, ...] | None:
    """Return the vocabularies of the codes behind a prefix, the first wins; None if they are of none."""
    tokens, n = sorted(group.tokens), len(group.tokens)
    if n < FEWEST or group.numbers > MOST_NUMBERS * group.events:
        return None
    if _SAYS_PROCEDURE.fullmatch(prefix):
        tried = (ICD10PCS, ICD9PCS)
        return tried if sum(_vocabulary(token, tried) is not None for token in tokens) >= MOSTLY * n else None
    ten = [token for token in tokens if _vocabulary(token, (ICD10CM,))]
    nine = [token for token in tokens if _vocabulary(token, (ICD9CM,))]
    tried = (ICD10CM, ICD9CM) if len(ten) > len(nine) else (ICD9CM, ICD10CM)
    if len({*ten, *nine}) < MOSTLY * n:
        return None
    dotted = sum("." in token for token in tokens)
    if _SAYS_DIAGNOSIS.fullmatch(prefix):
        return tried
    letters = {token[0].upper() for token in ten if not _IN_NINE_TOO.match(token.upper())}
    if tried[0] == ICD10CM:
        return tried if dotted or len(letters) >= FEWEST_CHAPTERS else None
    return tried if dotted >= n / 2 else None  # five digits may be anything


def _vocabulary(token: str, tried: tuple[str, ...]) -> str | None:
    """Return the first vocabulary that a token is a code of."""
    if not any(sign.isdigit() for sign in token):
        return None
    return next((name for name in tried if canonical(name, token) and _whole(name, token)), None)


def _whole(vocabulary: str, token: str) -> bool:
    """Return whether a token is a code as a hospital would write it: ``1`` is none, though ``canonical`` mends it."""
    if vocabulary == ICD10PCS:
        return _TEN_PCS.fullmatch(token.upper()) is not None
    return len(token.split(".")[0]) >= (2 if vocabulary == ICD9PCS else 3)
