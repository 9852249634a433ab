"""A long table: the columns of a file under the names they have in events."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ehrsynth.data.events import COLUMNS, select
from ehrsynth.data.sources.flat_files import decimal_sign, header, listed
from ehrsynth.data.store import Store, quoted, text
from ehrsynth.errors import OptionError, TableError

LONG = "flat_rows"
DOMAIN = "code"
TYPES = {"time": "TIMESTAMP", "numeric_value": "DOUBLE"}


def event_branches(
    store: Store, files: Sequence[Path], columns: Mapping[str, str], constants: Mapping[str, str]
) -> list[str]:
    """Return the queries whose union is the events.

    Args:
        store: gets a view over each file.
        files: with the same columns.
        columns: name in the file by name in an event.
        constants: ``domain`` and ``vocabulary`` where no column tells them.

    Raises:
        OptionError: an unknown or a needed name, or a constant beside a column.
        FileError: a file is not readable.
        TableError: a file lacks a column, or rows name no subject.
    """
    _check(columns, constants)
    views = [_view(store, file, number, columns) for number, file in enumerate(files)]
    store.view(LONG, " UNION ALL ".join(f"SELECT * FROM {quoted(view)}" for view in views))
    subject = f"CAST(subject_id AS {_subject_type(store, files, columns['subject_id'])})"
    constant = {"domain": DOMAIN, **constants}
    cells = []
    for name in COLUMNS[1:]:
        told = name if name in columns else text(constant[name]) if name in constant else "NULL"
        if name == "stay_id" and name in columns:  # text, where the provider's are no numbers
            told = "coalesce(TRY_CAST(stay_id AS BIGINT), CAST(hash(stay_id) // 2 AS BIGINT))"
        kind = TYPES.get(name, "BIGINT" if name == "stay_id" else "VARCHAR")
        cells.append(f"CAST({told} AS {kind}) AS {name}")
    return [
        select(f"(SELECT DISTINCT {subject} AS subject_id FROM {LONG})", domain="subject"),
        f"SELECT {subject} AS subject_id, {', '.join(cells)} FROM {LONG}",
    ]


def _check(columns: Mapping[str, str], constants: Mapping[str, str]) -> None:
    for name in columns:
        if name not in COLUMNS:
            raise OptionError(f"source.columns.{name}: unknown; one of {', '.join(COLUMNS)} was expected")
        if name in constants:
            raise OptionError(f"source.{name}={constants[name]}: source.columns.{name} says it for every row already")
    for name in ("subject_id", "code"):
        if name not in columns:
            raise OptionError(f"source.columns: no {name}; say which column of the file it is")


def _view(store: Store, file: Path, number: int, columns: Mapping[str, str]) -> str:
    there = header(file)
    seen = dict[str, str]()
    for column in there:
        if (other := seen.setdefault(column.lower(), column)) != column:
            raise TableError(f"{file}: the names of {other!r} and {column!r} differ in nothing but case; rename one")
    comma = decimal_sign(file) == ","
    types = dict[str, str]()
    chosen = list[str]()
    for name, column in columns.items():
        if column.lower() not in seen:
            raise TableError(f"{file}: source.columns.{name}={column}: no such column; the header has {listed(there)}")
        converted = name == "numeric_value" and comma
        kind = "VARCHAR" if converted else TYPES.get(name, "VARCHAR")
        if types.setdefault(column, kind) != kind:
            types[column] = "VARCHAR"
        cell = f"replace({quoted(column)}, ',', '.')" if converted else quoted(column)
        chosen.append(f"CAST({cell} AS {TYPES.get(name, 'VARCHAR')}) AS {name}")
    raw, view = f"flat_file_{number}", f"flat_{number}"
    store.scan(raw, file, types)
    store.view(view, f"SELECT {', '.join(chosen)} FROM {quoted(raw)}")
    return view


def _subject_type(store: Store, files: Sequence[Path], column: str) -> str:
    """Return BIGINT if every subject is a plain whole number, so that they sort as such, else VARCHAR."""
    plain = "regexp_full_match(subject_id, '0|[1-9][0-9]{0,17}')"
    empty = "subject_id IS NULL OR trim(subject_id) = ''"
    counts = store.frame(
        f"SELECT count(*) AS n, count(*) FILTER ({empty}) AS empty, count(*) FILTER (NOT {plain}) AS words FROM {LONG}"
    ).iloc[0]
    where = f"{files[0]}" if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    if not counts["n"]:
        raise TableError(f"{where}: the table has no rows; at least one is needed")
    if counts["empty"]:
        raise TableError(
            f"{where}: column {column!r} is empty in {counts['empty']} of {counts['n']} rows; each row must name its"
            " subject"
        )
    return "VARCHAR" if counts["words"] else "BIGINT"
