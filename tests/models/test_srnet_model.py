"""SRNet's recipe: what a step sees, which terms it has, and what is validated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from archs.srnet_arch import SRNet
from keyframes_gan.models.srnet_model import SRNetModel
from losses.frequency_loss import FrequencyLoss

FAR = {"patch_size": 16, "blur_sigma": [0.2, 2.0], "noise_range": [0.0, 3.0], "crf_range": [15, 30]}
RAMP = (torch.arange(128) / 255).expand(1, 3, 128, 128)


@pytest.fixture
def build(make: Callable[..., Any]) -> Callable[..., SRNetModel]:
    def go(**options: Any) -> SRNetModel:
        model = make("SRNetModel", {"type": "SRNet", "window": 8}, **{"degradation": FAR, **options})
        assert isinstance(model, SRNetModel)
        return model

    return go


def data(count: int = 2, size: int = 96) -> dict[str, Any]:
    smooth = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    return {"gt": torch.nn.functional.interpolate(smooth, size, mode="bicubic").clamp(0, 1), "gt_path": ["a/000003"] * count}


def test_a_batch_is_patches_and_a_fourth_of_them(build: Callable[..., SRNetModel]) -> None:
    model = build()
    model.update_learning_rate(1)
    model.feed_data(data())
    assert model.batch["gt"].shape == (2, 3, 64, 64)
    assert model.batch["lq"].shape == (2, 3, 16, 16)
    small = torch.nn.functional.avg_pool2d(model.batch["gt"], 4)
    assert 0 < (small - model.batch["lq"]).abs().mean() < 0.2
    first = model.batch["lq"].clone()
    model.update_learning_rate(1)
    model.feed_data(data())
    assert torch.equal(model.batch["lq"], first)
    model.update_learning_rate(2)
    model.feed_data(data())
    assert not torch.equal(model.batch["lq"], first)


def test_clean_samples_only_become_small(build: Callable[..., SRNetModel]) -> None:
    model = build(degradation={**FAR, "clean": 1.0})
    model.feed_data({"gt": RAMP, "gt_path": ["a/0"]})
    wrong = torch.nn.functional.interpolate(model.batch["lq"], scale_factor=4, mode="bicubic") - model.batch["gt"]
    assert wrong[..., 8:-8, 8:-8].abs().max() < 2 * 2 / 255  # two levels


@pytest.mark.parametrize(("size", "steepness"), [(0.5, 2.0), (1.6, 0.625)])
def test_pictures_change_their_size_before_patches_are_cut(build: Callable[..., SRNetModel], size: float, steepness: float) -> None:
    model = build(degradation={**FAR, "size_range": [size, size]})
    model.feed_data({"gt": RAMP, "gt_path": ["a/0"]})
    assert model.batch["gt"].shape == (1, 3, 64, 64)
    steps = model.batch["gt"][..., 8:-8].diff(dim=-1) * 255 / 2  # from [-1, 1] to levels
    assert steps.mean().item() == pytest.approx(steepness, rel=0.05)


def test_coarser_versions_count(build: Callable[..., SRNetModel]) -> None:
    model = build(train_options={"coarse_opt": {"type": "L1Loss", "loss_weight": 0.5}})
    model.feed_data(data())
    terms, output = model.terms(model.batch)
    wrong = output - model.batch["gt"]
    expected = 0.5 * sum(wrong.unfold(2, side, side).unfold(3, side, side).mean((-1, -2)).abs().mean() for side in (2, 4))
    torch.testing.assert_close(terms["l_coarse"], expected)


def test_small_pictures_are_taken_whole(build: Callable[..., SRNetModel]) -> None:
    model = build()
    model.feed_data(data(size=46))
    assert model.batch["gt"].shape == (2, 3, 44, 44)


def test_it_begins_as_interpolation_and_learns(build: Callable[..., SRNetModel], step: Callable[..., dict[str, float]]) -> None:
    model = build(train_options={"frequency_opt": {"type": "FrequencyLoss", "loss_weight": 0.5}})
    first = step(model, data())
    assert set(first) == {"l_pix", "l_frequency"}
    plain = torch.nn.functional.interpolate(model.batch["lq"], scale_factor=4, mode="bilinear")
    # At the border the network sees zeros beyond it.
    assert first["l_pix"] == pytest.approx((plain - model.batch["gt"]).abs().mean().item(), rel=0.4)
    assert first["l_frequency"] == pytest.approx(FrequencyLoss(0.5)(plain, model.batch["gt"]).item(), rel=0.4)
    # The same iteration again is the same batch.
    last = [step(model, data()) for _ in range(15)][-1]
    assert last["l_pix"] < 0.95 * first["l_pix"]


def test_the_photo_variant_begins_with_weights_of_the_other(make: Callable[..., Any], tmp_path: Any) -> None:
    torch.manual_seed(5)
    given = SRNet("video")
    torch.save(given.state_dict(), tmp_path / "t.pth")
    model = make("SRNetModel", {"type": "SRNet", "variant": "photo"}, degradation=FAR, path={"pretrain_network_g": str(tmp_path / "t.pth")})
    picture = data(1, 16)["gt"]
    with torch.no_grad():
        torch.testing.assert_close(model.get_bare_model(model.net_g).eval()(picture)[0], given.eval()(picture)[0], rtol=0, atol=1e-5)


def test_validation_shows_whole_faces_beside_bicubic_ones(build: Callable[..., SRNetModel]) -> None:
    model = build()
    net = model.get_bare_model(model.net_g).eval()
    with torch.inference_mode():
        shown = model.shown(net, data(1, 98))
        again = model.shown(net, data(1, 98))
    assert shown.name == "a/000003"
    assert shown.restored[0].shape == shown.truth[0].shape == shown.given[0].shape == (96, 96, 3)
    np.testing.assert_array_equal(shown.given[0], again.given[0])
    inside = slice(8, -8), slice(8, -8)
    assert np.abs(shown.restored[0].astype(int) - shown.given[0])[inside].mean() < 8
