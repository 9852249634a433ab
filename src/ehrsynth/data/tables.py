"""Three tables of one kind, from anyone: read alike, brought under one schema, encoded."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ehrsynth.data import parsing
from ehrsynth.data.csv_files import plain_name
from ehrsynth.data.disclosed import as_other, disclosed, undisclosed
from ehrsynth.data.encoding import Encoder, fit_bounds
from ehrsynth.data.inference import infer_schema, require_values
from ehrsynth.data.split import require_rows
from ehrsynth.data.table_files import read_with_sign, with_cells, with_index
from ehrsynth.errors import OptionError, TableError
from ehrsynth.layout import Records
from ehrsynth.schema import SUBJECT, Column, Schema, as_text

REAL = ("train", "holdout")


@dataclass(frozen=True)
class Source:
    """A table that is still to be read.

    Attributes:
        name: what to call it in an error, usually its file name.
        read: returns it, with the named columns as the text that stands there, and its decimal sign; None if that is
            for its columns to show.
        file: where it lies; None for a table in memory.
    """

    name: str
    read: Callable[[Collection[str]], tuple[pd.DataFrame, str | None]]
    file: Path | None = None

    @classmethod
    def of(cls, role: str, table: "pd.DataFrame | str | Path") -> "Source":
        """Return the source of a file, or of a table that is called by its role.

        Raises:
            OptionError: it is neither.
        """
        if isinstance(table, pd.DataFrame):
            return cls(role, lambda text: (table, None))
        if not isinstance(table, str | Path):
            raise OptionError(
                f"{role}: found a {type(table).__name__}; a data frame or the path of a file was expected"
            )
        file = Path(table)
        return cls(str(file), lambda text: read_with_sign(file, text=text), file)


@dataclass(frozen=True)
class Reading:
    """How to read somebody's tables.

    Attributes:
        schema: the columns, or None to infer them from the training table.
        subject: the column that names the subject of a row; no metric sees it.
        drop: columns to leave out.
        outcomes: columns whose role is ``outcome``, in an inferred schema.
        min_level: training rows that a level of an inferred schema needs; the others become ``other``.
    """

    schema: Schema | None = None
    subject: str = SUBJECT
    drop: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    min_level: int = 1


@dataclass(frozen=True)
class Tables:
    """The tables under one schema, encoded.

    Attributes:
        schema: with the bounds of the training rows.
        records: by role, ``train``, ``holdout`` and ``synthetic``.
    """

    schema: Schema
    records: Mapping[str, Records]


def read_schema(train: Source, reading: Reading) -> Schema:
    """Return the schema that ``reading`` gives, or the one inferred from the training table; bounds are not fitted yet.

    Raises:
        InputError: the table is not readable, has less than two rows, or gives no schema.
        OptionError: ``drop`` or ``outcomes`` do not go with the schema.
    """
    if reading.schema is None:
        frame = _tidy(train, reading, None)
        require_rows(frame, train.name)
        guess = infer_schema(frame, train.name, outcomes=reading.outcomes)
        if train.file is not None and train.file.suffix != ".parquet" and guess.text_columns[1:]:
            # A CSV once more, now that words such as NA or None are known to be levels where a column is text.
            frame = _tidy(train, reading, guess)
            guess = infer_schema(frame, train.name, outcomes=reading.outcomes)
        return disclosed(guess, frame, train.name, reading.min_level)
    if reading.outcomes:
        raise OptionError("outcomes= is for an inferred schema; a given one names its outcomes itself (role outcome)")
    kept = tuple(column for column in reading.schema.columns if column.name not in reading.drop)
    return Schema(kept)


def read_tables(sources: Mapping[str, Source], schema: Schema, reading: Reading) -> Tables:
    """Read the tables one after another, each encoded before the next is read.

    In the held-out and the synthetic table, levels that the schema lacks and gaps that it does not allow are kept (see
    ``Encoder.encode``), and numbers outside the range of the training rows too; metrics count them.

    Args:
        sources: ``train``, ``holdout`` and ``synthetic``.
        schema: of the tables; the training table decides about its bounds.
        reading: as for ``read_schema``.

    Raises:
        InputError: a file is not readable, or a table does not fit.
        TableError: a real table has less than two rows or a constant outcome, or shares subjects with the other one.
    """
    dropped = set[str]()
    tables, subjects, mixed = _encoded(sources, schema, reading, dropped)
    if mixed:
        tables, subjects, _ = _encoded(sources, schema, reading, dropped, mixed)
    if reading.subject != SUBJECT and not subjects:
        raise OptionError(f"subject={reading.subject}: none of the tables has such a column")
    known = dropped | ({column.name for column in reading.schema.columns} if reading.schema else set())
    if absent := sorted(set(reading.drop) - known):
        raise OptionError(f"drop=[{absent[0]}]: none of the tables has such a column")
    return tables


def _encoded(
    sources: Mapping[str, Source], schema: Schema, reading: Reading, dropped: set[str], narrow: Collection[str] = ()
) -> tuple[Tables, dict[str, pd.Series], set[str]]:
    """Read and encode each table; return them, their subjects, and the columns that are mixed.

    A column is mixed if one table has it in fewer bits than another, whose digits these cannot hold: no cell of one
    equals one of the other until the column is ``narrow`` in all tables.
    """
    records, subjects, widths = dict[str, Records](), dict[str, pd.Series](), dict[str, set[parsing.Width]]()
    rare: dict[str, frozenset[str]] = {}
    for role in (*REAL, "synthetic"):
        source = sources[role]
        frame = _tidy(source, reading, schema, dropped, widths)
        rare = undisclosed(frame, schema.columns) if role == "train" else rare
        frame = as_other(frame, rare)
        if role in REAL:
            require_rows(frame, source.name)
        frame = frame if SUBJECT not in frame else _without_subject(frame, subjects, role)
        frame = schema.validate(frame, source.name, "refuse" if role == "train" else "zero")
        frame = with_cells(frame, {name: parsing.narrowed(frame[name]) for name in narrow})
        if role in REAL:
            schema.require_outcomes(frame, source.name)
        if role == "train":
            schema = fit_bounds(schema, frame)
        records[role] = Encoder(schema).encode(frame, "refuse" if role == "train" else "zero")
        if role == "holdout":
            check_subjects(subjects, sources, reading.subject)
    mixed = {name for name, found in widths.items() if len(found - {"short"}) > 1 or found == {"upcast", "short"}}
    return Tables(schema, records), subjects, mixed


def check_subjects(subjects: Mapping[str, pd.Series], sources: Mapping[str, Source], column: str) -> None:
    """Raise a ``TableError`` if a subject is in both real tables: such a holdout is no control."""
    if not all(role in subjects for role in REAL):
        return
    known, held_out = (as_text(subjects[role].dropna()) for role in REAL)
    both = int(held_out.isin(known).sum())
    if both:
        raise TableError(
            f"{sources['holdout'].name}: column {column!r}: {both} rows belong to subjects of {sources['train'].name};"
            " a subject must be in one split only"
        )


def _without_subject(frame: pd.DataFrame, subjects: dict[str, pd.Series], role: str) -> pd.DataFrame:
    if isinstance(frame[SUBJECT], pd.Series):  # a repeated column is for ``Schema.validate`` to refuse
        subjects[role] = frame[SUBJECT]
        return frame.drop(columns=SUBJECT)
    return frame


def _tidy(
    source: Source,
    reading: Reading,
    schema: Schema | None,
    dropped: set[str] | None = None,
    widths: dict[str, set[parsing.Width]] | None = None,
) -> pd.DataFrame:
    """Read a table: spaces around names and cells stripped, columns left out, the subject under its usual name.

    Which columns were left out, and how wide the numbers of the others are, is added to ``dropped`` and ``widths``.
    """
    text = [] if schema is None else [*schema.text_columns, reading.subject]
    frame, sign = source.read(text)
    frame = with_index(frame)
    frame = frame.set_axis([plain_name(name) for name in frame.columns], axis=1)
    leaving = [name for name in dict.fromkeys(reading.drop) if name in frame.columns]
    frame = frame.drop(columns=leaving)
    if dropped is not None:
        dropped.update(leaving)
    if reading.subject != SUBJECT and reading.subject in frame:
        if SUBJECT in frame:
            raise OptionError(
                f"subject={reading.subject}: {source.name} has a column {SUBJECT!r} too; add drop=[{SUBJECT}]"
            )
        frame = frame.rename(columns={reading.subject: SUBJECT})
    if not frame.columns.is_unique:
        return frame  # refused by whoever needs the names
    require_values(frame, source.name)
    known = {} if schema is None else schema.by_name
    if widths is not None:
        for name in (name for name, column in known.items() if column.numeric and name in frame):
            widths.setdefault(name, set()).add(parsing.width_of(frame[name]))
    table = sign or parsing.decimal_sign(frame[name] for name in frame.columns)
    read = {name: _as_column(frame[name], known.get(name), name == SUBJECT, table) for name in frame.columns}
    return with_cells(frame, read)


def _as_column(cells: pd.Series, column: Column | None, key: bool, table: str) -> pd.Series:
    if column is not None and column.kind == "categorical":
        return parsing.levels(cells, column.levels)
    cells = parsing.stripped(cells)
    if key:
        return cells
    if column is None:
        return parsing.quantities(cells, table)
    if column.numeric:
        return parsing.if_numbers(cells, table)
    return parsing.flags(cells) if column.kind == "binary" and parsing.is_text(cells) else cells
