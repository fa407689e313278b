"""The discriminators against the public numbers, in eval and in training mode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from archs.discriminator_arch import ContrastDiscriminator, MultiScaleDiscriminator, VGGStyleDiscriminator256, local_contrast
from keyframes_gan import weights

Made = Callable[..., Path]


def loaded(net: nn.Module, name: str, made_checkpoint: Made) -> nn.Module:
    weights.load_into(net, weights.load_state(made_checkpoint(name), param_key="params"), name=name)
    return net


@pytest.fixture(scope="module")
def golden(parity_dir: Path) -> dict[str, np.ndarray]:
    with np.load(parity_dir / "goldens" / "multi_scale_discriminator.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def pictures(golden: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.cat([torch.from_numpy(golden[f"case{case}_input_u8"]).permute(2, 0, 1)[None].float() / 255 for case in (0, 1)])


@torch.no_grad()
def test_multi_scale_scores_equal_the_public_ones(golden: dict[str, np.ndarray], pictures: torch.Tensor, made_checkpoint: Made) -> None:
    net = loaded(MultiScaleDiscriminator(), "multi_scale_discriminator", made_checkpoint).eval()
    for case in (0, 1):
        scores = net(pictures[case : case + 1])
        assert len(scores) == 4
        for scale, score in enumerate(scores):
            np.testing.assert_allclose(score.numpy(), golden[f"case{case}_scale{scale}"], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_training_pass_equals_the_public_one(golden: dict[str, np.ndarray], pictures: torch.Tensor, made_checkpoint: Made) -> None:
    net = loaded(MultiScaleDiscriminator(), "multi_scale_discriminator", made_checkpoint).train()
    for scale, score in enumerate(net(pictures)):
        np.testing.assert_allclose(score.numpy(), golden[f"train_scale{scale}"], rtol=0, atol=1e-4)
    state = net.state_dict()
    after = [key for key in golden if key.startswith("train_after_")]
    assert after
    for key in after:
        np.testing.assert_allclose(state[key.removeprefix("train_after_")].numpy(), golden[key], rtol=0, atol=1e-4)


@torch.no_grad()
def test_vgg_style_scores_equal_the_public_ones(parity_dir: Path, pictures: torch.Tensor, made_checkpoint: Made) -> None:
    net = loaded(VGGStyleDiscriminator256(), "vggstyle_discriminator256", made_checkpoint).eval()
    with np.load(parity_dir / "goldens" / "vggstyle_discriminator256.npz") as stored:
        np.testing.assert_allclose(net(pictures).numpy(), stored["out"], rtol=0, atol=1e-5)


@torch.no_grad()
def test_local_contrast_is_that_of_brisque() -> None:
    picture = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.01, 1, 56)
    window = cv2.getGaussianKernel(7, 7 / 6) @ cv2.getGaussianKernel(7, 7 / 6).T
    for one, found in zip(picture, local_contrast(picture), strict=True):
        grey = 255 * np.tensordot([0.299, 0.587, 0.114], one.double().numpy(), axes=1)
        mean, square = cv2.filter2D(grey, -1, window), cv2.filter2D(grey**2, -1, window)
        wanted = (grey - mean) / (np.sqrt(np.maximum(square - mean**2, 0)) + 1)
        np.testing.assert_allclose(found[0].numpy(), wanted[3:-3, 3:-3], atol=2e-3)


@torch.no_grad()
def test_local_contrast_of_an_even_picture_is_nothing() -> None:
    assert local_contrast(torch.full((1, 3, 16, 16), 0.7)).abs().max() < 1e-3
    with torch.autocast("cpu", torch.bfloat16):
        assert ContrastDiscriminator(base_ch=4)(torch.full((1, 3, 32, 40), 0.7)).shape == (1, 1, 7, 9)


@pytest.mark.parametrize("net", [MultiScaleDiscriminator(base_ch=8, num_layers=2, num_discriminators=2), ContrastDiscriminator(base_ch=8)])
def test_gradients_reach_the_picture_and_every_parameter(net: nn.Module) -> None:
    torch.manual_seed(0)
    picture = torch.rand(2, 3, 32, 32, requires_grad=True)
    scores = net(picture)
    sum(score.square().mean() for score in (scores if isinstance(scores, list) else [scores])).backward()
    assert picture.grad is not None
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_two_passes_before_one_backward() -> None:
    """A GAN step scores real and fake before it steps: the power iteration must not disturb the first graph."""
    net = MultiScaleDiscriminator(base_ch=8, num_layers=2, num_discriminators=2)
    real, fake = (net(torch.rand(2, 3, 32, 32))[0].mean() for _ in range(2))
    (real - fake).backward()


def test_another_size_is_named() -> None:
    with pytest.raises(ValueError, match="256"):
        VGGStyleDiscriminator256(num_feat=4)(torch.zeros(1, 3, 128, 128))
