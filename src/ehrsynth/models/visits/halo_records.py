"""The network of HALO for DP-SGD: the same logits, through layers that tell the gradient of each patient's record."""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu, scaled_dot_product_attention

from ehrsynth.models.private_layers import Affine, TableRows
from ehrsynth.models.visits.halo_network import HaloNetwork, MadeHead


class RecordBlock(nn.Module):
    """A layer of the transformer, over the weights of one: its attention has none that a hook could see.

    Args:
        block: whose weights they are.
    """

    def __init__(self, block: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        attention = block.self_attn
        assert attention.in_proj_weight is not None
        self.heads = attention.num_heads
        self.into = Affine(attention.in_proj_weight, attention.in_proj_bias)
        self.out = Affine(attention.out_proj.weight, attention.out_proj.bias)
        self.first, self.second, self.norms = block.linear1, block.linear2, nn.ModuleList([block.norm1, block.norm2])

    def forward(self, h: Tensor) -> Tensor:
        """Return what the layer makes of h [n, positions, width], each position of those up to its own."""
        n, positions, width = h.shape
        parts = self.into(self.norms[0](h)).view(n, positions, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        h = h + self.out(seen.transpose(1, 2).reshape(n, positions, width))
        found: Tensor = h + self.second(gelu(self.first(self.norms[1](h)), approximate="tanh"))
        return found


class RecordHead(nn.Module):
    """``MadeHead``, over the weights of one."""

    def __init__(self, head: MadeHead) -> None:
        super().__init__()
        self.history, self.start = head.history, head.start
        self.first = Affine(head.first.weight, mask=lambda: head.into)
        self.second = Affine(head.second.weight, mask=lambda: head.out)
        self.direct = Affine(head.direct.weight, mask=lambda: head.before)

    def forward(self, h: Tensor, bits: Tensor) -> Tensor:
        """Return logits [n, k, bits] of bits [n, k, bits], given h [n, k, width]."""
        found: Tensor = self.second(relu(self.history(h) + self.first(bits))) + self.direct(bits) + self.start(h)
        return found


class HaloRecords(nn.Module):
    """``HaloNetwork`` of a ``MadeHead``, over the weights of one; it has none of its own.

    What stands behind the last visit of a patient is seen by nothing before it, and has no part in a loss: padding
    changes no gradient.

    Args:
        network: whose weights they are.
    """

    def __init__(self, network: HaloNetwork) -> None:
        super().__init__()
        assert isinstance(network.head, MadeHead)
        self.embed, self.position, self.norm = network.embed, TableRows(network.position.weight), network.norm
        self.blocks = nn.ModuleList(RecordBlock(block) for block in network.blocks)  # type: ignore[arg-type]
        self.head = RecordHead(network.head)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the logits [n, positions - 1, bits] of all vectors [n, positions, bits] but the first."""
        n, positions, _ = vectors.shape
        h = self.embed(vectors) + self.position(torch.arange(positions, device=vectors.device).expand(n, positions))
        for block in self.blocks:
            h = block(h)
        found: Tensor = self.head(self.norm(h)[:, :-1], vectors[:, 1:])
        return found
