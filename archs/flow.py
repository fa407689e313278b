"""One interface to optical flow networks: RGB pictures in [-1, 1] in, displacement in pixels out.

The network is the attribute `model`, so that weights of GMFlow inside a larger checkpoint are called `<where>.model.*`.
Pictures of any size: they are padded by their border as the network needs, and the field is cut back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.gmflow_arch import SPLITS, STRIDE, GMFlow

if TYPE_CHECKING:
    from collections.abc import Callable

RAFT_STRIDE = 8
RAFT_SMALLEST = 128
"""RAFT's coarsest correlation level must keep 2x2 positions, which takes 128 pixels a side."""


class FlowField(nn.Module):
    """The base of all: a network in `model`, the multiple and the least size its pictures must have.

    `forward(picture, other)` and `clip(frames)` give fields on the grid of the picture (the later frame) that say where to look in
    the other (the earlier one): displacement in pixels, channel 0 to the right, channel 1 down.
    """

    step = 1
    smallest = 1

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, picture: Tensor, other: Tensor) -> Tensor:
        """Return the flow (N, 2, H, W) from `picture` to `other`, both RGB (N, 3, H, W) in [-1, 1]."""
        height, width = picture.shape[-2:]
        return self.between(self.padded(picture), self.padded(other))[..., :height, :width]

    def clip(self, frames: Tensor) -> Tensor:
        """Return the flow (N, T - 1, 2, H, W) from every frame to the one before it.

        Args:
            frames: RGB (N, T, 3, H, W) in [-1, 1]; T >= 2.

        Raises:
            ValueError: there are fewer than two frames.
        """
        count, length = frames.shape[:2]
        if length < 2:  # noqa: PLR2004
            msg = f"flow of a clip: expected (N, T, 3, H, W) with T >= 2, got {tuple(frames.shape)}"
            raise ValueError(msg)
        height, width = frames.shape[-2:]
        padded = self.padded(frames.flatten(0, 1)).unflatten(0, (count, length))
        return self.along(padded).unflatten(0, (count, length - 1))[..., :height, :width]

    def padded(self, pictures: Tensor) -> Tensor:
        """Return (N, 3, H, W) with the right and lower border repeated up to a size that the network takes."""
        missing = [(-max(side, self.smallest)) % self.step + max(self.smallest - side, 0) for side in pictures.shape[-2:]]
        return F.pad(pictures, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else pictures

    def between(self, picture: Tensor, other: Tensor) -> Tensor:
        """Return the flow of padded pictures; what a network of this kind must do."""
        raise NotImplementedError

    def along(self, frames: Tensor) -> Tensor:
        """Return the flow (N * (T - 1), 2, H, W) of padded frames (N, T, 3, H, W)."""
        return self.between(frames[:, 1:].flatten(0, 1), frames[:, :-1].flatten(0, 1))

    def look(self, pictures: Tensor) -> Tensor:
        """Do what needs one picture only: map RGB (N, 3, H, W) in [-1, 1] to (N, ...), for `match`."""
        return self.padded(pictures)

    def match(self, picture: Tensor, other: Tensor) -> Tensor:
        """Return the flow (N, 2, H', W'), of the padded size, between what `look` made of pictures and of others."""
        return self.between(picture, other)


class GMFlowField(FlowField):
    """GMFlow (`archs.gmflow_arch`). In a clip every frame passes the backbone once."""

    step = STRIDE * SPLITS
    model: GMFlow

    def __init__(self) -> None:
        super().__init__(GMFlow())

    def between(self, picture: Tensor, other: Tensor) -> Tensor:
        """Return the flow of padded pictures in [-1, 1]."""
        return self.model(_to_bytes(picture), _to_bytes(other))

    def along(self, frames: Tensor) -> Tensor:
        """Return the flow of padded frames."""
        features = self.model.features(_to_bytes(frames.flatten(0, 1))).unflatten(0, frames.shape[:2])
        return self.model.match(features[:, 1:].flatten(0, 1), features[:, :-1].flatten(0, 1))

    def look(self, pictures: Tensor) -> Tensor:
        """Return the backbone's features (N, 128, H' / 8, W' / 8)."""
        return self.model.features(_to_bytes(self.padded(pictures)))

    def match(self, picture: Tensor, other: Tensor) -> Tensor:
        """Return the flow (N, 2, H', W') from two pictures' features."""
        return self.model.match(picture, other)


class RAFTField(FlowField):
    """RAFT (Teed and Deng, ECCV 2020) as torchvision has it; weights under torchvision's key names.

    Args:
        large: the full network instead of the small one.
        updates: how often the field is refined.
    """

    step = RAFT_STRIDE
    smallest = RAFT_SMALLEST

    def __init__(self, *, large: bool = False, updates: int = 12) -> None:
        from torchvision.models.optical_flow import raft_large, raft_small  # noqa: PLC0415  (only who asks for RAFT pays for it)

        super().__init__((raft_large if large else raft_small)(weights=None))
        self.updates = updates

    def between(self, picture: Tensor, other: Tensor) -> Tensor:
        """Return the flow of padded pictures in [-1, 1]."""
        refined: list[Tensor] = self.model(picture, other, num_flow_updates=self.updates)
        return refined[-1]


class StillField(FlowField):
    """No motion anywhere, and no weights: for networks of toy size, and to see what flow is worth on aligned faces."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def between(self, picture: Tensor, other: Tensor) -> Tensor:
        """Return zeros."""
        return picture.new_zeros((len(picture), 2, *picture.shape[-2:]))


FLOWS: dict[str, Callable[[], FlowField]] = {
    "gmflow": GMFlowField,
    "raft_small": RAFTField,
    "raft_large": lambda: RAFTField(large=True),
    "none": StillField,
}


def flow_field(name: str) -> FlowField:
    """Return a new flow network of `FLOWS`.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in FLOWS:
        msg = f"flow_type: expected one of {', '.join(FLOWS)}, got {name!r}"
        raise ValueError(msg)
    return FLOWS[name]()


def warp(pictures: Tensor, flow: Tensor, *, outside: str = "zeros") -> Tensor:
    """Fetch every pixel from where `flow` points: bilinear, in float32 at least (half precision has no sub-pixels).

    Args:
        pictures: (N, C, H, W), the earlier frames.
        flow: (N, 2, H, W), pixels to the right and down.
        outside: what lies outside the pictures: "zeros", or "border", the border repeated.

    Returns:
        (N, C, H, W) on the grid of `flow`.
    """
    height, width = pictures.shape[-2:]
    flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack((x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1), dim=-1)
    return F.grid_sample(pictures.to(grid.dtype), grid, mode="bilinear", padding_mode=outside, align_corners=True).to(pictures.dtype)


def _to_bytes(pictures: Tensor) -> Tensor:
    """Map [-1, 1] to 0..255."""
    return (pictures + 1) * 127.5
