"""Clinical codes: one binary column for each concept of a vocabulary."""

from pathlib import Path

import numpy as np

from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store, text
from ehrsynth.data.vocabulary.base import Vocabulary


class Codes(Feature):
    """The codes of a domain, rolled up by a vocabulary.

    Args:
        domain: of the events: ``diagnosis``, ``procedure``, ``medication``.
        vocabulary: from the provider's codes to concepts.
        prefix: of the columns' names, so that two domains never share one.
    """

    def __init__(self, *, domain: str, vocabulary: Vocabulary, prefix: str) -> None:
        self.domain = domain
        self.vocabulary = vocabulary
        self.prefix = prefix

    def inputs(self) -> dict[str, Path]:
        """Return the files of the vocabulary."""
        return self.vocabulary.inputs()

    def collect(self, store: Store) -> Collected:
        """Return which subject has which concept."""
        mine = f"history WHERE domain = {text(self.domain)} AND code IS NOT NULL"
        store.table(
            "coded",
            f"SELECT row, coalesce(vocabulary, '') AS vocabulary, code, count(*) AS times FROM {mine} GROUP BY ALL",
        )
        codes = store.frame("SELECT vocabulary, code, sum(times)::BIGINT AS times FROM coded GROUP BY ALL ORDER BY ALL")
        mapped = self.vocabulary.map(codes[["vocabulary", "code"]])
        concepts = sorted(mapped["concept"].unique())
        store.register("mapped", mapped.assign(place=np.searchsorted(concepts, mapped["concept"])))
        pairs = store.frame("SELECT DISTINCT row, place FROM coded JOIN mapped USING (vocabulary, code) ORDER BY ALL")
        labels = self.vocabulary.labels()
        specs = {
            f"{self.prefix}{concept}": ColumnSpec("binary", domain=self.domain, label=labels.get(concept, concept))
            for concept in concepts
        }
        return Collected(specs, row=pairs["row"].to_numpy(), column=pairs["place"].to_numpy())
