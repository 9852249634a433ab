"""Collapse, which other scores do not see, and what a report says of it; and a discriminator that reads in order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ehrsynth.evaluation.anchors import anchor_scores, with_anchors
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits
from ehrsynth.evaluation.fidelity.prevalence import Prevalence
from ehrsynth.evaluation.suite import Suite
from ehrsynth.evaluation.temporal.counts import VisitCounts
from ehrsynth.evaluation.temporal.discriminator import SequenceDiscriminator
from ehrsynth.evaluation.temporal.progression import Progression
from ehrsynth.evaluation.temporal.recurrent_discriminator import RecurrentDiscriminator
from ehrsynth.evaluation.temporal.variety import Variety
from ehrsynth.layout import Records
from ehrsynth.metrics.temporal.recurrent import RecurrentClassifier
from ehrsynth.metrics.temporal.tasks import Scale
from ehrsynth.metrics.temporal.variety import code_sets, numbered, records, share_distinct
from ehrsynth.reporting.html import write_html
from ehrsynth.reporting.reading import alarming
from ehrsynth.reporting.summary import alarms, summarise
from ehrsynth.seeding import torch_rng
from ehrsynth.study.judge import ROLES, examine, judge
from ehrsynth.study.watch import Watch
from ehrsynth.visits import Visits
from tests.evaluation_toy import CODES, toy_real
from tests.scores import score_of
from tests.unit.test_temporal_ngrams import as_sets
from tests.visit_toy import SCHEMA, real_visits, simulated, visits_of


def test_records_that_are_alike_by_hand() -> None:
    visits = visits_of([[(0, [1, 2]), (1, [3])], [(5, [1, 2]), (9, [3])], [(0, [1, 2, 3])], [(0, [1, 2]), (1, [])], []])
    assert numbered(code_sets(visits)).tolist() == [0, 1, 0, 1, 2, 0, 3]
    assert numbered(records(visits)).tolist() == [0, 0, 1, 2, 3]
    assert share_distinct([np.array([0, 1]), np.array([0]), np.array([2, 2])]).tolist() == [3 / 5, 2 / 3, 3 / 4, 2 / 3]
    assert share_distinct([np.zeros(0, np.int64)]).tolist() == [0, 0]


def test_variety_is_that_of_sets_of_lists() -> None:
    real, synthetic = real_visits(300, 300), simulated(100, 5)
    found = Variety().fit(real, 0)(synthetic, 0)
    lists = [tuple(tuple(sorted(visit)) for visit in visits) for visits in as_sets(synthetic)]
    flat = [visit for visits in lists for visit in visits]
    assert found["temporal/distinct_records"].value == len(set(lists)) / len(lists)
    assert found["temporal/distinct_visits"].value == pytest.approx(len(set(flat)) / len(flat))
    common = [
        code for code in range(len(SCHEMA.codes)) if sum(any(code in v for v in p) for p in as_sets(real.train)) >= 10
    ]
    there = {code for visit in flat for code in visit}
    assert found["temporal/vocabulary_coverage"].value == np.mean([code in there for code in common])
    with pytest.raises(NotApplicableError, match="no code is of 10 training patients"):
        Variety().fit(RealVisits(SCHEMA, simulated(5, 0), simulated(5, 1)), 0)


def collapsed(n: int) -> Visits:
    """Three records, over and over."""
    return simulated(3, 1).of_patients(np.arange(n) % 3)


def test_a_report_warns_of_a_model_that_has_collapsed() -> None:
    fitted = Suite(evaluators=[Variety(), VisitCounts(), Progression()]).fit(real_visits(), 0)
    anchors = anchor_scores(fitted)
    rows = {"train": 500, "holdout": 500, "synthetic": 300}
    for good in (simulated(300, 9), fitted.real.train):
        assert alarms(with_anchors(fitted.score(good), anchors)) == []
    scores = with_anchors(fitted.score(collapsed(300)), anchors)
    (warning,) = alarms(scores)
    assert warning.startswith("signs of collapse, far from fresh real patients: codes ever used ")
    assert "different records 0.0100 (fresh real " in warning
    kept = summarise(scores, rows)[1]
    assert (kept.answer, kept.level) == ("No: it has collapsed.", "poor")


def test_the_alarm_stands_before_any_number_of_a_report(tmp_path: Path) -> None:
    """Of rows as well: a table that uses a third of the codes."""
    real = toy_real()
    few = real.holdout.dense()
    few[:, 4:CODES] = 0
    spoken: list[str] = []
    evidence = examine(real, Records.of_dense(real.layout, few), {role: role for role in ROLES}, {})
    evaluation = judge(evidence, Suite(evaluators=[Prevalence()]), 0, Watch(warn=spoken.append))
    (warning,) = evaluation.warnings
    assert warning.startswith("signs of collapse, far from fresh real patients: nonzero columns 0.")
    assert spoken == evaluation.to_dict()["warnings"] == [warning]
    write_html(
        tmp_path / "report.html",
        title="T",
        facts={},
        rows=evaluation.to_dict()["rows"],
        scores=evaluation.scores,
        figures=[],
        warnings=evaluation.warnings,
    )
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index("signs of collapse") < page.index("No: it has collapsed.") < page.index("<h2>")
    assert 'class="finding poor"' in page


@pytest.mark.parametrize(
    ("metric", "value", "ci", "fresh", "alarmed"),
    [
        ("temporal/vocabulary_coverage", 0.6, (0.55, 0.64), 0.95, True),
        ("temporal/vocabulary_coverage", 0.6, (0.55, 0.66), 0.95, False),
        ("temporal/vocabulary_coverage", 0.6, None, None, False),
        ("temporal/empty_visits", 0.5, (0.4, 0.6), 0.05, True),
        ("temporal/empty_visits", 0.5, (0.3, 0.7), 0.05, False),
        ("temporal/gaps_ks", 1.0, (1.0, 1.0), 0.0, False),
    ],
)
def test_an_alarm_is_beyond_the_interval(
    metric: str, value: float, ci: tuple[float, float] | None, fresh: float | None, alarmed: bool
) -> None:
    assert alarming(score_of(metric, value, ci=ci, anchors={"fresh_real": fresh})) is alarmed
    assert not alarming(score_of(metric, None, anchors={"fresh_real": fresh}))


def middles(n: int, twice: bool, seed: int) -> Visits:
    """Six visits with one of two codes: any at the ends, in between 0101 or 1010, or 0011 or 1100 where ``twice``."""
    rng = np.random.default_rng(seed)
    patients = []
    for first, last, code in rng.integers(2, size=(n, 3)).tolist():
        middle = [code, code, 1 - code, 1 - code] if twice else [code, 1 - code, code, 1 - code]
        patients.append([(5.0 * t, [held]) for t, held in enumerate([first, *middle, last])])
    return visits_of(patients)


def test_what_only_the_order_tells_is_found_by_reading_in_order() -> None:
    real = RealVisits(SCHEMA, middles(400, False, 0), middles(50, False, 1))
    found = RecurrentDiscriminator(codes=2).fit(real, 0)(middles(400, True, 2), 0)
    assert found["temporal/recurrent_discriminator_auc"].value > 0.95
    same = RecurrentDiscriminator(codes=2, steps=60).fit(real, 0)(middles(400, False, 3), 0)
    low, high = same["temporal/recurrent_discriminator_auc"].ci
    assert low < 0.5 < high


def test_the_network_is_of_its_own_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    real = real_visits(60, 60)
    scores = [RecurrentDiscriminator(steps=20).fit(real, 3)(simulated(60, 4), 3) for _ in range(2)]
    assert scores[0] == scores[1]
    assert torch.equal(before, torch.get_rng_state())
    assert SequenceDiscriminator.cards != RecurrentDiscriminator.cards


def test_padding_and_visits_beyond_the_longest_do_not_matter() -> None:
    visits = simulated(40, 2)
    model = RecurrentClassifier(SCHEMA, np.arange(10), Scale.of(visits, 2), torch_rng(0, "weights"))
    together = model.log_odds(visits)
    alone = [model.log_odds(visits.of_patients(np.array([i])))[0] for i in range(40)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    long = visits_of(
        [[(float(day), [day % 3]) for day in range(60)], [(float(day), [day % 3]) for day in range(50)], []]
    )
    first, second, none = model.log_odds(long)
    assert first == pytest.approx(second, abs=1e-6)
    assert none == pytest.approx(float(model.head.bias.detach()))


def test_the_network_is_a_gru() -> None:
    """By the equations of Cho et al., EMNLP 2014, on a record of three visits."""
    visits = replace(visits_of([[(0, [0]), (3, [0, 1]), (4, [])]]), kinds=np.array([1, 0, 1], np.int16))
    model = RecurrentClassifier(SCHEMA, np.array([0, 1]), Scale(np.zeros(2), np.ones(2)), torch_rng(1, "weights"))
    w, u, b, c = (p.detach().numpy().astype(float) for p in model.gru.parameters())
    x = np.zeros((3, 10))
    x[:, :2] = [[1, 0], [1, 1], [0, 0]]
    x[:, 2:4] = [[0, 1], [1, 0], [0, 1]]
    x[:, 4] = np.log1p([1, 2, 0])
    x[:, 5] = np.log1p([0, 3, 1])
    h = np.zeros(32)
    for row in x:
        i, s = (w @ row + b).reshape(3, 32), (u @ h + c).reshape(3, 32)
        reset, update = 1 / (1 + np.exp(-(i[0] + s[0]))), 1 / (1 + np.exp(-(i[1] + s[1])))
        h = (1 - update) * np.tanh(i[2] + reset * s[2]) + update * h
    head = model.head.weight.detach().numpy()[0] @ h + float(model.head.bias.detach())
    assert model.log_odds(visits)[0] == pytest.approx(head, abs=1e-5)
