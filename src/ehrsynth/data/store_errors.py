"""What DuckDB says about a user's file, in one line that names the place and never quotes the row."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from ehrsynth.data.csv_files import CONVERT
from ehrsynth.errors import FileError, InputError, MachineError, TableError

OWN = "table error: "  # begins the messages that ``error()`` raises inside our own queries
_FULL = ("No space left", "max_temp_directory_size", "failed to offload", "could not allocate", "failed to pin")
_OF_THE_FILE = (
    ("Unexpected end of GZIP stream", r"GZIP stream: (.+)", "the gzip data end too early; the file is truncated"),
    ("not a GZIP stream", r"GZIP stream: (.+)", "no gzip data, though the name ends in .gz"),
    ("Parquet", r"[Ff]ile ['\"](.+?)['\"]", "not a whole Parquet file"),
    ("magic bytes", r"[Ff]ile ['\"](.+?)['\"]", "not a whole Parquet file"),
    ("Failed to read file", r"[Ff]ile ['\"](.+?)['\"]", "damaged Parquet data"),
)


@contextmanager
def plain_errors(scratch: str, memory: str) -> Iterator[None]:
    """Turn what DuckDB raises into errors of ours: of the user's files, or of memory and disk.

    Everything else, such as a query that does not parse, is our own fault and passes through.
    """
    try:
        yield
    except (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException) as error:
        if any(sign in str(error) for sign in _FULL):
            raise _full(scratch, memory) from None
        raise _of_a_table(str(error)) from None
    except duckdb.OutOfMemoryException:
        raise _full(scratch, memory) from None
    except RuntimeError as error:
        if str(error) == "Query interrupted":  # what Ctrl-C becomes inside a query
            raise KeyboardInterrupt from None
        raise


def _full(scratch: str, memory: str) -> MachineError:
    return MachineError(
        f"{scratch}: {memory} of memory and the free space of this temporary folder are not enough for the tables;"
        " free some space there, or let TMPDIR name a folder on a larger disk"
    )


def _of_a_table(message: str) -> InputError:
    if OWN in message:
        return TableError(message.split(OWN, 1)[1].splitlines()[0])
    for sign, file, what in _OF_THE_FILE:
        found = re.search(file, message)
        if sign in message and found and "CSV Error" not in message:
            return FileError(f"{found[1]}: not readable ({what})")
    files = re.findall(r"^  file = (.+)$", message, re.MULTILINE)
    lines = re.findall(r"^.*CSV Error on Line: (\d+)", message)
    if not files:
        other = re.search(r'^IO Error: .*[Ff]ile "([^"]+)": (.+)', message)
        if other:
            return FileError(f"{other[1]}: cannot be used ({other[2]})")
        return TableError(f"a table of the source: a value does not fit ({message.partition(':')[0]})")
    where = f"{files[-1]}{f', line {lines[0]}' if lines else ''}"
    column = re.findall(r'^Error when converting column "(.*?)"\..* to \'(\w+)\'', message, re.MULTILINE)
    if column:
        return TableError(f"{where}: column {column[-1][0]!r} does not hold a {column[-1][1]}")
    cells = re.findall(r"^Expected Number of Columns: (\d+) Found: (\d+)", message, re.MULTILINE)
    if cells:
        return TableError(f"{where}: {cells[-1][1]} cells; the header has {cells[-1][0]}")
    if "unterminated quote" in message:
        return TableError(f"{where}: a quote is opened and never closed")
    if "not utf-8 encoded" in message:
        return FileError(f"{where}: not UTF-8 text; {CONVERT}")
    return FileError(f"{where}: not readable as CSV ({message.partition(':')[0]})")
