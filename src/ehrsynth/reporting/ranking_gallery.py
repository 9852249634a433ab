"""Which figures the comparison of several runs shows."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.ranking import Ranking
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.score_table import tabulate
from ehrsynth.layout import Records
from ehrsynth.reporting import ranking_figures as draw
from ehrsynth.reporting.gallery import CLOUD, NamedFigure, prevalences
from ehrsynth.reporting.reading import floor_name


def ranking_figures(ranking: Ranking, runs: Mapping[str, Sequence[Score]]) -> list[NamedFigure]:
    """Draw a ranking: the weighted ranks, the ranks behind them, the scores behind those, and the Pareto view.

    Args:
        ranking: of the runs.
        runs: run -> its scores.
    """
    order = [str(group) for group in ranking.table.index]
    shown = [
        NamedFigure(
            "ranking",
            "Ranking",
            "Weighted rank of each group of runs: the mean place it takes over the metrics, weighed by the profile. The"
            " lines are 95% intervals.",
            f"Bars of weighted ranks; best is {order[0]}.",
            draw.ranking_bars(ranking.table),
        )
    ]
    ranks = ranking.ranks.groupby(pd.Series(ranking.groups)).mean().loc[order]
    shown.append(
        NamedFigure(
            "ranks",
            "Ranks on every metric",
            "Mean rank of each group among all runs, 1 is best, with the weight of the metric behind its name. A model"
            " that is dark in one family only is good for one purpose only.",
            f"Heat map of the ranks of {len(order)} groups on {ranks.shape[1]} metrics.",
            draw.rank_map(ranks, ranking.weights, ranking.table["weighted_rank"]),
        )
    )
    shown.append(_metrics(ranking, runs, order))
    if ranking.plane is not None:
        front = [group for group, best in ranking.plane.front.items() if best]
        shown.append(
            NamedFigure(
                "pareto",
                "Utility against privacy",
                "Better is up and to the right; an attack that does worse than chance counts as chance. Blue: no other"
                " group is at least as good on both and better on one (the Pareto front); orange: some other group is."
                " Small dots are runs, with the 95% intervals of their scores: where these reach across, being on the"
                " front may be chance.",
                f"Scatter plot of utility against privacy; on the Pareto front: {', '.join(front)}.",
                draw.pareto_plane(ranking.plane),
            )
        )
    return shown


def prevalence_figure(real: RealData, synthetic: Mapping[str, Records]) -> NamedFigure:
    """Draw the prevalences of one synthetic table per group on the same axes.

    Args:
        real: the real rows all runs share.
        synthetic: group -> its synthetic records.
    """
    clouds = {name: prevalences(real, records) for name, records in synthetic.items()}
    return NamedFigure(
        "prevalence",
        "Prevalence of every column, model by model",
        "All panels have the same logarithmic axes." + CLOUD,
        "Scatter plots of synthetic against training prevalence, one for each model.",
        draw.prevalence_multiples(clouds, 1 / len(real.train)),
    )


def _metrics(ranking: Ranking, runs: Mapping[str, Sequence[Score]], order: Sequence[str]) -> NamedFigure:
    table = tabulate(runs)
    metrics = list(ranking.weights)
    names = sorted(runs, key=lambda run: order.index(ranking.groups[run]))
    values = table.values.loc[names, metrics]
    values.index = pd.MultiIndex.from_tuples([(ranking.groups[run], run) for run in names])
    anchors = {
        metric: {
            "fresh real": _mean_anchor(runs, metric, "fresh_real"),
            "floor": _mean_anchor(runs, metric, floor_name(metric)),
        }
        for metric in metrics
    }
    return NamedFigure(
        "metrics",
        "Scores of the profile",
        "Every dot is a run. Grey lines: fresh real patients (solid), and the floor (dotted): independent columns, or"
        " for privacy a copy of the training rows. An arrow says whether lower (↓) or higher (↑) is better.",
        f"Small panels with the scores of {len(order)} groups on {len(metrics)} metrics.",
        draw.metric_panels(values, table.directions, anchors),
    )


def _mean_anchor(runs: Mapping[str, Sequence[Score]], metric: str, anchor: str) -> float | None:
    known = [
        value
        for scores in runs.values()
        for score in scores
        if score.metric == metric and (value := score.anchors.get(anchor)) is not None
    ]
    return float(np.mean(known)) if known else None
