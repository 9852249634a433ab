"""Conditions on visits against records written out, and patients drawn until enough meet them."""

import numpy as np
import pytest
import torch

from ehrsynth.constraints.over_time import OnlyAfter, RulesOverTime
from ehrsynth.errors import OptionError
from ehrsynth.models.visits.markov import Markov
from ehrsynth.sampling.acceptance import Acceptance
from ehrsynth.sampling.in_time import in_time
from ehrsynth.sampling.patients import Patients, accepted_patients, drawn_patients
from ehrsynth.visits import DAY, UNKNOWN, Code, VisitSchema
from tests.visit_toy import visits_of
from tests.visits import SCHEMA, simulated, visit_schema

CODED = VisitSchema(
    ("ward",),
    (Code("a", "diagnosis"), Code("b.1", "diagnosis"), Code("drug", "medication")),
)
A, B, DRUG = range(3)
PATIENTS = visits_of(
    [
        [(0, [A]), (5, [B])],
        [(0, [DRUG]), (5, [A, B]), (6, [DRUG])],
        [(0, []), (5, [DRUG])],
        [],
        [(0, [B, DRUG])],
    ],
    died=np.array([9 * DAY, UNKNOWN, 7 * DAY, UNKNOWN, UNKNOWN]),
)


@pytest.mark.parametrize(
    ("asked", "who"),
    [
        ({"first.diagnosis": "a"}, [0, 1]),
        ({"first.diagnosis": "b.1"}, [1, 4]),
        ({"first.medication": "drug"}, [1, 2, 4]),
        ({"ever.b.1": "1"}, [0, 1, 4]),
        ({"ever.b.1": 0}, [2, 3]),
        ({"dies": 1}, [0, 2]),
        ({"dies": "false"}, [1, 3, 4]),
        ({"dies": 0, "ever.drug": 1, "first.diagnosis": "a"}, [1]),
    ],
)
def test_who_has_what_is_asked(asked: dict[str, object], who: list[int]) -> None:
    assert np.flatnonzero(in_time(CODED, asked).met_by(PATIENTS)).tolist() == who


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"first.lab": "a"}, "condition.first.lab: the visits have codes of diagnosis, medication"),
        ({"first.diagnosis": "drug"}, "condition.first.diagnosis=drug: that is no code of diagnosis"),
        ({"first.diagnosis": "b.2"}, "b.2 is no code of the visits; b.1 is"),
        ({"ever.zzzz": 1}, "condition.ever.zzzz: zzzz is no code of the visits, which have 3 codes"),
        ({"dies": 2}, "condition.dies=2: 0 or 1 was expected"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError) as error:
        in_time(CODED, asked)
    assert said in str(error.value)


def model_of() -> Markov:
    model = Markov(schema=SCHEMA, visit_schema=visit_schema(12), seed=0)
    model.observe(*simulated(200, 0, 12))
    model.sample_batch = 64
    return model.eval()


def test_patients_are_those_of_the_model_who_meet_it() -> None:
    model, asked = model_of(), in_time(visit_schema(12), {"dies": 1, "ever.code3": 1})
    acceptance = Acceptance()
    drawn = Patients.joined(accepted_patients(model, 40, 7, acceptance, asked=asked))
    assert len(drawn.visits) == len(drawn.static) == 40
    assert asked.met_by(drawn.visits).all()
    free = Patients.joined(drawn_patients(model, 2000, 1)).visits
    share = asked.met_by(free).mean()
    assert acceptance.drawn % 64 == 0
    assert acceptance.share == pytest.approx(share, abs=5 * np.sqrt(share / acceptance.drawn))
    again = Patients.joined(accepted_patients(model, 40, 7, Acceptance(), asked=asked))
    np.testing.assert_array_equal(again.visits.codes, drawn.visits.codes)
    rows = torch.zeros(1, model.layout.width)
    rows[0, 0] = 1.0
    given = accepted_patients(model, 5, 7, Acceptance(), rows=lambda count, _: rows.expand(count, -1), asked=asked)
    assert torch.equal(Patients.joined(given).static.dense(), rows.expand(5, -1))


def test_what_hardly_anybody_has_is_refused() -> None:
    model = model_of()
    asked = in_time(visit_schema(12), {f"ever.code{place}": 1 for place in range(9)})
    with pytest.raises(OptionError, match=r"condition ever\.code0=1.*: \d+ of 4,096 patients drawn could be kept"):
        Patients.joined(accepted_patients(model, 10, 0, Acceptance(), asked=asked))


@pytest.mark.parametrize("policy", ["reject", "repair"])
def test_rules_are_kept_by_all(policy: str) -> None:
    model, schema = model_of(), visit_schema(12)
    rules = RulesOverTime((OnlyAfter("code9", ("code0", "code1")),), schema)
    asked, acceptance = in_time(schema, {"ever.code9": 1}), Acceptance()
    batches = accepted_patients(model, 60, 0, acceptance, asked=asked, rules=rules, policy=policy)  # type: ignore[arg-type]
    drawn = Patients.joined(batches)
    assert len(drawn.visits) == 60
    assert not rules.broken(drawn.visits).any()
    assert asked.met_by(drawn.visits).all()  # also where a repair has left codes out
    assert 0 < acceptance.broken < acceptance.accepted
    assert (acceptance.changed > 0) == (policy == "repair")
