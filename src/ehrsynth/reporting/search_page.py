"""The page of a search: which settings did best, against what, and what it cost to find them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ehrsynth.files import write_text
from ehrsynth.reporting.html import environment
from ehrsynth.reporting.style import HOLDOUT, SYNTHETIC, TRAIN, Drawing, NamedFigure, across, clipped, figure, panels

FEW = 5  # finished trials for each option, below which their importance is little more than a guess
SHOWN_OPTIONS = 15  # of the figure of importance


@dataclass(frozen=True)
class Searched:
    """A search over the settings of one model.

    Attributes:
        name: in the database, as ``MODEL-HASH``.
        model: whose settings they are.
        command: that trains with the settings it began from.
        space: option -> what was tried, in words.
        objectives: name -> metric -> weight.
        weights: of the objectives in the score.
        left_out: metrics that say nothing at the checkpoints, with the reason.
        table: one row a trial, as ``study.search.record.trial_table`` makes it.
        importance: options x objectives.
    """

    name: str
    model: str
    command: str
    space: Mapping[str, str]
    objectives: Mapping[str, Mapping[str, float]]
    weights: Mapping[str, float]
    left_out: Mapping[str, str]
    table: pd.DataFrame
    importance: pd.DataFrame

    @property
    def finished(self) -> int:
        """Number of trials that have come to their end."""
        return int((self.table["state"] == "finished").sum())

    @property
    def seconds(self) -> float:
        """Processor seconds of all trials."""
        return float(self.table["seconds"].sum())

    @property
    def budget(self) -> str:
        """What it cost, in words."""
        states = self.table["state"].value_counts()
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"{len(self.table)} trials ({counts}), {self.seconds:,.0f} seconds of processor time"

    @property
    def thin(self) -> bool:
        """Whether there are too few finished trials to tell which options matter."""
        return self.finished < FEW * max(len(self.space), 1)

    @property
    def best(self) -> "pd.Series | None":
        """The finished trial with the best score, None if none has finished."""
        finished = self.table[self.table["state"] == "finished"]
        return None if finished.empty else finished.sort_values(["score", "trial"], ascending=[False, True]).iloc[0]


def search_html(path: Path, found: Sequence[Searched], definition: str) -> None:
    """Write the page of all searches of a study.

    Args:
        path: of the page; runs are linked relative to its folder.
        found: the searches, a section each.
        definition: of the objectives, in words.
    """
    pages = {
        str(run): f"{run}/report.html"
        for searched in found
        for run in searched.table["run"]
        if run and (path.parent / str(run) / "report.html").is_file()
    }
    page = environment().get_template("search.html.j2")
    text = page.render(
        title=f"Search: {', '.join(dict.fromkeys(searched.model for searched in found))}",
        definition=definition,
        sections=[(searched, search_figures(searched), _ordered(searched.table)) for searched in found],
        pages=pages,
    )
    write_text(path, text)


def search_rows(found: Sequence[Searched]) -> pd.DataFrame:
    """Return one row a trial of all searches, ``objective/NAME`` beside the metrics they are made of."""
    tables = []
    for searched in found:
        metrics = pd.DataFrame(searched.table["metrics"].tolist(), index=searched.table.index)
        named = {name: f"objective/{name}" for name in searched.objectives}
        plain = searched.table.drop(columns=["values", "metrics"]).rename(columns=named)
        tables.append(pd.concat([plain, metrics], axis=1).assign(model=searched.model, search=searched.name))
    table = pd.concat(tables, ignore_index=True)
    ahead = ["search", "model"]
    return table[[*ahead, *(name for name in table.columns if name not in ahead)]]


def search_figures(searched: Searched) -> list[NamedFigure]:
    """Draw a search; what no trial has finished for is left out."""
    if not searched.finished:
        return []
    shown = [score_history(searched)]
    if len(searched.objectives) > 1:
        shown.insert(0, objective_plane(searched))
    return shown if searched.importance.empty else [*shown, option_importance(searched)]


@figure("front", "The objectives against each other")
def objective_plane(searched: Searched) -> Drawing:
    """Finished trials in the plane of the first two objectives, with their numbers; the front is joined."""
    drawing, (axis,) = panels(1, 1, 4.2)
    right, up = list(searched.objectives)[:2]
    table = searched.table[searched.table["state"] == "finished"].sort_values(right)
    front = table[table["front"].astype(bool)]
    axis.plot(front[right], front[up], color=TRAIN, linewidth=1.2, linestyle="--")
    for _, trial in table.iterrows():
        colour = TRAIN if trial["front"] else HOLDOUT
        axis.plot(trial[right], trial[up], "o", color=colour, markersize=7)
        axis.annotate(str(trial["trial"]), (trial[right], trial[up]), xytext=(6, 4), textcoords="offset points")
    axis.set(xlabel=clipped(f"{right} (1: as fresh real patients)", 80), ylabel=clipped(up, 80))
    axis.margins(0.12)
    caption = (
        "Each dot is a finished trial, with its number; better is up and to the right. Blue: no other trial is at least"
        " as good on all objectives and better on one (the Pareto front). Scores are those of validation patients, with"
        " all their chance: trials that lie close together are not told apart."
    )
    numbers = ", ".join(map(str, front["trial"]))
    return drawing, caption, f"Scatter plot of {len(table)} trials; on the Pareto front: {numbers}."


@figure("history", "What the search has gained")
def score_history(searched: Searched) -> Drawing:
    """Score of every trial against the processor time that the search had taken by then, and the best so far."""
    drawing, (axis,) = panels(1, 1, 3.2)
    table = searched.table.assign(spent=searched.table["seconds"].cumsum())
    finished = table[table["state"] == "finished"]
    shown = table[(table["state"] != "finished") & table["score"].notna()]
    axis.plot(shown["spent"], shown["score"].astype(float), "x", color=HOLDOUT, label="ended before, as far as it came")
    scores = finished["score"].to_numpy(np.float64)
    axis.plot(finished["spent"], scores, "o", color=SYNTHETIC, label="finished", markersize=5)
    axis.step(finished["spent"], np.maximum.accumulate(scores), where="post", color=TRAIN, label="best so far")
    axis.set(xlabel="processor seconds of all trials up to this one", ylabel="score")
    axis.legend()
    caption = (
        "The first trial is the setting the search began from, as far as it lies in the space. Where the blue line has"
        " been flat for long, more trials will gain little."
    )
    return drawing, caption, f"Scores of {len(table)} trials over processor time; the best is {scores.max():.3g}."


@figure("importance", "Which options matter")
def option_importance(searched: Searched) -> Drawing:
    """Share of the differences among finished trials that each option explains, one panel an objective."""
    names = [name for name in searched.importance if searched.importance[name].notna().any()]
    table = searched.importance[names]
    table = table.loc[table.mean(axis=1).sort_values(ascending=False).index[:SHOWN_OPTIONS]]
    drawing, axes = panels(len(names), across(len(names)) if len(names) > 2 else 2, 0.9 + 0.3 * len(table))
    for axis, name in zip(axes, names, strict=True):
        _bars(axis, table[name])
        axis.set_title(clipped(str(name), 40))
    caption = (
        "Share of the differences among finished trials that an option explains alone and with others (fANOVA, Hutter"
        f" et al., ICML 2014), from {searched.finished} trials."
    )
    if searched.thin:
        caption += (
            f" These are few for {len(searched.space)} options: another {FEW * len(searched.space)} could say"
            " otherwise, so take it as a hint at most."
        )
    return drawing, caption, f"Bars of importance; the first is {table.index[0]}."


def _bars(axis: Axes, shares: "pd.Series[float]") -> None:
    places = np.arange(len(shares))
    axis.barh(places, shares.fillna(0).to_numpy(), height=0.62, color="#b3d4e8")
    axis.set_yticks(places, [clipped(str(name), 34) for name in shares.index])
    axis.set_xlim(0, 1)
    axis.invert_yaxis()
    axis.grid(False, axis="y")


def _ordered(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return the trials, best score first; those without one at the end."""
    rows = table.sort_values(["score", "trial"], ascending=[False, True], na_position="last").to_dict("records")
    return [{str(key): None if value != value else value for key, value in row.items()} for row in rows]
