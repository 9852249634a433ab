"""The event transformer against token-by-token reckoning, and its grammar against a parser of its own."""

import itertools

import numpy as np
import pytest
import torch

from ehrsynth.errors import OptionError
from ehrsynth.models.visits.base import sampled
from ehrsynth.models.visits.calendar import GAP
from ehrsynth.models.visits.event_transformer import EventTransformer
from ehrsynth.models.visits.event_transformer_stream import Stream, stream_of, times_of
from ehrsynth.visit_batch import batch_of
from ehrsynth.visits import UNKNOWN, Visits
from tests.visits import SCHEMA, simulated, visit_schema

CODES = 6
SMALL = {"width": 16, "layers": 2, "heads": 2, "dropout": 0.0, "ranges": 4, "context": 400, "tokens": 4000}


def model_of(n: int = 60, measurements: int = 2, **options: object) -> tuple[EventTransformer, torch.Tensor, Visits]:
    static, visits = simulated(n, 0, CODES, measurements)
    model = EventTransformer(
        schema=SCHEMA, visit_schema=visit_schema(CODES, measurements), seed=0, **{**SMALL, **options}
    )
    model.observe(static, visits)
    with torch.no_grad():  # weights that say something
        for weights in model.best.parameters():
            weights += 0.3 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1))
    model.network.load_state_dict(model.best.state_dict())
    return model.eval(), static, visits


def stream(model: EventTransformer, static: torch.Tensor, visits: Visits) -> Stream:
    return stream_of(batch_of(visits, static, 2), model.tokens, model.calendar.numbers, model.order, model.context)


def parsed(model: EventTransformer, tokens: list[int]) -> bool:
    """Whether the tokens after a start are a record, by a reader that knows nothing of ranges of the vocabulary."""
    words, t = list(tokens), model.tokens

    def take(part: slice) -> int | None:
        return words.pop(0) if words and part.start <= words[0] < part.stop else None

    while take(t.kind) is not None:
        codes = []
        while (code := take(t.codes)) is not None:
            codes.append(code)
        if codes != sorted(set(codes)) or take(t.stay) is None:
            return False
        measured = []
        while (value := take(t.values)) is not None:
            measured.append((value - t.values.start) // t.most)
        if measured != sorted(set(measured)) or take(slice(t.visit_end, t.visit_end + 1)) is None:
            return False
        if take(t.gap) is None:
            ended = take(slice(t.end, t.end + 1)) is not None or take(t.death) is not None
            return ended and not words
    return False


def test_records_of_patients_are_records_of_the_grammar() -> None:
    model, static, visits = model_of()
    of = stream(model, static, visits)
    usable = model.tokens.usable(model.calendar.numbers)
    for patient, length in enumerate(of.lengths.tolist()):
        tokens = of.tokens[patient, : length + 1]
        assert parsed(model, tokens[1:].tolist())
        assert model.tokens.may_follow(tokens[:-1], usable)[torch.arange(length), tokens[1:]].all()
        assert not model.tokens.may_follow(tokens[-1:], usable).any()  # nothing follows the end, or death
        assert tokens.tolist().count(model.tokens.visit_end) == visits.per_patient[patient]
    assert of.lengths.sum() == 4 * visits.count + len(visits.codes) + len(visits.values)  # gaps and ends: 1 a visit


def test_what_the_grammar_allows_is_a_record() -> None:
    model, *_ = model_of(n=30)
    usable, rng = model.tokens.usable(model.calendar.numbers), np.random.default_rng(0)
    for _ in range(50):
        tokens = [model.tokens.start]
        while len(choices := model.tokens.may_follow(torch.tensor(tokens[-1:]), usable)[0].nonzero().flatten()):
            tokens.append(int(rng.choice(choices.numpy())))
        assert parsed(model, tokens[1:])


@pytest.mark.parametrize("recurrence", [True, False])
def test_the_likelihood_is_that_of_one_token_after_the_other(recurrence: bool) -> None:
    """Each record is read token by token with what is kept, and what is known of codes is kept in sets."""
    model, static, visits = model_of(n=12, recurrence=recurrence)
    found = model.log_likelihood(static, visits)
    of = stream(model, static, visits)
    usable, t = model.tokens.usable(model.calendar.numbers), model.tokens
    first = model.calendar.numbers.place_of(0, torch.from_numpy(visits.starts[visits.offsets[:-1]] / 86_400_000_000))
    with torch.no_grad():
        for patient in range(len(visits)):
            tokens = of.tokens[patient, : int(of.lengths[patient]) + 1].tolist()
            start = visits.starts[visits.offsets[patient]]
            number, ever, latest, here, total, read = 0, set[int](), set[int](), set[int](), 0.0, None
            for place, token in enumerate(tokens[:-1]):
                if token in range(t.gap.start, t.gap.stop) or place == 1:
                    number, ever, latest, here = number + 1, ever | here, here, set()
                if t.codes.start <= token < t.codes.stop:
                    here = here | {token - t.codes.start}
                visit = visits.offsets[patient] + max(number - 1, 0)
                days = (visits.starts[visit] - start) / 86_400_000_000 if number else 0.0
                times = times_of(first[patient : patient + 1], torch.tensor([float(number)]), torch.tensor([days]))
                h, read = model.best.read(torch.tensor([[token]]), static[patient][None], times[:, None], before=read)
                status = torch.tensor([[1 if c in latest else 2 if c in ever else 0 for c in range(CODES)]])
                logits = model.best.logits(h[:, 0], status)[0]
                low, high = int(t.low[token]), int(t.high[token])
                allowed = [v for v in range(low, high) if usable[v]]
                total += float(logits[tokens[place + 1]] - logits[allowed].logsumexp(0))
            number_of = float(model.calendar.nats_of_number(torch.tensor([1])))
            assert float(found[patient]) == pytest.approx(total + number_of, abs=2e-3)


def test_the_chances_of_all_first_visits_sum_to_one() -> None:
    """Enumerated: kind, any set of codes, stay, end of the visit."""
    model, static, _ = model_of(measurements=0, ranges=2)
    t, usable = model.tokens, model.tokens.usable(model.calendar.numbers)
    total = 0.0
    places = range(t.codes.start, t.codes.stop)
    stays = [v for v in range(t.stay.start, t.stay.stop) if usable[v]]
    subsets = [list(some) for k in range(CODES + 1) for some in itertools.combinations(places, k)]
    for kind in range(t.kind.start, t.kind.stop):
        for stay in stays:
            rows = [[t.start, kind, *some, stay, t.visit_end] for some in subsets]
            for length in {len(row) for row in rows}:
                same = torch.tensor([row for row in rows if len(row) == length])
                times = torch.zeros(len(same), length, 4)
                with torch.no_grad():
                    h, _ = model.best.read(same, static[:1].expand(len(same), -1), times)
                    nats = torch.zeros(len(same))
                    for i in range(length - 1):
                        logits = model.best.logits(h[:, i], torch.zeros(len(same), CODES, dtype=torch.int64))
                        logits = logits.masked_fill(~t.may_follow(same[:, i], usable), -torch.inf)
                        nats += logits.log_softmax(1)[torch.arange(len(same)), same[:, i + 1]]
                total += float(nats.exp().sum())
    assert total == pytest.approx(1.0, abs=1e-4)


def test_parts_of_a_step_are_the_step() -> None:
    whole, static, visits = model_of()
    batch = batch_of(visits, static, 2)
    parts, *_ = model_of(tokens=50)
    assert len(list(parts.nats(parts.network, batch)[0])) == 60
    for model in (whole, parts):
        model.network.zero_grad()
        model.nats(model.network, batch)[0].sum().backward()
    torch.testing.assert_close(whole.nats(whole.network, batch)[0], parts.nats(parts.network, batch)[0])
    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3)


