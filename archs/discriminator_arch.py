"""Discriminators of Keyframes-GAN (Agnolucci et al., IEEE TMM 2023), multi-scale patches and the earlier VGG style; one of local contrast.

Convention: pictures are float RGB in [0, 1], (N, 3, H, W). Scores are raw logits, unbounded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.spectral import SpectralConv2d

SLOPE = 0.2
VGG_STYLE_SIZE = 256
VGG_STYLE_HALVINGS = 6
CONTRAST_WINDOW = 7
CONTRAST_SIGMA = CONTRAST_WINDOW / 6
STEADY = 1e-3
"""Least variance, in squares of levels, under a root, whose slope at zero has no end."""
GREY = (0.299, 0.587, 0.114)


class PatchDiscriminator(nn.Module):
    """Strided spectral convolutions with BatchNorm, then one score for every patch (Isola et al., CVPR 2017)."""

    def __init__(self, input_ch: int, base_ch: int, num_layers: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = input_ch
        for level in range(num_layers + 1):
            outputs = base_ch * 2**level
            stride = 2 if level else 1
            conv = SpectralConv2d(width, outputs, 3, stride=stride, padding=1, padding_mode="circular")
            layers += [conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE, inplace=True)]
            width = outputs
        self.model = nn.Sequential(*layers)
        self.score_out = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, input_ch, H, W) to scores (N, 1, H / 2**num_layers, W / 2**num_layers)."""
        scores: Tensor = self.score_out(self.model(picture))
        return scores


class MultiScaleDiscriminator(nn.Module):
    """The same patch discriminator, with weights of its own, on the picture and on its halvings.

    Args:
        input_ch: channels of the picture.
        base_ch: channels after the first convolution; doubled by every further one.
        num_layers: halvings inside each discriminator.
        num_discriminators: scales.
    """

    def __init__(self, input_ch: int = 3, base_ch: int = 64, num_layers: int = 3, num_discriminators: int = 4) -> None:
        super().__init__()
        self.D_pool = nn.ModuleList(PatchDiscriminator(input_ch, base_ch, num_layers) for _ in range(num_discriminators))

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Return one score map (N, 1, H', W') per scale, the full resolution first."""
        scores = []
        for index, discriminator in enumerate(self.D_pool):
            if index:
                picture = F.avg_pool2d(picture, 3, 2, 1, count_include_pad=False)
            scores.append(discriminator(picture))
        return scores


class ContrastDiscriminator(nn.Module):
    """Scores patches of a picture's local contrast: what is wrong with the grain of skin counts as much as what is wrong with an edge.

    Spectral convolutions without normalisation layers, which would hide how strong the grain is.

    Args:
        base_ch: channels after the first convolution; doubled by every further one.
        num_layers: halvings.
    """

    def __init__(self, base_ch: int = 32, num_layers: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 1
        for level in range(num_layers + 1):
            layers += [SpectralConv2d(width, base_ch * 2**level, 3, stride=2 if level else 1, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
            width = base_ch * 2**level
        self.model = nn.Sequential(*layers)
        self.score_out = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1], H and W at least 7, to scores (N, 1, H', W')."""
        with torch.autocast(picture.device.type, enabled=False):
            contrast = local_contrast(picture.float())
        scores: Tensor = self.score_out(self.model(contrast))
        return scores


def local_contrast(picture: Tensor) -> Tensor:
    """Return how far each grey value is from those around it, in their standard deviations (plus one level of 255).

    The mean-subtracted contrast-normalised values of BRISQUE (Mittal et al., IEEE TIP 2012), after Ruderman (Network, 1994): windows of
    7x7 pixels, weighted by a Gaussian. Of grey values of BT.601, without a border.

    Args:
        picture: float32 (N, 3, H, W) in [0, 1], H and W at least 7.

    Returns:
        (N, 1, H - 6, W - 6), zero where a picture is even.
    """
    grey = 255 * (picture * picture.new_tensor(GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    places = torch.arange(CONTRAST_WINDOW, device=picture.device, dtype=picture.dtype) - CONTRAST_WINDOW // 2
    row = torch.softmax(-(places**2) / (2 * CONTRAST_SIGMA**2), dim=0).view(1, 1, 1, -1)
    rim = CONTRAST_WINDOW // 2
    centre = grey[..., rim:-rim, rim:-rim]
    mean = F.conv2d(F.conv2d(grey, row), row.transpose(2, 3))
    level = grey.mean(dim=(2, 3), keepdim=True)
    variance = F.conv2d(F.conv2d((grey - level) ** 2, row), row.transpose(2, 3)) - (mean - level) ** 2
    return (centre - mean) / (variance.clamp(min=STEADY).sqrt() + 1)


class VGGStyleDiscriminator256(nn.Module):
    """One score for a 256x256 picture: six halvings by spectral convolutions with BatchNorm, then two linear layers.

    Args:
        num_in_ch: channels of the picture.
        num_feat: channels after the first convolution; doubled three times on the way.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64) -> None:
        super().__init__()
        width = num_in_ch
        for level in range(VGG_STYLE_HALVINGS):
            outputs = num_feat * min(2**level, 8)
            setattr(self, f"conv{level}_0", SpectralConv2d(width, outputs, 3, padding=1, bias=level == 0))
            if level:
                setattr(self, f"bn{level}_0", nn.BatchNorm2d(outputs))
            setattr(self, f"conv{level}_1", SpectralConv2d(outputs, outputs, 4, stride=2, padding=1, bias=False))
            setattr(self, f"bn{level}_1", nn.BatchNorm2d(outputs))
            width = outputs
        self.linear1 = nn.Linear(width * 4 * 4, 100)
        self.linear2 = nn.Linear(100, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, num_in_ch, 256, 256) to scores (N, 1).

        Raises:
            ValueError: a picture of another size.
        """
        if picture.shape[2:] != (VGG_STYLE_SIZE, VGG_STYLE_SIZE):
            msg = f"picture: expected (N, C, {VGG_STYLE_SIZE}, {VGG_STYLE_SIZE}), got {tuple(picture.shape)}"
            raise ValueError(msg)
        features = picture
        for level in range(VGG_STYLE_HALVINGS):
            for half in (0, 1):
                features = self.get_submodule(f"conv{level}_{half}")(features)
                if level or half:
                    features = self.get_submodule(f"bn{level}_{half}")(features)
                features = F.leaky_relu(features, SLOPE)
        scores: Tensor = self.linear2(F.leaky_relu(self.linear1(features.flatten(1)), SLOPE))
        return scores
