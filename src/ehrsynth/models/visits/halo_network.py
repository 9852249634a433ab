"""The network of HALO: a GPT-2 over visits, and heads that say each bit of a visit from those before it."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

STD = 0.02  # of initial weights, as in GPT-2
EPSILON = 1e-5


class HaloNetwork(nn.Module):
    """Logits of each bit of each vector, given the vectors and bits before it.

    Args:
        bits: of a vector.
        width: of the transformer.
        layers: of it, with normalisation first, hidden layers four times as wide, and no dropout.
        heads: of its attention.
        positions: vectors of a sequence, at most.
        head: says the bits of a vector, from what the transformer makes of those before it.
    """

    def __init__(self, bits: int, width: int, layers: int, heads: int, positions: int, head: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Linear(bits, width, bias=False)
        self.position = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, _gelu, EPSILON, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, EPSILON)
        self.apply(_as_gpt2)
        self.head = head

    def histories(self, vectors: Tensor) -> Tensor:
        """Return h [b, positions, width], each of the vectors [b, positions, bits] up to its own."""
        positions = vectors.shape[1]
        h = self.embed(vectors) + self.position.weight[:positions]
        later = torch.ones(positions, positions, dtype=torch.bool, device=h.device).triu(1)
        for block in self.blocks:
            h = block(h, src_mask=later)
        found: Tensor = self.norm(h)
        return found

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the logits [b, positions - 1, bits] of all vectors but the first."""
        found: Tensor = self.head(self.histories(vectors)[:, :-1], vectors[:, 1:])
        return found


class SquareHead(nn.Module):
    """Two square layers over history and bits, each unit seeing those up to its own place, a ReLU between.

    The output at the place before a bit is that bit's logit, so it has seen all of the history and the bits before.
    """

    mask: Tensor

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.width = width
        self.first, self.second = nn.Linear(width + bits, width + bits), nn.Linear(width + bits, width + bits)
        self.register_buffer("mask", torch.ones(width + bits, width + bits).tril(), persistent=False)

    def forward(self, h: Tensor, bits: Tensor) -> Tensor:
        """Return logits [..., bits] of bits [..., bits], given h [..., width]."""
        hidden = relu(linear(torch.cat([h, bits], dim=-1), self.first.weight * self.mask, self.first.bias))
        return linear(hidden, self.second.weight * self.mask, self.second.bias)[..., self.width - 1 : -1]


class MadeHead(nn.Module):
    """A hidden layer whose unit j has seen the bits before place d_j, and a direct layer: MADE, but for the history.

    A bit's logit takes the units with d_j up to its place, the bits before it directly, and the history.
    """

    into: Tensor
    out: Tensor
    before: Tensor

    def __init__(self, width: int, bits: int, hidden: int) -> None:
        super().__init__()
        degree, place = torch.arange(hidden) * bits // hidden, torch.arange(bits)
        self.register_buffer("into", (place < degree[:, None]).float(), persistent=False)
        self.register_buffer("out", (degree <= place[:, None]).float(), persistent=False)
        self.register_buffer("before", (place < place[:, None]).float(), persistent=False)
        self.history, self.first = nn.Linear(width, hidden), nn.Linear(bits, hidden, bias=False)
        self.second, self.direct = nn.Linear(hidden, bits, bias=False), nn.Linear(bits, bits, bias=False)
        self.start = nn.Linear(width, bits)
        nn.init.zeros_(self.direct.weight)

    def forward(self, h: Tensor, bits: Tensor) -> Tensor:
        """Return logits [..., bits] of bits [..., bits], given h [..., width]."""
        hidden = relu(self.history(h) + linear(bits, self.first.weight * self.into))
        direct = linear(bits, self.direct.weight * self.before)
        found: Tensor = linear(hidden, self.second.weight * self.out) + direct + self.start(h)
        return found


def _gelu(x: Tensor) -> Tensor:
    return nn.functional.gelu(x, approximate="tanh")


def _as_gpt2(module: nn.Module) -> None:
    """Start as GPT-2 does: normal weights, zero biases."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=STD)
    if isinstance(module, nn.MultiheadAttention):
        nn.init.normal_(module.in_proj_weight, std=STD)
        nn.init.zeros_(module.in_proj_bias)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
