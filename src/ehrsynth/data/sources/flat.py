"""Anyone's CSV or Parquet: wide, a row per patient or stay, or long, a row per event."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ehrsynth.data.events import EVENTS, select
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.flat_events import event_branches
from ehrsynth.data.sources.flat_files import found_files, names_in_provenance
from ehrsynth.data.sources.flat_rows import Keys, read_rows
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError
from ehrsynth.schema import Role

ROWS = "table_rows"  # a wide table: place, subject_id, stay_id, time, c0, c1, ...
ROW_COLUMNS = "table_columns"  # what c0, c1, ... are: place, name, role


class Flat(Source):
    """A table from anywhere.

    Wide: ``subject`` names the column of the patient; every other column becomes one of the matrix, through the feature
    ``ehrsynth.data.features.table.Columns``. Of several rows of a subject the last counts: by ``time``, then by its
    place in the file.

    Long: ``columns`` says which column of the file is which of an event (``ehrsynth.data.events``), for example
    ``{subject_id: PATIENT, time: WHEN, code: TEST, numeric_value: VALUE, unit: UNIT}``; ``subject_id`` and ``code`` are
    needed. Rows are scanned and never held.

    Args:
        path: a CSV (any of the usual delimiters, ``.csv``, ``.tsv``, also ``.gz``) or Parquet file, a pattern such as
            ``labs/*.parquet``, or a list of them; all with the same columns. Wide tables may not be ``.tsv``.
        subject: wide: the column that names the patient; numbers or text.
        stay: wide: the column that names the stay; no two rows then may be of the same one.
        time: wide: the column that dates the row, in ISO 8601.
        outcomes, sensitive: wide: columns with that role.
        drop: wide: columns to leave out.
        columns: long: the column of the file by the name it has in an event.
        domain, vocabulary: long: what every row is of, where no column says so; ``domain`` is ``code`` by default.

    Raises:
        OptionError: neither wide nor long, or an option that is not for this form.
    """

    name = "flat"

    def __init__(
        self,
        *,
        path: str | Path | Sequence[str],
        subject: str | None = None,
        stay: str | None = None,
        time: str | None = None,
        outcomes: Sequence[str] = (),
        sensitive: Sequence[str] = (),
        drop: Sequence[str] = (),
        columns: Mapping[str, str] | None = None,
        domain: str | None = None,
        vocabulary: str | None = None,
    ) -> None:
        if (subject is None) == (columns is None):
            found = "neither" if subject is None else "both"
            raise OptionError(
                f"source: {found} of subject and columns given; source.subject=COLUMN is for a row per patient,"
                " source.columns={subject_id: COLUMN, code: COLUMN, ...} for a row per event"
            )
        wide = {"stay": stay, "time": time, "outcomes": outcomes, "sensitive": sensitive, "drop": drop}
        others = wide if subject is None else {"domain": domain, "vocabulary": vocabulary}
        for option, value in others.items():
            if value:
                form, key = ("row per patient", "subject") if subject is None else ("row per event", "columns")
                raise OptionError(f"source.{option}={value}: it is for a {form}, that is with source.{key}")
        if twice := sorted(set(outcomes) & set(sensitive)):
            raise OptionError(f"source.sensitive: {twice[0]!r} is among source.outcomes too; a column has one role")
        self.path = path
        self.subject = subject
        self.stay = stay
        self.time = time
        self.outcomes = list(outcomes)
        self.sensitive = list(sensitive)
        self.drop = list(drop)
        self.columns = None if columns is None else dict(columns)
        self.domain = domain
        self.vocabulary = vocabulary

    def read(self, store: Store) -> None:
        """Create ``events``; of a wide table also ``table_rows`` and ``table_columns``, for a feature to read."""
        files = found_files(self.path)
        if self.columns is not None:
            store.view(EVENTS, " UNION ALL ".join(event_branches(store, files, self.columns, self._constants())))
            return
        assert self.subject is not None
        keys = Keys(self.subject, self.stay, self.time)
        rows, columns = read_rows(files, keys, self._roles(), self.drop)
        store.register(ROWS, rows)
        store.register(ROW_COLUMNS, columns)
        branches = [select(ROWS, domain="subject")]
        if self.stay is not None:
            branches += [
                select(ROWS, domain=domain, stay_id="stay_id", time="time") for domain in ("admission", "discharge")
            ]
        store.view(EVENTS, " UNION ALL ".join(branches))

    def options(self) -> dict[str, Any]:
        """Return the options; the files are known by their hashes."""
        return {name: value for name, value in vars(self).items() if name != "path"}

    def inputs(self) -> dict[str, Path]:
        """Return the files."""
        return names_in_provenance(found_files(self.path))

    def _roles(self) -> dict[str, Role]:
        return {**dict.fromkeys(self.outcomes, "outcome"), **dict.fromkeys(self.sensitive, "sensitive")}

    def _constants(self) -> dict[str, str]:
        given = {"domain": self.domain, "vocabulary": self.vocabulary}
        return {name: value for name, value in given.items() if value is not None}
