"""A wide table: a row per patient or stay, its cells as they stand there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from ehrsynth.data.sources.flat_files import decimal_sign, header, listed
from ehrsynth.errors import OptionError, TableError
from ehrsynth.files import read_table
from ehrsynth.schema import Role

PLAIN = r"0|[1-9][0-9]{0,17}"  # a whole number that is nothing but a number: no zeros before it


@dataclass(frozen=True)
class Keys:
    """The columns that say whose row it is, and of when."""

    subject: str
    stay: str | None
    time: str | None

    def given(self) -> dict[str, str]:
        """Return the columns by the option that named them."""
        return {option: name for option, name in vars(self).items() if name is not None}


def read_rows(
    files: Sequence[Path], keys: Keys, roles: Mapping[str, Role], drop: Collection[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the files one below the other.

    Returns:
        ``place, subject_id, stay_id, time, c0, c1, ...``, and ``name, role`` of the c columns in their order.

    Raises:
        FileError: a file is not readable.
        OptionError: an option names a column that is not there.
        TableError: files with different columns, no column beside the keys, an empty key, a date that is none, or two
            rows of one stay.
    """
    names = [name.strip() for name in header(files[0])]
    given = [*keys.given().items(), *(("drop", name) for name in drop)]
    given += [("outcomes" if role == "outcome" else role, name) for name, role in roles.items()]
    for option, name in given:
        if name not in names:
            raise OptionError(f"source.{option}: {files[0]} has no column {name!r}; its header has {listed(names)}")
    for file in files[1:]:
        if differing := set(names) ^ {name.strip() for name in header(file)}:
            raise TableError(f"{file}: column {min(differing)!r} is not both here and in {files[0]}")
    own = list(keys.given().values())
    kept = [name for name in names if name not in own and name not in drop]
    if not kept:
        raise TableError(f"{files[0]}: no columns beside {', '.join(map(repr, own))}; at least one is needed")
    frame = _read(files, own)
    rows = pd.DataFrame(
        {
            "place": np.arange(len(frame)),
            "subject_id": _key(frame[keys.subject], files, keys.subject),
            "stay_id": np.zeros(len(frame), np.int64),
            "time": pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us]"),
        }
    )
    if keys.stay is not None:
        rows["stay_id"] = _numbered(_key(frame[keys.stay], files, keys.stay))
        if (again := rows.duplicated(["subject_id", "stay_id"])).any():
            raise TableError(
                f"{_name(files)}: row {int(again.argmax())} is of the same subject and stay as one before it"
                f" ({int(again.sum())} rows are); one row a stay was expected"
            )
    if keys.time is not None:
        rows["time"] = _times(frame[keys.time], files, keys.time)
    cells = frame[kept].set_axis([f"c{i}" for i in range(len(kept))], axis=1)
    columns = pd.DataFrame({"name": kept, "role": [roles.get(name, "feature") for name in kept]})
    return pd.concat([rows, cells], axis=1), columns.rename_axis("place").reset_index()


def _read(files: Sequence[Path], own: Sequence[str]) -> pd.DataFrame:
    """Read numbers as numbers and all else as the text that stands there, the same in every file."""
    parts = [_stripped(read_table(file)) for file in files]
    words = {str(name) for part in parts for name in part if not is_numeric_dtype(part[name])} | set(own)
    texts = [_stripped(read_table(file, text=words)) for file in files]
    for file, part in zip(files, texts, strict=True):
        for name in words:
            part[name] = _text(part[name], decimal_sign(file) == ",")
    return pd.concat(texts, ignore_index=True)


def _stripped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_axis([str(name).strip() for name in frame.columns], axis=1)


def _text(cells: pd.Series, comma: bool) -> pd.Series:
    """Return text without spaces around it, an empty one as missing, and a decimal comma as a point."""
    if is_numeric_dtype(cells) or cells.dtype.kind in "mM":  # Parquet knows
        return cells
    text = cells.astype("str").where(cells.notna()).str.strip()
    if comma:
        text = text.str.replace(r"^(-?\d+),(\d+)$", r"\1.\2", regex=True)
    return text.mask(text == "")


def _key(cells: pd.Series, files: Sequence[Path], name: str) -> pd.Series:
    empty = cells.isna()
    if empty.any():
        raise TableError(
            f"{_name(files)}: column {name!r}, row {int(empty.argmax())}: the cell is empty ({int(empty.sum())} of"
            f" {len(cells)} are); it says whose row it is"
        )
    text = cells.astype(str)
    return text.astype(np.int64) if text.str.fullmatch(PLAIN).all() else text


def _numbered(stays: pd.Series) -> pd.Series:
    """Return whole numbers that sort as the stays do."""
    if is_numeric_dtype(stays):
        return stays
    return pd.Series(pd.factorize(stays, sort=True)[0], index=stays.index)


def _times(cells: pd.Series, files: Sequence[Path], name: str) -> pd.Series:
    times = pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    wrong = cells.notna() & times.isna()
    if wrong.any():
        raise TableError(
            f"{_name(files)}: column {name!r}, row {int(wrong.argmax())}: no date as 2024-12-31 or 2024-12-31 23:59"
            f" ({int(wrong.sum())} of {len(cells)} are none)"
        )
    return times.astype("datetime64[us]")


def _name(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
