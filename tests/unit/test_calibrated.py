"""Records that are kept so that together they have the shares of the training rows."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ehrsynth import chunks
from ehrsynth.constraints import Implies, Rules
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.sampling import Acceptance, Calibration, Ruled, calibrated, sample_records, synthesize
from ehrsynth.sampling.targets import Targets
from ehrsynth.schema import Column, Schema

CODES = 12
SCHEMA = Schema(
    (
        *(Column(f"c{i}", "binary", domain="diagnosis" if i % 2 else "medication") for i in range(CODES)),
        Column("died", "binary", role="outcome", domain="outcome"),
        Column("serial", "continuous", bounds=(0, 1), decimals=6),
    )
)


def patients(n: int, generator: torch.Generator, shift: float = 0.0) -> Tensor:
    """Codes that go together with how ill somebody is; ``shift`` makes a generator that is off."""
    ill = torch.rand(n, 1, generator=generator)
    chance = (0.15 + 0.5 * ill * torch.linspace(0.3, 1, CODES) + shift).clamp(0, 1)
    codes = (torch.rand(n, CODES, generator=generator) < chance).float()
    died = (torch.rand(n, 1, generator=generator) < 0.3 * ill).float()
    return torch.cat([codes, died, torch.rand(n, 1, generator=generator)], dim=1)


class Shifted(SyntheticModel):
    """Patients with more codes than there are."""

    sample_batch = 500

    def __init__(self, *, schema: Schema = SCHEMA, seed: int = 0, shift: float = 0.03) -> None:
        super().__init__(schema=schema, seed=seed)
        self.shift = shift

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        return patients(n, generator, self.shift)


@pytest.fixture(scope="module")
def targets() -> Targets:
    rows = patients(2_000, torch.Generator().manual_seed(0))
    return Targets.of(Records.of_dense(Layout.of(SCHEMA), rows), SCHEMA, 0)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep few records at a time."""
    monkeypatch.setattr(chunks, "rows_of", lambda columns: 700)


def serials(records: Records) -> list[float]:
    return [float(value) for value in records.values[:, 0]]


def test_a_table_has_the_shares_that_training_rows_have(targets: Targets) -> None:
    n, how = 3_000, Calibration(targets)
    records = sample_records(Shifted(), n, 0, keeping=how)
    assert len(records) == n
    features = targets.features.of(records)
    error = np.sqrt(targets.shares * (1 - targets.shares) / n)
    plain = (targets.features.of(sample_records(Shifted(), n, 0)).mean(0) - targets.shares) / error
    off = (features.mean(0) - targets.shares) / error
    assert np.sqrt((plain**2).mean()) > 2
    assert np.sqrt((off**2).mean()) < 0.6
    assert how.after == pytest.approx(off * error)
    assert how.before is not None
    assert np.sqrt(((how.before / error) ** 2).mean()) > 2
    assert 0.5 < how.effective < 1
    assert str(how).startswith(f"{len(targets):,} shares of the training rows; effective sample size 0.")
    told = how.to_dict()
    assert (told["targets"], told["pool"], told["refused"]) == (len(targets), 1.5, None)
    assert told["largest_deviation"]["after"]["share"] < told["largest_deviation"]["before"]["share"] / 4


@pytest.mark.parametrize("n", [1, 2, 699, 700, 701, 1_400, 2_000])
@pytest.mark.usefixtures("windows")
def test_exactly_n_are_kept_as_they_were_drawn_none_twice_and_in_order(n: int, targets: Targets) -> None:
    how = Calibration(targets)
    drawn = how.drawn(n)
    assert drawn >= 1.5 * n
    places = {tuple(row): place for place, row in enumerate(sample_records(Shifted(), drawn, 3).dense().tolist())}
    kept = [places[tuple(row)] for row in sample_records(Shifted(), n, 3, keeping=how).dense().tolist()]
    assert len(kept) == n
    assert (np.diff(kept) > 0).all()


