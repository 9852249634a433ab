"""The figures of the comparison report, from the tables of a ranking."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ehrsynth.evaluation.pareto import Plane
from ehrsynth.metrics.intervals import Z
from ehrsynth.reporting.figures import Tables, across, cloud, log_axes
from ehrsynth.reporting.style import HOLDOUT, MARK, SYNTHETIC, TRAIN, clipped, panels, styled

ARROWS = {"lower": "↓", "higher": "↑"}


@styled
def ranking_bars(table: pd.DataFrame) -> Figure:
    """Weighted rank of every group, best on top, with its 95 % interval; ``table`` as in ``Ranking``."""
    figure, (axis,) = panels(1, 1, 0.9 + 0.38 * len(table))
    scores = table["weighted_rank"].to_numpy()
    places = np.arange(len(table))
    axis.barh(places, scores, height=0.62, color="#b3d4e8")
    known = table["low"].notna().to_numpy()
    low, high = table["low"].to_numpy()[known], table["high"].to_numpy()[known]
    axis.hlines(places[known], low, high, color=MARK, linewidth=1.6)
    axis.plot(scores, places, "o", color=TRAIN, markersize=5)
    axis.set(
        yticks=places,
        yticklabels=[clipped(str(name), 32) for name in table.index],
        xlabel="weighted rank (shorter is better)",
    )
    axis.invert_yaxis()
    axis.grid(False, axis="y")
    return figure


@styled
def prevalence_multiples(models: Mapping[str, Tables], resolution: float) -> Figure:
    """One prevalence scatter per model on the same logarithmic axes; arguments as in ``prevalence_scatter``."""
    figure, axes = panels(len(models), across(len(models)), 3.0)
    for axis, (name, prevalence) in zip(axes, models.items(), strict=True):
        cloud(axis, prevalence)
        log_axes(axis, resolution)
        axis.set(title=name, ylabel="prevalence, synthetic")
    return figure


@styled
def rank_map(ranks: pd.DataFrame, weights: Mapping[str, float], overall: "pd.Series[float]") -> Figure:
    """Heat map of ranks, metrics x groups, the weighted rank in the last row (Table 3 of the JMIR tutorial).

    Args:
        ranks: groups x metrics, mean over the runs of a group; groups best first.
        weights: metric -> weight.
        overall: weighted rank of every group.
    """
    table = pd.concat([ranks.T, overall.to_frame("weighted rank").T]).to_numpy()
    figure, (axis,) = panels(1, 1, 1.3 + 0.3 * len(table))
    axis.imshow(table, cmap="Blues_r", vmin=1, vmax=max(float(ranks.to_numpy().max()) * 1.35, 2), aspect="auto")
    middle = 1 + (max(float(ranks.to_numpy().max()) * 1.35, 2) - 1) * 0.5
    for row, column in np.ndindex(table.shape):
        text = f"{table[row, column]:.2f}" if row == len(table) - 1 else f"{table[row, column]:.3g}"
        weight = "bold" if row == len(table) - 1 else "normal"
        colour = "white" if table[row, column] < middle else MARK
        axis.text(column, row, text, ha="center", va="center", color=colour, fontweight=weight, fontsize=8.5)
    axis.axhline(len(table) - 1.5, color="white", linewidth=4)
    names = [f"{str(name).replace('_', ' ').replace('/', ': ')}  ({weights[str(name)]:.3g})" for name in ranks.columns]
    axis.set_yticks(range(len(table)), [*names, "weighted rank"])
    axis.set_xticks(range(len(ranks)), [clipped(str(name), 22) for name in ranks.index])
    axis.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, left=False)
    axis.tick_params(axis="x", labelrotation=30 if len(ranks) > 5 else 0)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    return figure


@styled
def metric_panels(
    values: pd.DataFrame, directions: Mapping[str, str], anchors: Mapping[str, Mapping[str, float | None]]
) -> Figure:
    """One panel a metric: every run a dot in the row of its group, fresh real and the floor as lines.

    Args:
        values: (group, run) x metrics; failed scores are infinite and not drawn.
        directions: metric -> ``lower`` or ``higher`` is better.
        anchors: metric -> ``fresh real`` and ``floor``.
    """
    groups = list(dict.fromkeys(values.index.get_level_values(0)))
    figure, axes = panels(values.shape[1], 3, 0.9 + 0.25 * len(groups))
    rows = np.array([groups.index(group) for group in values.index.get_level_values(0)])
    for axis, metric in zip(axes, values, strict=True):
        for name, style in (("fresh real", "-"), ("floor", ":")):
            if (anchor := anchors[str(metric)].get(name)) is not None:
                axis.axvline(anchor, color=HOLDOUT, linestyle=style, linewidth=1.8, label=name)
        found = values[metric].to_numpy(float)
        shown = np.isfinite(found)
        axis.plot(found[shown], rows[shown], "o", color=SYNTHETIC, markersize=5, alpha=0.75)
        title = f"{ARROWS[directions[str(metric)]]} {str(metric).split('/', 1)[1].replace('_', ' ')}"
        axis.set_title(clipped(title, 40))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.set_yticks(range(len(groups)), [clipped(str(group), 22) for group in groups])
        axis.set_ylim(len(groups) - 0.4, -0.6)
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2)
    return figure


@styled
def pareto_plane(plane: Plane) -> Figure:
    """Utility against privacy: a large dot a group, a small one a run with its 95 % interval; the front is joined."""
    figure, (axis,) = panels(1, 1, 4.2)
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
        set_label(f"{name.replace('_', ' ').replace('/', ': ')} ({plane.directions[name]} is better)")
        if plane.directions[name] == "lower":
            invert()
    axis.margins(0.12)
    return figure
