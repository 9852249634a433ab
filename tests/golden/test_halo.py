"""HALO's likelihood and gradients against the network of its paper, written out once more without any of our parts."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ehrsynth.models.visits.halo import Halo
from ehrsynth.models.visits.halo_network import HaloNetwork, MadeHead, SquareHead
from ehrsynth.visit_batch import batch_of
from ehrsynth.visits import DAY, UNKNOWN, Visits
from tests.visits import SCHEMA, simulated, visit_schema

BITS, WIDTH, HEADS, LAYERS = 7, 4, 2, 2

# Two records of a start, a row and two visits; made by hand.
RECORDS = torch.tensor(
    [
        [[0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1], [1, 0, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0, 0]],
        [[0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0], [1, 1, 0, 0, 1, 0, 0]],
    ],
    dtype=torch.float64,
)


def filled(network: nn.Module) -> dict[str, Tensor]:
    """Give every weight a value that depends on its name and place alone, and return them, to be differentiated."""
    for name, weights in network.named_parameters():
        places = torch.arange(weights.numel(), dtype=torch.float64)
        weights.data = (0.4 * torch.sin(1.7 * places + len(name))).view(weights.shape)
    network.double()
    return {name: weights.detach().clone().requires_grad_() for name, weights in network.named_parameters()}


def normalised(x: list[Tensor], scale: Tensor, shift: Tensor) -> list[Tensor]:
    found = []
    for row in x:
        mean = row.sum() / len(row)
        spread = ((row - mean) ** 2).sum() / len(row)
        found.append((row - mean) / (spread + 1e-5) ** 0.5 * scale + shift)
    return found


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))


def transformer(w: dict[str, Tensor], record: Tensor) -> list[Tensor]:
    """GPT-2, pre-normalised, one position and one head at a time."""
    h = [w["embed.weight"] @ vector + w["position.weight"][t] for t, vector in enumerate(record)]
    size = WIDTH // HEADS
    for layer in range(LAYERS):
        b = f"blocks.{layer}."
        x = normalised(h, w[f"{b}norm1.weight"], w[f"{b}norm1.bias"])
        weight, bias = w[f"{b}self_attn.in_proj_weight"], w[f"{b}self_attn.in_proj_bias"]
        q, k, v = (
            [weight[part * WIDTH : (part + 1) * WIDTH] @ row + bias[part * WIDTH : (part + 1) * WIDTH] for row in x]
            for part in range(3)
        )
        for t in range(len(h)):
            heads = []
            for head in range(HEADS):
                own = slice(head * size, (head + 1) * size)
                scores = torch.stack([q[t][own] @ k[s][own] / size**0.5 for s in range(t + 1)])
                shares = scores.exp() / scores.exp().sum()
                heads.append(sum(shares[s] * v[s][own] for s in range(t + 1)))
            out = w[f"{b}self_attn.out_proj.weight"] @ torch.cat(heads) + w[f"{b}self_attn.out_proj.bias"]
            h[t] = h[t] + out
        x = normalised(h, w[f"{b}norm2.weight"], w[f"{b}norm2.bias"])
        for t in range(len(h)):
            hidden = gelu(w[f"{b}linear1.weight"] @ x[t] + w[f"{b}linear1.bias"])
            h[t] = h[t] + w[f"{b}linear2.weight"] @ hidden + w[f"{b}linear2.bias"]
    return normalised(h, w["norm.weight"], w["norm.bias"])


def square(w: dict[str, Tensor], h: Tensor, bits: Tensor) -> list[Tensor]:
    """The published head, unit by unit: the unit before a bit's place says it, and has seen nothing from there on."""
    x = torch.cat([h, bits])
    n = len(x)
    hidden = []
    for i in range(n):
        total = w["head.first.bias"][i] + sum(w["head.first.weight"][i, j] * x[j] for j in range(i + 1))
        hidden.append(total.clamp(min=0))
    return [
        w["head.second.bias"][i] + sum(w["head.second.weight"][i, j] * hidden[j] for j in range(i + 1))
        for i in range(WIDTH - 1, n - 1)
    ]


