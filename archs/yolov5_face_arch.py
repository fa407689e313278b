"""YOLO5Face (Qi et al., 2021): YOLOv5 with a stem block and five points per face, in the sizes n and l.

The modules are numbered as in the published files, which number the steps of a configuration: steps without parameters
(upsampling, concatenation) leave gaps.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = Literal["n", "l"]

STRIDES = (8, 16, 32)
ANCHORS = (
    ((4.0, 5.0), (8.0, 10.0), (13.0, 16.0)),
    ((23.0, 29.0), (43.0, 55.0), (73.0, 105.0)),
    ((146.0, 217.0), (231.0, 300.0), (335.0, 433.0)),
)
"""Width and height in pixels of the three anchors at each stride."""
VALUES = 16
"""Per anchor: box (4), that there is something (1), points (10), that it is a face (1)."""


class Conv(nn.Module):
    """Convolution, BatchNorm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return F.silu(self.bn(self.conv(features)))


class Stem(nn.Module):
    """The stem block of PeleeNet (Wang et al., 2018): to a quarter of the size by convolution and by pooling, side by side."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.stem_1 = Conv(3, outputs, 3, 2)
        self.stem_2a = Conv(outputs, outputs // 2)
        self.stem_2b = Conv(outputs // 2, outputs, 3, 2)
        self.stem_3 = Conv(2 * outputs, outputs)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, outputs, H / 4, W / 4)."""
        features = self.stem_1(pictures)
        pooled = F.max_pool2d(features, 2, 2, ceil_mode=True)
        return self.stem_3(torch.cat((self.stem_2b(self.stem_2a(features)), pooled), dim=1))


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution, with or without a shortcut."""

    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels)
        self.cv2 = Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        change = self.cv2(self.cv1(features))
        return features + change if self.shortcut else change


class C3(nn.Module):
    """A cross-stage-partial block: half of the channels pass `count` bottlenecks, the other half passes by."""

    def __init__(self, inputs: int, outputs: int, count: int, *, shortcut: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.cv1 = Conv(inputs, half)
        self.cv2 = Conv(inputs, half)
        self.cv3 = Conv(2 * half, outputs)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut=shortcut) for _ in range(count)))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h, w)."""
        return self.cv3(torch.cat((self.m(self.cv1(features)), self.cv2(features)), dim=1))


