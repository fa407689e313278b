"""SRNet against the numbers that the public scripts gave for the same checkpoints, and its own layers against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from archs.layouts import without_parallel_prefix
from archs.srnet_arch import EncoderLayer, SRNet, Variant, as_photo, variant_of
from keyframes_gan import weights
from keyframes_gan.errors import WeightsError

OUT = {"photo": 1e-3, "video": 3e-4}
KEYS = {"photo": 71, "video": 70}
Golden = dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="module", params=["photo", "video"])
def case(request: pytest.FixtureRequest, parity_dir: Path, made_checkpoint: Callable[..., Path]) -> tuple[SRNet, Golden]:
    name = f"srnet_{request.param}"
    with np.load(parity_dir / "goldens" / f"{name}.npz") as stored:
        golden = dict(stored)
    state = weights.load_state(made_checkpoint(name, int(golden["checkpoint_seed"])))
    assert len(state) == KEYS[request.param]
    net = SRNet(variant_of(state))
    weights.load_into(net, state, name=name)
    return net.eval(), golden


def assert_near(got: torch.Tensor, wanted: npt.NDArray[Any], variant: Variant) -> None:
    np.testing.assert_allclose(got.numpy(), wanted, rtol=0, atol=OUT[variant])


def seeded(variant: Variant = "video", window: int = 0) -> SRNet:
    torch.manual_seed(1)
    return SRNet(variant, window=window).eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_outputs_and_insides_equal_the_public_ones(case: tuple[SRNet, Golden]) -> None:
    net, golden = case
    seen: dict[str, torch.Tensor] = {}
    net.rrdb.register_forward_hook(lambda _module, _given, made: seen.update(rrdb=made))
    net.body.encoder.register_forward_hook(lambda _module, _given, made: seen.update(encoder=made))
    out, base = net(torch.from_numpy(golden["x"]))
    assert_near(out, golden["out"], net.variant)
    assert_near(base, golden["base"], net.variant)
    assert_near(seen["rrdb"][:, ::4, ::2, ::2], golden["feat_rrdb_s"], net.variant)
    assert_near(seen["encoder"].flatten(1, 2)[:, ::8, ::4], golden["feat_encoder_s"], net.variant)


@torch.no_grad()
def test_odd_sizes_equal_the_public_ones(case: tuple[SRNet, Golden]) -> None:
    net, golden = case
    picture = torch.from_numpy(golden["odd_u8"]).permute(2, 0, 1)[None].float() / 255
    assert_near(net(picture)[0][..., 1::4, 2::4], golden["odd_out_nopad_s"], net.variant)
    if "odd_pads" in golden:
        np.testing.assert_array_equal(golden["odd_pads"], [1, 2, 1, 1])
        assert_near(net.enlarge(picture)[..., 1::4, 2::4], golden["odd_out_padded_s"], net.variant)


def test_parameters_and_keys_of_the_published_networks() -> None:
    for variant in ("video", "photo"):
        net = SRNet(variant)
        assert len(net.state_dict()) == KEYS[variant]
        assert sum(parameter.numel() for parameter in net.parameters()) == 1_071_119
        assert variant_of(net.state_dict()) == variant
        assert variant_of({f"module.{name}": value for name, value in net.state_dict().items()}) == variant


def test_a_checkpoint_of_either_variant_is_read_in_every_layout(tmp_path: Path) -> None:
    for variant in ("video", "photo"):
        given = seeded(variant).state_dict()
        for wrapper in (None, "G", "model", "state_dict"):
            path = tmp_path / "net.pth"
            parallel = {f"module.{name}": value for name, value in given.items()}
            torch.save({wrapper: parallel, "epoch": 3} if wrapper else parallel, path)
            state = weights.load_state(path)
            net = SRNet(variant_of(state))
            weights.load_into(net, state, name=path.name, rename=without_parallel_prefix)
            assert all(torch.equal(value, given[name]) for name, value in net.state_dict().items())


def test_other_checkpoints_are_refused() -> None:
    state = seeded("photo").state_dict()
    del state["detail_head.gate.0.bias"]
    with pytest.raises(WeightsError, match=r"1 missing: detail_head\.gate\.0\.bias"):
        weights.load_into(SRNet(variant_of(state)), state, name="cut")
    with pytest.raises(WeightsError, match="70 tensors"):
        weights.load_into(SRNet(variant_of({})), {"a": torch.zeros(1)}, name="other")


@torch.no_grad()
def test_the_layer_is_pytorchs() -> None:
    torch.manual_seed(0)
    stock = torch.nn.TransformerEncoderLayer(64, 4, 256, dropout=0.1, activation="relu", batch_first=True, norm_first=True).eval()
    own = EncoderLayer(0.1).eval()
    own.load_state_dict(stock.state_dict(), strict=True)
    tokens = torch.randn(2, 9, 7, 64)
    wanted = stock(tokens.flatten(1, 2)).view_as(tokens)
    torch.testing.assert_close(own(tokens, 0, shifted=False), wanted, rtol=0, atol=5e-6)
    torch.testing.assert_close(own(tokens, 9, shifted=True), wanted, rtol=0, atol=5e-6)


@torch.no_grad()
def test_a_window_sees_no_further_than_itself() -> None:
    torch.manual_seed(0)
    layer, tokens = EncoderLayer(0.0).eval(), torch.randn(1, 16, 24, 64)
    whole = layer(tokens, 8, shifted=False)
    alone = layer(tokens[:, 8:16, 16:24].contiguous(), 0, shifted=False)
    torch.testing.assert_close(whole[:, 8:16, 16:24], alone, rtol=0, atol=1e-5)
    shifted = layer(tokens, 8, shifted=True)
    alone = layer(tokens[:, 4:12, 4:12].contiguous(), 0, shifted=False)
    torch.testing.assert_close(shifted[:, 4:12, 4:12], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(5, 9), (16, 16), (17, 40), (33, 8)])
@torch.no_grad()
def test_windows_take_any_size(size: tuple[int, int]) -> None:
    net = seeded(window=8)
    out, base = net(noise(1, 3, *size))
    assert out.shape == base.shape == (1, 3, 4 * size[0], 4 * size[1])
    assert out.isfinite().all()


@torch.no_grad()
def test_pictures_smaller_than_a_window_come_out_as_without() -> None:
    picture = noise(2, 3, 12, 16)
    torch.testing.assert_close(seeded(window=16)(picture), seeded()(picture), rtol=0, atol=1e-6)


@torch.no_grad()
def test_enlarging_leaves_the_picture_where_it_was() -> None:
    net = seeded("photo")
    for size in ((37, 42), (40, 44), (7, 5)):
        picture = noise(1, 3, *size)
        assert net.enlarge(picture).shape == (1, 3, 4 * size[0], 4 * size[1])
    picture = noise(1, 3, 40, 44)
    torch.testing.assert_close(net.enlarge(picture), net(picture)[0], rtol=0, atol=0)


@pytest.mark.parametrize("variant", ["video", "photo"])
@torch.no_grad()
def test_it_can_begin_as_interpolation(variant: Variant) -> None:
    net = seeded(variant, window=8)
    net.begin_as_interpolation()
    picture = noise(1, 3, 18, 14)
    wanted = torch.nn.functional.interpolate(picture, scale_factor=4, mode="bilinear", align_corners=False)
    inside = (..., slice(4, -4), slice(4, -4))
    for made in net(picture):
        torch.testing.assert_close(made[inside], wanted[inside], rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", ["video", "photo"])
@torch.no_grad()
def test_folding_changes_the_outermost_pixels_only(variant: Variant) -> None:
    net, picture = seeded(variant), noise(2, 3, 10, 12)
    wanted = net(picture)
    keys = len(net.state_dict())
    net.body.training = True  # and nothing else: no dropout
    joined = net(picture)
    made = net.fold().fold()(picture)
    assert len(net.state_dict()) == keys - 2
    torch.testing.assert_close(made, joined)
    for got, expected in zip(made, wanted, strict=True):
        edge = 2 if variant == "photo" else 1  # the Laplacian looks one pixel further
        torch.testing.assert_close(got[..., edge:-edge, edge:-edge], expected[..., edge:-edge, edge:-edge], rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_photo_variant_can_begin_with_weights_of_the_other() -> None:
    video, photo, picture = seeded("video"), SRNet("photo").eval(), noise(1, 3, 12, 16)
    weights.load_into(photo, as_photo(video.state_dict()), name="video")
    torch.testing.assert_close(photo(picture)[0], video(picture)[0], rtol=0, atol=1e-5)


def test_training_reaches_every_parameter() -> None:
    for variant in ("video", "photo"):
        net = seeded(variant, window=8).train()
        out, base = net(noise(2, 3, 20, 12))
        (out.square().mean() + base.square().mean()).backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


def test_what_there_is_not() -> None:
    with pytest.raises(ValueError, match="expected a variant of video, photo"):
        SRNet("film")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="window"):
        SRNet(window=1)
