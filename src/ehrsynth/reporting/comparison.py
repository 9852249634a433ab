"""The comparison report: several runs ranked for a use case and set side by side."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.pairs import TESTS
from ehrsynth.evaluation.ranking import Ranking
from ehrsynth.evaluation.score import ANCHORS, Score
from ehrsynth.evaluation.score_table import mean_anchor
from ehrsynth.files import write_text
from ehrsynth.reporting.html import by_family, environment
from ehrsynth.reporting.report import Report, read_report
from ehrsynth.reporting.style import NamedFigure
from ehrsynth.reporting.summary import SEVERITY, Finding, leaks


@dataclass(frozen=True)
class MetricLine:
    """One metric over all groups.

    Attributes:
        card: what is known of it.
        weight: in the ranking, after renormalisation.
        anchors: the mean of each anchor over the runs that have it.
        values: group -> mean over its runs.
        spreads: group -> standard deviation over its runs, where there are several.
        failures: group -> why no run of it has a value.
    """

    card: Card
    weight: float
    anchors: dict[str, float | None]
    values: dict[str, float]
    spreads: dict[str, float]
    failures: dict[str, str]

    @property
    def best(self) -> float | None:
        """The best value of any group."""
        choose = min if self.card.direction == "lower" else max
        return choose(self.values.values()) if self.values else None

    @property
    def differs(self) -> bool:
        """Whether there is a best: what real data alone decide, or what describes an attack, has none."""
        return len(set(self.values.values())) > 1 and self.card.is_finding


@dataclass(frozen=True)
class Section:
    """Runs that were judged on the same real rows, so that their scores can be compared.

    Attributes:
        ranking: of all runs in ``reports``.
        reports: run -> its ``report.json``; a ``report.html`` beside it is linked by relative path.
        figures: to show below the tables, from ``ranking_figures``.
        scores: run -> its scores, with those that exist only among the runs; by default those of the reports.
        title: of the rows, where there are several sets of them.
        options: group -> what sets it apart from the other groups of its model.
        facts: label -> text about the rows: how many there are, and what sets them apart from the other sets.
    """

    ranking: Ranking
    reports: Mapping[str, Path]
    figures: Sequence[NamedFigure] = ()
    scores: Mapping[str, Sequence[Score]] | None = None
    title: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


def comparison_html(path: Path, sections: Sequence[Section]) -> None:
    """Write the comparison of runs ranked for one profile, a section for each set of real rows they were judged on.

    Raises:
        FileError: a report is missing or malformed.
    """
    profile = sections[0].ranking.profile
    models = sum(len(section.ranking.table) for section in sections)
    on = f" on {len(sections)} sets of rows" if len(sections) > 1 else ""
    page = environment().get_template("comparison.html.j2")
    text = page.render(
        title=f"{models} models compared{on}: {profile.name.replace('_', ' ')}",
        profile=profile,
        sections=[_shown(section, path.parent) for section in sections],
    )
    write_text(path, text)


def ranking_rows(sections: Sequence[Section]) -> pd.DataFrame:
    """Return one row per group, best first; of several sets of rows, the first column says which."""
    tables = [section.ranking.table.rename_axis("group").reset_index() for section in sections]
    if len(sections) > 1:
        for table, section in zip(tables, sections, strict=True):
            table.insert(0, "rows", section.title)
    return pd.concat(tables, ignore_index=True)


def _shown(section: Section, folder: Path) -> dict[str, Any]:
    """Return what the template asks for, links relative to the folder of the page."""
    ranking = section.ranking
    read = {run: read_report(file) for run, file in section.reports.items()}
    pages = {run: file.with_suffix(".html") for run, file in section.reports.items()}
    lines = _lines(ranking, section.scores or {run: report.scores for run, report in read.items()})
    return {
        "title": section.title,
        "facts": section.facts,
        "options": section.options,
        "figures": section.figures,
        "ranking": ranking,
        "places": ranking.table.to_dict(orient="index"),
        "links": {run: Path(os.path.relpath(page, folder)).as_posix() for run, page in pages.items() if page.is_file()},
        "tests": {pair.test: TESTS[pair.test] for pair in ranking.pairs},
        "families": by_family(lines, [line.card for line in lines]),
        "same_data": _same_data(read),
        "leaking": worst_leaks(ranking, {run: report.scores for run, report in read.items()}),
        "warned": {run: report.warnings for run, report in read.items() if report.warnings},
    }


def worst_leaks(ranking: Ranking, scores: Mapping[str, Sequence[Score]]) -> dict[str, Finding]:
    """Return for each group, best first, whether the table of its worst run leaks: a rank does not tell."""
    found: dict[str, list[Finding]] = {str(group): [] for group in ranking.table.index}
    for run, own in scores.items():
        found[ranking.groups[run]].append(leaks(own))
    return {
        group: min(findings, key=lambda finding: SEVERITY.index(finding.level)) for group, findings in found.items()
    }


def _lines(ranking: Ranking, scores: Mapping[str, Sequence[Score]]) -> list[MetricLine]:
    found: dict[str, dict[str, Score]] = {}
    for run, own in scores.items():
        for score in own:
            found.setdefault(score.metric, {})[run] = score
    return [_line(known, ranking) for known in found.values()]


def _line(scores: Mapping[str, Score], ranking: Ranking) -> MetricLine:
    card = next(iter(scores.values())).card
    by_group: dict[str, list[Score]] = {}
    for run, score in scores.items():
        by_group.setdefault(ranking.groups[run], []).append(score)
    values = {group: [score.value for score in own if score.value is not None] for group, own in by_group.items()}
    return MetricLine(
        card,
        ranking.weights.get(card.name, 0.0),
        {name: mean_anchor(scores.values(), name) for name in ANCHORS},
        {group: float(np.mean(found)) for group, found in values.items() if found},
        {group: float(np.std(found, ddof=1)) for group, found in values.items() if len(found) > 1},
        {group: f"{own[-1].status}: {own[-1].reason}" for group, own in by_group.items() if not values[group]},
    )


def _same_data(reports: Mapping[str, Report]) -> bool:
    """Whether all runs were judged on the same real tables."""
    return len({(report.data.get("train"), report.data.get("holdout")) for report in reports.values()}) == 1