class PoolingPyramid(nn.Module):
    """Spatial pyramid pooling with the paper's small windows of 3, 5 and 7."""

    windows = (3, 5, 7)

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.cv1 = Conv(channels, half)
        self.cv2 = Conv(half * (len(self.windows) + 1), channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        features = self.cv1(features)
        return self.cv2(torch.cat([features, *(F.max_pool2d(features, window, 1, window // 2) for window in self.windows)], dim=1))


class ShuffleBlock(nn.Module):
    """A block of ShuffleNet v2 (Ma et al., ECCV 2018); stride 2 halves the size and takes all channels through both branches."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.stride = stride
        if stride > 1:
            self.branch1 = nn.Sequential(*self._deep(inputs, stride), *self._point(inputs, half))
        self.branch2 = nn.Sequential(
            *self._point(inputs if stride > 1 else half, half), *self._deep(half, stride), *self._point(half, half)
        )

    @staticmethod
    def _deep(channels: int, stride: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), nn.BatchNorm2d(channels)

    @staticmethod
    def _point(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h / stride, w / stride), the branches' channels interleaved."""
        if self.stride > 1:
            kept, changed = self.branch1(features), self.branch2(features)
        else:
            kept, changed = features.chunk(2, dim=1)
            changed = self.branch2(changed)
        return torch.stack((kept, changed), dim=2).flatten(1, 2)


class FaceHead(nn.Module):
    """The last 1x1 convolutions, and the anchors that published files carry as buffers."""

    anchors: Tensor
    anchor_grid: Tensor

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        sides = torch.tensor(ANCHORS)
        self.register_buffer("anchors", sides / torch.tensor(STRIDES).view(3, 1, 1))
        self.register_buffer("anchor_grid", sides.view(3, 1, 3, 1, 1, 2).clone())
        self.m = nn.ModuleList(nn.Conv2d(width, 3 * VALUES, 1) for width in widths)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Map three levels (N, width, h, w) to (N, 3 anchors, h, w, 16) each."""
        return [layer(level).unflatten(1, (3, VALUES)).permute(0, 1, 3, 4, 2) for layer, level in zip(self.m, levels, strict=True)]

    def decode(self, heads: list[Tensor]) -> Tensor:
        """Return (N, R, 16) in pixels and probabilities: centre, width and height, objectness, five (x, y), face."""
        return torch.cat([self._level(head, index).flatten(1, 3) for index, head in enumerate(heads)], dim=1)

    def _level(self, head: Tensor, index: int) -> Tensor:
        height, width = head.shape[2:4]
        y, x = torch.meshgrid(torch.arange(height, device=head.device), torch.arange(width, device=head.device), indexing="ij")
        place = torch.stack((x, y), dim=-1).to(head.dtype)
        anchor = self.anchor_grid[index].to(head.dtype)
        centre = (head[..., :2].sigmoid() * 2 - 0.5 + place) * STRIDES[index]
        size = (head[..., 2:4].sigmoid() * 2) ** 2 * anchor
        points = head[..., 5:15].unflatten(-1, (5, 2)) * anchor.unsqueeze(-2) + (place * STRIDES[index]).unsqueeze(-2)
        return torch.cat((centre, size, head[..., 4:5].sigmoid(), points.flatten(-2), head[..., 15:].sigmoid()), dim=-1)


class YOLOv5Face(nn.Module):
    """Faces with five points at strides 8, 16 and 32.

    Args:
        size: "n" (1.7 M parameters, ShuffleNet v2 backbone) or "l" (47 M).

    Raises:
        ValueError: there is no such size.
    """

    def __init__(self, size: Size = "n") -> None:
        super().__init__()
        if size not in ("n", "l"):
            msg = f"YOLOv5Face: expected a size of n, l, got {size!r}"
            raise ValueError(msg)
        backbone, self.taps = (_small(), (2, 4, 6)) if size == "n" else (_large(), (3, 5, 8))
        fine, middle, coarse = widths = (128, 128, 128) if size == "n" else (256, 512, 1024)
        inputs = (128, 256, 512) if size == "n" else widths
        count = 1 if size == "n" else 3
        self.first = first = len(backbone)
        neck = {
            first: Conv(inputs[2], middle),
            first + 3: C3(middle + inputs[1], middle, count, shortcut=False),
            first + 4: Conv(middle, fine),
            first + 7: C3(fine + inputs[0], fine, count, shortcut=False),
            first + 8: Conv(fine, fine, 3, 2),
            first + 10: C3(2 * fine, middle, count, shortcut=False),
            first + 11: Conv(middle, middle, 3, 2),
            first + 13: C3(2 * middle, coarse, count, shortcut=False),
            first + 14: FaceHead(widths),
        }
        self.model = nn.ModuleDict({str(index): module for index, module in {**dict(enumerate(backbone)), **neck}.items()})

    def forward(self, pictures: Tensor) -> Tensor:
        """Return every anchor's guess.

        Args:
            pictures: RGB, (N, 3, H, W) in [0, 1]; H and W multiples of 32.

        Returns:
            (N, R, 16), R = 3 (H W / 64 + H W / 256 + H W / 1024): box centre, width and height in pixels, objectness in [0, 1],
            five points (x, y) in pixels, and the probability of a face if there is an object.
        """
        head = self._step(14)
        decoded: Tensor = head.decode(self.heads(pictures))  # type: ignore[operator]
        return decoded

    def heads(self, pictures: Tensor) -> list[Tensor]:
        """Return what `forward` decodes: (N, 3, H / s, W / s, 16) for the strides s = 8, 16, 32.

        Raises:
            ValueError: H or W is not a multiple of 32.
        """
        if any(side % STRIDES[-1] for side in pictures.shape[-2:]):
            msg = (
                f"YOLOv5Face: expected (N, 3, H, W) with H and W multiples of {STRIDES[-1]}, got {tuple(pictures.shape)}; pad the pictures"
            )
            raise ValueError(msg)
        features, taps = pictures, []
        for index in range(self.first):
            features = self.model[str(index)](features)
            if index in self.taps:
                taps.append(features)
        coarse = self._step(0)(taps[2])
        middle = self._step(4)(self._step(3)(torch.cat((_doubled(coarse), taps[1]), dim=1)))
        fine = self._step(7)(torch.cat((_doubled(middle), taps[0]), dim=1))
        middle = self._step(10)(torch.cat((self._step(8)(fine), middle), dim=1))
        coarse = self._step(13)(torch.cat((self._step(11)(middle), coarse), dim=1))
        rows: list[Tensor] = self._step(14)([fine, middle, coarse])
        return rows

    def _step(self, offset: int) -> nn.Module:
        return self.model[str(self.first + offset)]


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2.0, mode="nearest")


def _small() -> list[nn.Module]:
    """Return the steps of size n up to the coarsest level."""

    def stage(channels: int, count: int) -> nn.Sequential:
        return nn.Sequential(*(ShuffleBlock(channels, channels, 1) for _ in range(count)))

    halvings = [ShuffleBlock(32, 128, 2), ShuffleBlock(128, 256, 2), ShuffleBlock(256, 512, 2)]
    return [Stem(32), halvings[0], stage(128, 3), halvings[1], stage(256, 7), halvings[2], stage(512, 3)]


def _large() -> list[nn.Module]:
    """Return the steps of size l up to the coarsest level."""
    return [
        Stem(64),
        C3(64, 128, 3, shortcut=True),
        Conv(128, 256, 3, 2),
        C3(256, 256, 9, shortcut=True),
        Conv(256, 512, 3, 2),
        C3(512, 512, 9, shortcut=True),
        Conv(512, 1024, 3, 2),
        PoolingPyramid(1024),
        C3(1024, 1024, 3, shortcut=False),
    ]
