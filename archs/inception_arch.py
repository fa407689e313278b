"""Inception v3 as FID is defined on it: the network of 2015-12-05 (Szegedy et al., "Rethinking the Inception architecture", CVPR 2016).

It differs from torchvision's in its weights, in 1008 classes, and in pooling: averages leave the padding out, and the last block takes
maxima. Key names are torchvision's.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torchvision.models.inception import Inception3, InceptionA, InceptionC, InceptionE

CLASSES = 1008
SIDE = 299
FEATURES = 2048
STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2")
BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")


def _mean_inside(features: Tensor) -> Tensor:
    """Return the means of 3x3 positions, those outside the picture not counted."""
    return F.avg_pool2d(features, 3, stride=1, padding=1, count_include_pad=False)


class BlockA(InceptionA):
    """Torchvision's block of the 35x35 grid, its pooling branch as described above."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_mean_inside(x))]


class BlockC(InceptionC):
    """Torchvision's block of the 17x17 grid, its pooling branch as described above."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_mean_inside(x))]


class BlockE(InceptionE):
    """Torchvision's block of the 8x8 grid, its pooling branch as described above.

    Args:
        inputs: channels in.
        maxima: whether the pooling branch takes maxima.
    """

    def __init__(self, inputs: int, *, maxima: bool) -> None:
        super().__init__(inputs)
        self.maxima = maxima

    def _forward(self, x: Tensor) -> list[Tensor]:
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.maxima else _mean_inside(x)
        return [*super()._forward(x)[:-1], self.branch_pool(pooled)]


class InceptionFID(Inception3):
    """The features before the classifier."""

    def __init__(self) -> None:
        super().__init__(num_classes=CLASSES, aux_logits=False, init_weights=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (BlockC(768, width) for width in (128, 160, 160, 192))
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, maxima=False), BlockE(2048, maxima=True)
        self.requires_grad_(requires_grad=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map pictures (N, 3, 299, 299), RGB with values 0 to 255, to features (N, 2048).

        Raises:
            ValueError: the pictures have another size.
        """
        if pictures.shape[1:] != (3, SIDE, SIDE):
            msg = f"InceptionFID: expected (N, 3, {SIDE}, {SIDE}), got {tuple(pictures.shape)}"
            raise ValueError(msg)
        features = (pictures - 128) / 128
        for name in (*STEM, *(f"Mixed_{block}" for block in BLOCKS)):
            features = getattr(self, name)(features)
        return features.mean(dim=(2, 3))
