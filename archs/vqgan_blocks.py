"""The blocks of the VQGAN (Esser et al., CVPR 2021), and the encoder and generator built of them, which KEEP shares.

Key names are those of the published checkpoints: encoder and generator are one list of `blocks` each. Everything is written to
stay in channels-last memory, which is also what makes pictures into token sequences without a copy.

Convention: pictures are float RGB in [-1, 1], (N, 3, H, W); features (N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.group_norm import GroupNorm

GROUPS = 32
EPS = 1e-6


def to_tokens(features: Tensor) -> Tensor:
    """Turn (N, C, H, W) into (N, H * W, C), in reading order; a view when the memory is channels-last."""
    return features.flatten(2).transpose(1, 2)


def from_tokens(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `to_tokens` for features of `size` (H, W); a view in channels-last memory."""
    return tokens.transpose(1, 2).unflatten(2, size)


def group_norm(width: int) -> GroupNorm:
    """Return the normalisation used everywhere: 32 groups.

    Raises:
        ValueError: `width` is no multiple of 32.
    """
    return GroupNorm(GROUPS, width, eps=EPS)


class ResBlock(nn.Module):
    """norm, SiLU, 3x3 convolution, twice, and a shortcut, projected by a 1x1 convolution where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = group_norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = group_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_out = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        change = self.conv1(self.norm1.activated(features))
        change = self.conv2(self.norm2.activated(change, inplace=True))
        return change.add_(features if self.conv_out is None else self.conv_out(features))


class AttnBlock(nn.Module):
    """One-head attention between all positions, after a norm, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = group_norm(width)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        normed = self.norm(features)
        query, key, value = (to_tokens(project(normed))[:, None] for project in (self.q, self.k, self.v))
        seen = F.scaled_dot_product_attention(query, key, value)[:, 0]
        return features + self.proj_out(from_tokens(seen, (features.shape[2], features.shape[3])))


class Downsample(nn.Module):
    """Halve the resolution by a strided convolution over a picture padded by one pixel on the right and below."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, width, H, W), H and W even, to (N, width, H / 2, W / 2)."""
        return self.conv(F.pad(features, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the resolution by repeating pixels, then convolve."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, width, H, W) to (N, width, 2H, 2W)."""
        return self.conv(F.interpolate(features, scale_factor=2.0, mode="nearest"))

    def folded(self) -> nn.ConvTranspose2d:
        """Return one strided transposed convolution that does the same with 4/9 of the multiplications.

        Repeating a pixel 2x2 and weighing its copies one by one is weighing it by the kernel's sums: a 4x4 kernel, every second
        row and column of which meets a pixel.
        """
        kernel = self.conv.weight.detach().double().flip(2, 3).transpose(0, 1)
        wide = torch.stack([F.pad(kernel, (left, 1 - left, top, 1 - top)) for left in (0, 1) for top in (0, 1)]).sum(0)
        width = self.conv.in_channels
        folded = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1).to(self.conv.weight.device, self.conv.weight.dtype)
        with torch.no_grad():
            folded.weight.copy_(wide)
            if folded.bias is not None and self.conv.bias is not None:
                folded.bias.copy_(self.conv.bias)
        return folded.to(memory_format=torch.channels_last).train(self.training).requires_grad_(requires_grad=False)


class _Stack(nn.Module):
    """Blocks run in order, with places known by the resolution of what comes out of them.

    Attributes:
        taps: {side in pixels: index of the block} where other parts of KEEP look in or act.
        widths: {side in pixels: channels} at these places.
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.taps: dict[int, int] = {}
        self.widths: dict[int, int] = {}

    def _level(self, inputs: int, outputs: int, count: int, *, attention: bool) -> list[int]:
        """Append `count` residual blocks, each with attention or without; return the residual blocks' indices."""
        places = []
        for width in [inputs] + [outputs] * (count - 1):
            places.append(len(self.blocks))
            self.blocks.append(ResBlock(width, outputs))
            if attention:
                self.blocks.append(AttnBlock(outputs))
        return places

    def _middle(self, width: int) -> None:
        self.blocks.extend((ResBlock(width, width), AttnBlock(width), ResBlock(width, width)))

    def _tap(self, side: int, place: int, width: int) -> None:
        self.taps[side], self.widths[side] = place, width


class Encoder(_Stack):
    """Picture to features of 1 / 2**(levels - 1) of its resolution. Taps: the last residual block of each resolution.

    Args:
        in_channels: channels of the picture.
        nf: channels after the first convolution.
        emb_dim: channels of the result.
        ch_mult: width of each resolution, in multiples of `nf`; the resolution halves from one to the next.
        res_blocks: residual blocks for each resolution.
        img_size: side of the picture in pixels; only decides at which levels there is attention, and the taps' names.
        attn_resolutions: sides in pixels at which attention follows every residual block.
    """

    def __init__(
        self,
        in_channels: int,
        nf: int,
        emb_dim: int,
        ch_mult: Sequence[int],
        res_blocks: int,
        img_size: int,
        attn_resolutions: Sequence[int],
    ) -> None:
        super().__init__()
        widths = [nf * factor for factor in ch_mult]
        side = img_size
        self.blocks.append(nn.Conv2d(in_channels, nf, 3, padding=1))
        for level, (inputs, outputs) in enumerate(pairwise([nf, *widths])):
            places = self._level(inputs, outputs, res_blocks, attention=side in attn_resolutions)
            self._tap(side, places[-1], outputs)
            if level != len(widths) - 1:
                self.blocks.append(Downsample(outputs))
                side //= 2
        self._middle(widths[-1])
        self.blocks.append(group_norm(widths[-1]))
        self.blocks.append(nn.Conv2d(widths[-1], emb_dim, 3, padding=1))

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, emb_dim, H', W')."""
        return self.tapped(picture, ())[0]

    def tapped(self, picture: Tensor, sides: Sequence[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Return what `forward` does, and the features at the taps called `sides`."""
        wanted = {self.taps[side]: side for side in sides}
        found: dict[int, Tensor] = {}
        features = picture.contiguous(memory_format=torch.channels_last)
        for place, block in enumerate(self.blocks):
            features = block(features)
            if place in wanted:
                found[wanted[place]] = features
        return features, found


