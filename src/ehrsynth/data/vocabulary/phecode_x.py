"""Phecodes X: diagnoses as phenotypes, finer and newer than 1.2 (Shuey et al., Bioinformatics 2023)."""

from pathlib import Path
from typing import Any

from ehrsynth.data.vocabulary.lookup import KEY, Known, LookedUp, checked, packaged, read_columns
from ehrsynth.data.vocabulary.phecode import VERSIONS, parents

MAP = "phecode_maps/phecodeX.csv"


class PhecodesX(LookedUp):
    """ICD-9-CM and ICD-10-CM to 3,612 phenotypes such as EM_202.2, type 2 diabetes; a code may have several.

    Args:
        shorten: by how many characters a code that is not in the map may be shortened; None: down to its category.
        rollup: a code also has the parents of its phecodes, as in the published map: EM_202.2 brings EM_202.

    Raises:
        OptionError: ``shorten`` is no whole number.
    """

    def __init__(self, *, shorten: int | None = None, rollup: bool = False) -> None:
        self.shorten = checked(shorten)
        self.rollup = rollup

    def options(self) -> dict[str, Any]:
        """Return class and options."""
        return {"vocabulary": "phecode_x", "shorten": self.shorten, "rollup": self.rollup}

    def inputs(self) -> dict[str, Path]:
        """Return the map."""
        return {Path(MAP).name: packaged("pyphewas", MAP)}

    def load(self) -> Known:
        """Read the map."""
        table = read_columns(packaged("pyphewas", MAP), ["phecode", "ICD", "flag", "phecode_string", "sex"])
        names = {"ICD": "code", "phecode": "concept", "phecode_string": "label"}
        known = Known.of(table.rename(columns=names).assign(vocabulary=table["flag"].map(VERSIONS)))
        if self.rollup:
            return known
        # A parent goes where the code has one of its children too.
        child = known.concepts[known.concepts["concept"].str.contains(".", regex=False)]
        above = child.assign(concept=child["concept"].map(parents)).explode("concept")
        among = known.concepts.merge(above.drop_duplicates(), on=[*KEY, "concept"], how="left", indicator="is")
        return Known(known.concepts[(among["is"] == "left_only").to_numpy()], known.labels, known.sexes)
