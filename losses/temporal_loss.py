"""Temporal consistency along optical flow: what a frame shows should be what the frame before it showed, moved.

Sources: Lai et al., "Learning blind video temporal consistency", ECCV 2018 (warping error, places without a counterpart left out);
Charbonnier et al., ICIP 1994 (the penalty). KEEP (Feng et al., ECCV 2024) applies it to the decoder's features along the flow of
the original frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.flow import warp

INSIDE = 0.999
"""Share of the four pixels fetched that must lie in the frame; below it a place has no counterpart."""


class TemporalWarpLoss(nn.Module):
    """Charbonnier distance between the features of every frame and those of the frame before it, warped onto it.

    Args:
        loss_weight: factor of the loss.
        eps: added to the squared difference under the root.
    """

    def __init__(self, loss_weight: float = 1.0, eps: float = 1e-12) -> None:
        super().__init__()
        self.loss_weight, self.eps = loss_weight, eps

    def forward(self, features: Tensor, flow: Tensor) -> Tensor:
        """Return the weighted mean over all places that have a counterpart; 0 where no place has one.

        Args:
            features: (N, T, C, h, w), T >= 2; gradients flow into both frames of a pair.
            flow: (N, T - 1, 2, H, W) in pixels of H x W, channel 0 to the right, channel 1 down: from every frame to the one before it.
                It is brought to h x w by averaging.

        Raises:
            ValueError: shapes that do not fit together.
        """
        count, length = features.shape[:2]
        if length < 2 or flow.shape[:3] != (count, length - 1, 2):  # noqa: PLR2004
            got = f"{tuple(features.shape)} and {tuple(flow.shape)}"
            msg = f"TemporalWarpLoss: expected features (N, T, C, h, w), T >= 2, and flow (N, T - 1, 2, H, W), got {got}"
            raise ValueError(msg)
        size = features.shape[-2], features.shape[-1]
        field = resized(flow.flatten(0, 1), size)
        before, after = features[:, :-1].flatten(0, 1), features[:, 1:].flatten(0, 1)
        inside = warp(torch.ones_like(field[:, :1]), field) > INSIDE
        distance = ((after - warp(before, field)).square() + self.eps).sqrt()
        return (distance * inside).sum() / (inside.sum().clamp(min=1) * features.shape[2]) * self.loss_weight


def resized(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a flow (N, 2, H, W) on a coarser grid of `size` (h, w), in pixels of that grid."""
    height, width = flow.shape[-2:]
    scale = flow.new_tensor([size[1] / width, size[0] / height]).view(1, 2, 1, 1)
    return F.adaptive_avg_pool2d(flow, size) * scale
