"""BiSeNet (Yu et al., ECCV 2018) for faces: which part of a face a pixel belongs to, on ResNet-18.

As in the widespread face-parsing weights, the spatial path is the ResNet's feature map at 1/8.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.layouts import ResNetStages

CLASSES = 19


class ConvNormReLU(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h, w)."""
        return F.relu(self.bn(self.conv(features)))


class Refinement(nn.Module):
    """The attention refinement module: channels weighted by what the whole picture shows."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNormReLU(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h, w)."""
        features = self.conv(features)
        return features * self.bn_atten(self.conv_atten(F.adaptive_avg_pool2d(features, 1))).sigmoid()


class ContextPath(nn.Module):
    """The ResNet with refined stages, the coarse added to the finer."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNetStages(18)
        self.arm16 = Refinement(256, 128)
        self.arm32 = Refinement(512, 128)
        self.conv_head32 = ConvNormReLU(128, 128)
        self.conv_head16 = ConvNormReLU(128, 128)
        self.conv_avg = ConvNormReLU(512, 128, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (N, 3, H, W) to the ResNet's features at 1/8, and to context at 1/8 and at 1/16, 128 channels each."""
        eighth, sixteenth, coarse = self.resnet(pictures)
        context = self.arm32(coarse) + self.conv_avg(F.adaptive_avg_pool2d(coarse, 1))
        middle = self.conv_head32(F.interpolate(context, size=sixteenth.shape[-2:], mode="nearest"))
        fine = F.interpolate(self.arm16(sixteenth) + middle, size=eighth.shape[-2:], mode="nearest")
        return eighth, self.conv_head16(fine), middle


class Fusion(nn.Module):
    """The feature fusion module: two paths joined, channels weighted by what the whole picture shows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convblk = ConvNormReLU(channels, channels, 1)
        self.conv1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Map two (N, channels / 2, h, w) to (N, channels, h, w)."""
        features = self.convblk(torch.cat((spatial, context), dim=1))
        weight = self.conv2(F.relu(self.conv1(F.adaptive_avg_pool2d(features, 1)))).sigmoid()
        return features + features * weight


class Output(nn.Module):
    """From features to scores."""

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvNormReLU(inputs, width)
        self.conv_out = nn.Conv2d(width, classes, 1, bias=False)

    def forward(self, features: Tensor, size: torch.Size) -> Tensor:
        """Map (N, inputs, h, w) to scores (N, classes, *size)."""
        return F.interpolate(self.conv_out(self.conv(features)), size=size, mode="bilinear", align_corners=True)


class BiSeNet(nn.Module):
    """Scores of 19 classes for every pixel of a face.

    Classes: 0 background, 1 skin, 2 left brow, 3 right brow, 4 left eye, 5 right eye, 6 glasses, 7 left ear, 8 right ear,
    9 earring, 10 nose, 11 mouth, 12 upper lip, 13 lower lip, 14 neck, 15 necklace, 16 cloth, 17 hair, 18 hat.

    Args:
        num_class: number of classes.
    """

    def __init__(self, num_class: int = CLASSES) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = Fusion(256)
        self.conv_out = Output(256, 256, num_class)
        # These two score the features of 1/8 and 1/16, for training only; published weights have them.
        self.conv_out16 = Output(128, 64, num_class)
        self.conv_out32 = Output(128, 64, num_class)

    def forward(self, faces: Tensor) -> Tensor:
        """Map faces, RGB (N, 3, H, W) normalised as the weights ask, to scores (N, 19, H, W)."""
        eighth, fine, _ = self.cp(faces)
        return self.conv_out(self.ffm(eighth, fine), faces.shape[-2:])
