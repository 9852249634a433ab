"""Vocabularies that are a table: codes looked up, and shortened where the table stops earlier."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from ehrsynth.data.table_files import read_text
from ehrsynth.data.vocabulary.base import Vocabulary
from ehrsynth.data.vocabulary.icd import ICD9PCS, canonical, category
from ehrsynth.errors import OptionError, TableError, expect

KEY = ["vocabulary", "code"]
SEXES = {"female": "F", "f": "F", "male": "M", "m": "M"}


@dataclass(kw_only=True, eq=False)
class Lookup(Vocabulary):
    """A vocabulary that is a table.

    Attributes:
        shorten: by how many characters, or words of a name, a code that is not in the table may be shortened from its
            end until one is; None goes as far as its category, or its first word.

    Raises:
        OptionError: ``shorten`` is no whole number.
    """

    shorten: int | None = None

    def __post_init__(self) -> None:
        fits = self.shorten is None or (isinstance(self.shorten, int) and self.shorten >= 0)
        expect(fits, "vocabulary: shorten", self.shorten, "a whole number, or null for the category,")

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """Read the table: ``vocabulary, code, concept`` and perhaps ``label`` and ``sex`` (words or F and M)."""

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The table."""
        return self.table()

    @cached_property
    def concepts(self) -> pd.DataFrame:
        """Concepts of codes in the form they are looked up by: ``vocabulary, code, concept``."""
        return tidied(self.rows)

    def map(self, codes: pd.DataFrame) -> pd.DataFrame:
        """Map distinct codes."""
        known = self.concepts.rename(columns={"vocabulary": "there", "code": "found"})
        have = set(zip(known["there"], known["found"], strict=True))
        tried = [_nearest(have, *pair, self.shorten) for pair in zip(codes["vocabulary"], codes["code"], strict=True)]
        found = pd.DataFrame(tried, columns=["there", "found"], index=codes.index, dtype=object)
        return codes.join(found).dropna().merge(known, on=["there", "found"])[[*KEY, "concept"]]

    def labels(self) -> Mapping[str, str]:
        """Return the words of the table: for each concept those of the first row that has any."""
        return _first(self.rows, "label") if "label" in self.rows else {}

    def sexes(self) -> Mapping[str, str]:
        """Return the sexes of the table, in the same way."""
        if "sex" not in self.rows:
            return {}
        return _first(self.rows.assign(sex=self.rows["sex"].str.lower().map(SEXES)), "sex")


def tidied(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``vocabulary, code, concept`` of rows whose codes may be written in any form; what is none is left out."""
    codes = rows[KEY].drop_duplicates()
    codes = codes.assign(tidy=[tidy_code(*pair) or "" for pair in zip(codes["vocabulary"], codes["code"], strict=True)])
    found = rows.merge(codes[codes["tidy"] != ""], on=KEY)[["vocabulary", "tidy", "concept"]]
    return found.rename(columns={"tidy": "code"}).dropna().drop_duplicates()


def tidy_code(vocabulary: str, code: str) -> str | None:
    """Return a code in the one form it is looked up by: ICD's own, or lower case without needless blanks."""
    return canonical(vocabulary, code) if vocabulary.startswith("ICD") else " ".join(code.lower().split())


def packaged(package: str, file: str) -> Path:
    """Return a data file of an installed package, without importing the package.

    Raises:
        OptionError: the package is not there.
    """
    there = find_spec(package)
    if there is None or not there.submodule_search_locations:
        raise OptionError(f"vocabulary: the map {file} is not installed; pip install 'ehrsynth[codes]' brings it")
    return Path(there.submodule_search_locations[0]) / file


def read_columns(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read columns of a map as text; an optional one that is not there is empty.

    Raises:
        FileError: the file is missing or not readable.
        TableError: it lacks a column that is needed.
    """
    table = read_text(path)
    absent = [name for name in needed if name not in table]
    if absent:
        raise TableError(f"{path}: missing column {absent[0]!r}; a map with {', '.join(needed)} was expected")
    return table.reindex(columns=[*needed, *optional]).astype("string")


def _nearest(
    have: set[tuple[str, str]], vocabulary: str, code: str, shorten: int | None
) -> tuple[str | None, str | None]:
    """Return the longest beginning of a code that is in the table, after the vocabulary it is there under."""
    tidy = tidy_code(vocabulary, code)
    if not tidy:
        return None, None
    shorter = _shorter_codes(vocabulary, tidy) if vocabulary.startswith("ICD") else _shorter_names(tidy)
    for candidate in shorter[: None if shorten is None else shorten + 1]:
        for there in (vocabulary, ""):  # a table of names need not say whose names they are
            if (there, candidate) in have:
                return there, candidate
    return None, None


def _shorter_codes(vocabulary: str, code: str) -> list[str]:
    """Return an ICD code and what is left of it, character by character, down to its category."""
    letters = code.replace(".", "")
    head = 2 if vocabulary == ICD9PCS else len(category(vocabulary, code) or code)
    if "." not in code:
        return [code[:end] for end in range(len(code), min(head, len(code)) - 1, -1)]
    return [
        f"{letters[:head]}.{letters[head:end]}" if end > head else code.split(".")[0]
        for end in range(len(letters), head - 1, -1)
    ]


def _shorter_names(name: str) -> list[str]:
    words = name.split()
    return [" ".join(words[:end]) for end in range(len(words), 0, -1)]


def _first(table: pd.DataFrame, column: str) -> dict[str, str]:
    known = table[["concept", column]].dropna().drop_duplicates("concept")
    return dict(zip(known["concept"], known[column], strict=True))
