"""Tallies of records with a past, of new codes and of those that come again: against counting by hand."""

import pytest
import torch
from torch import Tensor

from ehrsynth.layout import Layout, Records
from ehrsynth.models.departures.drawing import drawn
from ehrsynth.models.departures.expected import Expected, Past
from ehrsynth.models.departures.network import DepartureNetwork
from ehrsynth.models.departures.variables import Variables
from ehrsynth.models.tally import Tally
from ehrsynth.schema import Column, Schema

COUNTED, APART = 20, 3  # codes of two domains that are counted, and of one that is not
SCHEMA = Schema(
    (
        *(Column(f"a{i}", "binary", domain="diagnosis") for i in range(12)),
        *(Column(f"b{i}", "binary", domain="medication") for i in range(8)),
        *(Column(f"c{i}", "binary", domain="procedure") for i in range(APART)),
        Column("sex", "categorical", ("F", "M"), domain="demographics"),
    )
)


class Again(Tally):
    """A Tally of records with a past."""

    parts = 2


@pytest.fixture(scope="module")
def seen() -> tuple[Tensor, Tensor]:
    """Rows [n, p], and which of their codes came before [n, codes]: these come often."""
    generator = torch.Generator().manual_seed(0)
    again = torch.rand(400, COUNTED + APART, generator=generator) < 0.3
    codes = torch.rand(again.shape, generator=generator) < torch.where(again, 0.7, 0.15)
    sex = torch.nn.functional.one_hot(torch.randint(2, (400,), generator=generator), 2)
    return torch.cat([codes, sex], dim=1).float(), again


@pytest.fixture(scope="module")
def model(seen: tuple[Tensor, Tensor]) -> Again:
    made = Again(schema=SCHEMA, seed=0, width=8)
    made.observe(Records.of_dense(Layout.of(SCHEMA), seen[0]), seen[1])
    return made.eval()


