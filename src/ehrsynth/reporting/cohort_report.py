"""``cohort.html`` in a matrix folder: who the subjects are, how they were chosen, and what became of their data."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from ehrsynth.data.coverage import Coverage
from ehrsynth.data.faults import FAULTS
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.disclosure import LEAST
from ehrsynth.files import write_text
from ehrsynth.reporting.html import environment

COHORT_PAGE = "cohort.html"
SHOWN = 40
"""How many constraints, and how many counts of a step, the page lists; all of them are in the folder's JSON files."""


@dataclass(frozen=True)
class Box:
    """A box of the flow diagram.

    Attributes:
        what: was asked.
        subjects, stays: how many are left.
        lost: subjects and stays that went on the way to it.
        faults: what was found in the data, in words, with counts.
    """

    what: str
    subjects: int
    stays: int
    lost: tuple[int, int]
    faults: Mapping[str, int]

    @property
    def left_out(self) -> str:
        """What went, in words; empty if nothing did."""
        gone = (f"{n:,} {noun}{'' if n == 1 else 's'}" for n, noun in zip(self.lost, ("subject", "stay"), strict=True))
        return ", ".join(gone) if any(self.lost) else ""


def flow_boxes(provenance: Mapping[str, Any]) -> list[Box]:
    """Return the boxes of the flow, from the source to the cohort."""
    words = {fault.name: fault.words for fault in FAULTS}
    boxes: list[Box] = []
    for step in provenance["flow"]:
        subjects, stays = int(step["subjects"]), int(step["stays"])
        lost = (boxes[-1].subjects - subjects, boxes[-1].stays - stays) if boxes else (0, 0)
        boxes.append(Box(step["what"], subjects, stays, lost, {words.get(k, k): n for k, n in step["faults"].items()}))
    return boxes


def coverage_lines(provenance: Mapping[str, Any]) -> list[Coverage]:
    """Return what was understood of the source; nothing where all was, or an earlier version made the matrix."""
    names = [field.name for field in fields(Coverage)]
    return [Coverage(**{name: line[name] for name in names}) for line in provenance.get("coverage", [])]


def write_cohort_report(matrix: Matrix | Trajectories) -> Path:
    """Write the page into a prepared folder and return its path; it opens offline, without scripts."""
    provenance, path = matrix.provenance, matrix.folder / COHORT_PAGE
    first, *steps = provenance["steps"]
    boxes = flow_boxes(provenance)
    page = (
        environment()
        .get_template("cohort.html.j2")
        .render(
            title=f"Cohort and matrix: {matrix.name}",
            facts={
                "source": provenance["source"]["name"],
                "subjects": f"{boxes[-1].subjects:,}",
                "columns": f"{len(matrix.schema.columns):,}",
                "prepared by": f"ehrsynth {provenance['versions']['ehrsynth']}",
            },
            boxes=boxes,
            coverage=coverage_lines(provenance),
            least=LEAST,
            rows=provenance["rows"],
            groups=[
                (name, list(lines)) for name, lines in groupby(provenance["table_one"], key=lambda row: row["group"])
            ],
            counts=first["detail"],
            first=first,
            steps=steps,
            rules=sorted({rule.describe(_labels(matrix)) for rule in matrix.constraints}),
            shown=SHOWN,
            provenance=dict(_facts(provenance)),
        )
    )
    write_text(path, page)
    return path


def _labels(matrix: Matrix | Trajectories) -> Callable[[str], str]:
    labels = {column.name: column.label for column in matrix.schema.columns}
    return lambda name: labels.get(name) or name


def _facts(provenance: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name in ("source", "cohort", "preprocess", "split"):
        yield name, json.dumps(provenance[name])
    yield "seed of the split", str(provenance["seed"])
    for name, options in provenance["features"].items():
        yield f"feature {name}", json.dumps(options)
    yield "versions", ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    for kind in ("inputs", "outputs"):
        for name, digest in provenance[kind].items():
            yield f"sha256 of {name}", digest
