"""A causal transformer over tokens: rotary positions, and keys and values of what was read before kept."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

STD = 0.02  # of initial weights, as in GPT-2
BASE = 10_000.0  # of the wavelengths of rotary positions
TIMES = 4  # numbers that say when a token is
STATUSES = 3  # of a code: it never was, was in the latest visit, or before only


@dataclass(frozen=True, eq=False)
class Read:
    """What the network keeps of what it has read of k patients.

    Attributes:
        keys, values: [k, layers, heads, t, width / heads].
        valid: bool [k, t], which of the places hold a token.
        position: int64 [k], of the next token.
    """

    keys: Tensor = field(repr=False)
    values: Tensor = field(repr=False)
    valid: Tensor = field(repr=False)
    position: Tensor = field(repr=False)

    def of(self, rows: Tensor) -> "Read":
        """Return what is kept of some of the patients."""
        return Read(self.keys[rows], self.values[rows], self.valid[rows], self.position[rows])

    def packed(self, most: int) -> "Read":
        """Return the same without places that nobody needs, and of each only the latest tokens, ``most`` at most."""
        length = min(int(self.valid.sum(1).max()), most)
        latest = self.valid.int().argsort(dim=1, stable=True)[:, self.valid.shape[1] - length :]
        place = latest[:, None, None, :, None].expand(*self.keys.shape[:3], -1, self.keys.shape[4])
        return Read(
            self.keys.gather(3, place), self.values.gather(3, place), self.valid.gather(1, latest), self.position
        )


class EventNetwork(nn.Module):
    """Logits of the next token, given those so far, the patient's row and when each token is.

        x_i      =  E[token_i] + R(row) + T(times_i);   h = blocks(x)
        logit_v  =  w_v h_i + b_v,    and for a code of status s  + (U + a(h_i))_s

    U starts at the log of the share of visits that have a code of which so much is known (never, in the latest visit,
    before only), so what comes again need not be learned from nothing.

    Args:
        tokens: size of the vocabulary.
        codes: where in it the codes are.
        row: numbers of an encoded row.
        width: of the transformer.
        layers: of it, with normalisation first, and hidden layers four times as wide.
        heads: of its attention.
        dropout: share of units left out in training.
        recurrence: whether there are U and a.
    """

    def __init__(
        self,
        tokens: int,
        codes: slice,
        row: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        recurrence: bool,
    ) -> None:
        super().__init__()
        self.codes, self.tokens = codes, tokens
        self.planes = width // heads // 2
        self.token = nn.Embedding(tokens, width)
        self.row = nn.Sequential(nn.Linear(row, width), nn.GELU(), nn.Linear(width, width))
        self.times = nn.Linear(TIMES, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, tokens)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=STD)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        self.usual = nn.Parameter(torch.zeros(STATUSES, codes.stop - codes.start)) if recurrence else None
        self.again = nn.Linear(width, STATUSES - 1) if recurrence else None

    def read(
        self, tokens: Tensor, row: Tensor, times: Tensor, valid: Tensor | None = None, before: Read | None = None
    ) -> tuple[Tensor, Read]:
        """Read on.

        Args:
            tokens: int64 [k, q], padded at the right.
            row: [k, s], encoded.
            times: [k, q, TIMES].
            valid: bool [k, q], which of the tokens are real; all by default.
            before: what was read until then.

        Returns:
            h [k, q, width], and what is kept.
        """
        k, q = tokens.shape
        x = self.drop(self.token(tokens) + self.row(row)[:, None] + self.times(times))
        valid = torch.ones_like(tokens, dtype=torch.bool) if valid is None else valid
        start = tokens.new_zeros(k) if before is None else before.position
        turn = self._turn(start[:, None] + torch.arange(q, device=tokens.device))
        mask = None
        if before is not None:
            new = torch.ones(q, q, dtype=torch.bool, device=tokens.device).tril() & valid[:, None]
            mask = torch.cat([before.valid[:, None].expand(-1, q, -1), new], dim=2)[:, None]
        keys, values = [], []
        for i, block in enumerate(self.blocks):
            past = None if before is None else (before.keys[:, i], before.values[:, i])
            x, key, value = block(x, turn, mask, past)
            keys.append(key)
            values.append(value)
        valid = valid if before is None else torch.cat([before.valid, valid], dim=1)
        kept = Read(torch.stack(keys, 1), torch.stack(values, 1), valid, start + valid[:, -q:].sum(1))
        found: Tensor = self.norm(x)
        return found, kept

    def logits(self, h: Tensor, status: Tensor | None) -> Tensor:
        """Return float32 logits [n, tokens] of the token after h [n, width].

        Args:
            h: as ``read`` returns it.
            status: int64 [n, codes] of the codes by rank; not needed where no code can follow.
        """
        found: Tensor = self.out(h).float()
        if self.usual is None or self.again is None or status is None:
            return found
        more = self.usual.gather(0, status) + pad(self.again(h).float(), (1, 0)).gather(1, status)
        return found + pad(more, (self.codes.start, self.tokens - self.codes.stop))

    def _turn(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines [k, 1, q, width / heads / 2] of positions [k, q]: Su et al., RoFormer, 2021."""
        rate = BASE ** (-torch.arange(self.planes, device=position.device) / max(self.planes, 1))
        angle = position[:, None, :, None] * rate
        return angle.cos(), angle.sin()


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return x [k, q, width], and the keys and values of all that was read."""
        k, q, width = x.shape
        parts = self.into(self.first(x)).view(k, q, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = _turned(parts[0], turn), _turned(parts[1], turn), parts[2]
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        found = scaled_dot_product_attention(query, key, value, mask, is_causal=mask is None)
        x = x + self.drop(self.out(found.transpose(1, 2).reshape(k, q, width)))
        return x + self.drop(self.down(gelu(self.up(self.second(x))))), key, value


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Return vectors [..., d] whose halves are turned against each other."""
    cosine, sine = (part.to(x.dtype) for part in turn)
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * cosine - right * sine, left * sine + right * cosine], dim=-1)
