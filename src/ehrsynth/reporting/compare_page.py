"""``compare.html``: the runs of a study on one page that needs no network, filtered by a script of its own."""

import json
import math
import os
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup

from ehrsynth.evaluation.card import Card, card_of, families
from ehrsynth.evaluation.pareto import Plane
from ehrsynth.evaluation.ranking import Ranking
from ehrsynth.evaluation.score import ANCHORS, Score
from ehrsynth.evaluation.score_table import mean_anchor
from ehrsynth.files import write_text
from ehrsynth.reporting.html import environment
from ehrsynth.reporting.summary import Finding
from ehrsynth.words import printable

SCRIPTS = ("compare_view.js", "compare_figures.js", "compare_groups.js", "compare_tables.js")  # together they are one
DONE = "done"
MOST_AXES = 8  # of the parallel coordinates where no score is one of a model card's
PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6A3D9A", "#8B5A2B", "#7CAE00", "#E7298A"),
    *("#00A6A6", "#A50F15", "#4D4D99", "#B8860B", "#5D8AA8", "#66A182", "#F08A8A", "#B3B300", "#9B7FC4", "#C46210"),
    *("#1B6E3C", "#D8A0D8", "#0F4C81", "#FF7F50", "#6B7A00", "#2E8B8B", "#A0522D", "#7C8FA6"),
)  # of models; the first are safe for colour-blind readers, and what is pointed at says its name


@dataclass(frozen=True)
class RunLine:
    """One run of a study.

    Attributes:
        name: ``MODEL/RUN_ID``.
        model, seed: of its training.
        status: ``done``, or how its last attempt ended.
        reason: why it went no further.
        group: runs that differ in nothing but the seed share it; empty until the run has finished.
        options: in which the runs on its rows differ, as one would type them; those it has.
        scores: of its report; none before it has finished.
        checkpoints: scores by epoch, so far as it came.
        epoch: of the chosen checkpoint; None before.
        epochs: of the whole training.
        seconds: by step.
        memory: the peak of its process in GB, where it was recorded.
        report: to open in a browser, if there is one.
    """

    name: str
    model: str
    seed: int
    status: str
    checkpoints: pd.DataFrame
    reason: str = ""
    group: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    scores: Sequence[Score] = ()
    epoch: int | None = None
    epochs: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory: float | None = None
    report: Path | None = None


@dataclass(frozen=True)
class RowSet:
    """Runs on the same real rows: only their scores can be compared.

    Attributes:
        title: of the rows, where there are several sets of them.
        facts: label -> text about the rows.
        runs: finished or not.
        rankings: of those that have finished, one for each profile.
        plane: utility against privacy of those that have both; None if none has.
        leaks: group -> whether the table of its worst run leaks.
    """

    title: str
    facts: Mapping[str, str]
    runs: Sequence[RunLine]
    rankings: Sequence[Ranking] = ()
    plane: Plane | None = None
    leaks: Mapping[str, Finding] = field(default_factory=dict)


