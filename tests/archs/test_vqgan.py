"""The VQGAN and the two discriminators against the public numbers; quantizers against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from archs.discriminator3d_arch import Discriminator3D
from archs.group_norm import GroupNorm
from archs.vqgan_arch import GumbelQuantizer, VectorQuantizer, VQAutoEncoder, VQHQEncoder, rename_encoder_only
from archs.vqgan_discriminator_arch import VQGANDiscriminator
from keyframes_gan import weights

Made = Callable[..., Path]
Clip = Callable[..., torch.Tensor]
TINY: dict[str, Any] = {"img_size": 32, "nf": 32, "ch_mult": (1, 2), "res_blocks": 1, "emb_dim": 8, "codebook_size": 16}


def golden_of(parity_dir: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(parity_dir / "goldens" / f"{name}.npz") as stored:
        return dict(stored)


def to_pm1(frames: torch.Tensor) -> torch.Tensor:
    return (frames.double() / 255 * 2 - 1).float()


@pytest.mark.slow
@torch.no_grad()
def test_vqgan_equals_the_public_one(parity_dir: Path, made_checkpoint: Made, made_clip: Clip, assert_parity: Callable[..., None]) -> None:
    golden = golden_of(parity_dir, "vqgan")
    net = VQAutoEncoder().eval()
    state = weights.load_state(made_checkpoint("vqgan"), param_key="params_ema")
    assert len(state) == 329
    weights.load_into(net, state, name="vqgan")
    picture = to_pm1(made_clip(1, 1, 512, str(golden["input_sha256"])))
    features = net.encoder(picture)
    assert_parity(features[:, ::4], golden["z"], golden["noise_z"])
    rows, loss, stats = net.quantize(features)
    assert float(loss) == pytest.approx(float(golden["codebook_loss"][0]), rel=1e-5)
    assert float(stats["perplexity"]) == pytest.approx(float(golden["perplexity"][0]), rel=1e-5)
    assert np.array_equal(stats["indices"][0], golden["indices"])
    assert_parity(stats["margin"][0], golden["margin"], 1e-4)
    made = net.generator(rows)
    assert_parity(made[..., ::8, ::8], golden["out"], golden["noise_out"])
    assert float(made.mean()) == pytest.approx(float(golden["out_mean"][0]), abs=1e-4)
    assert float(made.std()) == pytest.approx(float(golden["out_std"][0]), abs=1e-4)


@torch.no_grad()
def test_the_patch_discriminator_equals_the_public_one(
    parity_dir: Path, made_checkpoint: Made, made_clip: Clip, assert_parity: Callable[..., None]
) -> None:
    golden = golden_of(parity_dir, "vqgan_discriminator")
    net = VQGANDiscriminator().eval()
    weights.load_into(net, weights.load_state(made_checkpoint("vqgan_discriminator"), param_key="params_d"), name="vqgan_discriminator")
    scores = net(to_pm1(made_clip(1, 1, 256, str(golden["input_sha256"]))))
    assert_parity(scores, golden["out"], golden["noise_out"])


@torch.no_grad()
def test_the_clip_discriminator_equals_the_public_one(
    parity_dir: Path, made_checkpoint: Made, made_clip: Clip, assert_parity: Callable[..., None]
) -> None:
    golden = golden_of(parity_dir, "discriminator3d")
    net = Discriminator3D().eval()
    weights.load_into(net, weights.load_state(made_checkpoint("discriminator3d"), param_key="params"), name="discriminator3d")
    clip = to_pm1(made_clip(1, 4, 128, str(golden["input_sha256"])))[None]
    assert_parity(net(clip), golden["out"], golden["noise_out"])
    assert_parity(net(torch.cat((clip.flip(1), clip)))[1:], golden["out"], golden["noise_out"])


@torch.no_grad()
def test_spectral_norm_ends_at_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    net = Discriminator3D(nf=4).train()
    for _ in range(200):
        net(torch.zeros(1, 3, 3, 64, 64))
    conv = net.layers[2]
    matrix = conv.weight_orig.flatten(1)
    assert float(conv.weight_u @ matrix @ conv.weight_v) == pytest.approx(float(torch.linalg.svdvals(matrix)[0]), rel=1e-3)
    assert set(Discriminator3D(nf=4, use_spectral_norm=False).state_dict()) == {
        *(f"layers.{place}.weight" for place in range(0, 12, 2)),
        "layers.10.bias",
    }


def test_nearest_rows_loss_and_gradient() -> None:
    """Two rows on a line, (0, 0) and (4, 0); features at 1 and 3 and 3.5 from the first."""
    quantize = VectorQuantizer(2, 2, beta=0.25)
    with torch.no_grad():
        quantize.embedding.weight.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
    features = torch.tensor([[[[1.0, 3.0, 3.5]], [[0.0, 0.0, 0.0]]]], requires_grad=True)
    rows, loss, stats = quantize(features)
    assert rows[0, 0, 0].tolist() == [0.0, 4.0, 4.0]
    assert stats["indices"].tolist() == [[0, 1, 1]]
    torch.testing.assert_close(stats["margin"], torch.tensor([[9.0 - 1, 9.0 - 1, 12.25 - 0.25]]))
    assert float(loss.detach()) == pytest.approx(1.25 * (1 + 1 + 0.25) / 6)
    assert float(stats["perplexity"]) == pytest.approx(math.exp(math.log(3) / 3 + 2 / 3 * math.log(1.5)), rel=1e-6)
    rows.sum().backward()
    assert features.grad is not None
    assert bool((features.grad == 1).all())


def test_gumbel_choice_is_the_likeliest_in_eval_and_samples_in_training() -> None:
    torch.manual_seed(0)
    quantize = GumbelQuantizer(4, 3, straight_through=True, kl_weight=1.0)
    torch.nn.init.zeros_(quantize.proj.weight)
    with torch.no_grad():
        quantize.proj.bias.copy_(torch.tensor([0.0, 50.0, 0.0, 0.0]))
    rows, divergence, stats = quantize.eval()(torch.zeros(1, 3, 2, 2))
    torch.testing.assert_close(rows, quantize.embed.weight[1].view(1, 3, 1, 1).expand(1, 3, 2, 2))
    assert stats["indices"].tolist() == [[1, 1, 1, 1]]
    assert float(divergence.detach()) == pytest.approx(math.log(4), rel=1e-6)  # all certainty against none
    torch.nn.init.zeros_(quantize.proj.bias)
    rows, divergence, _ = quantize.train()(torch.zeros(1, 3, 16, 16))
    assert float(divergence.detach()) == pytest.approx(0, abs=1e-6)
    assert len(rows.flatten(2)[0].T.round(decimals=4).unique(dim=0)) == 4


@pytest.mark.parametrize("quantizer", ["nearest", "gumbel"])
def test_a_small_one_trains_and_its_encoder_stands_alone(quantizer: str) -> None:
    torch.manual_seed(0)
    net = VQAutoEncoder(**TINY, quantizer=quantizer)
    picture = torch.rand(2, 3, 32, 32) * 2 - 1
    made, loss, _ = net(picture)
    assert made.shape == picture.shape
    (F.l1_loss(made, picture) + loss).backward()
    unused = {name for name, parameter in net.named_parameters() if parameter.grad is None}
    assert not unused
    alone = VQHQEncoder(**TINY, quantizer=quantizer)
    weights.load_into(alone, net.state_dict(), name="vqgan", rename=rename_encoder_only)
    with torch.no_grad():
        torch.testing.assert_close(alone.eval()(picture)[0], net.eval().quantize(net.encoder(picture))[0])


def test_an_unknown_quantizer_is_refused() -> None:
    with pytest.raises(ValueError, match="expected nearest or gumbel, got 'binary'"):
        VQAutoEncoder(**TINY, quantizer="binary")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-12), (torch.bfloat16, 4e-2)])
def test_group_norm_is_exact_on_large_pictures(dtype: torch.dtype, tolerance: float) -> None:
    """Against the definition in float64; 2e-6 is float32 at values up to 10, 4e-2 bfloat16 (8 bits) at values up to 5."""
    torch.manual_seed(0)
    norm = GroupNorm(4, 8, eps=1e-6).to(dtype)
    torch.nn.init.normal_(norm.weight)
    features = (torch.randn(2, 8, 300, 310) + 0.7).to(dtype).contiguous(memory_format=torch.channels_last)
    groups = features.double().reshape(2, 4, -1)
    wanted = ((groups - groups.mean(-1, keepdim=True)) / (groups.var(-1, keepdim=True, correction=0) + 1e-6).sqrt()).view(2, 8, 300, 310)
    wanted = wanted * norm.weight.detach().double().view(1, 8, 1, 1) + norm.bias.detach().double().view(1, 8, 1, 1)
    with torch.no_grad():
        plain, activated = norm(features), norm.activated(features)
    assert plain.is_contiguous(memory_format=torch.channels_last)
    assert plain.dtype == dtype
    torch.testing.assert_close(plain.double(), wanted, rtol=0, atol=tolerance)
    torch.testing.assert_close(activated.double(), F.silu(wanted), rtol=0, atol=tolerance)
    torch.testing.assert_close(norm.activated(features[:, :, :20, :20].contiguous()), F.silu(norm(features[:, :, :20, :20].contiguous())))


@torch.no_grad()
def test_group_norm_overwrites_only_what_nobody_needs() -> None:
    norm, given = GroupNorm(4, 8), torch.randn(1, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    wanted = norm.activated(given)
    needed = given.clone().requires_grad_()
    for features, overwritten in ((given.clone(), True), (needed, False)):
        made = norm.activated(features, inplace=True)
        torch.testing.assert_close(made, wanted)
        assert (made.data_ptr() == features.data_ptr()) is overwritten
    with torch.enable_grad():
        assert norm.activated(needed, inplace=True).data_ptr() != needed.data_ptr()
    torch.testing.assert_close(needed.detach(), given)


def test_group_norm_trains_behind_a_frozen_part_in_channels_last_memory() -> None:
    """Only scale and shift want gradients there, which ends PyTorch 2.11 if its own channels-last kernel is asked."""
    features = torch.randn(2, 64, 8, 8)
    last = features.to(memory_format=torch.channels_last)
    plain, ours = torch.nn.GroupNorm(32, 64), GroupNorm(32, 64)
    plain(features).square().mean().backward()
    ours(last).square().mean().backward()
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
