"""Markov of noisy counts: no patient moves them further than is said, and noise is not taken for what is known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ehrsynth.accounting import Gaussian, epsilon_of
from ehrsynth.errors import OptionError
from ehrsynth.ledger import mechanisms_of
from ehrsynth.models.noisy_looks import NoisySums
from ehrsynth.models.visits.base import sampled
from ehrsynth.models.visits.dp_markov import SHARES, TABLES, DPMarkov, scaled_sums
from ehrsynth.models.visits.markov import Markov
from ehrsynth.models.visits.noisy_tables import Added, plain, row_shares, shrunk, without_tail
from ehrsynth.visits import UNKNOWN, Visits
from tests.visits import SCHEMA, persistence, simulated, visit_schema

pytestmark = pytest.mark.timeout(300)
CODES, LABS = 12, 2
VISITS = visit_schema(CODES, LABS)
Patients = tuple[Tensor, Visits]


def people(n: int = 3000, seed: int = 0, **more: Any) -> Patients:
    """Return patients of whom the first two have no visit."""
    static, visits = simulated(n, seed=seed, codes=CODES, measurements=LABS, **more)
    none, nothing = np.arange(2), np.zeros(0, np.int64)
    empty = visits.with_content(
        nothing, np.zeros(3, np.int64), nothing, nothing, visits.born[none], np.full(2, UNKNOWN)
    )
    return static, Visits.joined([empty, visits.of_patients(np.arange(2, n))])


def learned(epsilon: float, of: Patients, **options: Any) -> DPMarkov:
    model = DPMarkov(schema=SCHEMA, visit_schema=VISITS, epsilon=epsilon, **options)
    model.noise = torch.Generator().manual_seed(1)
    model.observe(*of)
    return model.eval()


def added(model: DPMarkov, visits: Visits) -> dict[str, Added]:
    tables = model._of_visits(model.tables(visits), visits)
    return {name: Added.of(table, len(visits)) for name, table in tables.items()}


@pytest.mark.parametrize("most", [1.0, 3.0, 1e3])
def test_a_patient_moves_the_counts_by_one_at_most(most: float) -> None:
    """Whoever it is: what all add less what the others add is what it adds alone, and no longer than one."""
    static, visits = people(40, mean_visits=6.0)
    model, lengths = learned(1e3, (static, visits)), dict.fromkeys(TABLES, most)
    everyone, everything = np.arange(40), scaled_sums(added(model, visits), lengths)
    norms = []
    for row in everyone:
        fewer = scaled_sums(added(model, visits.of_patients(np.delete(everyone, row))), lengths)
        alone = scaled_sums(added(model, visits.of_patients(everyone[[row]])), lengths)
        torch.testing.assert_close(everything - fewer, alone, rtol=0, atol=1e-9)
        norms.append(float(alone.norm()))
    assert max(norms) <= 1 + 1e-9
    assert norms[0] == norms[1] == 0.0
    assert np.ptp(norms[2:]) > 0.01 if most > 1 else max(norms) == pytest.approx(1)


def test_no_patient_adds_more_than_the_ledger_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """All sums of the look, with a patient and without, of the same ranges and lengths."""
    static, visits = people(30, mean_visits=6.0)
    model, seen = learned(1e3, (static, visits)), []

    def spied(self: NoisySums, what: str, parts: Any, total: Tensor, most: float, why: str = "") -> Tensor:
        seen.append((total.double(), most))
        return total.double()

    monkeypatch.setattr(NoisySums, "told", spied)
    busy, everyone = int(visits.per_patient.argmax()), np.arange(30)
    for rows in (everyone, *(np.delete(everyone, row) for row in (0, 5, busy))):
        some = visits.of_patients(rows)
        noisy = NoisySums(1.0, 1, torch.Generator())
        model._of_records(some, model.tables(some)["fates"], added(model, some), noisy)
    (whole, most), *less = seen
    assert most == 3**0.5
    for other, _ in less:
        assert 0 < (whole - other).norm() <= most + 1e-9


def test_lengths_are_those_of_counts_by_hand() -> None:
    static, visits = people(20)
    model = learned(1e3, (static, visits))
    table = added(model, visits)["kinds"]
    for patient in range(20):
        counts = np.zeros((3, 2))
        before = 2
        for kind in visits.kinds[visits.offsets[patient] : visits.offsets[patient + 1]]:
            counts[before, kind] += 1
            before = kind
        assert table.lengths[patient] == pytest.approx(np.linalg.norm(counts))
        alone = table.sums((np.arange(20) == patient).astype(float))
        np.testing.assert_array_equal(alone.view(3, 2), counts)


def test_with_hardly_any_noise_it_is_markov() -> None:
    of = people(mean_visits=2.0)
    exact = Markov(schema=SCHEMA, visit_schema=VISITS)
    exact.observe(*of)
    noisy = learned(1e5, of)
    often = exact.codes[0] > 0.05  # of rare codes markov tells less than it knows, for want of ten patients
    torch.testing.assert_close(noisy.codes[:, often], exact.codes[:, often], rtol=0, atol=0.02)
    for name, apart in {"kinds": 0.02, "measured": 0.02, "died": 0.02}.items():
        assert float((getattr(noisy, name) - getattr(exact, name)).abs().max()) < apart, name
    assert float((noisy.ends[:4] - exact.ends[:4]).abs().max()) < 0.01
    with torch.no_grad():
        drawn = [Visits.joined(visits for _, visits in sampled(model, 3000, 0)) for model in (exact, noisy)]
    persists, visits, codes, gaps, stays = (
        [of_both(one) for one in drawn]
        for of_both in (
            lambda one: persistence(one, CODES),
            lambda one: one.per_patient.mean(),
            lambda one: one.codes_per_visit.mean(),
            lambda one: np.nanmedian(one.gaps),
            lambda one: (one.ends == UNKNOWN).mean(),
        )
    )
    assert persists[1] == pytest.approx(persists[0], abs=0.02)
    assert visits[1] == pytest.approx(visits[0], rel=0.08)
    assert codes[1] == pytest.approx(codes[0], rel=0.05)
    assert gaps[1] == pytest.approx(gaps[0], rel=0.3)
    assert stays[1] == pytest.approx(stays[0], abs=0.01)


def test_at_usual_noise_codes_stay_and_come_as_they_do() -> None:
    of = people()
    model, exact = learned(3.0, of), Markov(schema=SCHEMA, visit_schema=VISITS)
    exact.observe(*of)
    assert float((model.codes[:2] - exact.codes[:2]).abs().mean()) < 0.02
    often = exact.codes[0] > 0.05
    assert float((model.codes[2] - exact.codes[2])[often].abs().mean()) < 0.1
    assert model.log_likelihood(*of).isfinite().all()


def test_much_noise_tells_it_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two data sets that have nothing in common it says the same."""
    for name in ("dates", "records", "visits"):
        monkeypatch.setitem(SHARES, name, 1e-15)  # epsilon, in the end: accountants take none that is so small
    one, two = (learned(1.0, people(60, seed, mean_visits=mean)) for seed, mean in ((0, 2.0), (5, 8.0)))
    for name, value in one.state_dict().items():
        if not name.startswith("statics"):
            torch.testing.assert_close(value, two.state_dict()[name], rtol=1e-2, atol=1e-2, msg=name)
    assert float(one.codes[0].std()) < 0.01, "no code is told from another"


