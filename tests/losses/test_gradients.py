"""The gradient of every custom loss against finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from losses.code_loss import CodeLoss
from losses.frequency_loss import FrequencyLoss
from losses.gan_loss import GANLoss, MultiScaleGANLoss
from losses.lpips_loss import LPIPSLoss
from losses.perceptual_loss import PerceptualLoss
from losses.temporal_loss import TemporalWarpLoss


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pictures(size: int, seed: int) -> Tensor:
    return (0.5 + 0.2 * noise(1, 3, size, size, seed=seed)).clamp(0.05, 0.95)


@pytest.fixture
def lpips() -> Callable[..., LPIPSLoss]:
    def make(**options: float) -> LPIPSLoss:
        torch.manual_seed(0)
        loss = LPIPSLoss(**options)
        state = {key: value.abs() if key.startswith("lin") else value for key, value in loss.network.state_dict().items()}
        loss.load({key: state[key] for key in state if "features" in key}, {key: state[key] for key in state if "lin" in key})
        return loss.double()

    return make


@pytest.mark.parametrize("kind", ["vanilla", "lsgan", "wgan", "wgan_softplus", "hinge"])
@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("discriminator", [True, False])
def test_gan(kind: str, real: bool, discriminator: bool) -> None:
    loss = GANLoss(kind, loss_weight=0.7)
    assert gradcheck(lambda scores: loss(scores, real, is_disc=discriminator), noise(2, 1, 3, 3).requires_grad_())


def test_gan_of_several_scales() -> None:
    loss = MultiScaleGANLoss("hinge", scale_weights=[4, 2])
    scales = noise(1, 1, 4, 4).requires_grad_(), noise(1, 1, 2, 2, seed=1).requires_grad_()
    assert gradcheck(lambda *scores: loss(list(scores), True, is_disc=True), scales)


@pytest.mark.parametrize("criterion", ["l1", "l2", "fro"])
def test_perceptual_and_style(criterion: str) -> None:
    torch.manual_seed(0)
    loss = PerceptualLoss({"conv1_1": 1.0, "relu1_1": 0.5}, style_weight=30.0, criterion=criterion)
    loss.load_vgg({"features.0.weight": torch.randn(64, 3, 3, 3) / 5, "features.0.bias": torch.zeros(64)})
    loss.double()
    assert gradcheck(lambda picture: loss(picture, pictures(5, 1)), pictures(5, 2).requires_grad_(), eps=1e-7, atol=1e-4)


def test_lpips(lpips: Callable[..., LPIPSLoss]) -> None:
    loss = lpips(loss_weight=2.0)
    # Finite differences of 12288 values would take minutes; along a few directions the derivative says as much.
    target, picture = pictures(64, 1), pictures(64, 2)
    for seed in range(3):
        direction = noise(1, 3, 64, 64, seed=3 + seed)
        along = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        assert gradcheck(lambda step, way=direction: loss(picture + step * way, target), along, eps=1e-7, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["complex", "magnitude"])
def test_frequency(kind: str) -> None:
    loss = FrequencyLoss(0.3, kind=kind)
    assert gradcheck(lambda picture: loss(picture, pictures(6, 1)), pictures(6, 2).requires_grad_(), eps=1e-7, atol=1e-5)


def test_temporal() -> None:
    flow = torch.tensor([[0.4, -0.3], [1.6, 0.7]], dtype=torch.float64).view(1, 2, 2, 1, 1).expand(1, 2, 2, 8, 8)
    for loss in (TemporalWarpLoss(0.1), TemporalWarpLoss(2.0, eps=1e-3)):
        assert gradcheck(lambda features, loss=loss: loss(features, flow), noise(1, 3, 2, 4, 4).requires_grad_())


def test_code() -> None:
    loss = CodeLoss(1.0, 0.5)
    codes = torch.tensor([[0, 3, 1, 2], [2, 2, 0, 1]])
    given = noise(2, 3, 2, 2).requires_grad_(), noise(2, 4, 5, seed=1).requires_grad_()
    assert gradcheck(lambda features, scores: loss(features, noise(2, 3, 2, 2, seed=2), scores, codes), given)
