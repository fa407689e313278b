"""DMSASFFNetLite: reference-guided face restoration, small enough for real time on a CPU.

The idea is that of Keyframes-GAN (Agnolucci et al., IEEE TMM 2023, after ASFFNet, Li et al., CVPR 2020): multi-scale
features of the compressed face, of a high-quality reference of the same person and of the landmarks; AdaIN brings the
reference features to the statistics of the compressed ones; a learned per-pixel mask blends the two; a block of
dilated convolutions widens the view; and spatial feature transforms (scale and shift) guide the way up again.

What makes it light: the work starts at a quarter of the resolution (pixel unshuffle), a small learned pyramid stands
where the original has VGG19, and there is no normalisation layer, so a frame's result never depends on its batch.

Convention: pictures are float RGB in [0, 1], (N, 3, H, W); landmark pictures are float in [0, 1], (N, 1, H, W);
H and W are multiples of 16. Channels-last memory is the fast one on CPU.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 16
UNSHUFFLE = 4
SLOPE = 0.2
ADAIN_EPS = 1e-5
DILATIONS = (4, 3, 2, 1)
LEVELS = 3


def adain(content: Tensor, style: Tensor, eps: float = ADAIN_EPS) -> Tensor:
    """Give `content` the per-channel mean and standard deviation of `style` (Huang and Belongie, ICCV 2017).

    Statistics are over the picture, per sample and channel, in float32 whatever the features' type; `eps` is added to
    the variances, so that flat features give finite values and gradients.

    Args:
        content: features (N, C, H, W).
        style: features (N, C, H', W').
        eps: added to both variances.

    Returns:
        (N, C, H, W) of the type of `content`.
    """
    content_mean, content_std = _statistics(content, eps)
    style_mean, style_std = _statistics(style, eps)
    scale = style_std / content_std
    shift = style_mean - content_mean * scale
    return content * scale.to(content.dtype) + shift.to(content.dtype)


def _statistics(features: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return float32 mean and standard deviation, each (N, C, 1, 1)."""
    variance, mean = torch.var_mean(features.float(), dim=(2, 3), keepdim=True, correction=0)
    return mean, (variance + eps).sqrt()


def _act(features: Tensor) -> Tensor:
    return F.leaky_relu(features, SLOPE)