def made(w: dict[str, Tensor], h: Tensor, bits: Tensor) -> list[Tensor]:
    """A masked autoencoder of the bits, that all of the history goes into."""
    hidden, units = [], len(w["head.history.bias"])
    degrees = [unit * BITS // units for unit in range(units)]
    for unit in range(units):
        total = w["head.history.weight"][unit] @ h + w["head.history.bias"][unit]
        hidden.append(
            (total + sum(w["head.first.weight"][unit, c] * bits[c] for c in range(degrees[unit]))).clamp(min=0)
        )
    found = []
    for c in range(BITS):
        total = w["head.start.weight"][c] @ h + w["head.start.bias"][c]
        total = total + sum(
            w["head.second.weight"][c, unit] * hidden[unit] for unit in range(units) if degrees[unit] <= c
        )
        found.append(total + sum(w["head.direct.weight"][c, before] * bits[before] for before in range(c)))
    return found


def nats(w: dict[str, Tensor], head: object) -> Tensor:
    """Minus the log of the product of the chances of all bits, one after the other."""
    total = torch.zeros((), dtype=torch.float64)
    for record in RECORDS:
        h = transformer(w, record)
        for t in range(1, len(record)):
            for bit, logit in zip(record[t], head(w, h[t - 1], record[t]), strict=True):  # type: ignore[operator]
                chance = 1 / (1 + torch.exp(-logit))
                total = total - (chance.log() if bit else (1 - chance).log())
    return total


@pytest.mark.parametrize(("ours", "theirs"), [(SquareHead(WIDTH, BITS), square), (MadeHead(WIDTH, BITS, 5), made)])
def test_likelihood_and_gradients_are_those_of_the_published_network(ours: nn.Module, theirs: object) -> None:
    network = HaloNetwork(BITS, WIDTH, LAYERS, HEADS, 4, ours)
    weights = filled(network)
    expected = nats(weights, theirs)
    expected.backward()
    logits = network(RECORDS)
    found = nn.functional.binary_cross_entropy_with_logits(logits, RECORDS[:, 1:], reduction="sum")
    found.backward()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    for name, parameter in network.named_parameters():
        gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        wanted = weights[name].grad if weights[name].grad is not None else torch.zeros_like(parameter)
        torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-10, msg=name)


def test_frozen_likelihood() -> None:
    """So that both cannot change together."""
    network = HaloNetwork(BITS, WIDTH, LAYERS, HEADS, 4, SquareHead(WIDTH, BITS))
    filled(network)
    found = nn.functional.binary_cross_entropy_with_logits(network(RECORDS), RECORDS[:, 1:], reduction="sum")
    assert found.item() == pytest.approx(FROZEN, rel=1e-9)


FROZEN = 26.369980784833103  # nats of both records


def test_the_published_sizes_have_the_published_number_of_weights() -> None:
    bits, width = 6_869, 768
    with torch.device("meta"):
        network = HaloNetwork(bits, width, 12, 12, 56, SquareHead(width, bits))
    parts = {
        "transformer": sum(w.numel() for name, w in network.named_parameters() if name.startswith(("blocks", "norm"))),
        "embedding": network.embed.weight.numel(),
        "head": sum(w.numel() for w in network.head.parameters()),
    }
    assert parts["embedding"] == bits * width  # 5.3 M
    assert parts["head"] == 2 * ((bits + width) ** 2 + bits + width)  # 116.6 M
    assert round(sum(w.numel() for w in network.parameters()) / 1e6, 0) == 207


