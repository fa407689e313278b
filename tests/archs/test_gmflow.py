"""GMFlow against the public numbers, and the flow interface against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from archs.flow import FLOWS, GMFlowField, flow_field, warp
from archs.gmflow_arch import GMFlow, from_windows, shift_mask, to_windows
from keyframes_gan import weights


@torch.no_grad()
def test_flow_equals_the_public_one(
    parity_dir: Path,
    made_checkpoint: Callable[..., Path],
    made_clip: Callable[..., torch.Tensor],
    assert_parity: Callable[..., None],
) -> None:
    with np.load(parity_dir / "goldens" / "gmflow.npz") as golden:
        clip = made_clip(1, 2, 512, str(golden["input_sha256"]))
        net = GMFlow().eval()
        weights.load_into(net, weights.load_state(made_checkpoint("gmflow"), param_key="model"), name="gmflow")
        flow = net(clip[1:], clip[:1])
        assert_parity(flow[:, :, ::4, ::4], golden["flow"], float(golden["noise_flow"]))
        np.testing.assert_allclose(flow.mean(dim=(2, 3)), golden["flow_mean"], atol=1e-3)


@torch.no_grad()
def test_a_clip_gives_the_flow_of_its_pairs_and_any_size_is_taken() -> None:
    torch.manual_seed(0)
    net = GMFlowField().eval()
    frames = torch.rand(2, 3, 3, 50, 71) * 2 - 1
    flow = net.clip(frames)
    assert flow.shape == (2, 2, 2, 50, 71)
    for clip in range(2):
        for index in range(2):
            pair = net(frames[clip, index + 1][None], frames[clip, index][None])[0]
            torch.testing.assert_close(flow[clip, index], pair, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_half_precision_stays_near() -> None:
    torch.manual_seed(0)
    net = GMFlow().eval()
    pictures = torch.rand(2, 3, 64, 64) * 255
    flow = net(pictures[:1], pictures[1:])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(pictures[:1], pictures[1:])
    half = net.bfloat16()(pictures[:1].bfloat16(), pictures[1:].bfloat16())
    for other in (mixed, half):
        assert other.dtype == torch.float32
        assert (other - flow).abs().mean() < 0.1 * flow.std()


@torch.no_grad()
def test_raft_stands_in() -> None:
    frames = torch.rand(1, 3, 3, 40, 130) * 2 - 1
    net = flow_field("raft_small").eval()
    flow = net.clip(frames)
    assert flow.shape == (1, 2, 2, 40, 130)
    torch.testing.assert_close(flow[:, 1], net(frames[:, 2], frames[:, 1]), atol=1e-3, rtol=1e-3)


def test_no_flow_is_a_choice() -> None:
    net = flow_field("none")
    assert not net.state_dict()
    assert torch.equal(net.clip(torch.rand(2, 3, 3, 10, 12)), torch.zeros(2, 2, 2, 10, 12))


def test_an_unknown_flow_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=f"expected one of {', '.join(FLOWS)}, got 'pwc'"):
        flow_field("pwc")


def test_windows_come_back_and_are_the_quarters() -> None:
    features = torch.arange(4 * 6, dtype=torch.float32).view(1, 4, 6, 1)
    windows = to_windows(features)
    assert windows[0, 1, :, 0].tolist() == [3, 4, 5, 9, 10, 11]
    assert torch.equal(from_windows(windows, 4, 6), features)


def test_the_mask_parts_what_the_shift_brought_together() -> None:
    mask = shift_mask(4, 4, torch.device("cpu"))
    assert mask.shape == (4, 4, 4)
    assert not mask[0].any()
    assert torch.equal(mask[3], -100.0 * (1 - torch.eye(4)))
    assert mask[1][0].tolist() == [0, -100, 0, -100]


def test_a_pair_that_does_not_fit_is_named() -> None:
    net = GMFlow()
    with pytest.raises(ValueError, match="multiples of 16"):
        net(torch.zeros(1, 3, 24, 32), torch.zeros(1, 3, 24, 32))
    with pytest.raises(ValueError, match="one shape"):
        net(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 48))
    with pytest.raises(ValueError, match="T >= 2"):
        GMFlowField().clip(torch.zeros(1, 1, 3, 32, 32))


def test_warping_looks_where_the_flow_points() -> None:
    picture = torch.arange(20.0).view(1, 1, 4, 5)
    flow = torch.zeros(1, 2, 4, 5)
    flow[:, 0] = 1.0
    flow[:, 1] = -0.5
    warped = warp(picture, flow)
    assert warped[0, 0, 2, 1].item() == pytest.approx((picture[0, 0, 1, 2] + picture[0, 0, 2, 2]).item() / 2)
    assert warped[0, 0, :, 4].abs().max() < 1e-5
    half = warp(picture.bfloat16(), flow)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), warped, atol=0.05, rtol=0.01)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    net = GMFlow()
    net(torch.rand(1, 3, 32, 32) * 255, torch.rand(1, 3, 32, 32) * 255).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
