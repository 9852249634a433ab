"""The figures of the parts that scores are made of; the card of a score names the figure that shows its parts."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ehrsynth.evaluation.card import catalogue
from ehrsynth.evaluation.evaluator import Value
from ehrsynth.evaluation.score import Score
from ehrsynth.reporting.parts import of_kind
from ehrsynth.reporting.style import HOLDOUT, MARK, SYNTHETIC, TRAIN, Drawing, NamedFigure, clipped, figure, panels

MOST_SUBGROUP_PANELS = 6
Bars = Mapping[str, Value]


def part_figures(scores: Sequence[Score]) -> list[NamedFigure]:
    """Draw what the parts of the scores of one table show; a figure whose parts no score has is left out."""
    shown = []
    if domains := [score for score in scores if score.card.figure == "domains" and of_kind(score, "domain")]:
        shown.append(domain_bars(domains))
    real, synthetic = _both_sides(scores, "prediction", "f1")
    if set(real) & set(synthetic):
        shown.append(prediction_scatter(real, synthetic))
    real, synthetic = _both_sides(scores, "importance", "importance")
    if real and synthetic:
        shown.append(paired_bars(real, synthetic))
    if by_subgroup := [score for score in scores if of_kind(score, "subgroup")]:
        shown.append(subgroup_dots(sorted(by_subgroup, key=_subgroups_place)[:MOST_SUBGROUP_PANELS]))
    return shown


def _both_sides(scores: Sequence[Score], shown_by: str, kind: str) -> tuple[Bars, Bars]:
    """Return what was learned from real and from synthetic records, of the first score of a figure that has both."""
    pairs = [
        [of_kind(s, f"{kind}_{side}") for side in ("real", "synthetic")] for s in scores if s.card.figure == shown_by
    ]
    return next(((real, synthetic) for real, synthetic in pairs if real and synthetic), ({}, {}))


def _subgroups_place(score: Score) -> int:
    """Return the place among the panels: cards that say what is measured in each subgroup first, as they are listed."""
    listed = [name for name, card in catalogue().items() if card.subgroups]
    return listed.index(score.metric) if score.metric in listed else len(listed) + (not score.card.subgroups)


@figure("domains", "Divergence by domain")
def domain_bars(scores: Sequence[Score]) -> Drawing:
    """One panel a score, one bar a domain, with the 95 % interval."""
    metrics = [(score.metric.split("/", 1)[1].replace("_", " "), of_kind(score, "domain")) for score in scores]
    domains = list(dict.fromkeys(name for _, bars in metrics for name in bars))
    drawing, axes = panels(len(metrics), 3, 0.8 + 0.27 * len(domains))
    for axis, (title, bars) in zip(axes, metrics, strict=True):
        axis.barh(range(len(domains)), [_value(bars, name) for name in domains], 0.6, color="#f0b48f")
        _whiskers(axis, bars, domains)
        axis.set_title(clipped(title, 60))
        axis.set_xlim(left=0)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        _name_rows(axis, domains)
    caption = (
        "How far the columns of each domain are from the training rows, on average; 0 is the same distribution."
        " A single long bar is a kind of data the model did not learn."
    )
    return drawing, caption, f"Bars of {', '.join(title for title, _ in metrics)} for each domain of columns."


@figure("prediction", "Dimension-wise prediction")
def prediction_scatter(real: Bars, synthetic: Bars) -> Drawing:
    """F1 of predicting each code on held-out records, learned from synthetic against learned from real ones."""
    drawing, (axis, _) = panels(2, 2, 4.4)
    drawing.axes[1].set_visible(False)
    names = [name for name in real if name in synthetic]
    x, y = (np.array([bars[name].value for name in names]) for bars in (real, synthetic))
    axis.axline((0, 0), slope=1, color=MARK, linestyle="--", linewidth=0.9)
    axis.scatter(x, y, s=26, color=SYNTHETIC, alpha=0.8, linewidths=0)
    top = max(float(x.max()), float(y.max()), 0.05) * 1.08
    axis.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top), aspect="equal")
    axis.set(xlabel="F1, learned from training rows", ylabel="F1, learned from synthetic rows")
    far = np.argsort(np.abs(x - y))[::-1][:3]
    for place in far[np.abs(x - y)[far] > 0.05]:
        text, at = clipped(names[place], 28), (x[place], y[place])
        axis.annotate(text, at, xytext=(5, 3), textcoords="offset points", fontsize=7.5, color=MARK)
    caption = (
        "Each dot is one code, predicted from all other columns on held-out real records. On the dashed line a"
        " model learned from synthetic records is as good as one learned from real ones; below it, relations of"
        " that code were lost. The farthest codes are named."
    )
    alt = f"Scatter plot of F1 for {len(real)} codes, learned from synthetic against learned from training rows."
    return drawing, caption, alt


@figure("importance", "What the prediction models look at")
def paired_bars(real: Bars, synthetic: Bars) -> Drawing:
    """Two bars for each column, ordered by the real one; a column that only one side has counts 0 on the other."""
    names = sorted({*real, *synthetic}, key=lambda name: (-_value(real, name), -_value(synthetic, name), name))
    drawing, (axis,) = panels(1, 1, 0.9 + 0.26 * len(names))
    places = np.arange(len(names))
    for bars, shift, colour, what in ((real, -0.2, TRAIN, "training"), (synthetic, 0.2, SYNTHETIC, "synthetic")):
        lengths = [_value(bars, name) for name in names]
        axis.barh(places + shift, lengths, 0.38, color=colour, label=f"learned from {what} rows")
    axis.set(xlabel="mean absolute SHAP value")
    _name_rows(axis, names)
    axis.legend(loc="lower right")
    caption = (
        "Mean absolute SHAP value on held-out real records, of the columns that matter most to either model."
        " A synthetic table that keeps the reasons for a prediction has bars of like length."
    )
    return drawing, caption, f"Paired bars of the importance of {len(names)} columns."


@figure("subgroups", "Subgroups of patients")
def subgroup_dots(scores: Sequence[Score]) -> Drawing:
    """One panel a score, one dot a subgroup, ``ATTRIBUTE=LABEL``, with its 95 % interval.

    A second dot stands where training rows were learned from, and a line at the score itself unless that is another
    quantity, as the gaps of fairness are.
    """
    found = list(dict.fromkeys(name for score in scores for name in of_kind(score, "subgroup")))
    attributes = list(dict.fromkeys(name.split("=")[0] for name in found))
    names = sorted(found, key=lambda name: (attributes.index(name.split("=")[0]), name))
    titles = [s.card.subgroups or s.metric.replace("_", " ").replace("/", ": ") for s in scores]
    drawing, axes = panels(len(scores), 2, 0.8 + 0.24 * len(names))
    for axis, score, title in zip(axes, scores, titles, strict=True):
        if score.value is not None and score.card.family != "fairness":
            axis.axvline(score.value, color=HOLDOUT, linewidth=1.2)
        dots, on_real = of_kind(score, "subgroup"), of_kind(score, "subgroup_real")
        _whiskers(axis, dots, names)
        for shown, colour, size in ((on_real, TRAIN, 4), (dots, SYNTHETIC, 5)):
            known = [i for i, name in enumerate(names) if name in shown]
            axis.plot([shown[names[i]].value for i in known], known, "o", color=colour, markersize=size)
        axis.set_title(clipped(title, 60))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        _name_rows(axis, names)
    caption = (
        "The same measure on the records of each subgroup, with its 95% interval. Blue: of the model learned from"
        " training rows, whose differences are those of the real data. The grey line, where there is one, is the"
        " value over all records. Subgroups that are too small to measure have no dot."
    )
    return drawing, caption, f"Dots with intervals for each subgroup: {', '.join(titles)}."


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
