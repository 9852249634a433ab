"""The standard of MEDS itself: its package, and whether a file keeps to one of its schemas."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from ehrsynth.data.table_files import parquet_schema
from ehrsynth.errors import OptionError, TableError


def standard() -> Any:
    """Return the package of the standard."""
    try:
        import meds
    except ImportError:
        raise OptionError("source=meds needs the package meds; pip install 'ehrsynth[meds]' brings it") from None
    return meds


def validated(path: Path, schema: str) -> pa.Schema:
    """Return the schema of a file that keeps to the standard.

    Raises:
        FileError: not a Parquet file.
        TableError: a column is missing, or of another type.
    """
    package = standard()
    from flexible_schema.exceptions import SchemaValidationError  # type: ignore[import-untyped]

    wanted = getattr(package, schema)
    found = parquet_schema(path)
    try:
        wanted.validate(_as_wanted(found, wanted.schema()))
    except SchemaValidationError as error:
        raise TableError(f"{path}: not as MEDS {schema} asks: {' '.join(str(error).split())}") from None
    return found


def _as_wanted(schema: pa.Schema, wanted: pa.Schema) -> pa.Schema:
    """Return a schema with the types that are wanted where the cells are the same whatever their type is called.

    Parquet does not tell long text from short or from a dictionary of it, and a column of no value has no type.
    """
    kinds = {field.name: field.type for field in wanted}
    return pa.schema(
        [
            field.with_type(kinds[field.name])
            if field.name in kinds and (pa.types.is_null(field.type) or _plain(field.type) == _plain(kinds[field.name]))
            else field
            for field in schema
        ]
    )


def _plain(kind: pa.DataType) -> object:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "list of", _plain(kind.value_type)
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else kind
