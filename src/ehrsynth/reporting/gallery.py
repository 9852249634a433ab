"""Which figures a report shows, drawn from records, each with a caption that teaches how to read it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ehrsynth.bits import unpack
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.kinds import unscaled
from ehrsynth.layout import Records
from ehrsynth.metrics.fidelity import prevalence
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.moments import Moments, correlation
from ehrsynth.metrics.neighbours import Points, nearest
from ehrsynth.reporting import figures
from ehrsynth.reporting.figures import Tables
from ehrsynth.reporting.style import png
from ehrsynth.seeding import torch_rng

MOST_CORRELATED = 150  # columns of a heat map; more would be less than a pixel each
MOST_VALUES = 12  # panels of continuous columns
NEIGHBOUR_ROWS = 2000

CLOUD = (
    " Each dot is one 0/1 column; on the dashed line its prevalence is exact. Grey dots are fresh real patients against"
    " the training rows: how far from the line chance alone carries a dot. Dots at zero are columns that were lost."
)


@dataclass(frozen=True)
class NamedFigure:
    """A figure as a report shows it.

    Attributes:
        name: short, fit for a file name.
        title: heading.
        caption: how to read it.
        alt: what it shows, for who cannot see it.
        figure: the drawing.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure

    @cached_property
    def png(self) -> bytes:
        """The picture, drawn once for its own file and for the page."""
        return png(self.figure)


def report_figures(
    real: RealData,
    synthetic: Records,
    *,
    seed: int,
    losses: pd.DataFrame | None = None,
    scores: pd.DataFrame | None = None,
    chosen: int | None = None,
) -> list[NamedFigure]:
    """Draw the figures of one run's report; those the data cannot fill are left out.

    Args:
        real: R and H.
        synthetic: S.
        seed: of the subsample for the distances.
        losses: mean losses indexed by epoch; columns ``loss/...``.
        scores: metrics at the checkpoints indexed by epoch; columns ``family/metric``, others are ignored.
        chosen: epoch of the chosen checkpoint.
    """
    shown: list[NamedFigure] = []
    if real.layout.binary.stop:
        shown.append(_prevalence(real, synthetic))
    if real.layout.width > 1:
        shown.append(_correlations(real, synthetic))
    if any(column.is_code for column in real.schema.columns):
        shown.append(_codes(real, synthetic))
    if real.layout.width > real.layout.values.start:
        shown.append(_values(real, synthetic))
    shown.append(_distances(real, synthetic, seed))
    losses, scores = _measured(losses), _measured(scores)
    if len(scores) > 1:  # what real data alone decide is the same at every checkpoint
        scores = scores.loc[:, scores.max() > scores.min()]
    if not (losses.empty and scores.empty):
        shown.append(_curves(losses, scores, chosen))
    return shown


def _prevalence(real: RealData, synthetic: Records) -> NamedFigure:
    clouds = prevalences(real, synthetic)
    return NamedFigure(
        "prevalence",
        "Prevalence of every column",
        "The corner gives the correlation r and the mean absolute error." + CLOUD,
        f"Scatter plot of the synthetic against the training prevalence of {len(clouds.train)} columns.",
        figures.prevalence_scatter(clouds, 1 / len(real.train)),
    )


def _correlations(real: RealData, synthetic: Records) -> NamedFigure:
    frequent = prevalence(real.train.bits).argsort(descending=True)
    values = torch.arange(real.layout.values.start, real.layout.width)[:MOST_CORRELATED]
    columns = torch.cat([values, frequent[: MOST_CORRELATED - len(values)]])
    means = observed_means(real.train.values)
    train, other = (_correlation(records, columns, means) for records in (real.train, synthetic))
    order = figures.cluster_order(train)
    return NamedFigure(
        "correlations",
        "Correlations",
        f"The {len(columns)} continuous and most prevalent columns, ordered so that columns which go together in the"
        " training rows are neighbours. The first two maps should look alike; the third shows what was missed: blocks"
        " that keep their colour there are relations the model did not learn.",
        "Three heat maps: correlations in the training rows, in the synthetic rows, and their difference.",
        figures.correlation_maps(train[np.ix_(order, order)], other[np.ix_(order, order)]),
    )


