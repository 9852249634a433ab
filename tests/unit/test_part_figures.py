from ehrsynth.evaluation.evaluator import Undefined, Value
from ehrsynth.reporting.part_gallery import part_figures
from ehrsynth.reporting.style import HOLDOUT, clipped, png
from tests.scores import score_of

PREDICTION = score_of(
    "fidelity/dimension_wise_prediction",
    0.9,
    "higher",
    parts={("f1_real", f"code{i}"): Value(i / 10) for i in range(5)}
    | {("f1_synthetic", f"code{i}"): Value(i / 20) for i in range(5)},
)
IMPORTANCE = score_of(
    "utility/feature_importance_overlap",
    0.5,
    "higher",
    parts={
        ("importance_real", "age"): Value(0.5),
        ("importance_real", "a very long name of a laboratory value that nobody can print"): Value(0.2),
        ("importance_synthetic", "age"): Value(0.1),
        ("importance_synthetic", "bmi"): Value(0.4),
    },
)
DIVERGENCE = score_of(
    "fidelity/js_divergence",
    0.1,
    "lower",
    parts={("domain", "lab"): Value(0.1, (0.05, 0.2)), ("domain", "vital"): Value(0.0)},
)
GAP = score_of(
    "fairness/utility_gap",
    0.1,
    "lower",
    parts={
        ("subgroup", "sex=F"): Value(0.7, (0.6, 0.8)),
        ("subgroup", "sex=M"): Value(0.8),
        ("subgroup", "race=X"): Undefined("too small"),
    },
)
UTILITY = score_of("utility/hybrid_auroc", 0.75, "higher", parts={("subgroup", "sex=F"): Value(0.74)})


def test_every_kind_of_part_has_its_figure() -> None:
    shown = part_figures([GAP, UTILITY, IMPORTANCE, PREDICTION, DIVERGENCE])
    assert [figure.name for figure in shown] == ["domains", "prediction", "importance", "subgroups"]
    for figure in shown:
        assert png(figure.figure).startswith(b"\x89PNG")
        assert figure.caption
        assert figure.alt


def test_figures_without_parts_are_left_out() -> None:
    assert part_figures([]) == []
    assert part_figures([score_of("fairness/utility_gap", None, "lower", status="skipped", reason="r")]) == []
    small = score_of("fairness/utility_gap", 0.1, "lower", parts={("subgroup", "race=X"): Undefined("too small")})
    assert part_figures([small]) == []


def test_bars_stand_in_the_order_of_the_real_importance() -> None:
    (figure,) = part_figures([IMPORTANCE])
    names = [label.get_text() for label in figure.figure.axes[0].get_yticklabels()]
    assert names[0] == "age"
    assert names[2] == "bmi"
    assert len(names[1]) == 44


def test_the_dots_are_the_f1_scores() -> None:
    (figure,) = part_figures([PREDICTION])
    offsets = figure.figure.axes[0].collections[0].get_offsets()
    assert [[round(float(v), 9) for v in dot] for dot in offsets] == [[i / 10, i / 20] for i in range(5)]


def test_only_utility_has_a_line_at_the_value_over_all_records() -> None:
    (figure,) = part_figures([GAP, UTILITY])
    gap, hybrid = figure.figure.axes
    grey = [[line for line in axis.lines if line.get_color() == HOLDOUT] for axis in (gap, hybrid)]
    assert [len(lines) for lines in grey] == [0, 1]
    assert list(grey[1][0].get_xdata()) == [0.75, 0.75]


def test_names_are_shortened_in_the_middle() -> None:
    assert clipped("abcdefghij", 10) == "abcdefghij"
    assert clipped("abcdefghij", 5) == "ab…ij"
    assert clipped("abcdefghij", 6) == "abc…ij"
