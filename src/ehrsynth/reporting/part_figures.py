"""Figures of the parts that scores are made of, from plain mappings."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ehrsynth.evaluation.evaluator import Value
from ehrsynth.reporting.style import HOLDOUT, MARK, SYNTHETIC, TRAIN, clipped, panels, styled

Bars = Mapping[str, Value]


@styled
def prediction_scatter(real: Bars, synthetic: Bars) -> Figure:
    """F1 of predicting each code on held-out records, learned from synthetic against learned from real ones."""
    figure, (axis, _) = panels(2, 2, 4.4)
    figure.axes[1].set_visible(False)
    names = [name for name in real if name in synthetic]
    x, y = (np.array([bars[name].value for name in names]) for bars in (real, synthetic))
    axis.axline((0, 0), slope=1, color=MARK, linestyle="--", linewidth=0.9)
    axis.scatter(x, y, s=26, color=SYNTHETIC, alpha=0.8, linewidths=0)
    top = max(float(x.max()), float(y.max()), 0.05) * 1.08
    axis.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top), aspect="equal")
    axis.set(xlabel="F1, learned from training rows", ylabel="F1, learned from synthetic rows")
    far = np.argsort(np.abs(x - y))[::-1][:3]
    for place in far[np.abs(x - y)[far] > 0.05]:
        axis.annotate(
            clipped(names[place], 28),
            (x[place], y[place]),
            xytext=(5, 3),
            textcoords="offset points",
            fontsize=7.5,
            color=MARK,
        )
    return figure


@styled
def paired_bars(real: Bars, synthetic: Bars, label: str) -> Figure:
    """Two bars for each name, ordered by the first; a name that only one side has counts 0 on the other.

    Args:
        real: name -> value in the first colour.
        synthetic: the same in the second.
        label: of the horizontal axis.
    """
    names = sorted({*real, *synthetic}, key=lambda name: (-_value(real, name), -_value(synthetic, name), name))
    figure, (axis,) = panels(1, 1, 0.9 + 0.26 * len(names))
    places = np.arange(len(names))
    axis.barh(places - 0.2, [_value(real, n) for n in names], 0.38, color=TRAIN, label="learned from training rows")
    axis.barh(
        places + 0.2, [_value(synthetic, n) for n in names], 0.38, color=SYNTHETIC, label="learned from synthetic rows"
    )
    axis.set(xlabel=label)
    _name_rows(axis, names)
    axis.legend(loc="lower right")
    return figure


@styled
def domain_bars(metrics: Mapping[str, Bars]) -> Figure:
    """One panel a metric, one bar a domain, with the 95 % interval."""
    domains = list(dict.fromkeys(name for bars in metrics.values() for name in bars))
    figure, axes = panels(len(metrics), 3, 0.8 + 0.27 * len(domains))
    places = np.arange(len(domains))
    for axis, (title, bars) in zip(axes, metrics.items(), strict=True):
        axis.barh(places, [_value(bars, name) for name in domains], 0.6, color="#f0b48f")
        _whiskers(axis, bars, domains)
        axis.set_title(title)
        axis.set_xlim(left=0)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        _name_rows(axis, domains)
    return figure


@styled
def subgroup_dots(
    metrics: Mapping[str, Bars], reference: Mapping[str, Bars], whole: Mapping[str, float | None]
) -> Figure:
    """One panel a metric, one dot a subgroup with its 95 % interval, and a line at the metric itself.

    Args:
        metrics: title -> subgroup, ``ATTRIBUTE=LABEL`` -> value.
        reference: the same where training rows were learned from; may be empty.
        whole: title -> value over all records, or None where that is another quantity.
    """
    found = list(dict.fromkeys(name for dots in metrics.values() for name in dots))
    attributes = list(dict.fromkeys(name.split("=")[0] for name in found))
    names = sorted(found, key=lambda name: (attributes.index(name.split("=")[0]), name))
    figure, axes = panels(len(metrics), 2, 0.8 + 0.24 * len(names))
    for axis, (title, dots) in zip(axes, metrics.items(), strict=True):
        if (all_records := whole.get(title)) is not None:
            axis.axvline(all_records, color=HOLDOUT, linewidth=1.2)
        _whiskers(axis, dots, names)
        for shown, colour, size in ((reference.get(title, {}), TRAIN, 4), (dots, SYNTHETIC, 5)):
            known = [i for i, name in enumerate(names) if name in shown]
            axis.plot([shown[names[i]].value for i in known], known, "o", color=colour, markersize=size)
        axis.set_title(title)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        _name_rows(axis, names)
    return figure


def _value(bars: Bars, name: str) -> float:
    return bars[name].value if name in bars else 0.0


def _whiskers(axis: Axes, bars: Bars, names: list[str]) -> None:
    for place, name in enumerate(names):
        if name in bars and (ci := bars[name].ci) is not None:
            axis.hlines(place, *ci, color=MARK, linewidth=1.3)


def _name_rows(axis: Axes, names: list[str]) -> None:
    axis.set_yticks(range(len(names)), [clipped(name, 44) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(False, axis="y")