def test_the_vectors_of_a_record() -> None:
    """Start, row and visits of one patient, bit by bit."""
    static, visits = simulated(30, codes=6, measurements=1)
    schema = visit_schema(6, 1)
    model = Halo(schema=SCHEMA, visit_schema=schema, width=8, heads=2, hidden=8)
    model.observe(static, visits)
    one = Visits(
        offsets=np.array([0, 2]),
        starts=np.array([100 * DAY, 130 * DAY]),
        ends=np.array([UNKNOWN, 131 * DAY]),
        kinds=np.array([1, 0], np.int16),
        code_offsets=np.array([0, 2, 3]),
        codes=np.array([0, 4, 2], np.int32),
        value_offsets=np.array([0, 0, 1]),
        measured=np.array([0], np.int32),
        values=np.array([120.0], np.float32),
        born=np.array([0]),
        died=np.array([UNKNOWN]),
    )
    vectors, real = model.encoded(batch_of(one, static[:1], 1))
    v, numbers = model.vectors, model.calendar.numbers
    assert vectors.shape[1] == 4
    assert real.tolist() == [[True, True, True]]
    assert vectors[0, 0].nonzero().flatten().tolist() == [v.start]
    assert vectors[0, 1, v.row :].sum() == static[0, 0] + 2  # a flag or not, a sex, an age
    first, second = vectors[0, 2:]
    order = model.order.tolist()
    assert first[v.gap].sum() == 0
    assert first[v.kind].tolist() == [0, 1]
    assert [order[place] for place in first[v.codes].nonzero().flatten().tolist()] == sorted([0, 4], key=order.index)
    assert first[v.stay].sum() == first[v.values[0]].sum() == first[v.end] == 0
    assert second[v.gap].nonzero().flatten().tolist() == [int(numbers.range_of(1, torch.tensor([30.0])))]
    assert second[v.stay].nonzero().flatten().tolist() == [int(numbers.range_of(2, torch.tensor([1.0])))]
    assert second[v.values[0]].nonzero().flatten().tolist() == [int(numbers.range_of(5, torch.tensor([120.0])))]
    assert second[v.end] == 1
    told = model.vectors.told(vectors[0, 2:], numbers, model.order, torch.Generator().manual_seed(0))
    assert told.codes.nonzero().tolist() == [[0, 0], [0, 4], [1, 2]]
    assert told.kinds.tolist() == [1, 0]
    assert told.values.isnan().tolist() == [[True], [False]]


def test_visits_are_drawn_as_bit_after_bit() -> None:
    """Kind and codes of first visits, counted, against the product of their chances."""
    static, visits = simulated(60, codes=4, measurements=0)
    model = Halo(schema=SCHEMA, visit_schema=visit_schema(4, 0), width=8, heads=2, hidden=8, layers=1)
    model.observe(static, visits)
    for place, weights in enumerate(model.best.head.parameters()):
        weights.data += torch.sin(torch.arange(weights.numel()) * 2.3 + place).view(weights.shape)
    state = model.begun(static[:1].expand(20_000, -1), torch.zeros(20_000))
    visit = model.step(state, torch.Generator().manual_seed(0))
    patterns = torch.cartesian_prod(*[torch.arange(2)] * 5)  # kind, then the codes in their order
    v = model.vectors

    def chance(bits: Tensor, place: int) -> Tensor:
        return model.best.head(state.h[:1], bits[None])[0, place].sigmoid()

    for kind, *codes in patterns.tolist():
        bits = torch.zeros(v.width)
        first = chance(bits, v.kind.start)
        second = (1 - first) * chance(bits, v.kind.start + 1)
        expected = (second if kind else first) / (first + second)
        bits[v.kind.start + kind] = 1.0
        for place, there in enumerate(codes):
            own = chance(bits, v.codes.start + place)
            expected = expected * (own if there else 1 - own)
            bits[v.codes.start + place] = there
        same = (visit.kinds == kind) & (visit.codes[:, model.order] == torch.tensor(codes).bool()).all(1)
        spread = (expected * (1 - expected) / 20_000) ** 0.5
        assert abs(same.float().mean() - expected) < 4.5 * spread + 1e-3, (kind, codes)
