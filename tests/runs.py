"""A run folder whose files someone has exchanged, manifest included."""

from pathlib import Path

from ehrsynth.files import read_json, sha256, write_json


def rehash(run: Path) -> None:
    """Write the manifest of ``run`` anew, for the files as they are now."""
    names = read_json(run / "manifest.json")["files"]
    write_json(run / "manifest.json", {"version": 1, "files": {name: sha256(run / name) for name in names}})
