"""The temporal loss in cases whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from losses.temporal_loss import TemporalWarpLoss, resized


def moving(pixels: int, length: int = 3) -> Tensor:
    """Give features (1, T, 2, 16, 16) of a texture that moves right by `pixels` from frame to frame."""
    texture = torch.rand(1, 2, 16, 16 + pixels * length, generator=torch.Generator().manual_seed(0))
    return torch.stack([texture[..., pixels * (length - t) : pixels * (length - t) + 16] for t in range(length)], dim=1)


def test_what_moves_with_the_flow_costs_nothing() -> None:
    features = moving(2)
    flow = torch.zeros(1, 2, 2, 16, 16)
    flow[:, :, 0] = -2.0  # what is here now was two pixels to the left before
    assert TemporalWarpLoss()(features, flow).item() < 1e-5
    assert TemporalWarpLoss()(features, torch.zeros_like(flow)).item() > 0.1
    assert TemporalWarpLoss()(features, -flow).item() > 0.1


def test_flow_of_a_finer_grid_is_brought_down() -> None:
    flow = torch.zeros(1, 2, 2, 64, 128)
    flow[:, :, 0], flow[:, :, 1] = -16.0, 8.0
    small = resized(flow[0], (16, 16))
    assert small.shape == (2, 2, 16, 16)
    torch.testing.assert_close(small[:, 0], torch.full((2, 16, 16), -2.0))
    torch.testing.assert_close(small[:, 1], torch.full((2, 16, 16), 2.0))


def test_the_penalty_is_charbonnier_and_weighted() -> None:
    features = torch.stack((torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 2.0)), dim=1)
    still = torch.zeros(2, 1, 2, 8, 8)
    assert TemporalWarpLoss(0.1, eps=5.0)(features, still).item() == pytest.approx(0.1 * math.sqrt(4 + 5))


def test_places_from_outside_do_not_count() -> None:
    features = torch.ones(1, 2, 1, 8, 8)
    flow = torch.zeros(1, 1, 2, 8, 8)
    flow[:, :, 0, :, :4] = -100.0
    assert TemporalWarpLoss()(features, flow).item() < 1e-5
    assert TemporalWarpLoss()(features, torch.full_like(flow, 100.0)).item() == 0.0


@pytest.mark.parametrize("length", [1, 3])
def test_shapes_are_checked(length: int) -> None:
    with pytest.raises(ValueError, match=r"T >= 2, and flow \(N, T - 1, 2, H, W\)"):
        TemporalWarpLoss()(torch.zeros(1, length, 4, 8, 8), torch.zeros(1, 1, 2, 8, 8))
