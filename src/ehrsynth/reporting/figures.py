"""The figures of the reports, from plain arrays. They show aggregates and never name a rare code."""

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from ehrsynth.reporting.style import HOLDOUT, MARK, SYNTHETIC, TRAIN, panels, styled

Array = NDArray[np.float64]
BINS = 40


@dataclass(frozen=True)
class Tables:
    """The same quantity in the three tables.

    Attributes:
        train, holdout, synthetic: arrays whose meaning the figure states.
    """

    train: Array
    holdout: Array
    synthetic: Array

    def drawn(self) -> list[tuple[str, Array, str]]:
        """Return label, array and colour in drawing order."""
        return [
            ("fresh real (holdout)", self.holdout, HOLDOUT),
            ("training", self.train, TRAIN),
            ("synthetic", self.synthetic, SYNTHETIC),
        ]


@styled
def prevalence_scatter(prevalence: Tables, resolution: float) -> Figure:
    """Prevalence of every 0/1 column, synthetic against training, on linear and logarithmic axes.

    Args:
        prevalence: [B] each, in [0, 1].
        resolution: the smallest prevalence worth telling from zero, one over the number of rows; below it
            the logarithmic axes turn linear, so that columns that were lost stay visible at zero.
    """
    figure, (linear, log) = panels(2, 2, 4.4)
    for axis in (linear, log):
        cloud(axis, prevalence)
    log_axes(log, resolution)
    linear.set_title("linear axes: frequent columns")
    log.set_title("logarithmic axes: rare columns")
    linear.legend(loc="lower right", markerscale=1.6)
    return figure


def cluster_order(correlation: Array) -> NDArray[np.intp]:
    """Order columns so that correlated ones are neighbours: average linkage on 1 - abs(r).

    Args:
        correlation: symmetric [p, p] in [-1, 1].
    """
    if len(correlation) < 3:
        return np.arange(len(correlation))
    distance = 1 - np.abs(correlation)
    np.fill_diagonal(distance, 0)
    return leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=True)).astype(np.intp)


@styled
def correlation_maps(real: Array, synthetic: Array) -> Figure:
    """Pearson correlations of the same columns in both tables, and their difference, on one colour scale.

    Args:
        real: [p, p], in an order that shows its structure (``cluster_order``).
        synthetic: [p, p], in the same order.
    """
    off = np.abs(real[~np.eye(len(real), dtype=bool)])
    limit = max(float(np.quantile(off, 0.995)) if off.size else 1.0, 0.05)
    figure, axes = panels(3, 3, 3.5)
    for axis, (title, matrix) in zip(
        axes,
        {"training": real, "synthetic": synthetic, "synthetic minus training": synthetic - real}.items(),
        strict=True,
    ):
        image = axis.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set(title=title, xticks=[], yticks=[])
        axis.grid(False)
    figure.colorbar(image, ax=axes, label="Pearson r", shrink=0.85, extend="both", aspect=28)
    return figure


@styled
def codes_per_record(counts: Tables) -> Figure:
    """Histogram of the number of codes per record; the last bin also holds the longest records."""
    figure, (axis,) = panels(1, 1, 3.2)
    top = max(float(np.quantile(values, 0.995)) for _, values, _ in counts.drawn())
    width = max(int(np.ceil((top + 1) / BINS)), 1)
    edges = np.arange(-0.5, top + width, width)
    _histograms(axis, counts, edges, clip=True)
    axis.set(xlabel=f"codes per record (last bin: {edges[-1] - width / 2:.0f} or more)", ylabel="share of records")
    axis.legend()
    return figure


