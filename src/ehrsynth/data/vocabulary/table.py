"""A map of the user's own."""

from pathlib import Path
from typing import Any

from ehrsynth.data.vocabulary.lookup import Known, LookedUp, checked, read_columns


class TableMap(LookedUp):
    """Codes or names to concepts by a table, such as drugs to their classes.

    Args:
        path: CSV or Parquet with the columns ``vocabulary`` (ICD9CM, ICD10CM, ICD9PCS, ICD10PCS or what the provider
            has; empty for names of any vocabulary but ICD), ``code`` and ``concept``, and perhaps ``label`` and ``sex``
            (F, M). A code may have several rows. ICD codes may have their dots or not.
        shorten: by how many characters a code, or words a name, that is not in the table may be shortened from its end;
            None: down to the category, or the first word.

    Raises:
        OptionError: ``shorten`` is no whole number.
    """

    def __init__(self, *, path: Path | str, shorten: int | None = 0) -> None:
        self.path = Path(path)
        self.shorten = checked(shorten)

    def options(self) -> dict[str, Any]:
        """Return class and options."""
        return {"vocabulary": "table", "shorten": self.shorten}

    def inputs(self) -> dict[str, Path]:
        """Return the table."""
        return {self.path.name: self.path}

    def load(self) -> Known:
        """Read the table."""
        table = read_columns(self.path, ["vocabulary", "code", "concept"], ["label", "sex"])
        return Known.of(
            table.dropna(subset=["code", "concept"]).assign(vocabulary=lambda rows: rows["vocabulary"].fillna(""))
        )
