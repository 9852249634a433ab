"""The seam between a provider's codes and the concepts that become columns."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

OWN = "EHRSYNTH"  # of codes that are names of columns already, as write_meds writes them: every feature keeps them


@dataclass(kw_only=True, eq=False)
class Vocabulary(ABC):
    """A map from codes to concepts a model can learn; subclasses are dataclasses whose fields are the options.

    Attributes:
        name: in provenance.
        keeps_codes: a concept is a code itself, or its beginning; the provider's words for that code then fit.
        not_options: fields that are no option of their own, such as files, which provenance knows by their hashes.
    """

    name: ClassVar[str]
    keeps_codes: ClassVar[bool] = False
    not_options: ClassVar[tuple[str, ...]] = ()

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

    def files(self) -> list[Path]:
        """Return the files of the map."""
        return []

    def inputs(self) -> dict[str, Path]:
        """Return the files of the map, by the name they have in provenance."""
        return {path.name: path for path in self.files()}

    def options(self) -> dict[str, Any]:
        """Return name and options, for provenance; files are known by their hashes."""
        names = (field.name for field in fields(self) if field.name not in self.not_options)
        return {"vocabulary": self.name, **{name: getattr(self, name) for name in names}}


class OneByOne(Vocabulary):
    """A vocabulary that needs no table: a concept is made of the code's own words."""

    @abstractmethod
    def concept(self, vocabulary: str, code: str) -> str | None:
        """Return the concept of a code; None or nothing means unmapped."""

    def map(self, codes: pd.DataFrame) -> pd.DataFrame:
        """Map distinct codes."""
        pairs = zip(codes["vocabulary"], codes["code"], strict=True)
        mapped = codes.assign(concept=[self.concept(*pair) or "" for pair in pairs])
        return mapped[mapped["concept"] != ""]
