"""The figures of one synthetic table, each with a caption that teaches how to read it.

They show aggregates and never name a rare code.
"""

from collections.abc import Mapping
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from ehrsynth.disclosure import shared_bounds
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.layout import Records
from ehrsynth.reporting.figure_data import Array, Tables, code_counts, correlations, distances, own_units, prevalences
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

BINS = 40

CLOUD = (
    " Each dot is one 0/1 column; on the dashed line its prevalence is exact. Grey dots are fresh real patients against"
    " the training rows: how far from the line chance alone carries a dot. Dots at zero are columns that were lost."
)


def report_figures(
    real: RealData,
    synthetic: Records,
    *,
    seed: int,
    losses: pd.DataFrame | None = None,
    scores: pd.DataFrame | None = None,
    chosen: int | None = None,
    guidance: pd.DataFrame | None = None,
) -> list[NamedFigure]:
    """Draw the figures of one run's report; those the data cannot fill are left out.

    Args:
        real: R and H.
        synthetic: S.
        seed: of the subsample for the distances.
        losses: mean losses indexed by epoch; columns ``loss/...``.
        scores: metrics at the checkpoints indexed by epoch; columns ``family/metric``, others are ignored.
        chosen: epoch of the chosen checkpoint.
        guidance: ``error`` and ``slope`` within the groups of each ``label``, by ``guidance``.
    """
    layout, shown = real.layout, []
    if layout.binary.stop:
        shown.append(prevalence_scatter(prevalences(real, synthetic), 1 / len(real.train)))
    if layout.width > 1:
        shown.append(correlation_maps(*correlations(real, synthetic)))
    if any(column.is_code for column in real.schema.columns):
        shown.append(codes_per_record(code_counts(real, synthetic)))
    if layout.width > layout.values.start:
        shown.append(value_distributions(*own_units(real, synthetic)))
    shown.append(nearest_distances(*distances(real, synthetic, seed)))
    losses, scores = _measured(losses), _measured(scores)
    if len(scores) > 1:  # what real data alone decide is the same at every checkpoint
        scores = scores.loc[:, scores.max() > scores.min()]
    if not (losses.empty and scores.empty):
        shown.append(training_curves(losses, scores, chosen))
    if guidance is not None:
        shown.append(guidance_lines(guidance))
    return shown


@figure("prevalence", "Prevalence of every column")
def prevalence_scatter(clouds: Tables, resolution: float) -> Drawing:
    """Prevalence of every 0/1 column, synthetic against training, on linear and logarithmic axes.

    Args:
        clouds: [B] each, in [0, 1].
        resolution: the smallest prevalence worth telling from zero, one over the number of rows; below it
            the logarithmic axes turn linear, so that columns that were lost stay visible at zero.
    """
    drawing, (linear, log) = panels(2, 2, 4.4)
    for axis in (linear, log):
        cloud(axis, clouds)
    log_axes(log, resolution)
    linear.set_title("linear axes: frequent columns")
    log.set_title("logarithmic axes: rare columns")
    linear.legend(loc="lower right", markerscale=1.6)
    caption = "The corner gives the correlation r and the mean absolute error." + CLOUD
    alt = f"Scatter plot of the synthetic against the training prevalence of {len(clouds.train)} columns."
    return drawing, caption, alt


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


@figure("correlations", "Correlations")
def correlation_maps(real: Array, synthetic: Array) -> Drawing:
    """Pearson correlations [p, p] of the same columns in both tables, and their difference, on one colour scale."""
    order = cluster_order(real)
    real, synthetic = real[np.ix_(order, order)], synthetic[np.ix_(order, order)]
    off = np.abs(real[~np.eye(len(real), dtype=bool)])
    limit = max(float(np.quantile(off, 0.995)) if off.size else 1.0, 0.05)
    drawing, axes = panels(3, 3, 3.5)
    maps = {"training": real, "synthetic": synthetic, "synthetic minus training": synthetic - real}
    for axis, (title, matrix) in zip(axes, maps.items(), strict=True):
        image = axis.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set(title=title, xticks=[], yticks=[])
        axis.grid(False)
    drawing.colorbar(image, ax=axes, label="Pearson r", shrink=0.85, extend="both", aspect=28)
    caption = (
        f"The {len(real)} continuous and most prevalent columns, ordered so that columns which go together in the"
        " training rows are neighbours. The first two maps should look alike; the third shows what was missed: blocks"
        " that keep their colour there are relations the model did not learn."
    )
    alt = "Three heat maps: correlations in the training rows, in the synthetic rows, and their difference."
    return drawing, caption, alt


