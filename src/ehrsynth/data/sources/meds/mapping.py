"""What each code of a MEDS dataset is, and by which means that is known: the surest means first.

The standard leaves the spelling of codes to each dataset. What nothing here knows stays under its own name.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ehrsynth.data.sources.meds.patterns import PATTERNS, meanings, patterns_of, sex_of
from ehrsynth.data.sources.meds.shapes import shaped
from ehrsynth.data.sources.meds.words import LOOKED_FOR, ONCE, WORDS, said, with_ancestors

GIVEN, USUAL, LEFT_OUT = "a pattern of source.patterns", "a usual pattern", "a pattern that source.patterns leaves out"
PARENTS, WRITTEN, DESCRIBED = "parent_codes", "the words in their codes", "their descriptions"
SHAPE, UNKNOWN = "codes that look like ICD behind their prefix", "no pattern"
MEANS = (GIVEN, USUAL, PARENTS, WRITTEN, DESCRIBED, SHAPE)
WORDED = ("sex", "race", "insurance")  # whose code is a word

Options = Mapping[str, Mapping[str, Any] | None]


def mapped(codes: pd.DataFrame, metadata: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Return ``meanings`` of codes with ``means``, and ``prefix`` where their shape told.

    Args:
        codes: ``raw, events, numbers``, no code twice.
        metadata: ``raw, description, parents``: text or None, and lists.
        options: ``source.patterns``.
    """
    patterns = patterns_of(options)
    found = meanings(list(codes["raw"]), patterns).set_index("raw", drop=False)
    found["means"], found["prefix"] = UNKNOWN, None
    matched = found["pattern"].notna()
    found.loc[matched, "means"] = [GIVEN if name in options else USUAL for name in found.loc[matched, "pattern"]]
    refused = {name: PATTERNS[name] for name in options if name in PATTERNS and name not in patterns}
    unwanted = meanings(_open(found), refused).dropna(subset="pattern")["raw"]
    found.loc[unwanted, "means"] = LEFT_OUT
    described = metadata.dropna(subset="description")
    descriptions = dict(zip(described["raw"], described["description"], strict=True))
    parents = {
        raw: [parent for parent in several if isinstance(parent, str)]
        for raw, several in zip(metadata["raw"], metadata["parents"], strict=True)
    }
    wanted = LOOKED_FOR | {pattern.domain for name, pattern in patterns.items() if name in options}
    for means, texts, tried in (
        (PARENTS, with_ancestors(parents), {**patterns, **WORDS}),
        (WRITTEN, {raw: [raw] for raw in codes["raw"]}, WORDS),
        (DESCRIBED, {raw: [text] for raw, text in descriptions.items()}, WORDS),
    ):
        asked = {raw: texts[raw] for raw in _open(found) if raw in texts}
        domains = wanted - (ONCE & set(found["domain"]))
        _settle(found, said(asked, patterns=tried, domains=domains), means)
    _settle(found, shaped(codes[codes["raw"].isin(_open(found))]), SHAPE)
    return _described(found, descriptions).reset_index(drop=True)


def _open(found: pd.DataFrame) -> list[str]:
    return list(found.index[found["means"] == UNKNOWN])


def _settle(found: pd.DataFrame, new: pd.DataFrame, means: str) -> None:
    """Write what a means has found into the rows of its codes."""
    for column in new.columns.drop("raw"):
        found.loc[new["raw"], column] = new[column].to_numpy(object)
    found.loc[new["raw"], "means"] = means


def _described(found: pd.DataFrame, descriptions: Mapping[str, str]) -> pd.DataFrame:
    """Return the meanings with the description where an attribute's code is a mere number."""
    numbers = found["domain"].isin(WORDED) & found["code"].str.fullmatch(r"\d+").fillna(False).astype(bool)
    words = found.loc[numbers, "raw"].map(descriptions).dropna()
    found.loc[words.index, "code"] = words
    sexes = found["domain"] == "sex"
    found.loc[sexes, "code"] = found.loc[sexes, "code"].map(sex_of, na_action="ignore")
    return found
