"""Which codes of a MEDS dataset look like ICD, learned prefix by prefix from what stands behind it.

A prefix is everything up to a separator: ``DX|`` and ``DX|local|`` of ``DX|local|E11.9``. No single code tells what it
is, since ``A10`` may be anything; the codes behind one prefix together do.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from ehrsynth.data.sources.meds.words import DIAGNOSES, PROCEDURES
from ehrsynth.data.vocabulary.icd import ICD9CM, ICD9PCS, ICD10CM, ICD10PCS, canonical

MOSTLY = 0.9  # of the codes behind a prefix
FEWEST = 3  # of them, different ones
FEWEST_CHAPTERS = 3  # first letters, or one dot: L01, L02, ... are somebody's own numbers
MOST_NUMBERS = 0.1  # of the events with a number: a diagnosis has none
_TOKEN = re.compile(r"[A-Za-z0-9.]+")
_PROCEDURES, _DIAGNOSES = (ICD10PCS, ICD9PCS), (ICD9CM, ICD10CM)
_TEN_PCS = re.compile(r"(?=.*[0-9])[0-9A-HJ-NP-Z]{7}")
_ATC = re.compile(r"[A-Z][0-9]{2}[A-Z]{1,2}(?:[0-9]{2})?")  # of drugs: A10BA02
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
    return ((raw[: found.start()], found[0].upper()) for found in _TOKEN.finditer(raw))


def _vocabularies(prefix: str, group: _Behind) -> tuple[str, ...] | None:
    """Return the vocabularies of the codes behind a prefix, the first wins; None if they are of none."""
    n = len(group.tokens)
    if n < FEWEST or group.numbers > MOST_NUMBERS * group.events:
        return None
    for tried, is_evidence in ((_PROCEDURES, _procedures), (_DIAGNOSES, _diagnoses)):
        fitting = {token: name for token in group.tokens if (name := _vocabulary(token, tried)) is not None}
        if len(fitting) >= MOSTLY * n and is_evidence(prefix, fitting):
            found = Counter(fitting.values())
            return tuple(sorted(tried, key=lambda name: -found[name]))
    return None


def _procedures(prefix: str, fitting: Mapping[str, str]) -> bool:
    """Return whether codes that look like procedures are: their prefix must say so, and some code be no mere number."""
    odd = any("." in token or token.startswith("0") or not token.isdigit() for token in fitting)
    return odd and _SAYS_PROCEDURE.fullmatch(prefix) is not None


def _diagnoses(prefix: str, fitting: Mapping[str, str]) -> bool:
    """Return whether codes that look like diagnoses are: other codes have digits, or a letter and four digits, too."""
    dotted = sum("." in token for token in fitting)
    if _SAYS_DIAGNOSIS.fullmatch(prefix):
        return any(not token.isdigit() for token in fitting)
    letters = {token[0] for token, name in fitting.items() if name == ICD10CM}
    lengths = {len(token) for token in fitting}
    if 2 * Counter(fitting.values())[ICD10CM] > len(fitting):
        return dotted > 0 or (len(letters) >= FEWEST_CHAPTERS and len(lengths) > 1)
    return 2 * dotted >= len(fitting)


def _vocabulary(token: str, tried: Sequence[str]) -> str | None:
    """Return the first vocabulary that a token is a code of."""
    return next((name for name in tried if _is_of(name, token)), None)


def _is_of(vocabulary: str, token: str) -> bool:
    """Return whether a token is a code as a hospital would write it: ``1`` is none, though ``canonical`` mends it."""
    if vocabulary == ICD10PCS:
        return _TEN_PCS.fullmatch(token) is not None
    if vocabulary == ICD10CM and _ATC.fullmatch(token):
        return False
    digits = 2 if vocabulary == ICD9PCS else 3
    return canonical(vocabulary, token) is not None and len(token.split(".")[0]) >= digits