def cluster_order(correlation: Array) -> NDArray[np.intp]:
    """Order columns [p] so that correlated ones [p, p] are neighbours: average linkage on 1 - abs(r)."""
    if len(correlation) < 3:
        return np.arange(len(correlation))
    distance = 1 - np.abs(correlation)
    np.fill_diagonal(distance, 0)
    return leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=True)).astype(np.intp)


@figure("codes_per_record", "Codes per record")
def codes_per_record(counts: Tables) -> Drawing:
    """Histogram of the number of codes per record; the last bin also holds the longest records."""
    drawing, (axis,) = panels(1, 1, 3.2)
    top = max(float(np.quantile(values, 0.995)) for _, values, _ in _drawn(counts))
    width = max(int(np.ceil((top + 1) / BINS)), 1)
    edges = np.arange(-0.5, top + width, width)
    _histograms(axis, counts, edges)
    axis.set(xlabel=f"codes per record (last bin: {edges[-1] - width / 2:.0f} or more)", ylabel="share of records")
    axis.legend()
    mean = ", ".join(f"{label} {array.mean():.1f}" for label, array, _ in _drawn(counts))
    caption = (
        f"How many diagnosis, procedure and medication codes a record has (mean: {mean}). A model can have every"
        " prevalence right and still miss that some patients have many codes and most have few."
    )
    return drawing, caption, f"Histogram of the number of codes per record; means: {mean}."


