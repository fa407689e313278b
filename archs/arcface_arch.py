"""ArcFace (Deng et al., CVPR 2019): who a face is, as 512 numbers, on a ResNet-18 for grey pictures of 128 pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)
SIDE = 128
EMBEDDING = 512
DROPOUT = 0.5


class IRBlock(nn.Module):
    """The paper's improved residual block: BatchNorm first, and one PReLU that is used twice."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.downsample = shortcut if changes else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h / stride, w / stride)."""
        change = self.prelu(self.bn1(self.conv1(self.bn0(features))))
        return self.prelu(self.bn2(self.conv2(change)) + self.downsample(features))


class ResNetArcFace(nn.Module):
    """The embedding of a face. Compare two by their cosine; they are not of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU()
        self.layer1 = _layer(WIDTHS[0], WIDTHS[0], 1)
        self.layer2 = _layer(WIDTHS[0], WIDTHS[1], 2)
        self.layer3 = _layer(WIDTHS[1], WIDTHS[2], 2)
        self.layer4 = _layer(WIDTHS[2], WIDTHS[3], 2)
        self.bn4 = nn.BatchNorm2d(WIDTHS[3])
        self.dropout = nn.Dropout(DROPOUT)
        self.fc5 = nn.Linear(WIDTHS[3] * (SIDE // 16) ** 2, EMBEDDING)
        self.bn5 = nn.BatchNorm1d(EMBEDDING)

    def forward(self, faces: Tensor) -> Tensor:
        """Map grey aligned faces (N, 1, 128, 128) in [-1, 1] (0.2989 R + 0.587 G + 0.114 B) to (N, 512).

        Raises:
            ValueError: the shape differs.
        """
        if faces.shape[1:] != (1, SIDE, SIDE):
            msg = f"ResNetArcFace: expected (N, 1, {SIDE}, {SIDE}), got {tuple(faces.shape)}"
            raise ValueError(msg)
        features = F.max_pool2d(self.prelu(self.bn1(self.conv1(faces))), 2)
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.bn5(self.fc5(self.dropout(self.bn4(features)).flatten(1)))


def _layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(IRBlock(inputs, outputs, stride), IRBlock(outputs, outputs, 1))
