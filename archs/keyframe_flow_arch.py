"""KeyframeFlowNet: a compressed face, and what optical flow has moved onto it from a key frame and from the frames before and after.

The idea of Keyframes-GAN (Agnolucci et al., IEEE TMM 2023), with another way to bring the key frame over. What a key frame knows better
than the stream is its coding residual: the good picture minus the same picture as the stream showed it. Moved by the flow between the two
*compressed* pictures it lies where it belongs, and a gate, learned per pixel, says how much of it to add. The same goes for what was
added to the frame before, which is moved on in the same way, so that what is known stays known from frame to frame. Features are
moved on likewise (as in BasicVSR, Chan et al., CVPR 2021), and the next few compressed frames are shown, one of which a codec usually
keeps better than those between.

In between is a small U-Net (Ronneberger et al., MICCAI 2015) without normalisation layers, so that a frame's result never depends on its
batch; it begins at half the resolution (pixel unshuffle, Shi et al., CVPR 2016).

Convention: pictures are float RGB in [0, 1], (N, 3, H, W); H and W are multiples of 8. Channels-last memory is the fast one on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.flow import warp

MULTIPLE = 8
UNSHUFFLE = 2
SLOPE = 0.1
KEY_CHANNELS = PAST_CHANNELS = 7
"""Residual (3), picture minus the compressed one (3), how far to trust it (1)."""
AHEAD = 5
"""So many frames after the one to restore are shown."""
NEXT_CHANNELS = 4 * AHEAD
"""For each of them, the nearest first: picture minus the compressed one (3), whether there is one (1)."""
PARTS = (3, KEY_CHANNELS, PAST_CHANNELS, NEXT_CHANNELS)
"""What the first convolution takes: the compressed picture less 1/2, key frame, frame before, frames after."""
CHANNEL_STEP = 8
"""It computes faster with its channels filled up to a multiple of this."""
DIFFERENCE_GAIN = 4.0
GAINS = (1.0,) * 3 + 2 * ((DIFFERENCE_GAIN,) * 6 + (1.0,)) + AHEAD * ((DIFFERENCE_GAIN,) * 3 + (1.0,))
"""Differences are small beside pictures; the first convolution sees them this much larger."""
RESIDUAL_GAIN = 0.1
"""The network's own correction in units of its last convolution."""
GATES = 2
DETAIL_PREFIX = "detail"
"""Weights of a VividKeyframeFlowNet that a KeyframeFlowNet does not have begin with this."""


class Known(NamedTuple):
    """What the frame before tells, on the grid of the frame that is restored; all zeros when there was none.

    Attributes:
        past: (N, 7, H, W): what was added to the frame before; the restored frame before minus the compressed one; ones.
        features: (N, C, H / 2, W / 2): those made of the frame before, C the first of the network's widths.
    """

    past: Tensor
    features: Tensor


class Made(NamedTuple):
    """What is made of a frame.

    Attributes:
        faithful: float32 (N, 3, H, W), not clamped; this and `features` go on to the next frame.
        shown: the picture to be shown, likewise; the same but for a VividKeyframeFlowNet.
        features: (N, C, H / 2, W / 2), C the first of the network's widths.
    """

    faithful: Tensor
    shown: Tensor
    features: Tensor


def _act(features: Tensor) -> Tensor:
    return F.leaky_relu(features, SLOPE)


def _conv(inputs: int, outputs: int, *, gain: float = 1.0) -> nn.Conv2d:
    """Return a zero-padded 3x3 convolution, initialised for leaky ReLU times `gain`, its bias zero."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, a=SLOPE, nonlinearity="leaky_relu")
    with torch.no_grad():
        conv.weight.mul_(gain)
        conv.bias.zero_()  # type: ignore[union-attr]
    return conv


class ResidualBlock(nn.Module):
    """x + conv(act(conv(x))); (N, C, H, W) in and out. The second convolution starts small."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(channels, channels, gain=0.1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        refined: Tensor = features + self.conv2(_act(self.conv1(features)))
        return refined


