"""Copies of training patients that were planted are found; fresh patients raise no alarm."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch

from ehrsynth.evaluation.card import card_of
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Undefined, Value
from ehrsynth.evaluation.privacy.closeness import AdversarialAccuracy
from ehrsynth.evaluation.privacy.copies import ExactCopies, NearCopies
from ehrsynth.evaluation.privacy.membership import ClassifierAttack, DensityAttack, Membership
from ehrsynth.layout import Records
from tests.evaluation_toy import bits_only, code_schema, toy_real, toy_records

CODES = 60
ATTACKS: tuple[Evaluator, ...] = (
    Membership(),
    ExactCopies(),
    NearCopies(),
    AdversarialAccuracy(),
    DensityAttack(),
    ClassifierAttack(rounds=5),
)


def patients(n: int, seed: int) -> Records:
    """Records of about ten of sixty codes, frequent and rare."""
    rng = np.random.default_rng(seed)
    burden = rng.gamma(3.0, 1 / 3, (n, 1))
    bits = rng.random((n, CODES)) < np.clip(burden * np.geomspace(0.7, 0.02, CODES), 0, 0.95)
    return bits_only(bits.astype(int).tolist(), code_schema(CODES))


@cache
def real(deal: int = 0) -> RealData:
    return RealData(code_schema(CODES), patients(2400, 3 * deal + 1), patients(800, 3 * deal + 2))


def planted(share: float, flips: int) -> Records:
    """Fresh patients, a share of them replaced by training patients with some codes turned."""
    rng = np.random.default_rng(0)
    fresh = patients(800, 3)
    n = round(share * 800)
    bits = fresh.bits.clone()
    bits[:n] = real().train.bits[:n]
    for row in bits[:n]:
        row[rng.choice(CODES, flips, replace=False)] ^= 1
    return Records(fresh.layout, bits, fresh.values)


def alarms(synthetic: Records, deal: int = 0) -> set[str]:
    """Names of the scores whose whole interval is above what it is without a leak."""
    found = set()
    for attack in ATTACKS:
        for name, value in attack.fit(real(deal), 0)(synthetic, 0).items():
            assert isinstance(value, Value)
            assert value.ci is not None
            assert value.ci[0] <= value.value <= value.ci[1]
            null = card_of(name).null
            if null is not None and value.ci[0] > null:
                found.add(name)
    return found


def test_fresh_patients_raise_no_more_alarms_than_chance() -> None:
    raised = Counter(name for deal in range(5) for name in alarms(patients(800, 3 * deal + 3), deal))
    assert raised["privacy/isolated_copies"] == 0
    # Five deals of 15 intervals, each above the truth in one of forty: 1.9 are to be expected.
    assert sum(raised.values()) <= 5


@pytest.mark.parametrize("flips", [0, 1, 2, 3])
def test_copies_are_found_also_with_codes_turned(flips: int) -> None:
    found = alarms(planted(0.1, flips))
    assert "privacy/isolated_copies" in found
    assert ("privacy/copies_excess" in found) == (flips == 0)
    if flips <= 2:
        assert "privacy/near_copies_excess" in found


def test_a_memoriser_is_found_by_every_attack_on_the_nearest() -> None:
    found = alarms(real().train)
    names = {card.name for attack in ATTACKS for card in attack.cards if card.null is not None}
    assert names - found <= {name for name in names if "classifier" in name or "01pct" in name}


def test_the_order_of_rows_changes_no_area_and_no_count() -> None:
    synthetic = planted(0.1, 1)
    mixed = synthetic[torch.randperm(800, generator=torch.Generator().manual_seed(0))]
    for attack in (ExactCopies(), NearCopies(), DensityAttack()):
        first, second = (attack.fit(real(), 0)(table, 0) for table in (synthetic, mixed))
        assert first == second


def test_more_real_held_out_than_training_rows() -> None:
    turned = RealData(real().schema, real().holdout, real().train)
    found = NearCopies().fit(turned, 0)(turned.train, 0)["privacy/isolated_copies"]
    assert isinstance(found, Value)
    assert found.ci is not None
    assert found.ci[0] > 0


def test_tables_too_small_for_neighbours() -> None:
    few = toy_real(30, 30)
    one = toy_records(1, 5)
    for attack, name in ((AdversarialAccuracy(), "privacy/nnaa_risk"), (Membership(), "privacy/dcr_share")):
        assert isinstance(attack.fit(few, 0)(one, 0)[name], Undefined)
    lonely = RealData(few.schema, few.train, few.holdout[:1])
    for evaluator in (AdversarialAccuracy(), DensityAttack(), ClassifierAttack()):
        with pytest.raises(NotApplicableError):
            evaluator.fit(lonely, 0)


def test_a_constant_table_has_all_scores() -> None:
    flat = bits_only([[0] * CODES] * 40, code_schema(CODES))
    assert "privacy/isolated_copies" not in alarms(flat)
