"""The VQGAN's recipe: what a step does, when the discriminator joins in, and how hard its term may pull."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from keyframes_gan.models.vqgan_model import VQGANModel

NETWORK = {
    "type": "VQAutoEncoder",
    "nf": 32,
    "ch_mult": [1, 2],
    "res_blocks": 1,
    "attn_resolutions": [],
    "codebook_size": 16,
    "emb_dim": 16,
}
GAN: dict[str, Any] = {"gan_opt": {"type": "GANLoss", "gan_type": "hinge"}, "optim_d": {"type": "Adam", "lr": 1e-3}}
DISCRIMINATOR = {"type": "VQGANDiscriminator", "ndf": 8, "n_layers": 2}

Make = Callable[..., VQGANModel]
Step = Callable[..., dict[str, float]]


@pytest.fixture
def build(make: Callable[..., Any]) -> Make:
    def go(*, size: int = 32, gan: bool = False, **options: Any) -> VQGANModel:
        sections = {"network_d": DISCRIMINATOR} if gan else {}
        train = {**(GAN if gan else {}), **options.pop("train_options", {})}
        model = make("VQGANModel", {**NETWORK, "img_size": size}, train_options=train, **sections, **options)
        assert isinstance(model, VQGANModel)
        return model

    return go


def data(count: int = 2, size: int = 32) -> dict[str, Any]:
    smooth = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return {"gt": nn.functional.interpolate(smooth, size, mode="bilinear"), "gt_path": ["a/face.png"] * count}


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_it_learns_to_give_pictures_back(build: Make, step: Step) -> None:
    model = build()
    logs = [step(model, data(), iteration) for iteration in range(1, 26)]
    assert set(logs[0]) == {"l_pix", "l_codebook", "perplexity"}
    assert logs[-1]["l_pix"] < 0.7 * logs[0]["l_pix"]
    # In the networks' range, [-1, 1], a difference is twice that in [0, 1].
    shown = model.shown(model.get_bare_model(model.net_g).eval(), data(1))
    assert (shown.name, shown.given) == ("face", [])
    assert shown.restored[0].shape == (32, 32, 3)
    assert np.abs(shown.truth[0] / 255.0 - data(1)["gt"][0].permute(1, 2, 0).numpy()).max() <= 0.5 / 255 + 1e-6


def test_the_pixel_term_is_in_the_networks_range(build: Make, step: Step) -> None:
    model = build(train_options={"optim_g": {"type": "SGD", "lr": 1e-9}})
    logged = step(model, data())
    with torch.no_grad():
        made = model.get_bare_model(model.net_g)(data()["gt"] * 2 - 1)[0]
    assert logged["l_pix"] == pytest.approx((made - (data()["gt"] * 2 - 1)).abs().mean().item(), rel=1e-4)


def test_the_discriminator_joins_in_when_told(build: Make, step: Step) -> None:
    model = build(gan=True, train_options={"net_d_start_iter": 3})
    before = weights(model.net_d)
    for iteration in (1, 2):
        assert "l_g_gan" not in step(model, data(), iteration)
    assert all(torch.equal(value, before[name]) for name, value in weights(model.net_d).items())
    logged = step(model, data(), 3)
    assert {"l_g_gan", "l_d_real", "l_d_fake"} <= set(logged)
    assert any(not torch.equal(value, before[name]) for name, value in weights(model.net_d).items())


def test_the_adversarial_term_pulls_as_hard_as_the_others(build: Make, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(gan=True, train_options={"adaptive_gan_cap": 1e4})
    pulls: dict[str, Tensor] = {}
    plain = type(model).adversarial

    def watched(self: VQGANModel, output: Tensor, terms: dict[str, Tensor]) -> Tensor:
        term = plain(self, output, terms)
        last = self.get_bare_model(self.net_g).generator.blocks[-1].weight
        pulls["gan"] = torch.autograd.grad(term, last, retain_graph=True)[0]
        pulls["pix"] = torch.autograd.grad(terms["l_pix"], last, retain_graph=True)[0]
        return term

    monkeypatch.setattr(type(model), "adversarial", watched)
    logged = step(model, data())
    assert pulls["gan"].norm().item() == pytest.approx(pulls["pix"].norm().item(), rel=1e-3)
    assert logged["gan_weight"] > 0
    capped = build(gan=True, train_options={"adaptive_gan_cap": 1e-3})
    assert step(capped, data())["gan_weight"] == pytest.approx(1e-3)
    free = build(gan=True, train_options={"adaptive_gan_cap": None})
    assert "gan_weight" not in step(free, data())


def test_chunks_add_up_without_an_adversary(build: Make, step: Step) -> None:
    sgd = {"optim_g": {"type": "SGD", "lr": 0.1}}
    whole, chunked = build(train_options=sgd), build(train_options={**sgd, "accumulate": 2})
    logs = [step(model, data()) for model in (whole, chunked)]
    for name, value in weights(whole.net_g).items():
        torch.testing.assert_close(weights(chunked.net_g)[name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert logs[1]["l_pix"] == pytest.approx(logs[0]["l_pix"], rel=1e-5)


def test_perception_counts_when_asked_for(build: Make, step: Step, lpips_files: dict[str, str]) -> None:
    perceptual = {"perceptual_opt": {"type": "LPIPSLoss", "loss_weight": 1.0, "range_norm": True}}
    model = build(size=64, train_options=perceptual, path=lpips_files)
    logs = [step(model, data(1, 64), iteration) for iteration in range(1, 6)]
    assert 0 < logs[-1]["l_percep"] < logs[0]["l_percep"]


def test_bfloat16_chooses_codes_in_full_precision(build: Make, step: Step) -> None:
    model = build(train_options={"precision": "bf16"})
    assert np.isfinite(list(step(model, data()).values())).all()
    quantize = model.get_bare_model(model.net_g).quantize
    tokens = torch.randn(1, 5, 16)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(quantize.distances(tokens), torch.cdist(tokens, quantize.embedding.weight[None]).square())


def test_codes_may_be_chosen_by_chance(make: Callable[..., Any], step: Step) -> None:
    model = make("VQGANModel", {**NETWORK, "img_size": 32, "quantizer": "gumbel"})
    assert set(step(model, data())) == {"l_pix", "l_codebook"}
