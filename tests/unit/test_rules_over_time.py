"""Rules over time against loops over visits: judged, repaired, proposed, written and read back."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from ehrsynth.constraints import over_time
from ehrsynth.constraints.over_time import NeverBefore, NothingAfterDeath, OnlyAfter, RulesOverTime, load_over_time
from ehrsynth.constraints.reading import save
from ehrsynth.data.prepare import prepare
from ehrsynth.data.proposals.over_time import (
    Onsets,
    never_before,
    over_time_of,
    propose_over_time,
    read_over_time,
    write_over_time,
)
from ehrsynth.data.proposals.propose import require_rules_of_rows
from ehrsynth.errors import FileError, OptionError, SchemaError
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits
from ehrsynth.evaluation.temporal.rules import RuleViolation
from ehrsynth.visits import DAY, UNKNOWN, Code, Visits, VisitSchema
from tests.matrices import recipe
from tests.visit_toy import visits_of

A, B, C, DRUG, OTHER = range(5)
SCHEMA = VisitSchema(
    ("ward",),
    (
        *(Code(name, "diagnosis", label) for name, label in (("a", "Disease"), ("b", "Complication"), ("c", ""))),
        *(Code(name, "medication") for name in ("drug", "other")),
    ),
)
BEFORE, AFTER = NeverBefore("b", "a"), OnlyAfter("drug", ("a", "c"))


def random_visits(n: int = 200, seed: int = 0) -> Visits:
    rng = np.random.default_rng(seed)
    patients = []
    for _ in range(n):
        days = np.sort(rng.integers(0, 6, rng.integers(1, 6)))
        patients.append([(float(day), np.flatnonzero(rng.random(5) < 0.3).tolist()) for day in days])
    died = np.where(rng.random(n) < 0.5, rng.integers(0, 8, n) * DAY, UNKNOWN)
    return visits_of(patients, died=died)


def days_of(visits: Visits, patient: int, code: int) -> list[int]:
    found = []
    for visit in range(visits.offsets[patient], visits.offsets[patient + 1]):
        if code in visits.codes[visits.code_offsets[visit] : visits.code_offsets[visit + 1]]:
            found.append(int(visits.starts[visit]) // DAY)
    return found


def broken_by_loops(visits: Visits, patient: int) -> tuple[bool, bool, bool]:
    a, b, c, drug = (days_of(visits, patient, code) for code in (A, B, C, DRUG))
    days = visits.starts[visits.offsets[patient] : visits.offsets[patient + 1]] // DAY
    died = visits.died[patient]
    return (
        bool(a and b and min(b) < min(a)),
        bool(drug and min(drug) < min([*a, *c, 99])),
        bool(died != UNKNOWN and days.max() >= died // DAY + 1),
    )


def test_rules_judge_as_loops_do() -> None:
    visits = random_visits()
    rules = RulesOverTime((BEFORE, AFTER, NothingAfterDeath()), SCHEMA)
    could, does = rules.judged(visits)
    assert does.tolist() == [list(broken_by_loops(visits, patient)) for patient in range(len(visits))]
    assert (does <= could).all()
    assert does.any(0).all()
    assert not does.all(0).any()
    np.testing.assert_array_equal(rules.broken(visits), does.any(1))
    assert could[:, 1].tolist() == [bool(days_of(visits, patient, DRUG)) for patient in range(len(visits))]


def test_by_hand() -> None:
    rules = RulesOverTime((BEFORE, AFTER), SCHEMA)
    visits = visits_of(
        [
            [(0, [A]), (5, [B, DRUG])],  # as it should be
            [(0, [A, B, DRUG])],  # on one day
            [(0, [B]), (5, [A])],  # complication first
            [(0, [B])],  # no disease was ever written down
            [(0, [DRUG]), (0, [C])],  # two visits at one time
            [(0, [DRUG])],  # never a reason
            [],
        ]
    )
    _, does = rules.judged(visits)
    assert does.any(1).tolist() == [False, False, True, False, False, True, False]
    assert does[2].tolist() == [True, False]
    assert does[5].tolist() == [False, True]


def test_repaired_records_keep_the_rules_and_the_others_stay() -> None:
    visits = random_visits(400, 1)
    rules = RulesOverTime((BEFORE, AFTER, OnlyAfter("c", ("b",)), NothingAfterDeath()), SCHEMA)
    broken = rules.broken(visits)
    mended, changed = rules.repaired(visits)
    mended.check(SCHEMA, "mended")
    assert not rules.broken(mended).any()
    np.testing.assert_array_equal(changed > 0, broken)
    np.testing.assert_array_equal(mended.starts, visits.starts)
    same = np.flatnonzero(~broken)
    for name in Visits.__dataclass_fields__:
        np.testing.assert_array_equal(
            getattr(mended.of_patients(same), name), getattr(visits.of_patients(same), name), err_msg=name
        )
    lost = len(visits.codes) - len(mended.codes)
    assert changed.sum() == lost + (mended.died != visits.died).sum()


def test_a_repair_that_makes_another_code_too_early_goes_on() -> None:
    """c may only follow b, b only a: without a both go."""
    rules = RulesOverTime((OnlyAfter("b", ("a",)), OnlyAfter("c", ("b",))), SCHEMA)
    mended, changed = rules.repaired(visits_of([[(0, [B]), (1, [C, OTHER])], [(0, [A]), (1, [B, C])]]))
    assert mended.codes.tolist() == [OTHER, A, B, C]
    assert changed.tolist() == [2, 0]


def planted(n: int = 1500, seed: int = 0, exception: bool = False) -> Visits:
    """b follows a, drug follows a or c; other is given to anybody."""
    rng = np.random.default_rng(seed)
    patients = []
    for i in range(n):
        has, visits = set[int](), []
        for visit in range(rng.integers(2, 7)):
            has |= {code for code, chance in ((A, 0.15), (C, 0.12)) if rng.random() < chance}
            has |= {B} if A in has and rng.random() < 0.3 else set()
            here = {code for code in has if rng.random() < 0.9} | ({OTHER} if rng.random() < 0.2 else set())
            here |= {DRUG} if has & here & {A, C} and rng.random() < 0.5 else set()
            visits.append((float(10 * visit), sorted(here)))
        if exception and i == 0:
            visits = [(0.0, [B, DRUG]), (10.0, [A])]
        patients.append(visits)
    return visits_of(patients)


def test_what_was_planted_is_proposed_and_nothing_else() -> None:
    """Where a was not told at once b may come before it, which is so in some: no rule of that."""
    assert propose_over_time(SCHEMA, planted()) == (AFTER,)
    assert propose_over_time(SCHEMA, planted(exception=True)) == ()  # one is enough


def test_an_order_is_proposed_where_chance_would_turn_it_round() -> None:
    rng = np.random.default_rng(0)
    ordered, chance = [], []
    for _ in range(400):
        first, second = np.sort(rng.choice(5, 2, replace=False))
        one = [(float(day), [A] * int(day == first) + [B] * int(day == second)) for day in range(5)]
        ordered.append(one)
        chance.append(one if rng.random() < 0.5 else [(day, [1 - code for code in codes]) for day, codes in one])
    assert never_before(SCHEMA, Onsets.of(SCHEMA, visits_of(ordered))) == [BEFORE]
    assert never_before(SCHEMA, Onsets.of(SCHEMA, visits_of(chance))) == []
    together = visits_of([[(float(day), [A, B] if day == 2 else []) for day in range(5)]] * 200)
    assert never_before(SCHEMA, Onsets.of(SCHEMA, together)) == []  # which tells no order
    alone = visits_of(ordered[:9])
    assert propose_over_time(SCHEMA, alone) == ()  # fewer than ten


def test_onsets_are_counted_from_the_times_of_visits() -> None:
    onsets = Onsets.of(SCHEMA, visits_of([[], [(0, [A]), (0, [B]), (3, [A, C])], [(1, [C]), (2, [A])]]))
    found = sorted(zip(onsets.patient.tolist(), onsets.code.tolist(), onsets.rank.tolist(), strict=True))
    assert found == [(1, A, 0), (1, B, 0), (1, C, 1), (2, A, 1), (2, C, 0)]
    assert onsets.patients == 2


def test_nothing_after_death_is_proposed_if_ten_died_and_nobody_came_back() -> None:
    died = np.full(30, UNKNOWN)
    died[:10] = 20 * DAY
    one = [[(0.0, [A]), (5.0, [])]] * 30
    assert propose_over_time(SCHEMA, visits_of(one, died=died)) == (NothingAfterDeath(),)
    died[9] = UNKNOWN
    assert propose_over_time(SCHEMA, visits_of(one, died=died)) == ()
    died[:12] = 4 * DAY
    assert propose_over_time(SCHEMA, visits_of(one, died=died)) == ()


def test_rules_are_written_edited_and_read_back(tmp_path: Path) -> None:
    train, holdout = planted(), planted(300, 1)
    rules = (AFTER, BEFORE)
    path = tmp_path / "constraints.yaml"
    path.write_text("version: 1\nconstraints: []\n", encoding="utf-8")
    write_over_time(path, rules, SCHEMA, {"train": train, "holdout": holdout})
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["over_time"][0]["words"] == "drug only at or after Disease or c"
    assert content["over_time"][0]["support"] == RulesOverTime(rules, SCHEMA).judged(train)[0][:, 0].sum()
    assert over_time_of(str(path), SCHEMA, train) == rules
    assert over_time_of("none", SCHEMA, train) == ()
    wrong = planted(exception=True)
    with pytest.raises(OptionError, match=r"over_time 1: .*: fewer than 20 of 1500 training patients break it"):
        read_over_time(path, SCHEMA, wrong)
    for entry in content["over_time"]:
        entry["allow_exceptions"] = True
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert read_over_time(path, SCHEMA, wrong) == rules
    path.write_text("version: 1\nconstraints: []\n", encoding="utf-8")
    assert read_over_time(path, SCHEMA, wrong) == ()
    path.write_text("version: 1\nconstraints: []\nover_time: 3\n", encoding="utf-8")
    with pytest.raises(SchemaError, match="over_time: a list of rules"):
        read_over_time(path, SCHEMA, wrong)
    with pytest.raises(FileError, match=r"gone\.yaml"):
        read_over_time(tmp_path / "gone.yaml", SCHEMA, wrong)


def test_rules_come_back_from_json(tmp_path: Path) -> None:
    rules = (BEFORE, AFTER, NothingAfterDeath())
    save(tmp_path / "constraints.json", [], rules)
    assert load_over_time(tmp_path / "constraints.json", SCHEMA) == rules
    save(tmp_path / "constraints.json", [])
    assert load_over_time(tmp_path / "constraints.json", SCHEMA) == ()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (3, "rule: a int without one found"),
        ({"rule": "before"}, "rule: 'before' found, one of nothing_after_death, never_before, only_after"),
        ({"rule": "never_before", "code": "b"}, "rule never_before: keys code found, code, first expected"),
        ({"rule": "nothing_after_death", "code": "b"}, "keys code found, none expected"),
        ({"rule": "only_after", "code": "drug", "after": "a"}, "after: a list of codes expected"),
        ({"rule": "only_after", "code": "drug", "after": []}, "after: a list of codes expected"),
        ({"rule": "never_before", "code": 3, "first": "a"}, "code: a code expected"),
        ({"rule": "never_before", "code": "z", "first": "a"}, "the visits have no code 'z'"),
    ],
)
def test_malformed_rules_are_refused(entry: object, said: str) -> None:
    with pytest.raises(SchemaError, match=r"place: over_time 2: ") as error:
        over_time.read_over_time([BEFORE.to_dict(), entry], SCHEMA, "place")
    assert said in str(error.value)


def test_the_score_is_the_share_of_patients_who_break_a_rule() -> None:
    visits = random_visits()
    rules = (BEFORE, AFTER)
    scorer = RuleViolation().fit(RealVisits(SCHEMA, visits, visits, rules), 0)
    (value,) = scorer(visits, 0).values()
    loops = [broken_by_loops(visits, patient)[:2] for patient in range(len(visits))]
    assert value.value == np.mean([any(one) for one in loops])
    parts = {name: part.value for (_, name), part in value.parts.items()}
    assert parts == {
        "Complication never before Disease, in whom has both": np.mean([one[0] for one in loops]),
        "drug only at or after Disease or c": np.mean([one[1] for one in loops]),
    }
    (kept,) = scorer(RulesOverTime(rules, SCHEMA).repaired(visits)[0], 0).values()
    assert kept.value == 0
    with pytest.raises(NotApplicableError):
        RuleViolation().fit(RealVisits(SCHEMA, visits, visits), 0)


def test_rows_have_no_rules_over_time(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("version: 1\nconstraints: []\nover_time:\n- rule: nothing_after_death\n", encoding="utf-8")
    with pytest.raises(OptionError, match=r"rules\.yaml: over_time: 1 rules over time, and the rows .* no visits"):
        prepare(recipe("source.n=100", f"constraints={file}"), tmp_path / "matrix")
    assert not (tmp_path / "matrix").exists()
    file.write_text("version: 1\nconstraints: []\nover_time: []\n", encoding="utf-8")
    require_rules_of_rows(str(file))
    require_rules_of_rows("propose")
