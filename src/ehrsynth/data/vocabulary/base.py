"""The seam between a provider's codes and the concepts that become columns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd


class Vocabulary(ABC):
    """A map from codes to concepts a model can learn.

    Attributes:
        keeps_codes: a concept is a code itself, or its beginning; the provider's words for that code then fit.
    """

    keeps_codes: ClassVar[bool] = False

    @abstractmethod
    def map(self, codes: pd.DataFrame) -> pd.DataFrame:
        """Map distinct codes.

        Args:
            codes: ``vocabulary`` (ICD9CM, ICD10CM, ...) and ``code``, as the provider writes it, no pair twice.

        Returns:
            ``vocabulary, code, concept``; a code may have several concepts. One that has none is left out: it is
            unmapped, and will be counted and listed.
        """

    def labels(self) -> Mapping[str, str]:
        """Return plain words for the concepts that have any; where there are none, the provider may know some."""
        return {}

    def sexes(self) -> Mapping[str, str]:
        """Return the sex, F or M, of each concept that only one sex can have."""
        return {}

    def inputs(self) -> dict[str, Path]:
        """Return the files of the map, by the name they have in provenance."""
        return {}

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return class and options, for provenance; files are known by their hashes."""


def one_by_one(codes: pd.DataFrame, concept: Callable[[str, str], str | None]) -> pd.DataFrame:
    """Map distinct codes by a function of vocabulary and code; None or nothing means unmapped."""
    concepts = [concept(*pair) or "" for pair in zip(codes["vocabulary"], codes["code"], strict=True)]
    mapped = codes.assign(concept=concepts)
    return mapped[mapped["concept"] != ""]