@pytest.mark.usefixtures("windows")
def test_a_million_rows_come_in_windows_each_with_the_shares(targets: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first window is what its size alone would have been, and each has the shares of the training rows."""
    monkeypatch.setattr(calibrated, "PER_TARGET", 1)
    n, model = 2_100, Shifted()
    model.sample_batch = 350  # of which a window wants three
    assert Calibration(targets).drawn(n) == 3 * Calibration(targets).drawn(700)
    records = sample_records(model, n, 5, keeping=Calibration(targets))
    alone = sample_records(model, 700, 5, keeping=Calibration(targets))
    assert serials(records[:700]) == serials(alone)
    for window in records.blocks(700):
        error = np.sqrt(targets.shares * (1 - targets.shares) / 700)
        off = (targets.features.of(window).mean(0) - targets.shares) / error
        assert np.sqrt((off**2).mean()) < 0.5


def test_the_seed_decides_and_a_larger_pool_is_another_sample(targets: Targets) -> None:
    def drawn(seed: int, pool: float = 1.5) -> list[float]:
        return serials(sample_records(Shifted(), 1_500, seed, keeping=Calibration(targets, pool)))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1) != drawn(1, pool=2)


def test_a_model_that_is_too_far_off_is_refused(targets: Targets) -> None:
    with pytest.raises(
        OptionError, match=r"^calibrate=true: weighted so that they have the shares of the training"
    ) as e:
        sample_records(Shifted(shift=0.3), 2_000, 0, keeping=Calibration(targets))
    assert "0.50 is needed at pool=1.5; farthest off: 'c" in str(e.value)
    assert "\n" not in str(e.value)
    with pytest.raises(OptionError, match=r"worth (0\.\d\d) of .* use pool=(\d\.?\d?), or leave out calibrate") as e:
        sample_records(Shifted(shift=0.15), 2_000, 0, keeping=Calibration(targets))
    pool = float(str(e.value).split("use pool=")[1].split(",")[0])
    assert len(sample_records(Shifted(shift=0.15), 2_000, 0, keeping=Calibration(targets, pool + 0.3))) == 2_000


@pytest.mark.usefixtures("windows")
def test_where_it_is_not_required_records_come_as_they_are_drawn(targets: Targets) -> None:
    how, model = Calibration(targets, required=False), Shifted(shift=0.3)
    model.train()
    records = sample_records(model, 2_000, 4, keeping=how)
    assert serials(records) == serials(sample_records(model, 2_000, 4))
    assert model.training
    assert str(how).startswith("not calibrated: weighted so that they have the shares of the training rows")
    assert how.to_dict()["refused"] == how.refused
    assert how.after is None


@pytest.mark.parametrize("policy", ["reject", "repair"])
def test_rules_are_kept_before_records_are(policy: str, targets: Targets) -> None:
    rules = Rules((Implies("c0", "c1"),), SCHEMA)
    acceptance, how = Acceptance(), Calibration(targets, required=False, pool=3)
    records = sample_records(
        Shifted(),
        1_000,
        0,
        ruled=Ruled(rules, policy),
        keeping=how,
        acceptance=acceptance,  # type: ignore[arg-type]
    )
    assert len(records) == 1_000
    assert not rules.broken(records.dense()).any()
    assert acceptance.broken > 0


def test_a_condition_asks_for_other_shares(targets: Targets) -> None:
    with pytest.raises(OptionError, match="calibration: its shares are those of all training rows, and a condition"):
        sample_records(Shifted(), 10, 0, condition={"c0": 1}, keeping=Calibration(targets))


def test_progress_ends_with_n_and_tables_are_the_records(targets: Targets) -> None:
    done: list[int] = []
    tables = list(synthesize(Shifted(), 900, 2, keeping=Calibration(targets), progress=done.append))
    assert done[-1] == 900
    assert done == sorted(done)
    records = sample_records(Shifted(), 900, 2, keeping=Calibration(targets))
    assert sum(map(len, tables)) == 900
    np.testing.assert_allclose(tables[0]["serial"], serials(records)[: len(tables[0])], atol=1e-6)


def test_training_rows_that_share_nothing_calibrate_nothing() -> None:
    empty = Targets.of(Records.of_dense(Layout.of(SCHEMA), patients(5, torch.Generator())), SCHEMA, 0)
    how = Calibration(empty, required=False)
    assert len(sample_records(Shifted(), 50, 0, keeping=how)) == 50
    assert str(how) == "not calibrated: there is nothing that enough training rows share"
    with pytest.raises(OptionError, match="calibrate=true: there is nothing that enough training rows share"):
        sample_records(Shifted(), 50, 0, keeping=Calibration(empty))


def test_means_of_what_was_no_target_hardly_move(targets: Targets) -> None:
    """The number that nobody asked about keeps its law: evenly spread."""
    values = np.array(serials(sample_records(Shifted(), 4_000, 7, keeping=Calibration(targets))))
    assert values.mean() == pytest.approx(0.5, abs=0.02)