@styled
def value_distributions(columns: Mapping[str, Tables]) -> Figure:
    """Distribution of every continuous or count column, with the share of missing cells.

    Args:
        columns: label -> values [n] in their own units; NaN where missing.
    """
    figure, axes = panels(len(columns), across(len(columns)), 2.5)
    for axis, (label, values) in zip(axes, columns.items(), strict=True):
        observed = np.concatenate([array[~np.isnan(array)] for _, array, _ in values.drawn()])
        if observed.size:
            whole = bool((observed == np.round(observed)).all()) and np.ptp(observed) < BINS
            low, high = observed.min(), observed.max()
            edges = np.arange(low - 0.5, high + 1) if whole else np.histogram_bin_edges(observed, BINS // 2)
            _histograms(axis, values, edges, clip=False)
        missing = [float(np.isnan(array).mean()) for array in (values.train, values.holdout, values.synthetic)]
        axis.set_title(fill(label, 26), fontsize=8.5)
        if any(missing):
            axis.set_xlabel("missing: " + " / ".join(f"{share:.1%}" for share in missing))
    axes[0].set_ylabel("share of observed cells")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@styled
def nearest_distances(to_train: Array, to_holdout: Array, baseline: Array) -> Figure:
    """Cumulative distribution of the distance to the nearest record.

    Args:
        to_train: [n] squared distance from each synthetic record to its nearest training record.
        to_holdout: [n] the same to as many held-out records.
        baseline: [m] squared distance from each held-out record to its nearest training record.
    """
    figure, (axis,) = panels(1, 1, 3.4)
    axis.ecdf(baseline, label="fresh real → training", color=HOLDOUT, linewidth=3)
    axis.ecdf(to_holdout, label="synthetic → fresh real", color=TRAIN, linestyle="--")
    axis.ecdf(to_train, label="synthetic → training", color=SYNTHETIC)
    top = np.quantile(np.concatenate([to_train, to_holdout, baseline]), 0.99)
    axis.set(xlabel="squared distance to the nearest record", ylabel="share of records within it", ylim=(0, 1.02))
    axis.set_xlim(-0.02 * max(top, 1), max(top, 1))
    axis.legend(loc="lower right")
    return figure


@styled
def training_curves(losses: pd.DataFrame, scores: pd.DataFrame, chosen: int | None) -> Figure:
    """Losses and checkpoint scores over epochs, with the chosen checkpoint marked.

    Args:
        losses: indexed by epoch, one column a loss; drawn together in the first panel. May be empty.
        scores: indexed by epoch, one column a metric; one panel each.
        chosen: epoch of the chosen checkpoint, None when nothing was chosen.
    """
    figure, axes = panels((not losses.empty) + scores.shape[1], 4, 1.9)
    remaining = list(axes)
    if not losses.empty:
        axis = remaining.pop(0)
        for name in losses:
            axis.plot(losses.index, losses[name], label=str(name).removeprefix("loss/"), linewidth=1.2)
        axis.set_title("training losses", fontsize=8.5, fontweight="normal")
        axis.legend(fontsize=7.5, frameon=True, edgecolor="none", framealpha=0.8)
    for axis, name in zip(remaining, scores, strict=True):
        axis.plot(scores.index, scores[name], color=SYNTHETIC, marker="o", markersize=3)
        axis.set_title(str(name).split("/", 1)[-1].replace("_", " "), fontsize=8.5, fontweight="normal")
    for axis in axes:
        axis.yaxis.set_major_formatter("{x:.4g}")
        if chosen is not None:
            axis.axvline(chosen, color=MARK, linestyle=":", linewidth=1.4)
    figure.supxlabel("epoch" if chosen is None else f"epoch (dotted: the chosen checkpoint, {chosen})", fontsize=9)
    return figure


def across(count: int) -> int:
    """Return how many panels to put in a row so that the fewest places stay empty."""
    return min((3, 4), key=lambda columns: -count % columns)


def cloud(axis: Axes, prevalence: Tables) -> None:
    """Scatter holdout (reference) and synthetic against training prevalence."""
    train, synthetic = prevalence.train, prevalence.synthetic
    axis.axline((0, 0), slope=1, color=MARK, linestyle="--", linewidth=0.9)
    axis.scatter(train, prevalence.holdout, s=9, color=HOLDOUT, alpha=0.7, linewidths=0, label="fresh real (holdout)")
    axis.scatter(train, synthetic, s=9, color=SYNTHETIC, alpha=0.65, linewidths=0, label="synthetic")
    varied = len(train) > 1 and np.ptp(train) > 0 and np.ptp(synthetic) > 0
    r = np.corrcoef(train, synthetic)[0, 1] if varied else 0.0
    corner = f"r = {r:.3f}\nMAE = {np.abs(train - synthetic).mean():.2g}"
    axis.text(0.04, 0.96, corner, transform=axis.transAxes, va="top", color=MARK)
    axis.set(xlabel="prevalence, training", ylabel="prevalence, synthetic or fresh real")


def log_axes(axis: Axes, resolution: float) -> None:
    """Make both axes logarithmic down to a power of ten near ``resolution``, and linear below it."""
    resolution = 10 ** np.ceil(np.log10(resolution))  # else a tick may stand between it and zero, upon the zero
    for set_scale, set_limits in ((axis.set_xscale, axis.set_xlim), (axis.set_yscale, axis.set_ylim)):
        set_scale("symlog", linthresh=resolution, linscale=0.5)
        set_limits(-resolution / 3, 1.3)


def _histograms(axis: Axes, values: Tables, edges: Array, *, clip: bool) -> None:
    for label, array, colour in values.drawn():
        observed = array[~np.isnan(array)]
        shown = observed.clip(edges[0], edges[-1]) if clip else observed
        shares = np.histogram(shown, edges)[0] / max(len(observed), 1)
        axis.stairs(
            shares,
            edges,
            color=colour,
            fill=colour == HOLDOUT,
            alpha=0.55 if colour == HOLDOUT else 1.0,
            label=label,
            linewidth=1.6,
        )
