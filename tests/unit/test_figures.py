import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.ranking import Profile, rank_runs
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.score_table import tabulate
from ehrsynth.layout import Layout, Records
from ehrsynth.reporting import figures
from ehrsynth.reporting.figure_data import Tables
from ehrsynth.reporting.figures import log_axes, report_figures
from ehrsynth.reporting.ranking_figures import gap_map, gaps, prevalence_figure, ranking_figures, use_map
from ehrsynth.reporting.style import panels, png
from ehrsynth.schema import Column, Schema
from tests.scores import score_of

SCHEMA = Schema(
    (
        *(Column(f"code{i}", "binary", domain="diagnosis") for i in range(6)),
        Column("sex", "categorical", levels=("F", "M")),
        Column("age", "count", bounds=(18, 90), label="age (years)"),
        Column("bmi", "continuous", bounds=(12, 60), missing=True, decimals=1),
    )
)


def records(n: int, seed: int, schema: Schema = SCHEMA) -> Records:
    layout = Layout.of(schema)
    uniform = torch.rand(n, layout.width, generator=torch.Generator().manual_seed(seed))
    return Records.of_dense(layout, layout.harden(uniform))


def real(schema: Schema = SCHEMA) -> RealData:
    return RealData(schema, records(40, 0, schema), records(30, 1, schema))


def test_the_report_shows_every_figure_the_data_can_fill_and_each_renders() -> None:
    scores = pd.DataFrame({"fidelity/apd": [0.3, 0.2], "checkpoint": ["a", "b"], "seconds": [1, 1]}, index=[5, 10])
    losses = pd.DataFrame({"loss/critic": [1.0, 0.5, 0.2]}, index=[1, 2, 3])
    shown = report_figures(real(), records(35, 2), seed=0, losses=losses, scores=scores, chosen=10)
    assert [f.name for f in shown] == [
        "prevalence",
        "correlations",
        "codes_per_record",
        "values",
        "distances",
        "training",
    ]
    for figure in shown:
        assert png(figure.figure).startswith(b"\x89PNG")
        assert figure.caption
        assert figure.alt
    assert len(shown[-1].figure.axes) == 2, "columns of metrics.csv that are no metric get no panel"


def test_figures_without_data_are_left_out() -> None:
    bits = Schema((Column("a", "binary"), Column("b", "binary")))
    assert [f.name for f in report_figures(real(bits), records(9, 2, bits), seed=0)] == [
        "prevalence",
        "correlations",
        "distances",
    ]


def test_the_same_seed_draws_the_same_picture() -> None:
    first, again, other = (png(report_figures(real(), records(35, 2), seed=seed)[4].figure) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_values_are_shown_in_their_own_units_with_missing_shares() -> None:
    synthetic = records(35, 2)
    figure = report_figures(real(), synthetic, seed=0)[3].figure
    age, bmi = figure.axes
    edges = age.patches[-1].get_data().edges
    assert 17 < edges[0] < edges[-1] < 91
    share = float(synthetic.values[:, 1].isnan().double().mean())
    assert bmi.get_xlabel().endswith(f"{share:.1%}")


def test_the_codes_histogram_is_that_of_the_records() -> None:
    counts = Tables(np.array([0.0, 1, 1, 3]), np.array([0.0, 1]), np.array([2.0, 2, 2, 3]))
    axis = figures.codes_per_record(counts).figure.axes[0]
    synthetic = axis.patches[-1].get_data()
    assert synthetic.edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert synthetic.values.tolist() == [0, 0, 0.75, 0.25]


def test_prevalence_corner_and_zero_axis() -> None:
    tables = Tables(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3]), np.array([0.0, 0.1, 0.2]))
    linear, log = figures.prevalence_scatter(tables, 0.01).figure.axes
    assert linear.texts[0].get_text() == "r = 1.000\nMAE = 0.1"
    assert log.get_ylim()[0] < 0, "lost columns stay visible at zero"


def test_cluster_order_puts_correlated_columns_side_by_side() -> None:
    correlation = np.eye(4)
    correlation[0, 2] = correlation[2, 0] = 0.9
    correlation[1, 3] = correlation[3, 1] = -0.9
    order = figures.cluster_order(correlation).tolist()
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1


def test_the_chosen_checkpoint_is_marked() -> None:
    scores = pd.DataFrame({"fidelity/apd": [0.3, 0.2]}, index=[5, 10])
    (axis,) = figures.training_curves(pd.DataFrame(), scores, 5).figure.axes
    assert list(axis.lines[-1].get_xdata()) == [5, 5]


