"""DMSASFFNet against the numbers that the public implementation gave for the same checkpoint and inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from archs import dmsasff_arch
from archs.dmsasff_arch import VGG_LAYERS, DMSASFFNet
from keyframes_gan import weights

Golden = dict[str, npt.NDArray[np.float32]]
OUT, INSIDE = 2e-5, 1e-4


@pytest.fixture(scope="module")
def golden(parity_dir: Path) -> Golden:
    with np.load(parity_dir / "goldens" / "dmsasffnet.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def net(made_checkpoint: Callable[..., Path], golden: Golden) -> DMSASFFNet:
    state = weights.load_state(made_checkpoint("dmsasffnet", int(golden["checkpoint_seed"])), param_key="params")
    assert len(state) == 324
    made = DMSASFFNet()
    weights.load_into(made, state, name="dmsasffnet")
    return made.eval()


def case_inputs(golden: Golden, case: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    def picture(name: str) -> torch.Tensor:
        return torch.from_numpy(golden[f"case{case}_{name}_u8"]).permute(2, 0, 1)[None].float() / 255

    landmark = torch.from_numpy(golden[f"case{case}_landmark_u8"])[None, None].float() / 255
    return picture("compressed"), picture("reference"), landmark.expand(1, 3, -1, -1)


def small_inputs(count: int = 1, size: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(5)
    pictures = torch.rand((2, count, 3, size, size), generator=draw)
    return pictures[0], pictures[1], (torch.rand((count, 1, size, size), generator=draw) > 0.95).float().expand(-1, 3, -1, -1)


def assert_features(features: torch.Tensor, golden: Golden, name: str, *, vgg: bool = False) -> None:
    """Compare features (1, C, H, W) with a golden sample and its statistics."""
    _, channels, height, width = features.shape
    picked = (
        features[0, :: channels // 8, height // 3, width // 3]
        if vgg
        else features[0, :: max(1, channels // 16), height // 3, :: max(1, width // 8)]
    )
    np.testing.assert_allclose(picked.numpy(), golden[f"{name}_sample"], rtol=0, atol=INSIDE)
    stats = [features.mean(), features.std(correction=0), features.min(), features.max(), features.abs().mean()]
    np.testing.assert_allclose([float(value) for value in stats], golden[f"{name}_stats"], rtol=0, atol=INSIDE)


@pytest.mark.parametrize("case", [0, 1])
@torch.no_grad()
def test_output_and_insides_equal_the_public_ones(net: DMSASFFNet, golden: Golden, case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = f"case{case}"
    seen: list[torch.Tensor] = []
    adapted: list[torch.Tensor] = []
    modules = [*net.MASFF_blocks, net.multi_scale_dilation, net.upsample0, net.upsample1, net.upsample2, net.upsample3, net.upsample4]
    hooks = [module.register_forward_hook(lambda _module, _args, out: seen.append(out)) for module in modules]
    monkeypatch.setattr(dmsasff_arch, "adain", lambda *args, adain=dmsasff_arch.adain: adapted.append(adain(*args)) or adapted[-1])
    compressed, reference, landmark = case_inputs(golden, case)
    out = net(compressed, reference, landmark)
    for hook in hooks:
        hook.remove()
    for stride, name in ((slice(None, None, 4), "stride4"), (slice(112, 144), "center32"), (slice(0, 16), "corner16")):
        np.testing.assert_allclose(out[0, :, stride, stride].numpy(), golden[f"{prefix}_out_{name}"], rtol=0, atol=OUT)
    written = (out[0].clamp(0, 1) * 255).round().to(torch.int16).flip(0).permute(1, 2, 0).numpy()[::4, ::4]
    assert np.abs(written - golden[f"{prefix}_uint8_bgr_stride4"]).max() <= 1
    names = [f"fusion{index}" for index in range(4)] + ["multi_scale_dilation"] + [f"upsample{index}" for index in range(5)]
    for features, name in zip(seen, names, strict=True):
        assert_features(features, golden, f"{prefix}_{name}")
    for features, layer in zip(adapted, VGG_LAYERS, strict=True):
        assert_features(features, golden, f"{prefix}_adain_{layer}", vgg=True)
    for picture, name in ((compressed, "compressed"), (reference, "reference"), (landmark, "landmark")):
        for layer, features in net.vgg_extractor(picture).items():
            assert_features(features, golden, f"{prefix}_vgg_{name}_{layer}", vgg=True)


@torch.no_grad()
def test_folding_leaves_the_output_equal(net: DMSASFFNet, golden: Golden) -> None:
    folded = copy.deepcopy(net).fold()
    assert not any("weight_orig" in key or "running" in key for key in folded.state_dict())
    out = folded(*case_inputs(golden, 0))
    np.testing.assert_allclose(out[0, :, ::4, ::4].numpy(), golden["case0_out_stride4"], rtol=0, atol=OUT)
    args = small_inputs()
    torch.testing.assert_close(folded.fold()(*args), net(*args), rtol=0, atol=OUT)


@torch.no_grad()
def test_one_vgg_pass_equals_three(net: DMSASFFNet) -> None:
    apart = copy.copy(net)
    apart.joint_vgg = False
    args = small_inputs(2)
    out = net(*args)
    torch.testing.assert_close(out, apart(*args), rtol=0, atol=OUT)
    torch.testing.assert_close(out[1:], net(*(value[1:] for value in args)), rtol=0, atol=OUT)


@torch.no_grad()
def test_a_landmark_picture_of_one_channel_is_repeated(net: DMSASFFNet) -> None:
    compressed, reference, landmark = small_inputs()
    assert torch.equal(net(compressed, reference, landmark[:, :1]), net(compressed, reference, landmark))


@torch.no_grad()
def test_bfloat16_stays_close_and_gives_float32(net: DMSASFFNet) -> None:
    args = small_inputs()
    exact = net(*args)
    rough = copy.deepcopy(net).fold().bfloat16()(*args)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.02 * (exact - args[0]).abs().mean()


def test_training_reaches_every_parameter_but_vgg() -> None:
    torch.manual_seed(0)
    net = DMSASFFNet().train()
    net(*small_inputs(2)).square().mean().backward()
    for name, parameter in net.named_parameters():
        if name.startswith("vgg_extractor."):
            assert not parameter.requires_grad, name
        else:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_shapes_that_do_not_fit_are_named() -> None:
    net = DMSASFFNet()
    good = torch.zeros(1, 3, 32, 32)
    with pytest.raises(ValueError, match="multiples of 16"):
        net(torch.zeros(1, 3, 24, 32), good, good)
    with pytest.raises(ValueError, match="reference"):
        net(good, torch.zeros(1, 3, 16, 32), good)
    with pytest.raises(ValueError, match="landmark"):
        net(good, good, torch.zeros(1, 2, 32, 32))
