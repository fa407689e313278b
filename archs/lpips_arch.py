"""LPIPS: the learned perceptual distance on AlexNet or VGG16, version 0.1.

Source: Zhang, Isola, Efros, Shechtman and Wang, "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018.
Pictures are mapped to [-1, 1]; the features after five of the network's ReLUs (all of AlexNet's; the last of each of VGG16's five blocks)
are divided by their length at every position; the squared differences are weighted per channel by the learned heads, averaged over
positions and summed over the five layers.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Convolution = tuple[int, int, int, int, int, int]
"""Index among torchvision's `features`, channels in and out, kernel, stride, padding."""
ALEX: tuple[tuple[Convolution, ...], ...] = (
    ((0, 3, 64, 11, 4, 2),),
    ((3, 64, 192, 5, 1, 2),),
    ((6, 192, 384, 3, 1, 1),),
    ((8, 384, 256, 3, 1, 1),),
    ((10, 256, 256, 3, 1, 1),),
)
VGG: tuple[tuple[Convolution, ...], ...] = (
    ((0, 3, 64, 3, 1, 1), (2, 64, 64, 3, 1, 1)),
    ((5, 64, 128, 3, 1, 1), (7, 128, 128, 3, 1, 1)),
    ((10, 128, 256, 3, 1, 1), (12, 256, 256, 3, 1, 1), (14, 256, 256, 3, 1, 1)),
    ((17, 256, 512, 3, 1, 1), (19, 512, 512, 3, 1, 1), (21, 512, 512, 3, 1, 1)),
    ((24, 512, 512, 3, 1, 1), (26, 512, 512, 3, 1, 1), (28, 512, 512, 3, 1, 1)),
)
NETWORKS = {"alex": (ALEX, 3, (1, 2)), "vgg": (VGG, 2, (1, 2, 3, 4))}
"""By name: convolutions up to each of the five layers, side of the max pooling (stride 2), and the layers before which it pools."""
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10
MINIMUM_PX = 64
CHANNELS_AXIS = 1


class LPIPS(nn.Module):
    """The network: convolutions (`features.N`, torchvision's keys) and five heads (`linN.model.1`, the release's keys).

    Args:
        network: "alex" or "vgg", whose features are compared.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: str = "alex") -> None:
        super().__init__()
        self.layers, self.pool, self.pooled = NETWORKS[network]
        convolutions: dict[str, nn.Module] = {}
        for number, layer in enumerate(self.layers):
            for index, inputs, outputs, kernel, stride, padding in layer:
                convolutions[str(index)] = nn.Conv2d(inputs, outputs, kernel, stride, padding)
            head = nn.ModuleDict({"1": nn.Conv2d(layer[-1][2], 1, 1, bias=False)})
            self.add_module(f"lin{number}", nn.ModuleDict({"model": head}))
        self.features = nn.ModuleDict(convolutions)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(requires_grad=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distances (N,) of pictures (N, 3, H, W), RGB in [0, 1], H and W at least 64; gradients flow into both."""
        both = (torch.cat([first, second]) * 2 - 1 - self.shift) / self.scale
        total = first.new_zeros(len(first))
        for number, layer in enumerate(self.layers):
            both = F.max_pool2d(both, self.pool, 2) if number in self.pooled else both
            for index, *_ in layer:
                both = F.relu(self.features[str(index)](both))
            unit = both / (torch.linalg.vector_norm(both, dim=CHANNELS_AXIS, keepdim=True) + EPSILON)
            one, two = unit.chunk(2)
            total = total + F.conv2d((one - two).square(), self.head(number)).mean(dim=(1, 2, 3))
        return total

    def head(self, number: int) -> Tensor:
        """Return the channel weights (1, C, 1, 1) of layer `number`."""
        return self.get_parameter(f"lin{number}.model.1.weight")


def keep_convolutions(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's AlexNet or VGG16 weights without the classifier, which LPIPS does not use."""
    return {key: value for key, value in state.items() if not key.startswith("classifier.")}
