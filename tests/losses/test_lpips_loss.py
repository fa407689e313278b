"""LPIPS as a loss: its value is the metric's, its gradient is finite, and it refuses to work without weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from archs.lpips_arch import LPIPS
from keyframes_gan.errors import OptionsError, WeightsError
from losses.lpips_loss import LPIPSLoss

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> LPIPS:
    torch.manual_seed(0)
    made = LPIPS()
    for number in range(5):
        made.head(number).abs_()
    return made.eval()


@pytest.fixture(scope="module")
def parts(network: LPIPS) -> tuple[State, State]:
    state = network.state_dict()
    backbone = {key: value for key, value in state.items() if key.startswith("features")}
    return {**backbone, "classifier.1.weight": torch.zeros(2)}, {key: state[key] for key in state if key.startswith("lin")}


def test_its_value_is_the_mean_distance(network: LPIPS, parts: tuple[State, State]) -> None:
    first, second = torch.rand(2, 3, 64, 80), torch.rand(2, 3, 64, 80)
    loss, signed = LPIPSLoss(loss_weight=3.0), LPIPSLoss(loss_weight=3.0, range_norm=True)
    for each in (loss, signed):
        each.load(*parts)
    expected = 3.0 * network(first, second).mean().item()
    assert loss(first, second).item() == pytest.approx(expected, rel=1e-5)
    assert signed(first * 2 - 1, second * 2 - 1).item() == pytest.approx(expected, rel=1e-4)
    assert not loss.train().network.training


def test_gradients_reach_the_picture_only_and_are_finite_where_it_is_flat(parts: tuple[State, State]) -> None:
    loss = LPIPSLoss()
    loss.load(*parts)
    flat, target = torch.zeros(1, 3, 64, 64, requires_grad=True), torch.rand(1, 3, 64, 64, requires_grad=True)
    loss(flat, target).backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()
    assert flat.grad.abs().sum() > 0
    assert target.grad is None
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_it_needs_whole_weights_and_large_pictures(parts: tuple[State, State]) -> None:
    loss = LPIPSLoss()
    with pytest.raises(RuntimeError, match="call load"):
        loss(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    with pytest.raises(WeightsError, match=r"5 of 15 are missing or misshapen: lin0.model.1.weight"):
        loss.load(parts[0], {})
    loss.load(*parts)
    with pytest.raises(ValueError, match="at least 64 px, got"):
        loss(torch.zeros(1, 3, 32, 64), torch.zeros(1, 3, 32, 64))


@pytest.mark.parametrize("options", [{"net": "vgg"}, {"use_input_norm": False}])
def test_bad_options_get_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(OptionsError, match="expected net alex and use_input_norm true"):
        LPIPSLoss(**options)
