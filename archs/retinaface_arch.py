"""RetinaFace (Deng et al., CVPR 2020): faces with five points from one look at a picture, on ResNet-50 or MobileNet x 0.25.

Key names, with their mixed case, are those of the widespread PyTorch weights.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.layouts import ResNetStages

Backbone = Literal["resnet50", "mobile0.25"]

ANCHORS = 2
"""Boxes per position."""
SLOPE = 0.1
"""Of the leaky ReLU, in the small network only."""
STRIDES = (8, 16, 32)


def _activation(slope: float) -> nn.Module:
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)


def _conv(inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, slope: float | None = 0.0) -> nn.Sequential:
    """Return convolution, BatchNorm and, unless `slope` is None, a (leaky) ReLU."""
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([] if slope is None else [_activation(slope)]))


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a depthwise and a pointwise convolution, each with BatchNorm and leaky ReLU."""
    deep = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
    point = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(deep, nn.BatchNorm2d(inputs), _activation(SLOPE), point, nn.BatchNorm2d(outputs), _activation(SLOPE))


class MobileNetQuarter(nn.Module):
    """MobileNet v1 (Howard et al., 2017) of a quarter of the width: 64, 128 and 256 channels at 1/8, 1/16 and 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            _conv(3, 8, stride=2, slope=SLOPE),
            _separable(8, 16),
            _separable(16, 32, 2),
            _separable(32, 32),
            _separable(32, 64, 2),
            _separable(64, 64),
        )
        self.stage2 = nn.Sequential(_separable(64, 128, 2), *(_separable(128, 128) for _ in range(5)))
        self.stage3 = nn.Sequential(_separable(128, 256, 2), _separable(256, 256))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (N, 3, H, W) to features at 1/8, 1/16 and 1/32."""
        eighth = self.stage1(pictures)
        sixteenth = self.stage2(eighth)
        return eighth, sixteenth, self.stage3(sixteenth)


class Pyramid(nn.Module):
    """A feature pyramid (Lin et al., CVPR 2017): coarse features added to finer ones, all of one width."""

    def __init__(self, inputs: tuple[int, int, int], width: int, slope: float) -> None:
        super().__init__()
        self.output1 = _conv(inputs[0], width, 1, slope=slope)
        self.output2 = _conv(inputs[1], width, 1, slope=slope)
        self.output3 = _conv(inputs[2], width, 1, slope=slope)
        self.merge1 = _conv(width, width, slope=slope)
        self.merge2 = _conv(width, width, slope=slope)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Map the three stages, finest first, to three of the common width."""
        fine, middle, coarse = self.output1(features[0]), self.output2(features[1]), self.output3(features[2])
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[-2:], mode="nearest"))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[-2:], mode="nearest"))
        return fine, middle, coarse


class Context(nn.Module):
    """The context module of SSH (Najibi et al., ICCV 2017): windows of 3, 5 and 7 side by side."""

    def __init__(self, width: int, slope: float) -> None:
        super().__init__()
        self.conv3X3 = _conv(width, width // 2, slope=None)
        self.conv5X5_1 = _conv(width, width // 4, slope=slope)
        self.conv5X5_2 = _conv(width // 4, width // 4, slope=None)
        self.conv7X7_2 = _conv(width // 4, width // 4, slope=slope)
        self.conv7x7_3 = _conv(width // 4, width // 4, slope=None)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, width, h, w) to the same shape."""
        five = self.conv5X5_1(features)
        seven = self.conv7x7_3(self.conv7X7_2(five))
        return F.relu(torch.cat((self.conv3X3(features), self.conv5X5_2(five), seven), dim=1))


class Head(nn.Module):
    """A 1x1 convolution whose channels become rows: (N, width, h, w) to (N, h * w * anchors, values)."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(width, ANCHORS * values, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return one row per anchor, positions in reading order."""
        return self.conv1x1(features).permute(0, 2, 3, 1).reshape(len(features), -1, self.values)


class RetinaFace(nn.Module):
    """Scores, boxes and points for every anchor; rows belong to the anchors at strides 8, 16 and 32, in this order.

    Args:
        backbone: "resnet50" (27 M parameters) or "mobile0.25" (0.4 M).

    Raises:
        ValueError: there is no such backbone.
    """

    def __init__(self, backbone: Backbone = "resnet50") -> None:
        super().__init__()
        if backbone not in ("resnet50", "mobile0.25"):
            msg = f"RetinaFace: expected a backbone of resnet50, mobile0.25, got {backbone!r}"
            raise ValueError(msg)
        large = backbone == "resnet50"
        width, slope = (256, 0.0) if large else (64, SLOPE)
        self.body: nn.Module = ResNetStages(50) if large else MobileNetQuarter()
        self.fpn = Pyramid((512, 1024, 2048) if large else (64, 128, 256), width, slope)
        self.ssh1 = Context(width, slope)
        self.ssh2 = Context(width, slope)
        self.ssh3 = Context(width, slope)
        self.ClassHead = nn.ModuleList(Head(width, 2) for _ in STRIDES)
        self.BboxHead = nn.ModuleList(Head(width, 4) for _ in STRIDES)
        self.LandmarkHead = nn.ModuleList(Head(width, 10) for _ in STRIDES)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Look at pictures.

        Args:
            pictures: (N, 3, H, W), BGR, 0..255 less (104, 117, 123).

        Returns:
            Offsets of the boxes (N, R, 4), probabilities (N, R, 2) of background and face, offsets of the points (N, R, 10),
            all relative to the R anchors.
        """
        levels = self.fpn(self.body(pictures))
        features = [context(level) for context, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]
        boxes, scores, points = (
            torch.cat([head(level) for head, level in zip(heads, features, strict=True)], dim=1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, scores.softmax(dim=-1), points