@figure("values", "Continuous and count columns")
def value_distributions(columns: Mapping[str, Tables], total: int) -> Drawing:
    """Distribution of every continuous or count column, with the share of missing cells.

    Args:
        columns: label -> values [n] in their own units; NaN where missing.
        total: how many such columns there are.

    The axes end where ten training rows or more lie beyond: the most extreme values would point at patients.
    """
    drawing, axes = panels(len(columns), across(len(columns)), 2.5)
    for axis, (label, values) in zip(axes, columns.items(), strict=True):
        numbers, rows = np.unique(values.train[~np.isnan(values.train)], return_counts=True)
        if numbers.size:
            low, high = shared_bounds(pd.Series(rows, index=numbers))
            whole = bool((numbers == np.round(numbers)).all()) and high - low < BINS
            edges = np.arange(low - 0.5, high + 1) if whole else np.histogram_bin_edges([low, high], BINS // 2)
            _histograms(axis, values, edges)
        missing = [float(np.isnan(array).mean()) for array in (values.train, values.holdout, values.synthetic)]
        axis.set_title(fill(clipped(label, 100), 26), fontsize=8.5)
        if any(missing):
            axis.set_xlabel("missing: " + " / ".join(f"{share:.1%}" for share in missing))
    axes[0].set_ylabel("share of observed cells")
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    rest = f" The first {len(columns)} of {total} columns are shown." if total > len(columns) else ""
    caption = (
        "In their own units; the first and the last bin also hold what lies beyond. Below a panel: the share of missing"
        " cells in training, fresh real and synthetic rows."
    )
    alt = f"Histograms of {len(columns)} columns in the training, held-out and synthetic rows."
    return drawing, caption + rest, alt


def _drawn(tables: Tables) -> list[tuple[str, Array, str]]:
    """Return label, array and colour in drawing order."""
    return [
        ("fresh real (holdout)", tables.holdout, HOLDOUT),
        ("training", tables.train, TRAIN),
        ("synthetic", tables.synthetic, SYNTHETIC),
    ]


def _histograms(axis: Axes, values: Tables, edges: Array) -> None:
    for label, array, colour in _drawn(values):
        observed = array[~np.isnan(array)]
        shares = np.histogram(observed.clip(edges[0], edges[-1]), edges)[0] / max(len(observed), 1)
        real = colour == HOLDOUT
        axis.stairs(shares, edges, color=colour, fill=real, alpha=0.55 if real else 1.0, label=label, linewidth=1.6)


@figure("distances", "Distance to the nearest record")
def nearest_distances(to_train: Array, to_holdout: Array, baseline: Array, rows: int) -> Drawing:
    """Cumulative distribution of the distance to the nearest record.

    Args:
        to_train: [n] squared distance from each synthetic record to its nearest training record.
        to_holdout: [n] the same to as many held-out records.
        baseline: [m] squared distance from each held-out record to its nearest training record.
        rows: how many of each table were looked at.
    """
    drawing, (axis,) = panels(1, 1, 3.4)
    axis.ecdf(baseline, label="fresh real → training", color=HOLDOUT, linewidth=3)
    axis.ecdf(to_holdout, label="synthetic → fresh real", color=TRAIN, linestyle="--")
    axis.ecdf(to_train, label="synthetic → training", color=SYNTHETIC)
    top = np.quantile(np.concatenate([to_train, to_holdout, baseline]), 0.99)
    axis.set(xlabel="squared distance to the nearest record", ylabel="share of records within it", ylim=(0, 1.02))
    axis.set_xlim(-0.02 * max(top, 1), max(top, 1))
    axis.legend(loc="lower right")
    caption = (
        f"On {rows:,} rows of each table. The squared distance of two records is about the number of codes they differ"
        " in. The two coloured curves should coincide: if synthetic records are nearer to training than to fresh real"
        " ones (orange above dashed blue), the model remembers patients. Orange far left of grey: copies, or records"
        " that are all alike."
    )
    alt = (
        "Cumulative distributions of the distance from synthetic to training, synthetic to held-out and held-out to"
        " training records."
    )
    return drawing, caption, alt


@figure("training", "Training")
def training_curves(losses: pd.DataFrame, scores: pd.DataFrame, chosen: int | None) -> Drawing:
    """Losses and checkpoint scores over epochs, with the chosen checkpoint marked.

    Args:
        losses: indexed by epoch, one column a loss; drawn together in the first panel. May be empty.
        scores: indexed by epoch, one column a metric; one panel each.
        chosen: epoch of the chosen checkpoint, None when nothing was chosen.
    """
    drawing, axes = panels((not losses.empty) + scores.shape[1], 4, 1.9)
    remaining = list(axes)
    if not losses.empty:
        axis = remaining.pop(0)
        for name in losses:
            axis.plot(losses.index, losses[name], label=clipped(str(name).removeprefix("loss/"), 40), linewidth=1.2)
        axis.set_title("training losses", fontsize=8.5, fontweight="normal")
        axis.legend(fontsize=7.5, frameon=True, edgecolor="none", framealpha=0.8)
    for axis, name in zip(remaining, scores, strict=True):
        axis.plot(scores.index, scores[name], color=SYNTHETIC, marker="o", markersize=3)
        axis.set_title(clipped(str(name).split("/", 1)[-1].replace("_", " "), 60), fontsize=8.5, fontweight="normal")
    for axis in axes:
        axis.yaxis.set_major_formatter("{x:.4g}")
        if chosen is not None:
            axis.axvline(chosen, color=MARK, linestyle=":", linewidth=1.4)
    drawing.supxlabel("epoch" if chosen is None else f"epoch (dotted: the chosen checkpoint, {chosen})", fontsize=9)
    caption = (
        "Losses and the scores of every checkpoint. Loss is not quality: the checkpoint was chosen by the weighted rank"
        " of its scores, and is marked by the dotted line."
    )
    alt = f"Curves of losses and {scores.shape[1]} scores over epochs"
    return drawing, caption, alt + ("." if chosen is None else f"; the checkpoint of epoch {chosen} was chosen.")


@figure("guidance", "What more guidance does")
def guidance_lines(effect: pd.DataFrame) -> Drawing:
    """Error of the prevalences within the groups of each label, and how much the label says, by guidance."""
    drawing, axes = panels(2, 2, 2.6)
    for axis, name, title in zip(axes, ("error", "slope"), ("error of prevalences", "calibration"), strict=True):
        for label, rows in effect.groupby("label", sort=False):
            axis.plot(rows["guidance"], rows[name], marker="o", markersize=3.5, label=clipped(str(label), 24))
        axis.set(title=title, xlabel="guidance")
    axes[0].set_ylim(bottom=0)
    axes[1].axhline(1, color=MARK, linestyle="--", linewidth=0.9)
    axes[0].legend(fontsize=8)
    caption = (
        "Records drawn for every level of a label alike, under more and more guidance. Left: how far the prevalences of"
        " the other columns are, on average, from those of the training rows with that level. Right: how much a level"
        " says of the other columns, against what it says of them in training rows; on the dashed line it says just as"
        " much, above it too much. generate guidance= asks for another one than the calibrated 0."
    )
    said = "; ".join(
        f"{row.label} at {row.guidance:g}: error {row.error:.4f}, slope {row.slope:.2f}" for row in effect.itertuples()
    )
    return drawing, caption, f"Two line plots over guidance. {said}."


def _measured(frame: pd.DataFrame | None) -> pd.DataFrame:
    """Keep the columns named ``kind/what`` that have a value somewhere; nothing becomes an empty frame."""
    return pd.DataFrame() if frame is None else frame.filter(like="/").astype(float).dropna(axis=1, how="all")