class KeyframeFlowNet(nn.Module):
    """Restore a compressed face with what other frames know of it.

    At its initialisation the network adds half of each residual and nothing of its own.

    Args:
        widths: channels at 1/2, 1/4 and 1/8 of the resolution.
        blocks: residual blocks on the way down, at the same levels; on the way up there is one at each but the last.
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96), blocks: tuple[int, int, int] = (0, 2, 4)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.enter = _conv(len(GAINS) * UNSHUFFLE**2, fine)
        self.recall = nn.Conv2d(fine, fine, 3, padding=1, bias=False)
        self.fine_down, self.middle_down, self.coarse = (
            nn.Sequential(*(ResidualBlock(width) for _ in range(count))) for width, count in zip(widths, blocks, strict=True)
        )
        self.to_middle = nn.Conv2d(fine, middle, 2, 2)
        self.to_coarse = nn.Conv2d(middle, coarse, 2, 2)
        self.from_coarse = nn.Conv2d(coarse, 4 * middle, 1)
        self.middle_up = ResidualBlock(middle)
        self.from_middle = nn.Conv2d(middle, 4 * fine, 1)
        self.fine_up = ResidualBlock(fine)
        self.tail = nn.Conv2d(fine, (3 + GATES) * UNSHUFFLE**2, 3, padding=1)
        nn.init.zeros_(self.recall.weight)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, compressed: Tensor, key: Tensor | None, known: Known | None, following: Tensor) -> Made:
        """Restore `compressed`.

        Everything is moved onto `compressed` already, and zero where there is nothing to be had.

        Args:
            compressed: (N, 3, H, W) in [0, 1], RGB; H and W multiples of 8.
            key: (N, 7, H, W): the key frame's coding residual in [-1, 1], zero when not known; the key frame minus `compressed`; trust in
                the flow in [0, 1]. None: as zeros, but quicker.
            known: what the frame before tells, see `carried`; None for a first frame.
            following: (N, 4 AHEAD, H, W): for each frame after, the compressed picture minus `compressed`; 1, or 0 without one.

        Raises:
            ValueError: shapes that do not belong together, or a size that is no multiple of 8.
        """
        past, features = self._nothing(compressed) if known is None else known
        self._check(compressed, key, past, features, following)
        seen = self._seen((compressed - 0.5, key, past, following), features)
        picture = self._restored(seen, compressed, key, past)
        return Made(picture, picture, seen)

    def _nothing(self, compressed: Tensor) -> Known:
        count, _, height, width = compressed.shape
        past = compressed.new_zeros(count, PAST_CHANNELS, height, width)
        return Known(past, compressed.new_zeros(count, self.recall.in_channels, height // UNSHUFFLE, width // UNSHUFFLE))

    def _seen(self, given: Sequence[Tensor | None], features: Tensor) -> Tensor:
        """Return features at half the resolution, (N, C, H / 2, W / 2)."""
        recalled = self.recall(features.to(self.recall.weight.dtype))
        fine = self.fine_down(_act(self._entered(given, recalled.dtype) + recalled))
        middle = self.middle_down(_act(self.to_middle(fine)))
        coarse = self.coarse(_act(self.to_coarse(middle)))
        middle = self.middle_up(_act(middle + F.pixel_shuffle(self.from_coarse(coarse), 2)))
        made: Tensor = self.fine_up(_act(fine + F.pixel_shuffle(self.from_middle(middle), 2)))
        return made

    def _entered(self, given: Sequence[Tensor | None], dtype: torch.dtype) -> Tensor:
        """Return `enter` of what is given, its differences enlarged and its pixels unshuffled, in one convolution.

        Args:
            given: pictures of `PARTS` channels at full resolution; None counts as zeros, and costs nothing.
            dtype: in which to compute.
        """
        gains = self.enter.weight.new_tensor(GAINS).view(-1, 1, 1, 1, 1)
        taps = (self.enter.weight.unflatten(1, (len(GAINS), UNSHUFFLE, UNSHUFFLE)) * gains).split(PARTS, dim=1)
        there = [(picture, part) for picture, part in zip(given, taps, strict=True) if picture is not None]
        shown, kernel = [picture.to(dtype) for picture, _ in there], torch.cat([part for _, part in there], dim=1)
        outputs, inputs, *_, side = kernel.shape
        spare = -inputs % CHANNEL_STEP
        count, _, height, width = shown[0].shape
        filled = _joined([*shown, shown[0].new_zeros(count, spare, height, width)])
        kernel = F.pad(kernel.permute(0, 1, 4, 2, 5, 3).reshape(outputs, inputs, side * UNSHUFFLE, -1), (0, 0, 0, 0, 0, spare))
        return F.conv2d(filled, kernel.to(dtype), self.enter.bias, UNSHUFFLE, UNSHUFFLE)

    def _restored(self, seen: Tensor, compressed: Tensor, key: Tensor | None, past: Tensor) -> Tensor:
        own, key_gate, past_gate = F.pixel_shuffle(self.tail(seen), UNSHUFFLE).float().split((3, 1, 1), dim=1)
        picture = compressed + torch.sigmoid(past_gate) * past[:, :3] + RESIDUAL_GAIN * own
        return picture if key is None else picture + torch.sigmoid(key_gate) * key[:, :3]

    def _check(self, compressed: Tensor, key: Tensor | None, past: Tensor, features: Tensor, following: Tensor) -> None:
        count, channels, height, width = compressed.shape
        if channels != 3 or height % MULTIPLE or width % MULTIPLE:  # noqa: PLR2004
            msg = f"compressed: expected (N, 3, H, W) with H and W multiples of {MULTIPLE}, got {tuple(compressed.shape)}"
            raise ValueError(msg)
        half = height // UNSHUFFLE, width // UNSHUFFLE
        for name, given, wanted in (
            ("key", key, (count, KEY_CHANNELS, height, width)),
            ("past", past, (count, PAST_CHANNELS, height, width)),
            ("features", features, (count, self.recall.in_channels, *half)),
            ("following", following, (count, NEXT_CHANNELS, height, width)),
        ):
            if given is not None and tuple(given.shape) != wanted:
                msg = f"{name}: expected {wanted}, got {tuple(given.shape)}"
                raise ValueError(msg)


class VividKeyframeFlowNet(KeyframeFlowNet):
    """A KeyframeFlowNet that makes a second, crisper picture from the same features.

    What it adds is grey and fine: no colour, and nothing that a small blur would leave, so that a face's forms and shades stay those of
    the faithful picture. Only that one goes on to later frames, so that invented detail never feeds on itself. At its initialisation both
    pictures are the same.

    Args:
        widths: as for `KeyframeFlowNet`.
        blocks: likewise.
        detail_blocks: residual blocks of the second picture.
        detail_share: so much of its details is shown, from 0 (the faithful picture) to 1.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (32, 64, 96),
        blocks: tuple[int, int, int] = (0, 2, 4),
        detail_blocks: int = 2,
        detail_share: float = 1.0,
    ) -> None:
        super().__init__(widths, blocks)
        self.detail_share = detail_share
        self.detail = nn.Sequential(*(ResidualBlock(widths[0]) for _ in range(detail_blocks)))
        self.detail_tail = nn.Conv2d(widths[0], UNSHUFFLE**2, 3, padding=1)
        nn.init.zeros_(self.detail_tail.weight)
        nn.init.zeros_(self.detail_tail.bias)  # type: ignore[arg-type]

    def forward(self, compressed: Tensor, key: Tensor | None, known: Known | None, following: Tensor) -> Made:
        """Restore `compressed`, given as to `KeyframeFlowNet`; the vivid picture is the one to be shown."""
        faithful, _, seen = super().forward(compressed, key, known, following)
        detail = F.pixel_shuffle(self.detail_tail(self.detail(seen)), UNSHUFFLE).float()
        return Made(faithful, faithful + self.detail_share * RESIDUAL_GAIN * (detail - _blurred(detail)), seen)


