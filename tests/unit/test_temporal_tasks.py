"""Clinical tasks: what is asked at which visit, what measurements say, and what is learned from it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.anchors import anchor_scores
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Undefined, Value
from ehrsynth.evaluation.suite import Suite
from ehrsynth.evaluation.temporal.clinical_tasks import ClinicalTasks
from ehrsynth.evaluation.temporal.task_rows import TaskRows, weights_of
from ehrsynth.evaluation.temporal.tasks import (
    CommonOnsets,
    Crossing,
    DeathAfter,
    DeathInHospital,
    Onset,
    Readmission,
    Stages,
    Task,
)
from ehrsynth.metrics.intervals import distance
from ehrsynth.metrics.temporal.content import most_common
from ehrsynth.metrics.temporal.next_visit import history
from ehrsynth.metrics.temporal.tasks import SLOPE_RIDGE, Scale, comes_within, courses, has_any, so_far
from ehrsynth.visits import DAY, UNKNOWN, Code, Measurement, Visits, VisitSchema
from tests.visit_toy import SCHEMA, real_visits, simulated, visits_of

ONSET = Onset(codes=["dx_267"], days=365)  # which dx_250 hastens
SMALL = VisitSchema(
    ("stay", "walk-in"),
    tuple(Code(name, "diagnosis") for name in ("dx_a", "dx_b1", "dx_b2", "dx_c")),
    (Measurement("lab_Creatinine", "lab", "mg/dL", (0.1, 20.0), 1),),
    ambulatory=("walk-in",),
)


def asked(task: Task, visits: Visits) -> list[str]:
    """What is asked at each visit: no for nothing, and the answer."""
    may, came = task.asked(visits, SMALL)
    return ["no" if not there else str(bool(answer)) for there, answer in zip(may, came, strict=True)]


def measured(visits: Visits, values: Sequence[float | None]) -> Visits:
    """The visits with a value each, or none."""
    there = np.array([value is not None for value in values])
    return replace(
        visits,
        value_offsets=np.append(0, np.cumsum(there)).astype(np.int64),
        measured=np.zeros(int(there.sum()), np.int32),
        values=np.array([value for value in values if value is not None], np.float32),
    )


COURSE = visits_of([[(0, [0]), (10, [1]), (200, []), (500, [2, 3])], [(0, [3]), (31, [0])], []])


@pytest.mark.parametrize(
    ("task", "answers"),
    [
        (Onset(codes=["dx_b*"], days=15), ["True", "no", "no", "no", "False", "False"]),
        (Onset(codes=["dx_c"], days=300), ["False", "False", "True", "no", "no", "no"]),
        (Onset(codes=["dx_c"], among=["dx_b1"], days=300), ["no", "False", "True", "no", "no", "no"]),
        (Onset(codes=["dx_a"], days=31), ["no", "no", "no", "no", "True", "no"]),
        (Stages(stages=[["dx_a"], ["dx_b1"], ["dx_c"]], days=365), ["True", "False", "True", "no", "no", "no"]),
        (Readmission(days=30), ["True", "False", "False", "False", "False", "False"]),
        (Readmission(days=31), ["True", "False", "False", "False", "True", "False"]),
    ],
)
def test_what_is_asked_by_hand(task: Task, answers: list[str]) -> None:
    assert asked(task, COURSE) == answers


def test_deaths_by_hand() -> None:
    """The first dies in the second stay, the second 40 days after leaving, the third has no end that anybody knows."""
    visits = visits_of([[(0, []), (10, [])], [(0, [])], [(0, [])], [(0, [])]])
    visits = replace(
        visits,
        ends=np.array([DAY, 12 * DAY, 5 * DAY, UNKNOWN, 3 * DAY]),
        died=np.array([12 * DAY, 45 * DAY, 45 * DAY, UNKNOWN]),
        kinds=np.array([0, 0, 0, 0, 1], np.int16),
    )
    assert asked(DeathInHospital(), visits) == ["False", "True", "False", "no", "no"]
    assert asked(DeathAfter(days=40), visits) == ["no", "no", "True", "False", "False"]
    assert asked(DeathAfter(days=39), visits) == ["no", "no", "False", "False", "False"]
    assert asked(Readmission(days=30), visits) == ["True", "no", "False", "False", "False"]


def test_a_threshold_is_crossed_once() -> None:
    visits = measured(COURSE, [1.0, None, 1.4, 2.0, None, 0.9])
    assert asked(Crossing(measurement="*Creatinine", above=1.5, days=300), visits) == [
        *("False", "False", "True", "no"),
        *("no", "False"),
    ]
    assert asked(Crossing(measurement="*Creatinine", below=0.95, days=300), visits)[-2:] == ["no", "no"]
    assert asked(Crossing(measurement="*Creatinine", above=1.5, among=["dx_b1"], days=300), visits)[0] == "no"


def test_what_the_vocabulary_lacks_is_told() -> None:
    with pytest.raises(NotApplicableError, match="no code is like dx_z or y"):
        Onset(codes=["dx_z", "y"]).asked(COURSE, SMALL)
    with pytest.raises(NotApplicableError, match="no measurement is like 'lab_x'"):
        Crossing(measurement="lab_x", above=1).asked(COURSE, SMALL)
    with pytest.raises(NotApplicableError, match="lab_Creatinine is in mg/dL; the threshold is in umol/L"):
        Crossing(measurement="*Creat*", above=130, unit="umol/L").asked(COURSE, SMALL)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Crossing(measurement="*", above=1, below=2),
        lambda: Crossing(measurement="*"),
        lambda: Stages(stages=[["dx_a"]]),
        lambda: Readmission(history=False),
    ],
)
def test_a_task_that_cannot_be_is_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError):
        wrong()


def test_a_task_is_asked_once() -> None:
    with pytest.raises(OptionError, match="tasks=readmission within 30 days: each task once"):
        ClinicalTasks(tasks=[Readmission(), Readmission()]).fit(real_visits(100, 100), 0)


def test_names() -> None:
    assert Onset(codes=["*_E11*"], among=["*I10"], days=9).name == "E11 among those with I10 within 9 days"
    assert Onset(codes=["*E11"], window=9, history=False).name == "E11 within 365 days, from measurements"
    assert Stages(stages=[["*_a"], ["*_b", "*_c"]], days=9, called="").name == "a to b or c within 9 days"
    assert Crossing(measurement="lab_x", below=0.5).name == "lab_x below 0.5 within 365 days"
    assert Readmission(called="back").name == "back"


def test_past_and_future_are_those_of_loops() -> None:
    visits = simulated(200, 3)
    event = has_any(visits, np.array([0, 9]))
    before, after = [], []
    for start, stop in zip(visits.offsets[:-1], visits.offsets[1:], strict=True):
        for v in range(start, stop):
            assert event[v] == bool({0, 9} & set(visits.codes[visits.code_offsets[v] : visits.code_offsets[v + 1]]))
            before.append(any(event[start : v + 1]))
            after.append(any(event[u] and visits.starts[u] - visits.starts[v] <= 60 * DAY for u in range(v + 1, stop)))
    assert so_far(visits, event).tolist() == before
    assert comes_within(visits, event, 60).tolist() == after


def test_courses_are_those_of_loops() -> None:
    visits = simulated(60, 4)
    scale = Scale.of(visits, 2)
    values = [visits.values[visits.measured == i].astype(float) for i in (0, 1)]
    np.testing.assert_allclose(scale.centre, [v.mean() for v in values])
    np.testing.assert_allclose(scale.spread, [v.std() for v in values])
    places = np.random.default_rng(0).permutation(visits.count)[:100]
    found = courses(visits, places, 200, scale).reshape(100, 5, 2)
    for row, v in enumerate(places):
        for k in (0, 1):
            z, t = [], []
            for u in range(visits.offsets[visits.patient[v]], v + 1):
                here = slice(visits.value_offsets[u], visits.value_offsets[u + 1])
                if k in visits.measured[here] and visits.starts[u] >= visits.starts[v] - 200 * DAY:
                    value = visits.values[here][visits.measured[here].tolist().index(k)]
                    z.append((value - scale.centre[k]) / scale.spread[k])
                    t.append((visits.starts[u] - visits.starts[v]) / (200 * DAY))
            slope = np.sum((t - np.mean(t)) * z) / (np.sum((t - np.mean(t)) ** 2) + SLOPE_RIDGE) if z else 0.0
            expected = [z[-1], min(z), max(z), slope, 1] if z else [0] * 5
            np.testing.assert_allclose(found[row, :, k], expected, atol=1e-9)


def test_a_task_without_both_answers_teaches_a_constant() -> None:
    rows = TaskRows(np.random.default_rng(0).normal(size=(9, 3)), np.zeros(9, bool), np.arange(9), np.full(9, np.nan))
    weights = weights_of(rows)
    assert not weights[:-1].any()
    assert 1 / (1 + np.exp(-weights[-1, 0])) == pytest.approx(0.05)
    assert rows.age_bands() == {}
    aged = replace(rows, age=np.array([17.9, 18, 44, 45, 64, 65, 80, np.nan, 200]))
    assert {name: np.flatnonzero(mask).tolist() for name, mask in aged.age_bands().items()} == {
        "age=0-17": [0],
        "age=18-44": [1, 2],
        "age=45-64": [3, 4],
        "age=65-79": [5],
        "age=80+": [6, 8],
    }


def test_the_distance_from_what_is_right() -> None:
    for low, high, expected in ((0.5, 0.9, (0.3, 0.1, 0.5)), (0.5, 1.2, (0.3, 0.0, 0.5)), (1.25, 2, (0.5, 0.25, 1))):
        value, ends = distance((1.5 if low > 1 else 0.7, (low, high)), 1.0)
        assert (value, *ends) == pytest.approx(expected)


def test_scores_are_those_of_scikit_learn() -> None:
    """Of a task that is asked at the last visit alone, so that nothing is drawn."""
    real, synthetic = real_visits(500, 500), simulated(500, 8)
    found = ClinicalTasks(tasks=[DeathAfter(days=300)]).fit(real, 0)(synthetic, 0)
    codes = most_common(real.train, real.width, 100)

    def rows(visits: Visits) -> tuple[np.ndarray, np.ndarray]:
        last = visits.offsets[1:] - 1
        died = visits.died != UNKNOWN
        y = died & (np.where(died, visits.died, 0) - visits.ends[last] <= 300 * DAY)
        alive = ~(died & (np.where(died, visits.died, 0) <= visits.ends[last]))
        return history(visits, real.schema, codes)[last][alive], y[alive]

    x, y = rows(real.holdout)
    for arm, table in (("tstr", synthetic), ("trtr", real.train)):
        odds = LogisticRegression(C=1.0, tol=1e-8, max_iter=3000).fit(*rows(table)).decision_function(x)
        auroc, auprc = found[f"temporal/{arm}_task_auroc"], found[f"temporal/{arm}_task_auprc"]
        assert auroc.value == pytest.approx(roc_auc_score(y, odds), abs=5e-3)
        assert auprc.value == pytest.approx(average_precision_score(y, odds), abs=5e-3)
        slope = found[f"temporal/{arm}_task_calibration"].parts["task", "death within 300 days of the last visit"]
        model = LogisticRegression(C=np.inf, tol=1e-8).fit(odds[:, None], y)
        assert slope.value == pytest.approx(model.coef_[0, 0], abs=0.05)
        assert auprc.parts["base rate", "death within 300 days of the last visit"].value == y.mean()
    own = LogisticRegression(C=1.0, tol=1e-8, max_iter=3000).fit(*rows(real.train))
    drawn, truth = rows(synthetic)
    assert found["temporal/trts_task_auroc"].value == pytest.approx(
        roc_auc_score(truth, own.decision_function(drawn)), abs=5e-3
    )


def test_the_anchors_bracket_a_task_that_needs_the_past() -> None:
    """dx_250 hastens dx_267, and visits drawn alone do not know who had it."""
    tasks = [ONSET, Stages(stages=[["dx_250"], ["dx_267"]], days=365)]
    fitted = Suite(evaluators=[ClinicalTasks(tasks=tasks)]).fit(real_visits(2000, 2000), 0)
    anchors = anchor_scores(fitted)
    fresh, copy, alone = (anchors[name] for name in ("fresh_real", "train_copy", "independent"))
    assert fresh["temporal/tstr_task_auroc"] > alone["temporal/tstr_task_auroc"] + 0.03
    assert copy["temporal/tstr_task_auroc"] > alone["temporal/tstr_task_auroc"] + 0.03
    assert alone["temporal/hybrid_task_auroc"] > alone["temporal/tstr_task_auroc"]
    assert copy["temporal/hybrid_task_auroc"] == pytest.approx(copy["temporal/trtr_task_auroc"], abs=0.05)
    assert copy["temporal/trtr_task_auroc"] == alone["temporal/trtr_task_auroc"]


@pytest.mark.parametrize(
    "metric", ["tstr_task_auroc", "hybrid_task_auroc", "trts_task_auroc", "tstr_task_auprc", "tstr_task_calibration"]
)
def test_outcomes_of_the_wrong_patients_are_seen(metric: str) -> None:
    """Those die who would not."""
    real, fresh = real_visits(1000, 1000), simulated(1000, 5)
    soon = fresh.ends[fresh.offsets[1:] - 1] + 100 * DAY
    wrong = replace(fresh, died=np.where(fresh.died == UNKNOWN, soon, UNKNOWN))
    score = ClinicalTasks(tasks=[DeathAfter(days=365)]).fit(real, 0)
    good, bad = (score(visits, 0)[f"temporal/{metric}"] for visits in (fresh, wrong))
    assert bad.value > good.ci[1] if metric.endswith("calibration") else bad.value < good.ci[0]


def test_each_subgroup_has_a_value_or_is_named() -> None:
    real = real_visits(1000, 1000)
    women = np.arange(1000) % 2 == 0
    few = np.arange(1000) < 30
    real = replace(real, subgroups={"sex=F": women, "sex=M": ~women, "race=few": few})
    tasks = [DeathAfter(days=365), Onset(codes=["dx_nobody"]), Crossing(measurement="glucose", above=850.0)]
    found = ClinicalTasks(tasks=tasks).fit(real, 0)(simulated(1000, 5), 0)["temporal/tstr_task_auroc"]
    assert isinstance(found.parts["subgroup", "sex=F"], Value)
    assert isinstance(found.parts["subgroup", "age=45-64"], Value)
    assert "too small" in found.parts["subgroup", "race=few"].reason
    assert "too small" in found.parts["subgroup", "age=0-17"].reason
    by_task = found.parts["subgroup of a task", "death within 365 days of the last visit; sex=F"]
    assert by_task.value == found.parts["subgroup", "sex=F"].value
    assert found.parts["task", "dx_nobody within 365 days"] == Undefined("no code is like dx_nobody")
    assert found.parts["task", "glucose above 850 within 365 days"] == Undefined(
        "fewer than 10 training patients with it, held-out patients with it"
    )
    half = ClinicalTasks(tasks=tasks).fit(real, 0)(simulated(1000, 5), 0)["temporal/hybrid_task_auroc"]
    assert {name for name, part in half.parts.items() if isinstance(part, Value)} == {
        name for name, part in found.parts.items() if isinstance(part, Value)
    }
    assert half.parts["subgroup", "sex=F"] != found.parts["subgroup", "sex=F"]


def test_the_commonest_onsets_are_those_that_last() -> None:
    real = real_visits(500, 10)
    (first, second) = CommonOnsets(most=2, days=90).tasks(real)
    assert isinstance(first, Onset)
    later: dict[str, int] = {}
    for i in range(500):
        seen: set[int] = set()
        for v in range(real.train.offsets[i], real.train.offsets[i + 1]):
            here = set(real.train.codes[real.train.code_offsets[v] : real.train.code_offsets[v + 1]].tolist())
            for code in here - seen:
                name = SCHEMA.codes[code].name
                later[name] = later.get(name, 0) + (v > real.train.offsets[i])
            seen |= here
    chronic = sorted((SCHEMA.codes[i].name for i in range(8)), key=lambda name: -later[name])
    assert [*first.codes, *second.codes] == chronic[:2]
    with pytest.raises(NotApplicableError, match="no diagnosis of R lasts"):
        CommonOnsets().tasks(RealVisits(SCHEMA, visits_of([[(0, [1])]]), visits_of([[(0, [1])]])))


def test_nobody_with_the_outcome_teaches_nothing() -> None:
    real = real_visits(500, 500)
    never = replace(simulated(200, 1), died=np.full(200, UNKNOWN))
    found = ClinicalTasks(tasks=[DeathAfter(days=365)]).fit(real, 0)(never, 0)
    assert found["temporal/tstr_task_auroc"].value == 0.5
    assert isinstance(found["temporal/tstr_task_calibration"], Undefined)
    assert isinstance(found["temporal/trts_task_auroc"], Undefined)
    assert found["temporal/hybrid_task_auroc"].value != 0.5
