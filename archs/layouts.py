"""What foreign checkpoint layouts have in common, and the ResNet that several networks stand on."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from archs.spectral import fold_batch_norm

if TYPE_CHECKING:
    from collections.abc import Mapping

PARALLEL = "module."
PAIRS = (("conv", "bn"), ("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))
"""Names of a convolution and of the BatchNorm that follows it."""


def without_parallel_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` without the `module.` that `DataParallel` has put before every key; a file without it stays as it is."""
    return {key.removeprefix(PARALLEL): value for key, value in state.items()}


class ResNetStages(nn.Module):
    """A ResNet (He et al., CVPR 2016) that gives what its last three stages see: 1/8, 1/16 and 1/32 of the picture's size.

    Keys are torchvision's, without the classifier.

    Args:
        depth: 18 (128, 256 and 512 channels) or 50 (512, 1024 and 2048).
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        whole = {18: resnet18, 50: resnet50}[depth](weights=None)
        self.conv1: nn.Module = whole.conv1
        self.bn1: nn.Module = whole.bn1
        self.layer1: nn.Module = whole.layer1
        self.layer2: nn.Module = whole.layer2
        self.layer3: nn.Module = whole.layer3
        self.layer4: nn.Module = whole.layer4

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (N, 3, H, W) to features at 1/8, 1/16 and 1/32."""
        features = F.max_pool2d(F.relu(self.bn1(self.conv1(pictures))), 3, 2, 1)
        eighth = self.layer2(self.layer1(features))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


def fold_norms(network: nn.Module) -> nn.Module:
    """Fold, in place, every BatchNorm that follows a convolution into it, and return `network`: eval mode only, equal output.

    Found by position in an `nn.Sequential`, and elsewhere by the names in `PAIRS`, which the networks here share with torchvision.
    """
    for module in list(network.modules()):
        names = [name for name, _ in module.named_children()]
        for first, second in pairwise(names) if isinstance(module, nn.Sequential) else PAIRS:
            conv, norm = getattr(module, first, None), getattr(module, second, None)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, first, fold_batch_norm(conv, norm))
                setattr(module, second, nn.Identity())
    return network
