"""The attention layers of KEEP: between frames, along time, and the transformer that predicts codes.

All use PyTorch's fused attention. Key names are those of the published checkpoints.

Convention: tokens are (N, count, C); a clip's tokens (B, T, count, C), where `count` runs over the 16x16 places of the latent grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Return softmax(query key' / sqrt(C / heads)) value for each of `heads` equal slices of the channels; (N, count, C)."""
    query, key, value = (tokens.unflatten(-1, (heads, -1)).transpose(1, 2) for tokens in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head attention with an inner width of its own.

    Args:
        width: channels of the tokens.
        heads: how many.
        head_width: channels of a head.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, heads * head_width, bias=False)
        self.to_k = nn.Linear(width, heads * head_width, bias=False)
        self.to_v = nn.Linear(width, heads * head_width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head_width, width))

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """Let `tokens` (N, count, width) look at `others` (N, any, width); returns the shape of `tokens`."""
        return self.to_out(attend(self.to_q(tokens), self.to_k(others), self.to_v(others), self.heads))

    def across_frames(self, tokens: Tensor) -> Tensor:
        """Let every frame of (B, T, count, width) look at the first frame and at the one before it.

        The first frame counts as the one before itself. Keys and values are projected once for each frame.
        """
        key, value = self.to_k(tokens), self.to_v(tokens)
        key, value = (torch.cat((made[:, :1].expand_as(made), _one_later(made)), dim=2).flatten(0, 1) for made in (key, value))
        return self.to_out(attend(self.to_q(tokens).flatten(0, 1), key, value, self.heads)).view_as(tokens)

    def along_time(self, tokens: Tensor) -> Tensor:
        """Let every place of (B, T, count, width) look at itself in all frames, past and future.

        Projected before places come first: a product with tokens that do not lie in order is several times as slow.
        """
        places = [project(tokens).transpose(1, 2).flatten(0, 1) for project in (self.to_q, self.to_k, self.to_v)]
        seen = attend(places[0], places[1], places[2], self.heads)
        return self.to_out(seen.unflatten(0, (len(tokens), -1)).transpose(1, 2).contiguous())


def _one_later(frames: Tensor) -> Tensor:
    """Shift (B, T, ...) by one frame: the first comes twice, the last not at all."""
    return torch.cat((frames[:, :1], frames[:, :-1]), dim=1)


class GatedLinear(nn.Module):
    """A projection whose second half, through the exact GELU, is the gate of the first (GEGLU, Shazeer 2020)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., width) to (..., outputs)."""
        value, gate = self.proj(tokens).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """A gated perceptron, four times as wide as the tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GatedLinear(width, EXPANSION * width), nn.Identity(), nn.Linear(EXPANSION * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        return self.net(tokens)


class UncertaintyBlock(nn.Module):
    """Attention across frames, a feed-forward, attention along time; each after a norm and added to its input."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.attn1 = Attention(width, heads, head_width)
        self.norm1 = nn.LayerNorm(width)
        self.ff = FeedForward(width)
        self.norm3 = nn.LayerNorm(width)
        self.attn_temp = Attention(width, heads, head_width)
        self.norm_temp = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape, (B, T, count, width)."""
        tokens = tokens + self.attn1.across_frames(self.norm1(tokens))
        tokens = tokens + self.ff(self.norm3(tokens))
        return tokens + self.attn_temp.along_time(self.norm_temp(tokens))


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to themselves, in the layout of `nn.MultiheadAttention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Return tokens of the same shape; `position` (count, width) is seen by queries and keys, not by values."""
        both = 2 * self.out_proj.in_features
        query, key = F.linear(tokens + position, self.in_proj_weight[:both], self.in_proj_bias[:both]).chunk(2, dim=-1)
        value = F.linear(tokens, self.in_proj_weight[both:], self.in_proj_bias[both:])
        return self.out_proj(attend(query, key, value, self.heads))


class CodeLayer(nn.Module):
    """One layer of the transformer that predicts codes: attention, then a perceptron, each after a norm and added to its input."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads)
        self.linear1 = nn.Linear(width, inner)
        self.linear2 = nn.Linear(inner, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Return tokens (N, count, width) of the same shape; `position` (count, width)."""
        tokens = tokens + self.self_attn(self.norm1(tokens), position)
        return tokens + self.linear2(F.gelu(self.linear1(self.norm2(tokens))))