@pytest.fixture(scope="module")
def some(model: Again, seen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Variables of twenty records, which of their codes came before, half of them known, and how many they have."""
    rows, again = (part[:20] for part in seen)
    at_places = model.variables.of_codes(again)
    x, counts = model.variables.of(rows, at_places)
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    known[:, model.variables.tallies] = False
    return x, at_places, known, counts


def untold(again: Tensor) -> Past:
    """Return a past that says nothing but which codes would come ``again`` [n, V]."""
    n, places = again.shape
    nobody = torch.zeros(places, dtype=torch.int64)
    return Past(torch.zeros(n, 8), torch.zeros(n, places), again, nobody, torch.zeros(n, 2, places))


def domains(variables: Variables) -> list[str]:
    """Return the domain of the code at each place that has one."""
    places = variables.order[variables.alone :].tolist()
    return [*[""] * variables.tallies.stop, *(SCHEMA.columns[place].domain for place in places)]


def test_new_codes_and_those_that_come_again_are_counted_apart(
    model: Again, some: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    x, again, _, counts = some
    names = domains(model.variables)
    assert counts.shape == (20, 4)
    for row in range(20):
        for tally, (domain, back) in enumerate((d, b) for d in ("medication", "diagnosis") for b in (False, True)):
            here = [v for v, name in enumerate(names) if name == domain and bool(again[row, v]) == back]
            assert counts[row, tally] == sum(bool(x[row, v] != model.variables.no_news[v]) for v in here)


def reachable(variables: Variables, row: tuple[Tensor, Tensor, Tensor], tally: int) -> set[int]:
    """Return the numbers of codes of a tally that a record can have, one code after the other."""
    x, again, known = row
    domain, back = ("medication", "diagnosis")[tally // 2], tally % 2
    found = {0}
    for place, name in enumerate(domains(variables)):
        if name == domain and int(again[place]) == back:
            departs = int(x[place] != variables.no_news[place])
            steps = {departs} if known[place] else {0, 1}
            found = {number + step for number in found for step in steps}
    return found


@pytest.mark.parametrize("tally", range(4))
def test_a_tally_can_be_what_codes_that_are_not_known_leave_open(
    model: Again, some: tuple[Tensor, Tensor, Tensor, Tensor], tally: int
) -> None:
    (x, again, known, _), variables = some, model.variables
    can = variables.possible(tally, x, known, again)
    for row in range(len(x)):
        counts = torch.zeros(1, 4, dtype=torch.int64)
        states = set()
        for number in reachable(variables, (x[row], again[row], known[row]), tally):
            counts[0, tally] = number
            states.add(int(variables.ranges_of(counts)[0, tally]))
        assert set(can[row].nonzero().flatten().tolist()) == states
    assert not can.all()
    assert not torch.equal(can, variables.possible(tally, x, known))  # who looks away from the past is told otherwise


def test_the_network_rules_out_what_cannot_be(model: Again, some: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    (x, again, known, _), variables = some, model.variables
    network = model.best
    assert isinstance(network, DepartureNetwork)
    past = untold(again)
    rows = torch.tensor([7, 3, 3, 19])
    for place in range(variables.tallies.start, variables.tallies.stop):
        logits = torch.zeros(len(rows), variables.sizes[place])
        can = variables.possible(place - variables.tallies.start, x, known, again)[rows]
        for of, which in ((past, can), (None, variables.possible(place - variables.tallies.start, x, known)[rows])):
            found = network.possible(logits, variables, place, x[rows], known, rows, of)
            assert torch.equal(found == 0, which)
            assert torch.equal(found == -torch.inf, ~which)
    first = network.possible(torch.zeros(4, 2), variables, 0, x[rows], known, rows, past)
    assert torch.equal(first, torch.zeros(4, 2))  # the category: no tally


def test_what_is_expected_of_each_tally_from_each_place_on(
    model: Again, some: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    (x, again, _, _), variables = some, model.variables
    odds = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    expected, chances, names = Expected.of(variables, odds, again), odds.sigmoid(), domains(variables)
    for row in range(3):
        for place, name in enumerate(names):
            if name not in ("medication", "diagnosis"):
                assert (int(expected.tally[row, place]), float(expected.mean[row, place])) == (-1, 0.0)
                continue
            tally = 2 * (name == "diagnosis") + int(again[row, place])
            alike = [v for v, other in enumerate(names) if other == name and again[row, v] == again[row, place]]
            p = [float(chances[row, v]) for v in alike if v >= place]
            assert int(expected.tally[row, place]) == tally
            assert float(expected.mean[row, place]) == pytest.approx(sum(p), rel=1e-4)
            assert float(expected.among[row, place]) == pytest.approx(sum(p) ** 2 / sum(q * q for q in p), rel=1e-4)
            assert int(expected.first[row, tally]) == alike[0]
            assert int(expected.most[row, tally]) == len(alike)


def test_where_nothing_came_before_nothing_comes_again(
    model: Again, some: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    (x, again, _, _), variables = some, model.variables
    nothing = torch.zeros_like(again)
    expected = Expected.of(variables, torch.zeros(x.shape), nothing)
    owner = torch.arange(len(x))
    assert (expected.most[:, 1::2] == 0).all()
    for tally in (1, 3):
        chances = expected.law(variables, tally, owner)[:, : variables.sizes[variables.tallies.start + tally]].softmax(
            1
        )
        assert (chances[:, 0] > 0.999).all()
    left = torch.tensor([[2, 0, 3, 0]]).expand(len(x), -1)
    moved = expected.odds(left, owner, slice(0, variables.tallies.stop))
    assert torch.equal(moved, torch.zeros_like(moved))  # of what no tally counts


def test_what_is_drawn_has_the_tallies_that_were_possible(
    model: Again, some: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    (x, again, known, _), variables, network = some, model.variables, model.best
    assert isinstance(network, DepartureNetwork)
    past = untold(again)
    found, _ = drawn(network, variables, x, known, torch.Generator().manual_seed(0), past=past)
    assert torch.equal(found[known], x[known])
    for tally in range(4):
        state = found[:, variables.tallies.start + tally, None]
        assert variables.possible(tally, x, known, again).gather(1, state).all()


def test_a_code_follows_its_companion(model: Again, some: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    """In likelihood and in draws; the companion is in the same block of codes, and just drawn."""
    (x, again, _, _), variables, network = some, model.variables, model.best
    assert isinstance(network, DepartureNetwork)
    first, second = [place for place, name in enumerate(domains(variables)) if name == "procedure"][:2]
    past = untold(again)
    past.companions[second] = first
    past.beside[:, 0, second], past.beside[:, 1, second] = -20.0, 20.0
    nothing = torch.zeros(x.shape, dtype=torch.bool)
    found, _ = drawn(network, variables, x, nothing, torch.Generator().manual_seed(0), past=past)
    assert torch.equal(found[:, second], found[:, first])
    assert 0 < found[:, first].sum() < len(x)
    counts = variables.told_counts(x)
    for there in (0, 1):
        nats = []
        for code in (0, 1):
            asked = x.clone()
            asked[:, first], asked[:, second] = there, code
            known = torch.ones_like(nothing)
            known[:, second] = False
            nats.append(network.surprise(variables, asked, counts, known, past))
        assert (nats[there] < 1e-3).all()
        assert (nats[1 - there] > 10).all()


def test_a_variable_of_one_state_never_departs() -> None:
    """As the kind of visits where there is one kind."""
    schema = Schema((Column("kind", "categorical", ("one",)), Column("a", "binary", domain="diagnosis")))
    layout = Layout.of(schema)
    rows = torch.zeros(200, layout.width)
    rows[:, layout.groups["kind"]] = 1.0
    rows[:50, layout.places["a"]] = 1.0
    model = Tally(schema=schema, seed=0, width=8).eval()
    model.observe(Records.of_dense(layout, rows))
    likelihood = model.log_likelihood(Records.of_dense(layout, rows))
    place = model.variables.order.tolist().index(model.variables.states.columns.index("kind"))
    model.best.hazard.bias.data[place] = 20.0  # type: ignore[union-attr, index]
    drawn = model.sample(300, torch.Generator().manual_seed(0))
    assert (drawn[:, layout.groups["kind"]] == 1).all()
    assert 0 < drawn[:, layout.places["a"]].mean() < 0.5
    assert torch.equal(model.log_likelihood(Records.of_dense(layout, rows)), likelihood)
