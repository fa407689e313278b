"""DISTS: similarity of structure and texture in the features of VGG16.

Source: Ding, Ma, Wang and Simoncelli, "Image quality assessment: unifying structure and texture similarity", IEEE TPAMI 44(5), 2022
(arXiv 2004.07728). Six stages are compared: the picture itself, and the outputs of VGG16's five blocks, whose max pooling is replaced by
L2 pooling with a Hanning window, which does not alias. Per channel, the global means (texture) and the correlation (structure) of both
pictures' features give two similarities in the form of SSIM's; the distance is 1 minus their sum, weighted by learned weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.lpips_arch import VGG
from archs.vgg_arch import IMAGENET_MEAN, IMAGENET_STD

CHANNELS = (3, *(layer[-1][2] for layer in VGG))
STABILITY = 1e-6
ROOT_FLOOR = 1e-12
HANNING = (0.25, 0.5, 0.25)
MINIMUM_PX = 32


class DISTS(nn.Module):
    """The network: VGG16's convolutions (`features.N`, torchvision's keys), and the weights `alpha` and `beta` (1, 1475, 1, 1)."""

    mean: Tensor
    std: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        convolutions = {str(index): nn.Conv2d(inputs, outputs, 3, padding=1) for layer in VGG for index, inputs, outputs, *_ in layer}
        self.features = nn.ModuleDict(convolutions)
        self.alpha = nn.Parameter(torch.ones(1, sum(CHANNELS), 1, 1))
        self.beta = nn.Parameter(torch.ones(1, sum(CHANNELS), 1, 1))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("window", torch.outer(torch.tensor(HANNING), torch.tensor(HANNING))[None, None], persistent=False)
        self.requires_grad_(requires_grad=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distances (N,), 0 for equal pictures, of pictures (N, 3, H, W), RGB in [0, 1], H and W at least 32.

        The published network was tuned on pictures whose shorter side is 256 px; nothing is resized here.
        """
        stages = self.stages(torch.cat([first, second]))
        total = self.alpha.sum() + self.beta.sum()
        alphas, betas = (weights.flatten().div(total).split(CHANNELS) for weights in (self.alpha, self.beta))
        similarity = first.new_zeros(len(first))
        for features, alpha, beta in zip(stages, alphas, betas, strict=True):
            one, two = features.flatten(2).chunk(2)
            mean_one, mean_two = one.mean(2), two.mean(2)
            texture = (2 * mean_one * mean_two + STABILITY) / (mean_one.square() + mean_two.square() + STABILITY)
            covariance = (one * two).mean(2) - mean_one * mean_two
            structure = (2 * covariance + STABILITY) / (one.var(2, correction=0) + two.var(2, correction=0) + STABILITY)
            similarity = similarity + (texture * alpha + structure * beta).sum(1)
        return 1 - similarity

    def stages(self, pictures: Tensor) -> list[Tensor]:
        """Return the six stages (N, C, H / 2**k, W / 2**k) of pictures (N, 3, H, W); the first is the pictures themselves."""
        found, features = [pictures], (pictures - self.mean) / self.std
        for number, layer in enumerate(VGG):
            features = features if number == 0 else self.pooled(features)
            for index, *_ in layer:
                features = F.relu(self.features[str(index)](features))
            found.append(features)
        return found

    def pooled(self, features: Tensor) -> Tensor:
        """Return the root of the windowed mean of squares, at every second position."""
        channels = features.shape[1]
        means = F.conv2d(features.square(), self.window.expand(channels, 1, -1, -1), stride=2, padding=1, groups=channels)
        return (means + ROOT_FLOOR).sqrt()


def published(backbone: Mapping[str, Tensor], scales: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return one state of torchvision's VGG16 and the release's `alpha` and `beta`; the classifier is left out."""
    return {**{key: value for key, value in backbone.items() if key.startswith("features.")}, **scales}