def _conv(inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, gain: float = 1.0) -> nn.Conv2d:
    """Return a zero-padded convolution that keeps the size (divided by stride), initialised for leaky ReLU times `gain`."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation)
    nn.init.kaiming_normal_(conv.weight, a=SLOPE, nonlinearity="leaky_relu")
    with torch.no_grad():
        conv.weight.mul_(gain)
    nn.init.zeros_(_bias(conv))
    return conv


def _bias(conv: nn.Conv2d) -> Tensor:
    if conv.bias is None:
        msg = "every convolution of DMSASFFNetLite has a bias"
        raise RuntimeError(msg)
    return conv.bias


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(_bias(conv))
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


class Pyramid(nn.Module):
    """Features at 1/4, 1/8 and 1/16 of the resolution, with `widths` channels, from a picture of `inputs` channels.

    `refine`: a second convolution at every level.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], *, refine: bool) -> None:
        super().__init__()
        self.enter = _conv(inputs * UNSHUFFLE**2, widths[0])
        self.down = nn.ModuleList(_conv(before, after, stride=2) for before, after in pairwise(widths))
        self.refine = nn.ModuleList(_conv(width, width) for width in widths) if refine else None

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Map (N, inputs, H, W) to three tensors (N, widths[i], H / 2**(i + 2), W / 2**(i + 2))."""
        features = _act(self.enter(F.pixel_unshuffle(picture, UNSHUFFLE)))
        levels = []
        for level in range(LEVELS):
            if level:
                features = _act(self.down[level - 1](features))
            if self.refine is not None:
                features = _act(self.refine[level](features))
            levels.append(features)
        return levels


class AdaptiveFusion(nn.Module):
    """Adaptive spatial feature fusion: compressed + mask * (reference - compressed), the mask learned from all three.

    Where no reference is, pass the compressed features as reference: the result is then exactly the compressed features.
    """

    def __init__(self, width: int, landmark_width: int, hidden: int) -> None:
        super().__init__()
        self.gather = _conv(2 * width + landmark_width, hidden, 1)
        self.mask = _conv(hidden, width, gain=0.5)

    def forward(self, compressed: Tensor, reference: Tensor, landmark: Tensor) -> Tensor:
        """Return the blended features, of the shape of `compressed`."""
        mask = self.mask(_act(self.gather(torch.cat((compressed, reference, landmark), dim=1))))
        blended: Tensor = compressed + torch.sigmoid(mask) * (reference - compressed)
        return blended


class MultiDilation(nn.Module):
    """Four parallel dilated convolutions, joined and added: a wide view at the coarsest level."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_conv(width, width // len(DILATIONS), dilation=dilation) for dilation in DILATIONS)
        self.join = _conv(width, width, gain=0.1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        seen = torch.cat([_act(branch(features)) for branch in self.branches], dim=1)
        wide: Tensor = features + self.join(seen)
        return wide


class SFTUp(nn.Module):
    """Double the resolution and modulate by the finer fused features: up * (1 + scale) + shift."""

    def __init__(self, coarse: int, fine: int, guide_width: int) -> None:
        super().__init__()
        self.up = _conv(coarse, 4 * fine, 1)
        self.guide = _conv(guide_width, fine)
        self.modulation = _conv(fine, 2 * fine, 1, gain=0.5)

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """Map (N, coarse, H, W) and the guide (N, guide_width, 2H, 2W) to (N, fine, 2H, 2W)."""
        raised = F.pixel_shuffle(self.up(features), 2)
        scale, shift = self.modulation(_act(self.guide(guide))).chunk(2, dim=1)
        return _act(raised + raised * scale + shift)


class DMSASFFNetLite(nn.Module):
    """Restore a compressed face with the help of a key frame of the same person, where there is one.

    At its initialisation the network is the identity: the residual it adds is zero.

    Args:
        widths: channels at 1/4, 1/8 and 1/16 of the resolution; the last one a multiple of 4.
        landmark_widths: channels of the landmark features at the same levels.
        blocks: residual blocks at 1/4 of the resolution, before the output.
        landmark_channels: channels of the landmark picture.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (64, 96, 128),
        landmark_widths: tuple[int, int, int] = (32, 32, 64),
        blocks: int = 2,
        landmark_channels: int = 1,
    ) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.picture_pyramid = Pyramid(3, tuple(widths), refine=True)
        self.landmark_pyramid = Pyramid(landmark_channels, tuple(landmark_widths), refine=False)
        self.fusion = nn.ModuleList(
            AdaptiveFusion(width, landmark_width, max(32, width // 2))
            for width, landmark_width in zip(widths, landmark_widths, strict=True)
        )
        self.dilation = MultiDilation(coarse)
        self.up_middle = SFTUp(coarse, middle, middle + landmark_widths[1])
        self.middle = ResidualBlock(middle)
        self.up_fine = SFTUp(middle, fine, fine)
        self.body = nn.Sequential(*(ResidualBlock(fine) for _ in range(blocks)))
        self.tail = _zero(_conv(fine, 3 * UNSHUFFLE**2))

    def forward(self, compressed: Tensor, reference: Tensor | None, landmark: Tensor, valid: Tensor | None = None) -> Tensor:
        """Restore `compressed`.

        Args:
            compressed: (N, 3, H, W) in [0, 1], RGB; H and W multiples of 16.
            reference: the same shape, warped onto the pose of `compressed`; or None, which equals `valid` of zeros.
            landmark: (N, landmark_channels, H, W) in [0, 1].
            valid: (N,) or (N, 1, 1, 1) of 0 and 1 (any type): whether the sample's reference is to be used; None means all.
                A sample with 0 gives a result that does not depend on its reference at all.

        Returns:
            (N, 3, H, W), of the type of `compressed`, not clamped.

        Raises:
            ValueError: shapes that do not belong together, or a size that is no multiple of 16.
        """
        self._check(compressed, reference, landmark, valid)
        work = self.tail.weight.dtype
        current, guided = self._picture_features(compressed.to(work), None if reference is None else reference.to(work), valid)
        marks = self.landmark_pyramid(landmark.to(work))
        fine, middle, coarse = (fuse(c, r, mark) for fuse, c, r, mark in zip(self.fusion, current, guided, marks, strict=True))
        features = self.dilation(coarse)
        features = self.middle(self.up_middle(features, torch.cat((middle, marks[1]), dim=1)))
        features = self.body(self.up_fine(features, fine))
        return compressed + F.pixel_shuffle(self.tail(features), UNSHUFFLE).to(compressed.dtype)

    def _picture_features(self, compressed: Tensor, reference: Tensor | None, valid: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        """Return the levels of the compressed picture, and those of the reference or, where it is not valid, the same again."""
        if reference is None:
            current = self.picture_pyramid(compressed)
            return current, current
        count = len(compressed)
        levels = self.picture_pyramid(torch.cat((compressed, reference)))
        current = [level[:count] for level in levels]
        guided = [adain(level[count:], level[:count]) for level in levels]
        if valid is not None:
            use = valid.reshape(count, 1, 1, 1) > 0
            guided = [torch.where(use, ours, own) for ours, own in zip(guided, current, strict=True)]
        return current, guided

    def _check(self, compressed: Tensor, reference: Tensor | None, landmark: Tensor, valid: Tensor | None) -> None:
        count, channels, height, width = compressed.shape
        if channels != 3 or height % MULTIPLE or width % MULTIPLE:  # noqa: PLR2004
            msg = f"compressed: expected (N, 3, H, W) with H and W multiples of {MULTIPLE}, got {tuple(compressed.shape)}"
            raise ValueError(msg)
        if reference is not None and reference.shape != compressed.shape:
            msg = f"reference: expected the shape of compressed {tuple(compressed.shape)}, got {tuple(reference.shape)}"
            raise ValueError(msg)
        wanted = (count, self.landmark_pyramid.enter.in_channels // UNSHUFFLE**2, height, width)
        if tuple(landmark.shape) != wanted:
            msg = f"landmark: expected {wanted}, got {tuple(landmark.shape)}"
            raise ValueError(msg)
        if valid is not None and tuple(valid.shape) not in {(count,), (count, 1, 1, 1)}:
            msg = f"valid: expected ({count},) or ({count}, 1, 1, 1), got {tuple(valid.shape)}"
            raise ValueError(msg)
