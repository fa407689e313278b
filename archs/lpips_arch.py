"""LPIPS: the learned perceptual distance on AlexNet, version 0.1.

Source: Zhang, Isola, Efros, Shechtman and Wang, "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018.
Pictures are mapped to [-1, 1]; the features after AlexNet's five ReLUs are divided by their length at every position; the squared
differences are weighted per channel by the learned heads, averaged over positions and summed over the five layers.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# (index among torchvision's `features`, channels in and out, kernel, stride, padding, pooled before)
LAYERS = (
    (0, 3, 64, 11, 4, 2, False),
    (3, 64, 192, 5, 1, 2, True),
    (6, 192, 384, 3, 1, 1, True),
    (8, 384, 256, 3, 1, 1, False),
    (10, 256, 256, 3, 1, 1, False),
)
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10
MINIMUM_PX = 64
CHANNELS_AXIS = 1


class LPIPS(nn.Module):
    """The network: AlexNet's convolutions (`features.N`, torchvision's keys) and five heads (`linN.model.1`, the release's keys)."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        convolutions: dict[str, nn.Module] = {}
        for number, (index, inputs, outputs, kernel, stride, padding, _) in enumerate(LAYERS):
            convolutions[str(index)] = nn.Conv2d(inputs, outputs, kernel, stride, padding)
            head = nn.ModuleDict({"1": nn.Conv2d(outputs, 1, 1, bias=False)})
            self.add_module(f"lin{number}", nn.ModuleDict({"model": head}))
        self.features = nn.ModuleDict(convolutions)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(requires_grad=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distances (N,) of pictures (N, 3, H, W), RGB in [0, 1], H and W at least 64; gradients flow into both."""
        both = (torch.cat([first, second]) * 2 - 1 - self.shift) / self.scale
        total = first.new_zeros(len(first))
        for number, (index, *_, pooled) in enumerate(LAYERS):
            both = F.max_pool2d(both, 3, 2) if pooled else both
            both = F.relu(self.features[str(index)](both))
            unit = both / (torch.linalg.vector_norm(both, dim=CHANNELS_AXIS, keepdim=True) + EPSILON)
            one, two = unit.chunk(2)
            total = total + F.conv2d((one - two).square(), self.head(number)).mean(dim=(1, 2, 3))
        return total

    def head(self, number: int) -> Tensor:
        """Return the channel weights (1, C, 1, 1) of layer `number`."""
        return self.get_parameter(f"lin{number}.model.1.weight")


def keep_convolutions(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's AlexNet weights without the classifier, which LPIPS does not use."""
    return {key: value for key, value in state.items() if not key.startswith("classifier.")}