def test_cut_records_are_told_of() -> None:
    model, static, visits = model_of(context=20)
    of = stream(model, static, visits)
    lengths = np.bincount(visits.patient, 4 + visits.codes_per_visit + visits.values_per_visit)
    assert of.lengths.tolist() == np.minimum(lengths, 20).tolist()
    (remark,) = model.remarks(1000)
    assert f"model.context=20: training records have up to {int(np.sort(lengths)[-10])} tokens" in remark
    assert list(model_of()[0].remarks(1000)) == []


def test_what_is_kept_is_packed_without_a_change() -> None:
    model, static, visits = model_of(n=20)
    state = model.begun(static[:20], torch.from_numpy(visits.starts[visits.offsets[:-1]] / 86_400_000_000))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(3):
            state = model.after(state, model.step(state, generator))
    lengths = state.read.valid.sum(1)
    assert state.read.valid.shape[1] == lengths.max()
    assert torch.equal(lengths, state.read.position)
    few = state.read.packed(5)
    assert few.valid.shape[1] == 5
    assert torch.equal(few.keys, state.read.keys[:, :, :, -5:])


def test_draws_are_within_ranges_and_well_formed() -> None:
    model, *_ = model_of(n=150)
    drawn = Visits.joined(visits for _, visits in sampled(model, 150, 0))
    drawn.check(model.visit_schema, "drawn")  # codes rise within visits: none is there twice
    gaps = drawn.gaps[drawn.number > 0]
    assert len(np.unique(gaps)) > model.calendar.numbers.sizes[GAP]  # and not one value a range
    dead = drawn.died != UNKNOWN
    assert dead.any()
    assert (drawn.died[dead] >= drawn.starts[drawn.offsets[1:][dead] - 1]).all()


def test_truncation_draws_what_is_likeliest() -> None:
    model, static, _ = model_of(n=60)
    model.truncation = type(model.truncation)(1.0, 1e-6)
    one, other = (next(sampled(model, 5, seed, static[:1].expand(5, -1)))[1] for seed in (0, 0))
    assert len(np.unique(one.kinds)) == 1
    np.testing.assert_array_equal(one.codes, other.codes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 10, "heads": 4}, "model.width=10: a multiple of two times heads=4"),
        ({"dropout": 1.0}, "model.dropout"),
        ({"context": 0}, "model.context"),
        ({"top_p": 0.0}, "model.top_p"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        EventTransformer(schema=SCHEMA, visit_schema=visit_schema(CODES), **{**SMALL, **options})
