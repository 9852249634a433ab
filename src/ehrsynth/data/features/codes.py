"""Clinical codes: one column for each concept of a vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ehrsynth.data.events import LABELS
from ehrsynth.data.features.base import Collected, ColumnSpec, Entries, Feature
from ehrsynth.data.store import Store, quoted, text
from ehrsynth.data.vocabulary.base import OWN, Vocabulary
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

    in_trajectories = "visits"

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
        names, mapped, lost = self._places(codes)
        store.register("mapped", mapped)
        pairs = store.frame(
            """SELECT row, place, sum(times)::BIGINT AS times FROM coded JOIN mapped USING (vocabulary, code)
            GROUP BY ALL ORDER BY ALL"""
        )
        labels = self._labels(store)
        specs = self._specs(names, labels)
        row, column = pairs["row"].to_numpy(np.int64), pairs["place"].to_numpy(np.int64)
        remarks = self._remarks(codes, lost, labels)
        if self.kind == "binary":
            return Collected(specs, row=row, column=column, remarks=remarks)
        cells = np.zeros((store.value("SELECT count(*) FROM cohort"), len(names)), np.int64)
        cells[row, column] = pairs["times"]
        return Collected(specs, pd.DataFrame(cells, columns=list(specs)), remarks=remarks)

    def entries(self, store: Store) -> Entries:
        """Return which concept was written down when."""
        cells = "row, stay_id, time, coalesce(vocabulary, '') AS vocabulary, code"
        codes = store.frame(f"SELECT DISTINCT vocabulary, code FROM (SELECT {cells} FROM {self.events()}) ORDER BY ALL")
        names, mapped, _ = self._places(codes)
        store.register(f"mapped_{self.prefix}", mapped)
        query = f"""SELECT row, stay_id, time, place, NULL::DOUBLE AS value FROM (SELECT {cells} FROM {self.events()})
            JOIN {quoted(f"mapped_{self.prefix}")} USING (vocabulary, code)"""
        return Entries(self._specs(names, self._labels(store)), query)

    def events(self) -> str:
        """Return the events that count, as SQL behind FROM."""
        return f"history WHERE domain = {text(self.domain)} AND code IS NOT NULL"

    def _places(self, codes: pd.DataFrame) -> tuple[list[str], pd.DataFrame, pd.DataFrame]:
        """Return the names of the columns, the place of each code among them, and the codes without a concept."""
        mapped, lost = self._map(codes)
        mapped["name"] = (self.prefix + mapped["concept"]).where(mapped["vocabulary"] != OWN, mapped["concept"])
        wanted = sorted(mapped["name"].unique()) if self.concepts is None else map(self.prefix.__add__, self.concepts)
        names = list(wanted)
        place = pd.Series(range(len(names)), index=names, dtype=np.int64)
        mapped = mapped[mapped["name"].isin(names)]
        return names, mapped.assign(place=mapped["name"].map(place)), lost

    def _map(self, codes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the concepts of the codes, ``unmapped_`` ones too if they are kept, and the codes without one."""
        own = codes.loc[codes["vocabulary"] == OWN, ["vocabulary", "code"]]
        others = codes.loc[codes["vocabulary"] != OWN, ["vocabulary", "code"]]
        mapped = pd.concat([self.vocabulary.map(others).drop_duplicates(), own.assign(concept=own["code"])])
        both = codes.merge(mapped[["vocabulary", "code"]].drop_duplicates(), how="left", indicator="found")
        lost = both[both["found"] == "left_only"]
        if self.unmapped == "drop":
            return mapped, lost
        rolled = [UNMAPPED + rolled_up(*pair) for pair in zip(lost["vocabulary"], lost["code"], strict=True)]
        kept = lost[["vocabulary", "code"]].assign(concept=rolled)
        return pd.concat([mapped, kept], ignore_index=True), lost

    def _specs(self, names: Sequence[str], labels: Mapping[str, str]) -> dict[str, ColumnSpec]:
        sexes = self.vocabulary.sexes()
        return {
            name: ColumnSpec(
                self.kind,
                domain=self.domain if self.domain in CODE_DOMAINS else "code",
                label=labels.get(name.removeprefix(self.prefix), labels.get(name, name.replace("_", " "))),
                sex=sexes.get(name.removeprefix(self.prefix)),
            )
            for name in names
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
        mine = known[known["vocabulary"] == OWN]
        own = dict(zip(mine["code"], mine["label"], strict=True))
        return {**(words if self.vocabulary.keeps_codes else {}), **unmapped, **self.vocabulary.labels(), **own}

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
