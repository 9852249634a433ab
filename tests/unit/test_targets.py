"""What tables are calibrated to: the right counts, and none that says anything about fewer than ten training rows."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ehrsynth.data.encoding import Encoder, fit_bounds
from ehrsynth.disclosure import LEAST
from ehrsynth.errors import FileError
from ehrsynth.layout import Records
from ehrsynth.sampling import targets as room
from ehrsynth.sampling.features import Features, states_of
from ehrsynth.sampling.targets import Targets, may_be_told
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("I10", "binary", domain="diagnosis"),
        Column("E11", "binary", domain="diagnosis"),
        Column("N18", "binary", domain="diagnosis"),
        Column("insulin", "binary", domain="medication"),
        Column("died", "binary", role="outcome", domain="outcome"),
        Column("sex", "categorical", ("F", "M"), role="sensitive", domain="demographics"),
        Column("ward", "categorical", ("a", "b", "c"), missing=True),
        Column("bmi", "continuous", bounds=(10, 60), missing=True),
    )
)
Table = tuple[pd.DataFrame, Schema, Records]


@pytest.fixture(scope="module")
def table() -> Table:
    rng = np.random.default_rng(0)
    n = 700
    sick = rng.random(n)
    frame = pd.DataFrame({name: (rng.random(n) < 0.1 + 0.4 * sick).astype(int) for name in ("I10", "E11", "insulin")})
    frame["N18"] = (np.arange(n) < 9).astype(int)
    frame["died"] = (rng.random(n) < 0.3 * sick).astype(int)
    frame["sex"] = rng.choice(["F", "M"], n)
    frame["ward"] = rng.choice(["a", "b"], n)
    frame.loc[rng.random(n) < 0.1, "ward"] = None
    frame.loc[:11, "ward"] = "c"
    frame["bmi"] = np.where(rng.random(n) < 0.2, np.nan, rng.normal(28, 4, n).round(1))
    frame = frame[SCHEMA.names]
    schema = fit_bounds(SCHEMA, frame)
    return frame, schema, Encoder(schema).encode(frame)


@pytest.fixture(scope="module")
def targets(table: Table) -> Targets:
    _, schema, records = table
    return Targets.of(records, schema, 0)


def named(targets: Targets) -> dict[str, int]:
    return {targets.features.name(j): int(count) for j, count in enumerate(targets.counts)}


def test_counts_are_those_of_the_table(table: Table, targets: Targets) -> None:
    frame, _, _ = table
    found = named(targets)
    assert targets.rows == len(frame)
    assert found["I10"] == frame["I10"].sum()
    assert found["sex=F"] == (frame["sex"] == "F").sum()
    assert found["ward:missing"] == frame["ward"].isna().sum()
    assert found["bmi:missing"] == frame["bmi"].isna().sum()
    assert found["I10 with E11"] == (frame["I10"] & frame["E11"]).sum()
    assert found["died with sex=F"] == (frame["died"] & (frame["sex"] == "F")).sum()
    assert found["I10 with died"] == (frame["I10"] & frame["died"]).sum()
    ranges = [count for name, count in found.items() if name.startswith("bmi in range") and " with " not in name]
    assert len(ranges) == room.RANGES
    assert sum(ranges) == frame["bmi"].notna().sum()
    assert max(ranges) - min(ranges) < 0.05 * sum(ranges)  # ranges of equal share


def test_a_histogram_counts_codes_of_both_domains_together(table: Table, targets: Targets) -> None:
    frame, _, _ = table
    cells = targets.counts[[targets.features.name(j) == "number of codes" for j in range(len(targets))]]
    both = frame[["I10", "E11", "N18"]].sum(axis=1).clip(upper=2).astype(str) + frame["insulin"].astype(str)
    assert sorted(cells) == sorted(both.value_counts())


def test_domains_are_counted_apart_if_together_they_leave_most_rows_alone() -> None:
    rng = np.random.default_rng(1)
    names = [(f"{domain}{i}", domain) for domain in ("diagnosis", "medication", "procedure") for i in range(12)]
    schema = Schema(tuple(Column(name, "binary", domain=domain) for name, domain in names))
    frame = pd.DataFrame({name: rng.integers(0, 2, 600) for name, _ in names})
    targets = Targets.of(Encoder(schema).encode(frame), schema, 0)
    assert targets.features.strides.tolist() == np.eye(4, dtype=int).tolist()
    every = frame.sum(axis=1)
    cells = targets.features.cells
    told = targets.counts[targets.features.parts[0] + targets.features.parts[1] :][: len(cells)][cells[:, 0] == 3]
    wanted = every.clip(upper=every.sort_values().iloc[-LEAST]).value_counts()
    assert set(told) <= set(wanted)
    assert told.sum() > 550


def test_features_are_the_same_for_any_rows_at_a_time(table: Table, targets: Targets) -> None:
    *_, records = table
    whole = targets.features.of(records).toarray()
    parts = np.concatenate([targets.features.of(part).toarray() for part in records.blocks(123)])
    assert np.array_equal(whole, parts)
    assert np.array_equal(whole.sum(0), targets.counts)
    assert set(np.unique(whole)) == {0, 1}


def test_latent_classes_are_of_the_nearest_centre(table: Table, targets: Targets) -> None:
    *_, records = table
    states = states_of(targets.features.states, records)
    dense = states.toarray().astype(float)
    nearest = ((dense[:, None] - targets.features.centres) ** 2).sum(2).argmin(1)
    assert np.array_equal(targets.features.class_of(states), nearest)
    assert len(targets.features.centres) == len(records) // room.ROWS_EACH


def test_no_count_and_no_difference_is_of_one_to_nine_rows(table: Table, targets: Targets) -> None:
    found = named(targets)
    assert not any("N18" in name for name in found)  # nine rows
    assert (targets.counts >= LEAST).all()
    for name in ("sex", "ward", "bmi"):
        left = targets.rows - sum(count for key, count in found.items() if key.startswith(name) and " with " not in key)
        assert left == 0 or left >= LEAST
    for name, count in found.items():
        if " with " not in name:
            continue
        one, other = name.split(" with ")
        cells = [count, found[one] - count, found[other] - count, targets.rows - found[one] - found[other] + count]
        assert all(cell == 0 or cell >= LEAST for cell in cells), name
    centres, states = targets.features.centres, targets.features.variables
    n18 = list(targets.features.states.columns).index("N18")
    assert (centres[:, states == n18] == 0).all()


def random_features(rng: np.random.Generator) -> tuple[Features, np.ndarray, int]:
    n = int(rng.integers(30, 150))
    frame = pd.DataFrame({"a": rng.choice(["x", "y", "z", "w"], n, p=[0.5, 0.3, 0.15, 0.05])})
    frame["b"] = np.where(frame["a"] == "x", rng.choice(["p", "q", "r"], n, p=[0.8, 0.1, 0.1]), "r")
    frame["c"] = (rng.random(n) < 0.4).astype(int)
    schema = Schema(
        (
            Column("a", "categorical", ("x", "y", "z", "w"), role="demographic"),
            Column("b", "categorical", ("p", "q", "r"), role="demographic"),
            Column("c", "binary", domain="diagnosis", role="outcome"),
        )
    )
    records = Encoder(schema).encode(frame)
    features = room.candidates(records, schema, 0)
    return features, np.asarray(features.of(records).sum(0)).astype(np.int64), n


@pytest.mark.parametrize("seed", range(25))
def test_what_is_left_out_of_a_whole_cannot_be_worked_out(seed: int) -> None:
    features, counts, n = random_features(np.random.default_rng(seed))
    told = may_be_told(features, counts, n)
    s, k = features.parts[:2]
    single = dict(zip(features.singles.tolist(), counts[:s], strict=True))
    told_single = dict(zip(features.singles.tolist(), told[:s], strict=True))
    variables = features.variables
    wholes = [
        (n, [(told_single[x], single[x]) for x in single if variables[x] == v]) for v in range(variables.max() + 1)
    ]
    pairs = [(int(a), int(b)) for a, b in features.pairs]
    both = {frozenset(pair): (told[s + i], counts[s + i]) for i, pair in enumerate(pairs)}
    for one in single:
        for v in set(variables.tolist()) - {variables[one]}:
            parts = [both.get(frozenset((one, other)), (False, 0)) for other in single if variables[other] == v]
            if any(is_told for is_told, _ in parts):
                assert told_single[one]
                wholes.append((single[one], parts))
    assert len(both) == k
    for size, parts in wholes:
        left = size - sum(count for is_told, count in parts if is_told)
        if any(is_told for is_told, _ in parts):
            assert left == 0 or left >= LEAST
        assert all(count >= LEAST for is_told, count in parts if is_told)


def test_the_commonest_pairs_are_taken(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, schema, records = table
    monkeypatch.setattr(room, "PAIRS", 1)
    found = [name for name in named(Targets.of(records, schema, 0)) if " with " in name]
    codes = max(combinations(["I10", "E11", "insulin"], 2), key=lambda pair: (frame[pair[0]] & frame[pair[1]]).sum())
    assert " with ".join(codes) in found
    assert len(found) == 3


def test_few_rows_have_few_targets_or_none(table: Table) -> None:
    _, schema, records = table
    assert len(Targets.of(records[:9], schema, 0)) == 0
    some = Targets.of(records[:60], schema, 0)
    assert 0 < len(some) < 60
    assert len(some.features.centres) == 0


def test_a_file_gives_back_the_same(table: Table, targets: Targets, tmp_path: Path) -> None:
    _, schema, records = table
    file = tmp_path / "targets.npz"
    targets.save(file)
    back = Targets.load(file, schema)
    assert np.array_equal(back.counts, targets.counts)
    assert np.array_equal(back.features.of(records).toarray(), targets.features.of(records).toarray())
    content = file.read_bytes()
    Targets.of(records, schema, 0).save(file)
    assert file.read_bytes() == content


def damaged(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-400])


def pickled(file: Path) -> None:
    np.savez(file, counts=np.array([{}], dtype=object))


def beyond(file: Path) -> None:
    with np.load(file) as content:
        arrays = dict(content)
    np.savez(file, **{**arrays, "singles": arrays["singles"] + 10_000})  # type: ignore[arg-type]


def of_few(file: Path) -> None:
    with np.load(file) as content:
        arrays = dict(content)
    np.savez(file, **{**arrays, "counts": arrays["counts"] * 0 + 3})  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [damaged, pickled, beyond, of_few])
def test_another_file_is_named(change: Callable[[Path], None], table: Table, targets: Targets, tmp_path: Path) -> None:
    file = tmp_path / "targets.npz"
    targets.save(file)
    change(file)
    with pytest.raises(FileError, match=r"targets\.npz: no targets of records of this schema"):
        Targets.load(file, table[1])


def test_targets_of_another_schema_are_refused(targets: Targets, tmp_path: Path) -> None:
    targets.save(tmp_path / "t.npz")
    with pytest.raises(FileError, match="no targets of records of this schema"):
        Targets.load(tmp_path / "t.npz", Schema((Column("I10", "binary"),)))
    with pytest.raises(FileError, match="no such file"):
        Targets.load(tmp_path / "other.npz", SCHEMA)


def test_rows_are_seen_in_the_order_of_the_table_and_chosen_by_the_seed(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, schema, records = table
    monkeypatch.setattr(room, "SEEN", 300)
    one, same, other = (Targets.of(records, schema, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.features.centres, same.features.centres)
    assert not np.array_equal(one.features.centres, other.features.centres)
    sick = named(one)
    assert sick["I10"] == int(torch.as_tensor(records.bits[:, 0]).sum())  # all rows are counted
