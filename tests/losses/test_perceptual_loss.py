"""Perceptual and style loss, and BasicSR's pixel losses, against the public numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from keyframes_gan import registry
from keyframes_gan.errors import OptionsError, WeightsError
from losses.perceptual_loss import EASFFNetPerceptualLoss, PerceptualLoss, gram

Pair = tuple[Tensor, Tensor]
State = dict[str, Tensor]
Goldens = dict[str, Any]
CLASSES = {"PerceptualLoss": PerceptualLoss, "EASFFNetPerceptualLoss": EASFFNetPerceptualLoss}


@pytest.fixture(scope="module")
def goldens(parity_dir: Path) -> dict[str, Any]:
    return json.loads((parity_dir / "goldens" / "losses.json").read_text())


@pytest.fixture(scope="module")
def pair(parity_dir: Path) -> Pair:
    with np.load(parity_dir / "goldens" / "losses.npz") as stored:
        x, gt = (torch.from_numpy(stored[name]).permute(2, 0, 1)[None].float() / 255 for name in ("x", "gt"))
    return x, gt


@pytest.fixture(scope="module")
def vgg(made_checkpoint: Callable[..., Path]) -> State:
    return torch.load(made_checkpoint("vgg19_features"), weights_only=True, mmap=True)


@pytest.mark.parametrize("index", [0, 1, 2, 3, 5])
def test_perceptual_and_style_equal_the_public_numbers(index: int, goldens: Goldens, pair: Pair, vgg: dict[str, Tensor]) -> None:
    case = goldens["perceptual"][index]
    options = {key: case[key] for key in ("layer_weights", "range_norm", "perceptual_weight", "style_weight", "criterion")}
    loss = CLASSES[case["class"]](**options)
    loss.load_vgg(vgg)
    picture = pair[0].clone().requires_grad_()
    perceptual, style = loss(picture, pair[1])
    assert perceptual.item() == pytest.approx(case["perceptual"], rel=1e-4)
    assert style.item() == pytest.approx(case["style"], rel=1e-4)
    (perceptual + style).backward()
    assert picture.grad.abs().sum().item() == pytest.approx(case["grad_abs_sum"], rel=1e-4)


@pytest.mark.parametrize("index", [0, 1, 3])
def test_every_layer_equals_its_public_numbers(index: int, goldens: Goldens, pair: Pair, vgg: State) -> None:
    case = goldens["perceptual"][index]
    for layer, wanted in case["per_layer_unweighted"].items():
        loss = PerceptualLoss({layer: 1.0}, style_weight=1.0, criterion=case["criterion"])
        loss.load_vgg(vgg)
        with torch.no_grad():
            assert [term.item() for term in loss(*pair)] == pytest.approx(wanted, rel=1e-4), layer


def test_gradient_equals_the_public_one(parity_dir: Path, goldens: Goldens, pair: Pair, vgg: dict[str, Tensor]) -> None:
    case = goldens["perceptual"][1]
    loss = EASFFNetPerceptualLoss(case["layer_weights"], perceptual_weight=10.0, style_weight=1.0)
    loss.load_vgg(vgg)
    picture = pair[0].clone().requires_grad_()
    sum(loss(picture, pair[1])).backward()
    with np.load(parity_dir / "goldens" / "losses.npz") as stored:
        expected = stored["grad_l2_stride4"]
    found = picture.grad[0, :, ::4, ::4].numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_weights_of_zero_leave_a_term_out(pair: Pair, vgg: State) -> None:
    loss, without = PerceptualLoss({"relu1_1": 2.0}), PerceptualLoss({"relu1_1": 1.0}, perceptual_weight=0.0)
    loss.load_vgg(vgg)
    without.load_vgg(vgg)
    perceptual, style = loss(pair[0][..., :32, :32], pair[1][..., :32, :32])
    assert perceptual.item() > 0
    assert style is None
    assert without(*pair) == (None, None)
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_gram_of_one_channel_is_its_mean_square() -> None:
    features = torch.arange(12.0).reshape(1, 1, 3, 4)
    assert gram(features).item() == pytest.approx((features**2).mean().item())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer_weights": {"conv9_1": 1.0}}, "conv9_1"),
        ({"layer_weights": {"conv1_1": 1.0}, "criterion": "l3"}, "l1, l2, fro"),
        ({"layer_weights": {"conv1_1": 1.0}, "vgg_type": "vgg16"}, "vgg16"),
    ],
)
def test_bad_options_get_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        PerceptualLoss(**options)


def test_incomplete_weights_are_refused() -> None:
    loss = PerceptualLoss({"conv1_2": 1.0})
    with pytest.raises(RuntimeError, match="load_vgg"):
        loss(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
    with pytest.raises(WeightsError, match=r"2 of 4 are missing or misshapen: vgg_net.conv1_2"):
        loss.load_vgg({"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)})


def test_pixel_losses_of_the_engine_equal_the_public_numbers(goldens: Goldens, pair: Pair) -> None:
    for name, case in goldens["pixel"].items():
        loss = registry.build_loss({"type": name, "loss_weight": case["loss_weight"], "reduction": "mean"})
        assert loss(*pair).item() == pytest.approx(case["value"], rel=1e-4), name