def _codes(real: RealData, synthetic: Records) -> NamedFigure:
    codes = [
        i
        for i, field in enumerate(real.layout.fields)
        if field.kind == "bit" and real.schema.by_name[field.column].is_code
    ]
    counts = Tables(*(records.bits[:, codes].sum(1).double().numpy() for records in _three(real, synthetic)))
    mean = ", ".join(f"{label} {array.mean():.1f}" for label, array, _ in counts.drawn())
    return NamedFigure(
        "codes_per_record",
        "Codes per record",
        f"How many diagnosis, procedure and medication codes a record has (mean: {mean}). A model can have every"
        " prevalence right and still miss that some patients have many codes and most have few.",
        f"Histogram of the number of codes per record; means: {mean}.",
        figures.codes_per_record(counts),
    )


def _values(real: RealData, synthetic: Records) -> NamedFigure:
    fields = real.layout.fields[real.layout.values]
    decoded = {}
    for place, field in enumerate(fields[:MOST_VALUES]):
        column = real.schema.by_name[field.column]
        title = column.label or column.name
        decoded[title if title not in decoded else f"{title} ({column.name})"] = Tables(
            *(unscaled(column, records.values[:, place]) for records in _three(real, synthetic))
        )
    rest = f" The first {MOST_VALUES} of {len(fields)} columns are shown." if len(fields) > MOST_VALUES else ""
    return NamedFigure(
        "values",
        "Continuous and count columns",
        "In their own units. Below a panel: the share of missing cells in training, fresh real and synthetic rows."
        + rest,
        f"Histograms of {len(decoded)} columns in the training, held-out and synthetic rows.",
        figures.value_distributions(decoded),
    )


def _distances(real: RealData, synthetic: Records, seed: int) -> NamedFigure:
    means = observed_means(real.train.values)
    # Chances of being near depend on how many rows there are to be near to, so R and H must be equally many.
    rows = min(NEIGHBOUR_ROWS, len(real.train), len(real.holdout))
    train, holdout, drawn = (
        Points.of(_subsample(records, rows, seed, name), means)
        for name, records in zip(("train", "holdout", "synthetic"), _three(real, synthetic), strict=True)
    )
    to_train, to_holdout = nearest(drawn, train)[0], nearest(drawn, holdout)[0]
    baseline = nearest(holdout, train)[0]
    return NamedFigure(
        "distances",
        "Distance to the nearest record",
        f"On {rows:,} rows of each table. The squared distance of two records is about the number of codes they differ"
        " in. The two coloured curves should coincide: if synthetic records are nearer to training than to fresh real"
        " ones (orange above dashed blue), the model remembers patients. Orange far left of grey: copies, or records"
        " that are all alike.",
        "Cumulative distributions of the distance from synthetic to training, synthetic to held-out and held-out to"
        " training records.",
        figures.nearest_distances(*(d.double().numpy() for d in (to_train, to_holdout, baseline))),
    )


def _curves(losses: pd.DataFrame, scores: pd.DataFrame, chosen: int | None) -> NamedFigure:
    return NamedFigure(
        "training",
        "Training",
        "Losses and the scores of every checkpoint. Loss is not quality: the checkpoint was chosen by the weighted rank"
        " of its scores, and is marked by the dotted line.",
        f"Curves of losses and {scores.shape[1]} scores over epochs"
        + ("." if chosen is None else f"; the checkpoint of epoch {chosen} was chosen."),
        figures.training_curves(losses, scores, chosen),
    )


def _three(real: RealData, synthetic: Records) -> tuple[Records, Records, Records]:
    return real.train, real.holdout, synthetic


def prevalences(real: RealData, synthetic: Records) -> Tables:
    """Return the prevalence of every 0/1 column in the three tables."""
    return Tables(*(prevalence(records.bits).numpy() for records in _three(real, synthetic)))


def _correlation(records: Records, columns: torch.Tensor, means: torch.Tensor) -> NDArray[np.float64]:
    """Return Pearson correlations of some encoded columns, streamed in blocks of rows."""
    moments = Moments(len(columns))
    for part in records.blocks(8192):
        points = Points.of(part, means)
        moments.update(torch.cat([unpack(points.bits).float(), points.values], dim=1)[:, columns])
    result: NDArray[np.float64] = correlation(*moments.compute()).numpy()
    return result


def _subsample(records: Records, rows: int, seed: int, name: str) -> Records:
    return records[torch.randperm(len(records), generator=torch_rng(seed, "figures", name))[:rows]]


def _measured(frame: pd.DataFrame | None) -> pd.DataFrame:
    """Keep the columns named ``kind/what`` that have a value somewhere; nothing becomes an empty frame."""
    return pd.DataFrame() if frame is None else frame.filter(like="/").astype(float).dropna(axis=1, how="all")
