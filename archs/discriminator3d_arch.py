"""A discriminator of short clips: strided convolutions over time and space (Chang et al., ICCV 2019, Temporal PatchGAN).

Convention: clips are float RGB, (N, T, 3, H, W). Scores are raw logits, unbounded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.spectral import EPS

SLOPE = 0.2
KERNEL = (3, 5, 5)
STRIDE = (1, 2, 2)
FACTORS = (1, 2, 4, 4, 4, 4)


class SpectralConv3d(nn.Module):
    """A 3-D convolution without bias whose weight is divided by an estimate of its largest singular value, as `SpectralConv2d`."""

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, inputs: int, outputs: int, padding: tuple[int, int, int]) -> None:
        super().__init__()
        like = nn.Conv3d(inputs, outputs, KERNEL, bias=False)
        self.padding = padding
        self.weight_orig = nn.Parameter(like.weight.detach().clone())
        self.register_buffer("weight_u", F.normalize(torch.randn(outputs), dim=0, eps=EPS))
        self.register_buffer("weight_v", F.normalize(torch.randn(like.weight[0].numel()), dim=0, eps=EPS))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, T, H, W) to (N, outputs, T, H / 2, W / 2); in training mode u and v take one power step first."""
        matrix = self.weight_orig.flatten(1)
        if self.training:
            with torch.no_grad():
                self.weight_v.copy_(F.normalize(matrix.t() @ self.weight_u, dim=0, eps=EPS))
                self.weight_u.copy_(F.normalize(matrix @ self.weight_v, dim=0, eps=EPS))
        sigma = torch.dot(self.weight_u.clone(), torch.mv(matrix, self.weight_v.clone()))
        return F.conv3d(features, self.weight_orig / sigma, None, STRIDE, self.padding)


class Discriminator3D(nn.Module):
    """Scores for every frame and patch of a clip: six halvings of the resolution, time kept.

    Args:
        in_channels: channels of a frame.
        nf: channels after the first convolution.
        use_spectral_norm: normalise all weights but the last convolution's.
    """

    def __init__(self, in_channels: int = 3, nf: int = 32, use_spectral_norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_channels
        for level, factor in enumerate(FACTORS):
            padding = (1, 2, 2) if level else (1, 1, 1)
            if level == len(FACTORS) - 1:
                layers.append(nn.Conv3d(width, nf * factor, KERNEL, STRIDE, padding))
                break
            plain = nn.Conv3d(width, nf * factor, KERNEL, STRIDE, padding, bias=False)
            layers += [SpectralConv3d(width, nf * factor, padding) if use_spectral_norm else plain, nn.LeakyReLU(SLOPE, inplace=True)]
            width = nf * factor
        self.layers = nn.Sequential(*layers)

    def forward(self, clip: Tensor) -> Tensor:
        """Map (N, T, in_channels, H, W) to scores (N, T, 4 * nf, H / 64, W / 64)."""
        return self.layers(clip.transpose(1, 2)).transpose(1, 2)
