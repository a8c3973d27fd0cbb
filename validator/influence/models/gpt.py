"""`gpt`: a decoder-only transformer that predicts the next token (Radford et al. 2019, pre-layer-norm).

Learned positions; in each block causal self-attention and an MLP four times as wide with GELU, each behind a layer
norm and added to the stream; a last layer norm. The head is the token embedding (Press & Wolf 2017): in a model small
enough to score many contributions against, a head of its own would be the largest matrix, and hardly better.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from validator.influence.errors import InfluenceError
from validator.influence.models.config import DEEPEST, Config, count

KEYS = {"vocabulary", "context", "width", "heads", "layers"}
_MLP_RATIO = 4
_LONGEST = 2**16


class Gpt(nn.Module):
    """Tokens (n, positions) int64 in [0, vocabulary), at most `context` positions, to logits (n, positions,
    vocabulary). Position p sees tokens 0..p only.
    """

    def __init__(self, vocabulary: int, context: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.vocabulary, self.context = vocabulary, context
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token at every position."""
        if tokens.dim() != 2 or not 1 <= tokens.shape[1] <= self.context:
            raise ValueError(f"tokens must be (n, 1 to {self.context} positions), not {tuple(tokens.shape)}")
        stream = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            stream = block(stream)
        return linear(self.norm(stream), self.tokens.weight)


class Block(nn.Module):
    """(n, positions, width) to the same: attention, then an MLP, each added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before_attention, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, _MLP_RATIO * width), nn.GELU(), nn.Linear(_MLP_RATIO * width, width))

    def forward(self, stream: Tensor) -> Tensor:
        """The stream after this block."""
        stream = stream + self.attention(self.before_attention(stream))
        added: Tensor = self.mlp(self.before_mlp(stream))
        return stream + added


class Attention(nn.Module):
    """Causal self-attention over `heads` heads, (n, positions, width) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.project, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, stream: Tensor) -> Tensor:
        """What each position takes from those up to it."""
        split = self.project(stream).unflatten(-1, (3, self._heads, -1)).movedim(-3, 0).transpose(-2, -3)
        query, key, value = split.unbind(0)
        taken = scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed: Tensor = self.mix(taken.transpose(-2, -3).flatten(-2))
        return mixed


def gpt(config: Config) -> nn.Module:
    """A `Gpt` by its configuration. Raises InfluenceError when an entry is out of range, or heads do not divide the
    width.
    """
    width, heads = count(config, "width"), count(config, "heads")
    if width % heads:
        raise InfluenceError(f"'heads' must divide 'width', {heads} does not divide {width}")
    vocabulary, context = count(config, "vocabulary"), count(config, "context", _LONGEST)
    return Gpt(vocabulary, context, width, heads, count(config, "layers", DEEPEST))
