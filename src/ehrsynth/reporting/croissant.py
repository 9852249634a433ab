"""``croissant.json``: what is handed over, in the words that search engines and loaders of data sets read.

Croissant 1.1 of MLCommons (http://mlcommons.org/croissant/1.1): the files with their SHA-256, the columns, where the
data come from in the terms of W3C PROV-O, and the responsible-AI fields (http://mlcommons.org/croissant/RAI/1.0). It
names the real data by the hash of the folder that they lie in and tells nothing else of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from pyarrow import csv, parquet

from ehrsynth import __version__
from ehrsynth.files import sha256, write_json
from ehrsynth.reporting.model_card import BIASES, IMPACT, LIMITS, NO_USE, NOT_PERSONS, PERSONS, USES

CROISSANT = "croissant.json"
BLOCK = 1 << 24  # bytes of a CSV that tell its types, more than the longest row has
EVENTS = "events"  # what the rows of MEDS are called
SPEC, RAI = "http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"
TERMS = (  # of the vocabulary "cr" in the context that the specification recommends
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
    *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator"),
    *("source", "subField", "transform"),
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in TERMS},
}
ENCODINGS = {".parquet": "application/x-parquet", ".csv": "text/csv", ".json": "application/json"}
ENCODINGS |= {".gz": "application/gzip", ".ndjson": "application/fhir+ndjson"}


@dataclass(frozen=True)
class Made:
    """What made the data, for provenance.

    Attributes:
        run_id: of the run.
        model: its name.
        data: name of what it was trained on.
        fingerprint: SHA-256 of that, the only thing told of it.
        command: that makes the same again.
        keeps_rows: what is handed over are training rows, whole or mixed.
        privacy: what was measured or spent, a sentence; empty if that is told elsewhere.
    """

    run_id: str
    model: str
    data: str
    fingerprint: str
    command: str
    keeps_rows: bool = False
    privacy: str = ""


@dataclass(frozen=True)
class Handed:
    """What is handed over.

    Attributes:
        name: of the data set.
        description: a sentence or two.
        records: of what, and how many, such as ``1,000 records``.
        labels: words for columns.
    """

    name: str
    description: str
    records: str
    labels: Mapping[str, str] = field(default_factory=dict)


def write_croissant(path: Path, place: Path, handed: Handed, made: Made) -> None:
    """Describe a table, or all files of a folder.

    Args:
        path: of the description, in the folder that ``place`` is in.
        place: the table, or the folder.
        handed: what it is.
        made: what made it.
    """
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*.*") if file.is_file())
    real = made.keeps_rows
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [SPEC, RAI],
        "name": handed.name,
        "description": handed.description,
        "license": "none granted: who publishes the data must name a licence that the data behind them allow",
        "url": f"urn:ehrsynth:run:{made.run_id}",
        "creator": {"@type": "sc:Organization", "name": "whoever ran ehrsynth"},
        "datePublished": datetime.now(UTC).date().isoformat(),  # the log tells the second
        "version": "1.0.0",
        "keywords": ["health records", "training rows" if real else "synthetic data", "ehrsynth"],
        "distribution": [*(_file(file, path.parent) for file in files), *_file_sets(place, files, path.parent)],
        "recordSet": _record_sets(place, files, path.parent, handed.labels),
        **_provenance(made),
        "rai:dataCollection": (
            f"{'Training rows, whole or mixed' if real else 'Drawn'} from a model, {made.model}, that was trained on"
            f" {made.data}: {handed.records}."
        ),
        "rai:dataManipulationProtocol": f"Made again by: {made.command}",
        "rai:personalSensitiveInformation": [
            PERSONS if real else NOT_PERSONS,
            *([made.privacy] if made.privacy else []),
        ],
        "rai:dataUseCases": NO_USE if real else USES,
        "rai:dataLimitations": LIMITS,
        "rai:dataBiases": BIASES,
        "rai:dataSocialImpact": IMPACT,
        "rai:dataReleaseMaintenancePlan": "None: a data set is not changed; another is made under another run or seed.",
    }
    write_json(path, content)


def _provenance(made: Made) -> dict[str, Any]:
    """Return where the data come from, by PROV-O."""
    software = {"@type": "prov:SoftwareAgent", "@id": "urn:ehrsynth", "prov:label": f"ehrsynth {__version__}"}
    source = {
        "@type": "prov:Entity",
        "@id": f"urn:sha256:{made.fingerprint}",
        "prov:label": f"{made.data}: what the model was trained on; not part of this data set",
    }
    activity = {
        "@type": "prov:Activity",
        "@id": f"urn:ehrsynth:run:{made.run_id}",
        "prov:label": f"trained {made.model}, and drew from it",
    }
    return {
        "prov:wasDerivedFrom": source,
        "prov:wasGeneratedBy": activity,
        "prov:wasAttributedTo": software,
    }


def _file(file: Path, root: Path) -> dict[str, Any]:
    place = file.relative_to(root).as_posix()
    return {
        "@type": "cr:FileObject",
        "@id": quote(place),
        "name": place,
        "contentUrl": quote(place),
        "contentSize": f"{file.stat().st_size} B",
        "encodingFormat": ENCODINGS.get(file.suffix, "application/octet-stream"),
        "sha256": sha256(file),
    }


def _shards(place: Path, files: Sequence[Path]) -> list[Path]:
    """Return the files that are one table together: those of MEDS events."""
    return [file for file in files if file.parent == place / "data" and file.suffix == ".parquet"]


def _file_sets(place: Path, files: Sequence[Path], root: Path) -> list[dict[str, Any]]:
    """Return the set of the files that are one table together, if there are some."""
    if not (shards := _shards(place, files)):
        return []
    includes = f"{quote(shards[0].parent.relative_to(root).as_posix())}/*.parquet"
    kind = {"encodingFormat": ENCODINGS[".parquet"], "includes": includes}
    return [{"@type": "cr:FileSet", "@id": f"{EVENTS}-files", "name": f"files of {EVENTS}", **kind}]


def _record_sets(place: Path, files: Sequence[Path], root: Path, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the columns of each table."""
    shards = _shards(place, files)
    found = [_record_set(EVENTS, shards[0], {"fileSet": {"@id": f"{EVENTS}-files"}}, labels)] if shards else []
    for file in files:
        if file.suffix in (".parquet", ".csv") and file not in shards:
            source = {"fileObject": {"@id": quote(file.relative_to(root).as_posix())}}
            found.append(_record_set(file.stem, file, source, labels))
    return found


def _record_set(name: str, table: Path, source: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    if table.suffix == ".csv":
        with csv.open_csv(table, csv.ReadOptions(block_size=BLOCK)) as reader:  # types of its first block
            columns = reader.schema
    else:
        columns = parquet.read_schema(table)
    return {
        "@type": "cr:RecordSet",
        "@id": quote(name),
        "name": name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{quote(name)}/{quote(column.name, safe='')}",
                "name": column.name,
                "description": labels.get(column.name) or column.name,
                "dataType": _data_type(column.type),
                "source": {**source, "extract": {"column": column.name}},
            }
            for column in columns
        ],
    }


def _data_type(kind: pa.DataType) -> str:
    known = (
        (pa.types.is_boolean, "sc:Boolean"),
        (pa.types.is_integer, "sc:Integer"),
        (pa.types.is_floating, "sc:Float"),
        (pa.types.is_date, "sc:Date"),
        (pa.types.is_timestamp, "sc:DateTime"),
    )
    return next((name for fits, name in known if fits(kind)), "sc:Text")
