"""Anyone's CSV or Parquet: wide, a row per patient or stay, or long, a row per event."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ehrsynth.data import parsing
from ehrsynth.data.csv_files import plain_name
from ehrsynth.data.events import COLUMNS, EVENTS, TYPES, VISITS, select
from ehrsynth.data.inference import require_values
from ehrsynth.data.sources.base import Source
from ehrsynth.data.store import Store, quoted, text
from ehrsynth.data.table_files import column_names, found_files, read_text, with_cells
from ehrsynth.errors import OptionError, TableError, expect
from ehrsynth.schema import Role, in_words

ROWS = "table_rows"  # a wide table: place, subject_id, stay_id, time, c0, c1, ...
ROW_COLUMNS = "table_columns"  # what c0, c1, ... are: place, name, role
LONG = "flat_rows"  # a long table, under the names of an event
DOMAIN = "code"  # of a long table that names none
MOST_NAMES = 20


@dataclass(kw_only=True, eq=False)
class Flat(Source):
    """A table from anywhere.

    Wide: ``subject`` names the column of the patient; every other column becomes one of the matrix, through the feature
    ``ehrsynth.data.features.table.Columns``. Of several rows of a subject the last counts: by ``time``, then by its
    place in the file.

    Long: ``columns`` says which column of the file is which of an event (``ehrsynth.data.events``), for example
    ``{subject_id: PATIENT, time: WHEN, code: TEST, numeric_value: VALUE, unit: UNIT}``; ``subject_id`` and ``code`` are
    needed. Rows are scanned and never held.

    Attributes:
        path: a CSV (any of the usual delimiters, ``.csv``, ``.tsv``, also ``.gz``) or Parquet file, a pattern such as
            ``labs/*.parquet``, or a list of them; all with the same columns.
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
    not_options = ("path",)

    path: str | Path | Sequence[str]
    subject: str | None = None
    stay: str | None = None
    time: str | None = None
    outcomes: Sequence[str] = ()
    sensitive: Sequence[str] = ()
    drop: Sequence[str] = ()
    columns: Mapping[str, str] | None = None
    domain: str | None = None
    vocabulary: str | None = None

    def __post_init__(self) -> None:
        expect(self.path is not None, "source.path", self.path, "a file, a pattern, or a list of them")
        if (self.subject is None) == (self.columns is None):
            found = "neither" if self.subject is None else "both"
            raise OptionError(
                f"source: {found} of subject and columns given; source.subject=COLUMN is for a row per patient,"
                " source.columns={subject_id: COLUMN, code: COLUMN, ...} for a row per event"
            )
        others = ("stay", "time", "outcomes", "sensitive", "drop") if self.subject is None else ("domain", "vocabulary")
        for option in others:
            if value := getattr(self, option):
                form, key = ("patient", "subject") if self.subject is None else ("event", "columns")
                raise OptionError(f"source.{option}={value}: it is for a row per {form}, that is with source.{key}")
        if twice := sorted(set(self.outcomes) & set(self.sensitive)):
            raise OptionError(f"source.sensitive: {twice[0]!r} is among source.outcomes too; a column has one role")
        self.outcomes, self.sensitive, self.drop = list(self.outcomes), list(self.sensitive), list(self.drop)

    def read(self, store: Store) -> None:
        """Create ``events``; of a wide table also ``table_rows`` and ``table_columns``, for a feature to read."""
        (self._read_long if self.subject is None else self._read_wide)(store, found_files(self.path))

    def inputs(self) -> dict[str, Path]:
        """Return the files by their names below the folder they share."""
        files = [file.absolute() for file in found_files(self.path)]
        folder = os.path.commonpath([file.parent for file in files])
        return {Path(os.path.relpath(file, folder)).as_posix(): file for file in files}

    # --- wide -------------------------------------------------------------------------------------------------------

    def _read_wide(self, store: Store, files: Sequence[Path]) -> None:
        assert self.subject is not None
        kept = self._kept(files)
        frame, place = self._cells(files), files_in_words(files)
        rows = pd.DataFrame(
            {
                "place": np.arange(len(frame)),
                "subject_id": _key(frame[self.subject], place),
                "stay_id": np.zeros(len(frame), np.int64),
                "time": pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us]"),
            }
        )
        if self.stay is not None:
            stays = _key(frame[self.stay], place)
            rows["stay_id"] = pd.factorize(stays, sort=True)[0] if parsing.is_text(stays) else stays
            if (again := rows.duplicated(["subject_id", "stay_id"])).any():
                raise TableError(
                    f"{place}: row {int(again.argmax())} is of the same subject and stay as one before it"
                    f" ({int(again.sum())} rows are); one row a stay was expected"
                )
        if self.time is not None:
            rows["time"] = _times(frame[self.time], place)
        put_wide(store, rows, frame[kept], self.outcomes, self.sensitive)
        if self.time is not None:
            store.view(VISITS, f"SELECT subject_id, time AS started, time AS ended FROM {ROWS}")
        stays_of = ("admission", "discharge") if self.stay is not None else ()
        branches = [select(ROWS, domain=text(domain), stay_id="stay_id", time="time") for domain in stays_of]
        store.view(EVENTS, " UNION ALL ".join([select(ROWS, domain="'subject'"), *branches]))

    def _kept(self, files: Sequence[Path]) -> list[str]:
        """Return the columns that become those of the matrix."""
        names, *others = (_header(file) for file in files)
        keys = {"subject": self.subject, "stay": self.stay, "time": self.time}
        own = {option: name for option, name in keys.items() if name is not None}
        given = {"drop": self.drop, "outcomes": self.outcomes, "sensitive": self.sensitive}
        for option, name in [*own.items(), *((option, name) for option, some in given.items() for name in some)]:
            if name not in names:
                raise OptionError(
                    f"source.{option}: {files[0]} has no column {name!r}; its header has {in_words(names, MOST_NAMES)}"
                )
        for file, other in zip(files[1:], others, strict=True):
            if differing := set(names) ^ set(other):
                raise TableError(f"{file}: column {min(differing)!r} is not both here and in {files[0]}")
        kept = [name for name in names if name not in own.values() and name not in self.drop]
        if not kept:
            listed = ", ".join(map(repr, own.values()))
            raise TableError(f"{files[0]}: no columns beside {listed}; at least one is needed")
        return kept

    def _cells(self, files: Sequence[Path]) -> pd.DataFrame:
        """Read the files one below the other, numbers as numbers and all else as the text that stands there."""
        own = (self.subject, self.stay, self.time)
        left_out = [name for name in self.drop if name not in own]
        frame = pd.concat(map(_text_of, files), ignore_index=True).drop(columns=left_out)
        require_values(frame, files_in_words(files), "source.drop")
        plain = parsing.decimal_sign(frame[name] for name in frame) == "."
        return with_cells(
            frame, {name: _numbers_or_text(frame[name], plain and name not in own) for name in map(str, frame)}
        )

    # --- long -------------------------------------------------------------------------------------------------------

    def _read_long(self, store: Store, files: Sequence[Path]) -> None:
        assert self.columns is not None
        constants = {name: value for name in ("domain", "vocabulary") if (value := getattr(self, name)) is not None}
        for name in self.columns:
            if name not in COLUMNS:
                raise OptionError(f"source.columns.{name}: unknown; one of {', '.join(COLUMNS)} was expected")
            if name in constants:
                raise OptionError(
                    f"source.{name}={constants[name]}: source.columns.{name} says it for every row already"
                )
        for name in ("subject_id", "code"):
            if name not in self.columns:
                raise OptionError(f"source.columns: no {name}; say which column of the file it is")
        views = [_event_columns(store, file, number, self.columns) for number, file in enumerate(files)]
        store.view(LONG, " UNION ALL ".join(f"SELECT * FROM {quoted(view)}" for view in views))
        cells = {name: text(value) for name, value in {"domain": DOMAIN, **constants}.items()}
        cells |= {name: name for name in self.columns}
        cells["subject_id"] = f"CAST(subject_id AS {self._subject_type(store, files)})"
        if "stay_id" in self.columns:  # text, where the provider's are no numbers
            cells["stay_id"] = "coalesce(TRY_CAST(stay_id AS BIGINT), CAST(hash(stay_id) // 2 AS BIGINT))"
        subjects = f"(SELECT DISTINCT {cells['subject_id']} AS subject_id FROM {LONG})"
        store.view(EVENTS, " UNION ALL ".join([select(subjects, domain="'subject'"), select(LONG, **cells)]))

    def _subject_type(self, store: Store, files: Sequence[Path]) -> str:
        """Return BIGINT if every subject is a plain whole number, so that they sort as such, else VARCHAR."""
        empty = "subject_id IS NULL OR trim(subject_id) = ''"
        plain = f"regexp_full_match(subject_id, '{parsing.WHOLE}')"
        counts = store.frame(
            f"SELECT count(*) AS n, count(*) FILTER ({empty}) AS gaps, count(*) FILTER (NOT {plain}) AS words"
            f" FROM {LONG}"
        ).iloc[0]
        assert self.columns is not None
        if not counts["n"]:
            raise TableError(f"{files_in_words(files)}: the table has no rows; at least one is needed")
        if counts["gaps"]:
            raise TableError(
                f"{files_in_words(files)}: column {self.columns['subject_id']!r} is empty in {counts['gaps']} of"
                f" {counts['n']} rows; each row must name its subject"
            )
        return "VARCHAR" if counts["words"] else "BIGINT"


def put_wide(
    store: Store, rows: pd.DataFrame, cells: pd.DataFrame, outcomes: Sequence[str], sensitive: Sequence[str]
) -> None:
    """Make a wide table's rows and columns what the feature ``Columns`` reads.

    Args:
        store: gets ``table_rows`` and ``table_columns``.
        rows: place, subject_id, stay_id and time of each row.
        cells: the columns of the matrix.
        outcomes: those of them that have this role.
        sensitive: and those that have this one.
    """
    numbered = cells.set_axis([f"c{i}" for i in range(cells.shape[1])], axis=1)
    store.register(ROWS, pd.concat([rows, numbered], axis=1))
    roles: dict[str, Role] = {**dict.fromkeys(outcomes, "outcome"), **dict.fromkeys(sensitive, "sensitive")}
    columns = pd.DataFrame({"name": cells.columns, "role": [roles.get(str(name), "feature") for name in cells]})
    store.register(ROW_COLUMNS, columns.rename_axis("place").reset_index())


def files_in_words(files: Sequence[Path]) -> str:
    """Return what a message calls one or several files."""
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _header(path: Path) -> list[str]:
    names = [plain_name(name) for name in column_names(path)]
    if len(names) < 2:
        raise TableError(
            f"{path}: {len(names)} column only; a subject and something about it were expected, between commas,"
            " semicolons, tabs or bars"
        )
    return names


def _text_of(file: Path) -> pd.DataFrame:
    frame = read_text(file)
    return frame.set_axis([plain_name(name) for name in frame], axis=1)


def _numbers_or_text(cells: pd.Series, plain: bool) -> pd.Series:
    """Return numbers where every cell is one; where a table has decimal commas, that is for training rows to show."""
    found = parsing.quantities(cells) if plain else cells
    if not parsing.is_text(found):
        return found
    text = cells.astype("str").where(cells.notna()).str.strip()
    return text.mask(text == "")


def _key(cells: pd.Series, place: str) -> pd.Series:
    empty = cells.isna()
    if empty.any():
        raise TableError(
            f"{place}: column {cells.name!r}, row {int(empty.argmax())}: the cell is empty ({int(empty.sum())} of"
            f" {len(cells)} are); it says whose row it is"
        )
    return parsing.keys(cells)


def _times(cells: pd.Series, place: str) -> pd.Series:
    times = parsing.times(cells)
    wrong = cells.notna() & times.isna()
    if wrong.any():
        raise TableError(
            f"{place}: column {cells.name!r}, row {int(wrong.argmax())}: no date as 2024-12-31 or 2024-12-31 23:59"
            f" ({int(wrong.sum())} of {len(cells)} are none)"
        )
    return times


def _event_columns(store: Store, file: Path, number: int, columns: Mapping[str, str]) -> str:
    """Make a view of a file's columns under the names they have in an event, and return its name."""
    there = _header(file)
    seen = dict[str, str]()
    for column in there:
        if (other := seen.setdefault(column.lower(), column)) != column:
            raise TableError(f"{file}: the names of {other!r} and {column!r} differ in nothing but case; rename one")
    kinds = TYPES | {"subject_id": "VARCHAR", "stay_id": "VARCHAR"}  # keys are read as text
    types = dict[str, str]()
    for name, column in columns.items():
        if column.lower() not in seen:
            found = in_words(there, MOST_NAMES)
            raise TableError(f"{file}: source.columns.{name}={column}: no such column; the header has {found}")
        kind = kinds[name]
        types[column] = kind if types.get(column, kind) == kind else "VARCHAR"  # one column may serve two names
    raw, view = f"flat_file_{number}", f"flat_{number}"
    store.scan(raw, file, types)
    chosen = (f"CAST({quoted(column)} AS {kinds[name]}) AS {name}" for name, column in columns.items())
    store.view(view, f"SELECT {', '.join(chosen)} FROM {quoted(raw)}")
    return view