class Generator(_Stack):
    """Code features to a picture, the mirror image of `Encoder`.

    Taps: after the first residual block of each resolution; at the lowest one, after the last.

    Args:
        nf: channels before the last convolution.
        emb_dim: channels of the code features.
        ch_mult: as for `Encoder`; run through backwards.
        res_blocks: residual blocks for each resolution.
        img_size: side of the picture in pixels.
        attn_resolutions: sides in pixels at which attention follows every residual block.
        out_channels: channels of the picture.
    """

    def __init__(
        self,
        nf: int,
        emb_dim: int,
        ch_mult: Sequence[int],
        res_blocks: int,
        img_size: int,
        attn_resolutions: Sequence[int],
        out_channels: int = 3,
    ) -> None:
        super().__init__()
        widths = [nf * factor for factor in reversed(ch_mult)]
        side = img_size // 2 ** (len(widths) - 1)
        self.blocks.append(nn.Conv2d(emb_dim, widths[0], 3, padding=1))
        self._middle(widths[0])
        for level, (inputs, outputs) in enumerate(pairwise([widths[0], *widths])):
            places = self._level(inputs, outputs, res_blocks, attention=side in attn_resolutions)
            self._tap(side, places[0] if level else places[-1], outputs)
            if level != len(widths) - 1:
                self.blocks.append(Upsample(outputs))
                side *= 2
        self.blocks.append(group_norm(widths[-1]))
        self.blocks.append(nn.Conv2d(widths[-1], out_channels, 3, padding=1))

    def forward(self, codes: Tensor) -> Tensor:
        """Map (N, emb_dim, h, w) to (N, out_channels, H, W), not clamped."""
        features = codes.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            features = block(features)
        return features

    def fold(self) -> None:
        """Replace, in place and for good, the upsampling blocks by their folded form. For inference only: key names change."""
        for place, block in enumerate(self.blocks):
            if isinstance(block, Upsample):
                self.blocks[place] = block.folded()
