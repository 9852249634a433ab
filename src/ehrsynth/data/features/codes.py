"""Clinical codes: one column for each concept of a vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ehrsynth.data.events import LABELS
from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store, text
from ehrsynth.data.vocabulary.base import Vocabulary
from ehrsynth.data.vocabulary.icd import AsIs, rolled_up
from ehrsynth.disclosure import LEAST
from ehrsynth.errors import OptionError
from ehrsynth.schema import CODE_DOMAINS

UNMAPPED = "unmapped_"


@dataclass(kw_only=True, eq=False)
class Codes(Feature):
    """The codes of a domain, rolled up by a vocabulary.

    Attributes:
        domain: of the events: ``diagnosis``, ``procedure``, ``medication``.
        vocabulary: from the provider's codes to concepts.
        prefix: of the columns' names, so that two domains never share one.
        kind: ``binary``, whether a subject has the concept, or ``count``, how often it was recorded. Counts are dense:
            eight bytes for every subject and concept.
        unmapped: what becomes of codes without a concept: ``keep`` gives each category a column of its own, such as
            ``dx_unmapped_V57``; ``drop`` leaves them out. They are counted and listed either way.
        concepts: the columns, in this order, also of concepts that nobody has; None takes those that occur, sorted.

    Raises:
        OptionError: an unknown choice, or a concept that is named twice.
    """

    domain: str
    vocabulary: Vocabulary
    prefix: str
    kind: Literal["binary", "count"] = "binary"
    unmapped: Literal["keep", "drop"] = "keep"
    concepts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name, known in (("kind", ("binary", "count")), ("unmapped", ("keep", "drop"))):
            if (value := getattr(self, name)) not in known:
                raise OptionError(f"features: {name}={value} for {self.domain}: {' or '.join(known)} was expected")
        if self.concepts is not None and len(set(self.concepts)) < len(self.concepts):
            raise OptionError(f"features: concepts for {self.domain}: one is named twice; each is a column")
        self.concepts = None if self.concepts is None else list(self.concepts)

    def inputs(self) -> dict[str, Path]:
        """Return the files of the vocabulary."""
        return self.vocabulary.inputs()

    def collect(self, store: Store) -> Collected:
        """Return which subject has which concept, or how often."""
        store.table(
            "coded",
            "SELECT row, coalesce(vocabulary, '') AS vocabulary, code, count(*) AS times"
            f" FROM {self.events()} GROUP BY ALL",
        )
        codes = store.frame(
            """SELECT vocabulary, code, sum(times)::BIGINT AS times, count(*) AS subjects FROM coded
            GROUP BY ALL ORDER BY ALL"""
        )
        mapped, lost = self._map(codes)
        concepts = sorted(mapped["concept"].unique()) if self.concepts is None else list(self.concepts)
        place = pd.Series(range(len(concepts)), index=concepts, dtype=np.int64)
        mapped = mapped[mapped["concept"].isin(concepts)]
        store.register("mapped", mapped.assign(place=mapped["concept"].map(place)))
        pairs = store.frame(
            """SELECT row, place, sum(times)::BIGINT AS times FROM coded JOIN mapped USING (vocabulary, code)
            GROUP BY ALL ORDER BY ALL"""
        )
        labels = self._labels(store)
        specs = self._specs(concepts, labels)
        row, column = pairs["row"].to_numpy(np.int64), pairs["place"].to_numpy(np.int64)
        remarks = self._remarks(codes, lost, labels)
        if self.kind == "binary":
            return Collected(specs, row=row, column=column, remarks=remarks)
        cells = np.zeros((store.value("SELECT count(*) FROM cohort"), len(concepts)), np.int64)
        cells[row, column] = pairs["times"]
        return Collected(specs, pd.DataFrame(cells, columns=list(specs)), remarks=remarks)

    def events(self) -> str:
        """Return the events that count, as SQL behind FROM."""
        return f"history WHERE domain = {text(self.domain)} AND code IS NOT NULL"

    def _map(self, codes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the concepts of the codes, ``unmapped_`` ones too if they are kept, and the codes without one."""
        mapped = self.vocabulary.map(codes[["vocabulary", "code"]]).drop_duplicates()
        both = codes.merge(mapped[["vocabulary", "code"]].drop_duplicates(), how="left", indicator="found")
        lost = both[both["found"] == "left_only"]
        if self.unmapped == "drop":
            return mapped, lost
        rolled = [UNMAPPED + rolled_up(*pair) for pair in zip(lost["vocabulary"], lost["code"], strict=True)]
        kept = lost[["vocabulary", "code"]].assign(concept=rolled)
        return pd.concat([mapped, kept], ignore_index=True), lost

    def _specs(self, concepts: Sequence[str], labels: Mapping[str, str]) -> dict[str, ColumnSpec]:
        sexes = self.vocabulary.sexes()
        return {
            (name := f"{self.prefix}{concept}"): ColumnSpec(
                self.kind,
                domain=self.domain if self.domain in CODE_DOMAINS else "code",
                label=labels.get(concept, name.replace("_", " ")),
                sex=sexes.get(concept),
            )
            for concept in concepts
        }

    def _labels(self, store: Store) -> Mapping[str, str]:
        """Return words for concepts: the vocabulary's, and for codes that are kept or unmapped the provider's."""
        if not store.has(LABELS):
            return self.vocabulary.labels()
        known = store.frame(
            f"""SELECT coalesce(vocabulary, '') AS vocabulary, code, min(label) AS label FROM {LABELS}
            WHERE domain = {text(self.domain)} AND code IS NOT NULL GROUP BY ALL"""
        )
        pairs = zip(known["vocabulary"], known["code"], strict=True)
        named = [AsIs().concept(*pair) or rolled_up(*pair) for pair in pairs]
        words = dict(zip(named, known["label"], strict=True))
        dotless = {concept.replace(".", ""): label for concept, label in words.items()}  # a category may cross the dot
        words = {**dotless, **words}
        unmapped = {UNMAPPED + concept: label for concept, label in words.items()}
        return {**(words if self.vocabulary.keeps_codes else {}), **unmapped, **self.vocabulary.labels()}

    def _remarks(self, codes: pd.DataFrame, lost: pd.DataFrame, labels: Mapping[str, str]) -> dict[str, int]:
        """Count events and codes, mapped or not, and list the unmapped ones that many subjects have."""
        what = f"{self.domain} ({self.prefix})"
        common = lost[lost["subjects"] >= LEAST].sort_values("subjects", ascending=False, kind="stable")

        def named(vocabulary: str, code: str) -> str:
            label = labels.get(UNMAPPED + rolled_up(vocabulary, code))
            return f"{vocabulary} {code}".strip() + ("" if label is None else f" ({label})")

        listed = {
            f"{what}: subjects with unmapped {named(vocabulary, code)}": int(subjects)
            for vocabulary, code, subjects in common[["vocabulary", "code", "subjects"]].itertuples(index=False)
        }
        return {
            f"{what}: events": int(codes["times"].sum()),
            f"{what}: events with an unmapped code": int(lost["times"].sum()),
            f"{what}: unmapped codes": len(lost),
            f"{what}: unmapped codes of less than {LEAST} subjects": len(lost) - len(common),
            **listed,
        }
