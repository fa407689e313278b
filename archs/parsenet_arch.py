"""ParseNet: which part of a face a pixel belongs to (Chen et al., Progressive Semantic-Aware Style Transformation, CVPR 2021).

A residual encoder and decoder on aligned faces of 512 pixels, with 19 classes as in CelebAMask-HQ. Key names are those of the
widespread weights.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Scale = Literal["none", "down", "up"]

CLASSES = 19
SLOPE = 0.2
ENCODER = ((64, 128), (128, 256), (256, 256), (256, 256))
DECODER = ((256, 256), (256, 256), (256, 128), (128, 64))
DEPTH = 10
REDUCTION = 16


class Norm(nn.Module):
    """BatchNorm under the attribute `norm`, as published keys have it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, channels, h, w), normalised."""
        return self.norm(features)


class Conv(nn.Module):
    """Nearest doubling on request, reflection padding, a 3x3 convolution; with `norm`, BatchNorm instead of a bias."""

    def __init__(self, inputs: int, outputs: int, scale: Scale = "none", *, norm: bool = False) -> None:
        super().__init__()
        self.doubles = scale == "up"
        self.conv2d = nn.Conv2d(inputs, outputs, 3, stride=2 if scale == "down" else 1, bias=not norm)
        self.norm = Norm(outputs) if norm else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h', w')."""
        if self.doubles:
            features = F.interpolate(features, scale_factor=2.0, mode="nearest")
        return self.norm(self.conv2d(F.pad(features, (1, 1, 1, 1), mode="reflect")))


class Residual(nn.Module):
    """Two convolutions and a shortcut, which is a convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, scale: Scale = "none") -> None:
        super().__init__()
        changes = scale != "none" or inputs != outputs
        self.shortcut_func = Conv(inputs, outputs, scale) if changes else nn.Identity()
        self.conv1 = Conv(inputs, outputs, "up" if scale == "up" else "none", norm=True)
        self.conv2 = Conv(outputs, outputs, "down" if scale == "down" else "none", norm=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h', w')."""
        return self.shortcut_func(features) + self.conv2(F.leaky_relu(self.conv1(features), SLOPE))


class ParseNet(nn.Module):
    """Scores of 19 classes for every pixel of an aligned face.

    Classes: 0 background, 1 skin, 2 nose, 3 glasses, 4 left eye, 5 right eye, 6 left brow, 7 right brow, 8 left ear,
    9 right ear, 10 mouth, 11 upper lip, 12 lower lip, 13 hair, 14 hat, 15 earring, 16 necklace, 17 neck, 18 cloth.
    """

    def __init__(self) -> None:
        super().__init__()
        first = Conv(3, ENCODER[0][0])
        self.encoder = nn.Sequential(first, *(Residual(inputs, outputs, "down") for inputs, outputs in ENCODER))
        self.body = nn.Sequential(*(Residual(ENCODER[-1][1], ENCODER[-1][1]) for _ in range(DEPTH)))
        self.decoder = nn.Sequential(*(Residual(inputs, outputs, "up") for inputs, outputs in DECODER))
        self.out_img_conv = Conv(DECODER[-1][1], 3)
        self.out_mask_conv = Conv(DECODER[-1][1], CLASSES)

    def forward(self, faces: Tensor) -> Tensor:
        """Map aligned faces, RGB (N, 3, H, W) in [-1, 1], H and W multiples of 16 and at least 32, to scores (N, 19, H, W).

        Raises:
            ValueError: the size does not fit.
        """
        return self.out_mask_conv(self.features(faces))

    def both(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores and the picture (N, 3, H, W) that the network was also trained to give."""
        features = self.features(faces)
        return self.out_mask_conv(features), self.out_img_conv(features)

    def features(self, faces: Tensor) -> Tensor:
        """Map aligned faces to what both outputs are made from, (N, 64, H, W)."""
        if min(faces.shape[-2:]) < 2 * REDUCTION or any(side % REDUCTION for side in faces.shape[-2:]):
            msg = f"ParseNet: expected sides that are multiples of {REDUCTION}, at least {2 * REDUCTION}, got {tuple(faces.shape)}"
            raise ValueError(msg)
        encoded = self.encoder(faces)
        return self.decoder(encoded + self.body(encoded))
