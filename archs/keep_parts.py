"""The parts of KEEP that are not attention: the Kalman gain, and what guides the generator.

Convention: features are (N, C, h, w); a clip's (B, T, C, h, w).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from archs.keep_attention import Attention, FeedForward, UncertaintyBlock
from archs.vqgan_blocks import ResBlock, from_tokens, to_tokens

SLOPE = 0.2
UNCERTAINTY_HEADS = 8
GAIN_BLOCKS = 3

Value = TypeVar("Value")


class KalmanFilter(nn.Module):
    """How far each place of each frame trusts what the previous output predicts, rather than what the frame itself shows.

    Args:
        width: channels of the encoder's features.
        head_width: channels of each of the 8 heads.
        layers: uncertainty blocks.
    """

    def __init__(self, width: int, head_width: int, layers: int) -> None:
        super().__init__()
        self.uncertainty_estimator = nn.Sequential(*(UncertaintyBlock(width, UNCERTAINTY_HEADS, head_width) for _ in range(layers)))
        blocks = (ResBlock(width, width) for _ in range(GAIN_BLOCKS))
        self.kalman_gain_calculator = nn.Sequential(*blocks, nn.Conv2d(width, 1, 1))

    def forward(self, features: Tensor, first: int = 0) -> Tensor:
        """Return the gains of the frames from `first` on.

        Args:
            features: the encoder's features of consecutive frames, (B, T, width, h, w).
            first: how many frames at the start only give context.

        Returns:
            (B, T - first, 1, h, w) in 0..1; 0 trusts the frame, 1 the prediction.
        """
        size = features.shape[3], features.shape[4]
        tokens = features.flatten(3).transpose(2, 3)
        tokens = self.uncertainty_estimator(tokens)[:, first:]
        gains = self.kalman_gain_calculator(from_tokens(tokens.flatten(0, 1), size))
        return torch.sigmoid(gains).unflatten(0, (len(features), -1))


class EncoderFusion(nn.Module):
    """Controllable feature transformation (CFT, Zhou et al., NeurIPS 2022): scale and shift learned from encoder and generator."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encode_enc = ResBlock(2 * width, width)
        self.scale = self._head(width)
        self.shift = self._head(width)

    @staticmethod
    def _head(width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, encoded: Tensor, features: Tensor, strength: float) -> Tensor:
        """Return the generator's `features` (N, width, h, w) changed by the encoder's, `encoded`, as far as `strength` says."""
        both = self.encode_enc(torch.cat((encoded, features), dim=1))
        return features + strength * (features * self.scale(both) + self.shift(both))


class FrameFusion(nn.Module):
    """Cross-frame attention (CFA): the generator's features of a frame look at those of the frame before."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads, head_width)
        self.norm1 = nn.LayerNorm(width)
        self.ff = FeedForward(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, features: Tensor, before: Tensor) -> Tensor:
        """Return `features` (N, width, h, w) after they have looked at `before`, the same shape."""
        tokens = to_tokens(features)
        tokens = tokens + self.norm1(self.attn(tokens, to_tokens(before)))
        tokens = tokens + self.norm2(self.ff(tokens))
        return from_tokens(tokens, (features.shape[2], features.shape[3]))


def either(name: str, new: Value | None, old: Value | None, default: Value) -> Value:
    """Return the argument given under its new or its old name, or the default.

    Raises:
        ValueError: both names were given, with different values.
    """
    if new is not None and old is not None and new != old:
        msg = f"KEEP: expected {name} or its older name, got both: {new!r} and {old!r}"
        raise ValueError(msg)
    given = old if new is None else new
    return default if given is None else given


def resolutions(name: str, given: Sequence[str | int], widths: dict[int, int]) -> list[int]:
    """Return the sides of the argument `name` as numbers, checked to be resolutions of the generator, `widths`.

    Raises:
        ValueError: the generator has no such resolution.
    """
    sides = [int(side) for side in given]
    if not set(sides) <= set(widths):
        msg = f"KEEP: {name}: expected some of {sorted(widths)}, got {list(given)}"
        raise ValueError(msg)
    return sides