def test_the_comparison_shows_ranking_ranks_scores_plane_and_one_cloud_per_model() -> None:
    directions = {"fidelity/apd": "lower", "utility/tstr_auroc": "higher", "privacy/membership_auc": "lower"}
    runs = {
        name: [score_of(m, v, d, (v - 0.01, v + 0.01)) for (m, d), v in zip(directions.items(), values, strict=True)]
        for name, values in {"vae": (0.1, 0.8, 0.6), "gan": (0.2, 0.7, 0.48), "bad": (0.3, 0.6, 0.6)}.items()
    }
    table = tabulate(runs)
    profile = Profile("p", "", dict.fromkeys(directions, 1.0), "")
    ranking = rank_runs(table.values, table.cards, profile, errors=table.errors)
    shown = ranking_figures(ranking, runs)
    assert [figure.name for figure in shown] == ["ranking", "ranks", "metrics", "pareto"]
    bars, heat, panels, _ = shown
    order = ranking.table.index.tolist()
    assert [label.get_text() for label in bars.figure.axes[0].get_yticklabels()] == order
    texts = [text.get_text() for text in heat.figure.axes[0].texts]
    assert texts == [
        *(f"{ranking.ranks.loc[group, metric]:.3g}" for metric in ranking.ranks for group in order),
        *(f"{rank:.2f}" for rank in ranking.table["weighted_rank"]),
    ]
    assert len([axis for axis in panels.figure.axes if axis.get_visible()]) == 3
    assert shown[3].alt == "Scatter plot of utility against privacy; on the Pareto front: vae, gan."
    for figure in shown:
        assert png(figure.figure).startswith(b"\x89PNG")
    uses = use_map(pd.DataFrame({"education": [1.5, 2.0], "ml_development": [2.0, 1.0]}, index=["vae", "gan"]))
    bold = [text.get_text() for text in uses.figure.axes[0].texts if text.get_fontweight() == "bold"]
    assert bold == ["1.5", "1.0"]
    assert uses.alt == "Heat map of weighted ranks by use case; best are education: vae, ml development: gan."
    clouds = prevalence_figure(real(), {"vae": records(9, 2), "gan": records(9, 3)})
    drawn = [axis for axis in clouds.figure.axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in drawn] == ["vae", "gan"]
    assert len({axis.get_xlim() for axis in drawn}) == 1


def test_gaps_go_from_fresh_real_to_the_floor_and_leave_out_metrics_without_that_way() -> None:
    anchors = {"fresh_real": 0.2, "independent": 0.6, "train_copy": 0.0}
    leaks = {"fresh_real": 0.5, "independent": 0.5, "train_copy": 1.0}

    def run(abundance: float | None, membership: float) -> list[Score]:
        return [
            score_of("fidelity/concept_abundance", abundance, anchors=anchors, status="ok" if abundance else "failed"),
            score_of("privacy/membership_auc", membership, anchors=leaks),
            score_of("fidelity/apd", 0.1, anchors={"fresh_real": 0.2, "independent": 0.0}),
            score_of("utility/tstr_auroc", 0.8, "higher"),
        ]

    runs = {"vae": run(0.3, 0.5), "copy": run(0.2, 1.0), "bad": run(None, 0.4998)}
    table = tabulate(runs)
    profile = Profile("p", "", dict.fromkeys(table.cards, 1.0), "")
    ranking = rank_runs(table.values, table.cards, profile, errors=table.errors)
    shares = gaps(ranking, runs)
    assert shares["fidelity/concept_abundance"].to_dict() == pytest.approx({"vae": 25, "copy": 0, "bad": np.inf})
    assert shares["privacy/membership_auc"].to_dict() == pytest.approx({"vae": 0, "copy": 100, "bad": -0.04})
    assert list(shares) == ["fidelity/concept_abundance", "privacy/membership_auc"]
    assert [figure.name for figure in ranking_figures(ranking, runs)] == [
        "ranking",
        "ranks",
        "gaps",
        "metrics",
        "pareto",
    ]
    texts = {text.get_text() for text in gap_map(shares).figure.axes[0].texts}
    assert texts == {"25", "0", "failed", "100"}


@pytest.mark.parametrize("n", [1, 2])
def test_tiny_tables_still_draw(n: int) -> None:
    data = RealData(SCHEMA, records(n, 0), records(n, 1))
    for figure in report_figures(data, records(n, 2), seed=0):
        png(figure.figure)


def test_global_settings_are_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    report_figures(real(), records(9, 2), seed=0)
    assert dict(matplotlib.rcParams) == before


def test_a_name_in_a_script_that_the_font_lacks_is_no_warning() -> None:
    figure, (axis,) = panels(1, 1, 2)
    axis.set_title("内科")
    assert png(figure)[:4] == b"\x89PNG"


def test_logarithmic_axes_have_no_tick_between_zero_and_where_they_turn_linear() -> None:
    _, (axis,) = panels(1, 1, 2)
    log_axes(axis, 1 / 1500)
    shown = [tick for tick in axis.get_xticks() if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]]
    assert shown == pytest.approx([0, 1e-3, 1e-2, 1e-1, 1])
