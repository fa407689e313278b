"""Adversarial losses against the public numbers and their definitions."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from keyframes_gan.errors import OptionsError
from losses import LOSSES
from losses.gan_loss import GANLoss, MultiScaleGANLoss, adaptive_weight


def test_gan_losses_equal_the_public_numbers(parity_dir: Path) -> None:
    cases = json.loads((parity_dir / "goldens" / "losses.json").read_text())["gan"]
    with np.load(parity_dir / "goldens" / "losses.npz") as stored:
        scores = torch.from_numpy(stored["gan_input"])
    assert len(cases) == 20
    for case in cases:
        loss = GANLoss(case["type"], loss_weight=case["loss_weight"])
        value = loss(scores, case["target_is_real"], is_disc=case["is_disc"])
        assert value.item() == pytest.approx(case["value"], rel=1e-4), case


def test_scales_are_averaged_by_their_weights() -> None:
    scales = [torch.full((2, 1, side, side), float(side)) for side in (8, 4, 2, 1)]
    assert MultiScaleGANLoss("wgan")(scales, False).item() == pytest.approx((8 + 4 + 2 + 1) / 4)
    weighted = MultiScaleGANLoss("wgan", scale_weights=[4, 2, 1, 1], loss_weight=3.0)
    expected = (4 * 8 + 2 * 4 + 2 + 1) / 8
    assert weighted(scales, False).item() == pytest.approx(3 * expected)
    assert weighted(scales, False, is_disc=True).item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="4 scale_weights do not fit 3 scales"):
        weighted(scales[:3], True)


def test_labels_reach_the_criterion() -> None:
    loss = GANLoss("lsgan", real_label_val=0.9, fake_label_val=0.1)
    scores = torch.zeros(1, 1, 4, 4)
    assert loss(scores, True).item() == pytest.approx(0.81)
    assert loss(scores, False).item() == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("options", "words"), [({"gan_type": "hing"}, "hinge, got hing"), ({"gan_type": "hinge", "scale_weights": [0, 0]}, "positive sum")]
)
def test_bad_options_get_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        GANLoss(**options)


def test_every_file_and_name_is_listed(repo_root: Path) -> None:
    for name, module in LOSSES.items():
        assert getattr(importlib.import_module(module), name).__name__ == name
    files = {f"losses.{path.stem}" for path in (repo_root / "losses").glob("*_loss.py")}
    assert files == set(LOSSES.values())


def test_the_adaptive_weight_evens_gradients_out_and_is_capped() -> None:
    wanted, adversarial = torch.full((4,), 3.0), torch.full((4,), 0.5)
    assert adaptive_weight(wanted, adversarial).item() == pytest.approx(6.0, rel=1e-5)
    assert adaptive_weight(wanted, adversarial, cap=2.0).item() == 2.0
    assert adaptive_weight(wanted, torch.zeros(4)).item() == 1e4
    assert adaptive_weight(torch.zeros(4), torch.zeros(4)).item() == 0.0
