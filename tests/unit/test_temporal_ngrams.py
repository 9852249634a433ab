"""HALO's n-grams against plain loops over lists and scikit-learn; order and persistence by hand."""

from collections import Counter
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import r2_score

from ehrsynth.metrics.temporal import ngrams
from ehrsynth.metrics.temporal.ngrams import FORMS, aligned, asymmetry, count, frequent_sequences, r2, size_of
from ehrsynth.metrics.temporal.progression import codes_by_position, persistence, shares, weighted_r2
from ehrsynth.visits import Visits
from tests.visit_toy import SCHEMA, simulated, visits_of

WIDTH = len(SCHEMA.codes)


def as_sets(visits: Visits) -> list[list[list[int]]]:
    codes = np.split(visits.codes, visits.code_offsets[1:-1]) if visits.count else []
    return [[codes[v].tolist() for v in range(*visits.offsets[i : i + 2])] for i in range(len(visits))]


def by_loops(patients: list[list[list[int]]]) -> dict[str, tuple[Counter, int]]:
    """The six statistics, written as their definitions read."""
    patients = [visits for visits in patients if visits]
    found = {form: Counter() for form in FORMS}
    for visits in patients:
        for visit in visits:
            found["visit_unigram"].update(visit)
            found["visit_bigram"].update(combinations(sorted(visit), 2))
        every = sorted({code for visit in visits for code in visit})
        found["record_unigram"].update(every)
        found["record_bigram"].update(combinations(every, 2))
        following = [pair for before, after in pairwise(visits) for pair in product(before, after)]
        found["sequential_bigram"].update(following)
        found["record_sequential_bigram"].update(set(following))
    n, m = len(patients), sum(map(len, patients))
    sizes = dict(zip(FORMS, (m, n, m, n, m - n, n), strict=True))
    return {form: (counts, sizes[form]) for form, counts in found.items()}


def spelled(form: str, key: int) -> int | tuple[int, int]:
    return (key // WIDTH, key % WIDTH) if form.endswith("bigram") else key


@pytest.fixture(scope="module")
def pair() -> tuple[Visits, Visits]:
    empty = visits_of([[], [(0, [])], [(0, []), (1, [3])]])
    return Visits.joined([simulated(60, 0), empty]), simulated(50, 1)


@pytest.mark.parametrize("form", FORMS)
def test_counts_and_r2_are_those_of_loops_over_lists(
    form: str, pair: tuple[Visits, Visits], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngrams, "PAIRS", 50)  # so that there are several blocks
    found = [count(form, visits, WIDTH) for visits in pair]
    expected = [by_loops(as_sets(visits))[form] for visits in pair]
    for visits, counts, (naive, size) in zip(pair, found, expected, strict=True):
        assert {spelled(form, k): c for k, c in zip(*map(np.ndarray.tolist, counts), strict=True)} == naive
        assert size_of(form, visits) == size
    union = sorted({key for naive, _ in expected for key in naive})
    real, synthetic = ([naive[key] / size for key in union] for naive, size in expected)
    known, counts = aligned(found[0], [found[1]])
    r, s = known / expected[0][1], next(counts) / expected[1][1]
    assert r2(r, s) == pytest.approx(r2_score(real, synthetic), abs=1e-12)
    assert ngrams.correlation(r, s) == pytest.approx(pearsonr(real, synthetic)[0], abs=1e-12)


def test_a_group_is_left_out_of_the_counts(pair: tuple[Visits, Visits]) -> None:
    real, groups = pair[0], [pair[1].of_patients(np.arange(part, 50, 3)) for part in range(3)]
    counts = [count("sequential_bigram", group, WIDTH) for group in groups]
    _, (whole, *left_out) = (lambda known, each: (known, list(each)))(
        *aligned(count("sequential_bigram", real, WIDTH), counts)
    )
    assert whole.sum() == sum(part.counts.sum() for part in counts)
    for part, left in zip(counts, left_out, strict=True):
        assert left.sum() == whole.sum() - part.counts.sum()
        assert (left >= 0).all()


def test_r2_at_its_limits() -> None:
    same = np.array([0.2, 0.2])
    assert r2(same, same) == 1
    assert r2(same, same + 0.1) == 0  # as in scikit-learn: nothing there to explain
    assert r2(np.array([0.0, 1.0]), np.array([1.0, 0.0])) == -3


def test_asymmetry_by_hand() -> None:
    """0 before 1 three times, 1 before 0 once; 1 before 2 twice; 2 before 2 does not count."""
    visits = visits_of(
        [[(0, [0]), (1, [1])]] * 3 + [[(0, [1]), (1, [0])], [(0, [1]), (1, [2]), (2, [2])], [(0, [1]), (9, [2])]]
    )
    counts = count("sequential_bigram", visits, 4)
    assert frequent_sequences(counts, 4, 2).tolist() == [[0, 1], [1, 2]]
    assert frequent_sequences(counts, 4, 4).tolist() == [[0, 1]]
    assert asymmetry(counts, 4, np.array([[0, 1], [1, 2], [2, 3]])).tolist() == [2, 2, 0]


def test_how_records_grow_by_hand() -> None:
    """A patient [0 1], [1 2 3], [0]; one alone; one with an empty second visit."""
    visits = visits_of([[(0, [0, 1]), (1, [1, 2, 3]), (2, [0])], [(0, [5])], [(0, [4]), (3, [])]])
    codes, seen = codes_by_position(visits)
    assert codes.tolist() == [3, 3, 1, 0, 1]  # the patient of one visit is left out
    assert seen.tolist() == [2, 2, 1, 0, 2]
    repeated, out_of = shares(visits, 6)
    # Of 4 codes of later visits 1 was there the visit before, 2 (2 and 3) are new; 2 + 3 + 1 codes have a successor.
    assert repeated.tolist() == [1, 1, 2]
    assert out_of.tolist() == [4, 6, 4]
    there, kept = persistence(visits, 6)
    assert there.tolist() == [1, 2, 1, 1, 1, 0]
    assert kept.tolist() == [0, 1, 0, 0, 0, 0]


def test_the_planted_persistence_is_found() -> None:
    there, kept = persistence(simulated(2000, 3), WIDTH)
    chronic = kept[:8].sum() / there[:8].sum()
    assert chronic == pytest.approx(0.9, abs=0.02)
    assert kept[8:32].sum() / there[8:32].sum() < 0.2


def test_weighted_r2() -> None:
    real, synthetic, weights = np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.5, 0.8]), np.array([1.0, 5.0, 2.0])
    assert weighted_r2(real, synthetic, weights) == pytest.approx(r2_score(real, synthetic, sample_weight=weights))