def carried(made: Made, before: Tensor, compressed: Tensor, flow: Tensor) -> Known:
    """Return what the frame before tells about `compressed`.

    Args:
        made: of the frame before.
        before: that frame as the stream showed it, (N, 3, H, W).
        compressed: the frame that is restored next, (N, 3, H, W).
        flow: (N, 2, H, W), from `compressed` to `before`, pixels to the right and down.
    """
    moved = warp(_joined((made.faithful - before, made.faithful)), flow, outside="border")
    past = _joined((moved[:, :3], moved[:, 3:] - compressed, torch.ones_like(moved[:, :1])))
    return Known(past, warp(made.features.float(), _halved(flow), outside="border"))


def _halved(flow: Tensor) -> Tensor:
    """Return a flow (N, 2, H, W) at half the resolution: the mean of 2x2 vectors, in pixels of that."""
    upper, lower = flow[:, :, ::2], flow[:, :, 1::2]
    return (upper[..., ::2] + upper[..., 1::2] + lower[..., ::2] + lower[..., 1::2]) / (4 * UNSHUFFLE)


def _blurred(picture: Tensor) -> Tensor:
    """Return a picture (N, 1, H, W) after a binomial filter of 3x3 taps, about a Gaussian of 0.7 pixels; the border is repeated."""
    padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    across = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return (across[:, :, :-2] + 2 * across[:, :, 1:-1] + across[:, :, 2:]) / 16


def _joined(pictures: Sequence[Tensor]) -> Tensor:
    """Return `torch.cat(pictures, dim=1)` in channels-last memory; of pictures that are there already many times as fast."""
    return torch.cat([picture.permute(0, 2, 3, 1) for picture in pictures], dim=3).permute(0, 3, 1, 2)
