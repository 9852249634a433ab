"""Tallies of two domains against counting by hand, and what departs given what was before."""

import pytest
import torch
from torch import Tensor

from ehrsynth.layout import Layout, Records
from ehrsynth.models.departures.drawing import drawn
from ehrsynth.models.departures.network import DepartureNetwork
from ehrsynth.models.departures.past import Past
from ehrsynth.models.departures.variables import Variables
from ehrsynth.models.tally import Tally
from ehrsynth.schema import Column, Schema

APART = 3  # codes of a domain that is not counted
SCHEMA = Schema(
    (
        *(Column(f"a{i}", "binary", domain="diagnosis") for i in range(12)),
        *(Column(f"b{i}", "binary", domain="medication") for i in range(8)),
        *(Column(f"c{i}", "binary", domain="procedure") for i in range(APART)),
        Column("sex", "categorical", ("F", "M"), domain="demographics"),
    )
)
DOMAINS = ("medication", "diagnosis")  # in the order of their tallies, the smaller one first


@pytest.fixture(scope="module")
def rows() -> Tensor:
    """Rows [n, p] of whom some have far more codes."""
    generator = torch.Generator().manual_seed(0)
    often = torch.rand(400, 1, generator=generator) < 0.4
    codes = torch.rand(400, 20 + APART, generator=generator) < torch.where(often, 0.5, 0.15)
    sex = torch.nn.functional.one_hot(torch.randint(2, (400,), generator=generator), 2)
    return torch.cat([codes, sex], dim=1).float()


@pytest.fixture(scope="module")
def model(rows: Tensor) -> Tally:
    made = Tally(schema=SCHEMA, seed=0, width=8)
    made.observe(Records.of_dense(Layout.of(SCHEMA), rows))
    return made.eval()


@pytest.fixture(scope="module")
def some(model: Tally, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Variables of twenty records, half of them known, and how many codes they have."""
    x, counts = model.variables.of(rows[:20])
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    known[:, model.variables.tallies] = False
    return x, known, counts


def domains(variables: Variables) -> list[str]:
    """Return the domain of the code at each place that has one."""
    places = variables.order[variables.alone :].tolist()
    return [*[""] * variables.tallies.stop, *(SCHEMA.columns[place].domain for place in places)]


def test_codes_of_each_domain_are_counted(model: Tally, some: tuple[Tensor, Tensor, Tensor]) -> None:
    x, _, counts = some
    names = domains(model.variables)
    assert counts.shape == (20, 2)
    for row in range(20):
        for tally, domain in enumerate(DOMAINS):
            here = [v for v, name in enumerate(names) if name == domain]
            assert counts[row, tally] == sum(bool(x[row, v] != model.variables.no_news[v]) for v in here)


def reachable(variables: Variables, x: Tensor, known: Tensor, tally: int) -> set[int]:
    """Return the numbers of codes of a tally that a record can have, one code after the other."""
    found = {0}
    for place, name in enumerate(domains(variables)):
        if name == DOMAINS[tally]:
            departs = int(x[place] != variables.no_news[place])
            steps = {departs} if known[place] else {0, 1}
            found = {number + step for number in found for step in steps}
    return found


@pytest.mark.parametrize("tally", range(2))
def test_a_tally_can_be_what_codes_that_are_not_known_leave_open(
    model: Tally, some: tuple[Tensor, Tensor, Tensor], tally: int
) -> None:
    (x, known, _), variables = some, model.variables
    can = variables.possible(tally, x, known)
    for row in range(len(x)):
        counts = torch.zeros(1, 2, dtype=torch.int64)
        states = set()
        for number in reachable(variables, x[row], known[row], tally):
            counts[0, tally] = number
            states.add(int(variables.ranges_of(counts)[0, tally]))
        assert set(can[row].nonzero().flatten().tolist()) == states
    assert not can.all()


def test_the_network_rules_out_what_cannot_be(model: Tally, some: tuple[Tensor, Tensor, Tensor]) -> None:
    (x, known, _), variables = some, model.variables
    network = model.best
    assert isinstance(network, DepartureNetwork)
    for place in range(variables.tallies.start, variables.tallies.stop):
        can = variables.possible(place - variables.tallies.start, x, known)
        found = network.possible(torch.zeros(len(x), variables.sizes[place]), variables, place, x, known)
        assert torch.equal(found == 0, can)
        assert torch.equal(found == -torch.inf, ~can)
    first = network.possible(torch.zeros(len(x), 2), variables, 0, x, known)
    assert torch.equal(first, torch.zeros(len(x), 2))  # the category: no tally


def test_what_is_drawn_has_the_tallies_that_were_possible(model: Tally, some: tuple[Tensor, Tensor, Tensor]) -> None:
    (x, known, _), variables, network = some, model.variables, model.best
    assert isinstance(network, DepartureNetwork)
    found, _ = drawn(network, variables, x, known, torch.Generator().manual_seed(0))
    assert torch.equal(found[known], x[known])
    for tally in range(2):
        state = found[:, variables.tallies.start + tally, None]
        assert variables.possible(tally, x, known).gather(1, state).all()


def test_a_code_follows_its_companion(model: Tally, some: tuple[Tensor, Tensor, Tensor]) -> None:
    """In likelihood and in draws; the companion is in the same block of codes, and just drawn."""
    (x, _, _), variables, network = some, model.variables, model.best
    assert isinstance(network, DepartureNetwork)
    first, second = [place for place, name in enumerate(domains(variables)) if name == "procedure"][:2]
    n, places = x.shape
    nobody = torch.zeros(places, dtype=torch.int64)
    past = Past(torch.zeros(n, 8), torch.zeros(n, places), nobody, torch.zeros(n, 2, places))
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
