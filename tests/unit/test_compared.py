import pytest

from ehrsynth.evaluation.evaluator import Parts, Value
from ehrsynth.evaluation.fidelity.dimension_wise_distance import published_distances


def run(apd: dict[str, float], distance: dict[str, float], half: float | None = None) -> dict[str, Parts]:
    def parts(values: dict[str, float]) -> Parts:
        ci = half and (lambda v: (v - half, v + half))
        return {("column", name): Value(value, ci(value) if ci else None) for name, value in values.items()}

    return {"fidelity/apd": parts(apd), "fidelity/wasserstein": parts(distance)}


RUNS = {
    "x": run({"a": 0.1, "b": 0.2}, {"age": 1.0, "bmi": 4.0}),
    "y": run({"a": 0.0, "b": 0.1}, {"age": 3.0, "bmi": 4.0}),
    "z": run({"a": 0.3, "b": 0.0}, {"age": 2.0, "bmi": 4.0}),
}


def test_the_published_form_scales_each_continuous_column_over_the_runs() -> None:
    found = {name: score.value for name, score in published_distances(RUNS).items()}
    expected = {"x": 300 / 3, "y": (0.1 + 0.1) / 3 * 1000, "z": (0.3 + 0.05) / 3 * 1000}
    assert found == pytest.approx(expected)


def test_it_changes_when_a_run_is_taken_away() -> None:
    pair = {name: RUNS[name] for name in "xz"}
    assert published_distances(pair)["z"].value == pytest.approx((0.3 + 0.1) / 3 * 1000)


def test_intervals_add_up_in_squares_and_are_left_out_if_one_is_unknown() -> None:
    assert published_distances(RUNS)["x"].ci is None
    sure = {name: run({"a": i / 10, "b": 0.5}, {"age": float(i)}, 0.01) for i, name in enumerate("xyz", 1)}
    score = published_distances(sure)["y"]
    half = (2 * 0.01**2 + (0.01 / 2 / 10) ** 2) ** 0.5 / 2 * 1000
    assert score.value is not None
    assert score.ci == pytest.approx((score.value - half, score.value + half))


def test_runs_without_the_same_columns_have_no_common_scale() -> None:
    assert published_distances({"x": RUNS["x"]}) == {}
    assert published_distances({"x": RUNS["x"], "y": run({"a": 0.1}, {"age": 1.0})}) == {}
    assert published_distances({"x": {}, "y": {}}) == {}


def test_codes_alone_are_enough() -> None:
    found = published_distances({"x": run({"a": 0.1, "b": 0.3}, {}), "y": run({"a": 0.0, "b": 0.1}, {})})
    assert {name: score.value for name, score in found.items()} == pytest.approx({"x": 400, "y": 100})
