"""``OUT.croissant.json``: the description of what ``generate`` has written, beside it."""

from pathlib import Path

from ehrsynth.files import TABLE_SUFFIXES
from ehrsynth.reporting.croissant import CROISSANT, Handed, Made, write_croissant
from ehrsynth.schema import Schema
from ehrsynth.study.run_folder import RunFolder


def described_in(place: Path) -> Path:
    """Return the file that describes a table, or a folder of patients through time."""
    stem = next((place.name.removesuffix(end) for end in TABLE_SUFFIXES if place.name.endswith(end)), place.name)
    return place.with_name(f"{stem}.{CROISSANT}")


def describe(run: RunFolder, place: Path, records: str, schema: Schema, *, keeps_rows: bool) -> Path:
    """Describe what was drawn from a run; return the file that does.

    Args:
        run: that it was drawn from; its report tells what such records are worth.
        place: the table, or the folder.
        records: how many of what.
        schema: with the words for columns.
        keeps_rows: some of them are training rows.
    """
    facts = run.provenance
    data = facts["matrix"]
    name = str(data.get("name", Path(data["folder"]).name))  # earlier versions told less
    title = f"{facts['model']} on {name}"
    handed = Handed(
        title,
        f"{records}, {title}, drawn from run {run.path.name}, whose report and card tell what they are worth.",
        records,
        {column.name: column.label for column in schema.columns},
    )
    made = Made(
        run.path.name,
        facts["model"],
        name,
        str(data.get("fingerprint", "unknown")),
        str(facts.get("command", "unknown")),
        keeps_rows,
    )
    file = described_in(place)
    write_croissant(file, place, handed, made)
    return file
