"""The figures of the comparison of several runs, from the tables of a ranking."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.pareto import Plane
from ehrsynth.evaluation.ranking import Ranking
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.score_table import mean_anchor, tabulate
from ehrsynth.layout import Records
from ehrsynth.metrics.intervals import Z
from ehrsynth.reporting.figure_data import prevalences
from ehrsynth.reporting.figures import CLOUD, cloud, log_axes
from ehrsynth.reporting.reading import SAME
from ehrsynth.reporting.style import (
    HOLDOUT,
    MARK,
    SYNTHETIC,
    TRAIN,
    Drawing,
    NamedFigure,
    across,
    clipped,
    figure,
    panels,
)

MOST_ACROSS = 10  # groups of a heat map side by side


def ranking_figures(ranking: Ranking, runs: Mapping[str, Sequence[Score]]) -> list[NamedFigure]:
    """Draw a ranking: the weighted ranks, the ranks and scores behind them, and the Pareto view."""
    shown = [ranking_bars(ranking.table), rank_map(ranking), metric_panels(ranking, runs)]
    if not (shares := gaps(ranking, runs)).empty:
        shown.insert(2, gap_map(shares))
    return shown if ranking.plane is None else [*shown, pareto_plane(ranking.plane)]


@figure("ranking", "Ranking")
def ranking_bars(table: pd.DataFrame) -> Drawing:
    """Weighted rank of every group, best on top, with its 95 % interval; ``table`` as in ``Ranking``."""
    drawing, (axis,) = panels(1, 1, 0.9 + 0.38 * len(table))
    scores = table["weighted_rank"].to_numpy()
    places = np.arange(len(table))
    axis.barh(places, scores, height=0.62, color="#b3d4e8")
    known = table["low"].notna().to_numpy()
    low, high = table["low"].to_numpy()[known], table["high"].to_numpy()[known]
    axis.hlines(places[known], low, high, color=MARK, linewidth=1.6)
    axis.plot(scores, places, "o", color=TRAIN, markersize=5)
    axis.set_yticks(places, [clipped(str(name), 32) for name in table.index])
    axis.set(xlabel="weighted rank (shorter is better)")
    axis.invert_yaxis()
    axis.grid(False, axis="y")
    caption = (
        "Weighted rank of each group of runs: the mean place it takes over the metrics, weighed by the profile. The"
        " lines are 95% intervals."
    )
    return drawing, caption, f"Bars of weighted ranks; best is {table.index[0]}."


@figure("ranks", "Ranks on every metric")
def rank_map(ranking: Ranking) -> Drawing:
    """Heat map of mean ranks, metrics x groups, the weighted rank in the last row (Table 3 of the JMIR tutorial).

    Many groups are rows instead, for their names and ranks would not fit side by side.
    """
    overall, weights = ranking.table["weighted_rank"], ranking.weights
    ranks = ranking.ranks.groupby(pd.Series(ranking.groups)).mean().loc[overall.index]
    table = pd.concat([ranks.T, overall.to_frame("weighted rank").T]).to_numpy()
    upright = len(ranks) > MOST_ACROSS
    table = table.T if upright else table
    drawing, (axis,) = panels(1, 1, 1.3 + 0.3 * len(table) + 1.2 * upright)
    top = max(float(ranks.to_numpy().max()) * 1.35, 2)
    axis.imshow(table, cmap="Blues_r", vmin=1, vmax=top, aspect="auto")
    for row, column in np.ndindex(table.shape):
        last = column == table.shape[1] - 1 if upright else row == len(table) - 1
        text = f"{table[row, column]:.2f}" if last else f"{table[row, column]:.3g}"
        weight = "bold" if last else "normal"
        colour = "white" if table[row, column] < 1 + (top - 1) * 0.5 else MARK
        axis.text(column, row, text, ha="center", va="center", color=colour, fontweight=weight, fontsize=8.5)
    metrics = [f"{_spelled(name)}  ({weights[str(name)]:.3g})" for name in ranks.columns] + ["weighted rank"]
    groups = [clipped(str(name), 22) for name in ranks.index]
    if upright:
        axis.axvline(table.shape[1] - 1.5, color="white", linewidth=4)
    else:
        axis.axhline(len(table) - 1.5, color="white", linewidth=4)
    down, across_top = (groups, metrics) if upright else (metrics, groups)
    _name_cells(axis, down, across_top, 30 if len(across_top) > 5 or upright else 0)
    caption = (
        "Mean rank of each group among all runs, 1 is best, with the weight of the metric behind its name. A model"
        " that is dark in one family only is good for one purpose only."
    )
    return drawing, caption, f"Heat map of the ranks of {len(ranks)} groups on {ranks.shape[1]} metrics."


@figure("uses", "Which model for which use")
def use_map(ranks: pd.DataFrame) -> Drawing:
    """Heat map of weighted ranks, groups x use cases, as the Nature Communications benchmark sets models against uses.

    Args:
        ranks: as ``evaluation.ranking.ranks_by_use`` returns them, in the order to be shown.
    """
    drawing, (axis,) = panels(1, 1, 1.4 + 0.3 * len(ranks))
    table = ranks.to_numpy(float)
    top = max(float(table.max()) * 1.35, 2)
    axis.imshow(table, cmap="Blues_r", vmin=1, vmax=top, aspect="auto")
    best = table.min(0)
    for row, column in np.ndindex(table.shape):
        colour = "white" if table[row, column] < 1 + (top - 1) * 0.5 else MARK
        weight = "bold" if table[row, column] == best[column] else "normal"
        text = f"{table[row, column]:.1f}"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontweight=weight, fontsize=8.5)
    uses = [clipped(_spelled(use), 26) for use in ranks.columns]
    _name_cells(axis, [clipped(str(group), 32) for group in ranks.index], uses, 25)
    caption = (
        "Weighted rank of each group for every use case that ships, 1 is best; the best of each is bold. A model that"
        " leads for one use need not lead for another."
    )
    leaders = ", ".join(f"{_spelled(use)}: {ranks[use].idxmin()}" for use in ranks.columns)
    return drawing, caption, f"Heat map of weighted ranks by use case; best are {leaders}."


@figure("metrics", "Scores of the profile")
def metric_panels(ranking: Ranking, runs: Mapping[str, Sequence[Score]]) -> Drawing:
    """One panel a metric: every run that has it a dot in the row of its group, fresh real and the floor as lines."""
    groups, metrics = list(ranking.table.index), list(ranking.weights)
    table = tabulate(runs)
    rows = np.array([groups.index(ranking.groups[run]) for run in table.values.index])
    drawing, axes = panels(len(metrics), 3, 0.9 + 0.25 * len(groups))
    for axis, metric in zip(axes, metrics, strict=True):
        own = [score for scores in runs.values() for score in scores if score.metric == metric]
        for name, anchor, style in (("fresh real", "fresh_real", "-"), ("floor", table.cards[metric].floor, ":")):
            if (value := mean_anchor(own, anchor)) is not None:
                axis.axvline(value, color=HOLDOUT, linestyle=style, linewidth=1.8, label=name)
        found = table.values[metric].to_numpy(float)
        shown = np.isfinite(found)
        axis.plot(found[shown], rows[shown], "o", color=SYNTHETIC, markersize=5, alpha=0.75)
        title = f"{table.cards[metric].arrow} {metric.split('/', 1)[1].replace('_', ' ')}"
        axis.set_title(clipped(title, 40))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.set_yticks(range(len(groups)), [clipped(str(group), 22) for group in groups])
        axis.set_ylim(len(groups) - 0.4, -0.6)
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if handles:
        drawing.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2)
    caption = (
        "Every dot is a run. Grey lines: fresh real patients (solid), and the floor (dotted): independent columns, or"
        " for privacy a copy of the training rows. An arrow says whether lower (↓) or higher (↑) is better."
    )
    return drawing, caption, f"Small panels with the scores of {len(groups)} groups on {len(metrics)} metrics."


def gaps(ranking: Ranking, runs: Mapping[str, Sequence[Score]]) -> pd.DataFrame:
    """Return (score - fresh real) / (floor - fresh real) in percent, groups x metrics, means over runs.

    A metric whose floor is not worse than fresh real patients, by more than ``SAME`` of the larger, or that lacks
    either, is left out.
    """
    table = tabulate(runs)
    means = table.values.groupby(pd.Series(ranking.groups)).mean().loc[ranking.table.index]
    found = {}
    for metric in ranking.weights:
        own, card = [s for scores in runs.values() for s in scores if s.metric == metric], table.cards[metric]
        fresh, floor = mean_anchor(own, "fresh_real"), mean_anchor(own, card.floor)
        if fresh is None or floor is None:
            continue
        if (floor - fresh if card.direction == "lower" else fresh - floor) > SAME * max(abs(fresh), abs(floor)):
            found[metric] = 100 * (means[metric] - fresh) / (floor - fresh)
    return pd.DataFrame(found, index=means.index)


@figure("gaps", "Between fresh real patients and the floor")
def gap_map(shares: pd.DataFrame) -> Drawing:
    """Heat map of ``gaps``."""
    values = shares.to_numpy(float)
    drawing, (axis,) = panels(1, 1, 1.4 + 0.3 * len(values))
    axis.imshow(np.abs(np.nan_to_num(values, nan=np.inf)), cmap="Blues_r", vmin=0, vmax=135, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "" if np.isnan(value) else "failed" if np.isinf(value) else f"{value:z.0f}"
        colour = "white" if abs(value) < 65 else MARK
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=8.5)
    names = [clipped(str(metric).split("/", 1)[1].replace("_", " "), 26) for metric in shares.columns]
    _name_cells(axis, [clipped(str(group), 32) for group in shares.index], names, 30)
    caption = (
        "How far each group is on the way from fresh real patients (0) to the floor (100): independent columns, or for"
        " privacy a copy of the training rows. Below 0 is beyond fresh real patients, which is not better. Metrics"
        " whose floor is no worse than fresh real patients, by more than a twentieth, are left out."
    )
    return drawing, caption, f"Heat map of {len(shares)} groups on {len(names)} metrics, from fresh real to the floor."


@figure("pareto", "Utility against privacy")
def pareto_plane(plane: Plane) -> Drawing:
    """Utility against privacy: a large dot a group, a small one a run with its 95 % interval; the front is joined."""
    drawing, (axis,) = panels(1, 1, 4.2)
    across_name, up_name = plane.points.columns
    for run, error in zip(plane.runs.to_numpy(float), plane.errors.to_numpy(float), strict=True):
        bars = Z * np.nan_to_num(error)
        axis.errorbar(run[0], run[1], bars[1], bars[0], ".", color=HOLDOUT, elinewidth=0.9, markersize=4)
    front = plane.points[list(plane.front.values())].sort_values(across_name)
    axis.plot(front[across_name], front[up_name], color=TRAIN, linewidth=1.2, linestyle="--")
    for group, (x, y) in zip(plane.points.index, plane.points.to_numpy(float), strict=True):
        colour = TRAIN if plane.front[str(group)] else SYNTHETIC
        axis.plot(x, y, "o", color=colour, markersize=8)
        axis.annotate(clipped(str(group), 32), (x, y), xytext=(8, 6), textcoords="offset points", color=colour)
    for name, set_label, invert in (
        (across_name, axis.set_xlabel, axis.invert_xaxis),
        (up_name, axis.set_ylabel, axis.invert_yaxis),
    ):
        set_label(f"{_spelled(name)} ({plane.directions[name]} is better)")
        if plane.directions[name] == "lower":
            invert()
    axis.margins(0.12)
    caption = (
        "Better is up and to the right; an attack that does worse than chance counts as chance. Blue: no other"
        " group is at least as good on both and better on one (the Pareto front); orange: some other group is."
        " Small dots are runs, with the 95% intervals of their scores: where these reach across, being on the"
        " front may be chance."
    )
    best = ", ".join(group for group, undominated in plane.front.items() if undominated)
    return drawing, caption, f"Scatter plot of utility against privacy; on the Pareto front: {best}."


@figure("prevalence", "Prevalence of every column, model by model")
def prevalence_figure(real: RealData, synthetic: Mapping[str, Records]) -> Drawing:
    """Draw the prevalences of one synthetic table per group on the same logarithmic axes."""
    drawing, axes = panels(len(synthetic), across(len(synthetic)), 3.0)
    for axis, (name, records) in zip(axes, synthetic.items(), strict=True):
        cloud(axis, prevalences(real, records))
        log_axes(axis, 1 / len(real.train))
        axis.set(title=clipped(name, 40), ylabel="prevalence, synthetic")
    caption = "All panels have the same logarithmic axes." + CLOUD
    return drawing, caption, "Scatter plots of synthetic against training prevalence, one for each model."


def _name_cells(axis: Axes, rows: Sequence[str], columns: Sequence[str], rotation: int) -> None:
    """Name the rows and, on top, the columns of a heat map, and take away what a map does not need."""
    axis.set_yticks(range(len(rows)), rows)
    ha = "left" if rotation else "center"
    axis.set_xticks(range(len(columns)), columns, rotation=rotation, ha=ha, rotation_mode="anchor")
    axis.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, left=False)
    axis.grid(False)
    axis.spines[:].set_visible(False)


def _spelled(metric: object) -> str:
    return clipped(str(metric).replace("_", " ").replace("/", ": "), 60)