def compare_html(path: Path, title: str, sets: Sequence[RowSet], remarks: Sequence[str] = ()) -> None:
    """Write the page.

    Args:
        path: of the page; reports are linked from there.
        title: its heading.
        sets: the runs.
        remarks: on runs that are not shown, or not checked.
    """
    from plotly.offline import get_plotlyjs  # here, since only this page needs it

    own = "\n".join((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8") for name in SCRIPTS)
    scripts = [get_plotlyjs(), own]
    hashes = [b64encode(sha256(script.encode()).digest()).decode() for script in scripts]
    text = (
        environment()
        .get_template("compare.html.j2")
        .render(
            title=title,
            statuses=statuses(sets),
            models=len({run.model for part in sets for run in part.runs}),
            sets=sets,
            remarks=remarks,
            data=Markup(_as_data(_content(path, sets))),
            scripts=[Markup(script) for script in scripts],
            allowed=Markup(" ".join(f"'sha256-{digest}'" for digest in hashes)),
        )
    )
    write_text(path, text)


def statuses(sets: Iterable[RowSet]) -> dict[str, int]:
    """Return how many runs have which status, the finished ones first."""
    counts = Counter(run.status for part in sets for run in part.runs)
    return {status: counts[status] for status in sorted(counts, key=lambda status: (status != DONE, status))}


def _as_data(content: Any) -> str:
    """Return JSON that may stand in a page: no text in it ends the element, begins a comment or turns the writing."""
    return json.dumps(_harmless(content), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _harmless(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {printable(str(key)): _harmless(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_harmless(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return printable(content) if isinstance(content, str) else content


def _content(path: Path, sets: Sequence[RowSet]) -> dict[str, Any]:
    runs = [run for part in sets for run in part.runs]
    cards = {score.metric: score.card for run in runs for score in run.scores}
    for metric in dict.fromkeys(str(column) for run in runs for column in run.checkpoints):
        cards.setdefault(metric, card_of(metric))
    ordered = [card for family in families(cards.values()) for card in cards.values() if card.family == family]
    models = sorted({run.model for run in runs})
    return {
        "metrics": {card.name: _metric(card) for card in ordered},
        "axes": _axes([card for card in ordered if any(card == score.card for run in runs for score in run.scores)]),
        "anchors": {anchor: anchor.replace("_", " ") for anchor in ANCHORS},
        "colours": dict(zip(models, cycle(PALETTE), strict=False)),
        "sets": [_set(part, path.parent) for part in sets],
    }


def _metric(card: Card) -> dict[str, str]:
    return {"words": card.words, "family": card.family, "better": card.direction, "arrow": card.arrow}


def _axes(cards: Sequence[Card]) -> list[str]:
    """Return the scores that the parallel coordinates show before another choice is made."""
    leading = sorted((card for card in cards if card.headline), key=lambda card: card.headline)
    return [card.name for card in leading or [card for card in cards if card.is_finding][:MOST_AXES]]


def _set(part: RowSet, folder: Path) -> dict[str, Any]:
    by_metric: dict[str, list[Score]] = {}
    for run in part.runs:
        for score in run.scores:
            by_metric.setdefault(score.metric, []).append(score)
    return {
        "title": part.title,
        "facts": part.facts,
        "options": list(dict.fromkeys(name for run in part.runs for name in run.options)),
        "anchors": {m: {name: mean_anchor(own, name) for name in ANCHORS} for m, own in by_metric.items()},
        "runs": [_run(run, folder) for run in part.runs],
        "rankings": [_ranking(ranking) for ranking in part.rankings],
        "plane": None if part.plane is None else _plane(part.plane),
        "leaks": {group: {"level": leak.level, "short": leak.short} for group, leak in part.leaks.items()},
    }


def _run(run: RunLine, folder: Path) -> dict[str, Any]:
    link = None if run.report is None else quote(os.fsencode(Path(os.path.relpath(run.report, folder)).as_posix()))
    return {
        **{name: getattr(run, name) for name in ("name", "model", "seed", "status", "reason", "group", "options")},
        **{name: getattr(run, name) for name in ("epoch", "epochs", "seconds", "memory")},
        "report": link,
        "scores": {s.metric: [s.value, *(s.ci or (None, None))] for s in run.scores if s.value is not None},
        "failed": {s.metric: s.reason or "" for s in run.scores if s.status == "failed"},
        "checkpoints": {
            "epoch": [int(epoch) for epoch in run.checkpoints.index],
            **{str(metric): column.tolist() for metric, column in run.checkpoints.items()},
        },
    }


def _ranking(ranking: Ranking) -> dict[str, Any]:
    columns = {"position": "place", "weighted_rank": "rank", "tied_with_next": "tied"}
    table = ranking.table.rename(columns=columns)[["place", "rank", "low", "high", "basis", "tied"]]
    return {
        "profile": ranking.profile.name,
        "description": ranking.profile.description,
        "paper": ranking.profile.paper,
        "missing": list(ranking.missing),
        "failed": sorted({metric for _, metric in ranking.failed}),
        "groups": {str(group): row for group, row in table.to_dict(orient="index").items()},
    }


def _plane(plane: Plane) -> dict[str, Any]:
    return {
        "axes": [str(metric) for metric in plane.points.columns],
        "points": {str(group): row.tolist() for group, row in plane.points.iterrows()},
        "front": [group for group, undominated in plane.front.items() if undominated],
    }