def test_its_ledger_is_within_what_it_was_asked_for() -> None:
    of = people(300)
    for epsilon in (1.0, 3.0):
        model = learned(epsilon, of)
        *_, records, visits = model.looks
        assert isinstance(records.mechanism, Gaussian)
        assert isinstance(visits.mechanism, Gaussian)
        assert (records.mechanism.sensitivity, visits.mechanism.sensitivity) == (3**0.5, 1.0)
        spent = epsilon_of(mechanisms_of(model.looks), 1 / 300)
        assert spent.rdp == pytest.approx(epsilon, rel=1e-3)
        assert spent.rdp <= epsilon


def test_what_noise_explains_is_left_to_what_is_usual() -> None:
    usual = torch.tensor([0.5, 0.3, 0.2]).double()
    counts = torch.tensor([[60.0, 30.0, 10.0]]).double()
    torch.testing.assert_close(row_shares(counts, 100.0, usual)[0], usual)
    torch.testing.assert_close(row_shares(counts, 0.0, usual)[0], torch.tensor([60.75, 30.45, 10.3]).double() / 101.5)
    assert shrunk(torch.tensor([[3.0, -4.0]]), torch.zeros(1, 2), 2.0)[0].tolist() == pytest.approx([2.04, -2.72])
    assert row_shares(torch.zeros(0, 3).double(), 1.0, usual).shape == (0, 3)
    counts = torch.tensor([1000.0, 3.0, -2.0, 5.0]).double()
    told = plain(counts, 5.0)
    assert float(told[0]) == pytest.approx(1000, rel=0.01)
    assert told[1] == told[2] == told[3]
    assert float(told.sum()) == pytest.approx(1006, rel=0.01)
    assert plain(torch.tensor([4.0, 0.0]).double(), 0.0).tolist() == [4.0, 0.0]
    assert without_tail(torch.tensor([50.0, -1.0, 40.0, 2.0, -1.0]), 2.0).tolist() == [50.0, 0.0, 40.0, 0.0, 0.0]


def test_the_noise_is_secret_and_options_are_checked() -> None:
    of = people(60)
    secret = [DPMarkov(schema=SCHEMA, visit_schema=VISITS) for _ in range(2)]
    for model in secret:
        model.observe(*of)
    assert not torch.equal(secret[0].codes, secret[1].codes)
    for options, said in (({"epsilon": -1}, "model.epsilon=-1"), ({"visits": 0}, "model.visits=0")):
        with pytest.raises(OptionError, match=said):
            DPMarkov(schema=SCHEMA, visit_schema=VISITS, **options)  # type: ignore[arg-type]
