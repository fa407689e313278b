"""The recipe: what a step does, that chunks add up, that the average takes buffers along, that GAN steps move both networks."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from keyframes_gan import options, registry
from keyframes_gan.models.dmsasff_model import DMSASFFNetModel
from keyframes_gan.models.engine import to_basicsr

TEXT = """\
name: t
model_type: DMSASFFNetModel
device: cpu
datasets:
  train: {name: a, type: DMSASFFNetDataset, dataroot: [none.jsonl], batch_size_per_gpu: 4}
network_g: {type: DMSASFFNetLite, widths: [8, 8, 8], landmark_widths: [4, 4, 4], blocks: 1}
train:
  total_iter: 10
  optim_g: {type: SGD, lr: 0.1}
  scheduler: {type: MultiStepLR, milestones: [1000]}
  pixel_opt: {type: L1Loss}
logger: {save_checkpoint_freq: 5}
"""
GAN = (
    "network_d={type: MultiScaleDiscriminator, base_ch: 4, num_layers: 1, num_discriminators: 2}",
    "train:optim_d={type: Adam, lr: 1e-3}",
    "train:gan_opt={type: MultiScaleGANLoss, gan_type: hinge, loss_weight: 0.1}",
)

Make = Callable[..., DMSASFFNetModel]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(*overrides: str) -> DMSASFFNetModel:
        registry.register_all()
        file = tmp_path / "o.yml"
        file.write_text(TEXT)
        checked = options.load(file, overrides, root=tmp_path, check_paths=False)
        torch.manual_seed(0)
        model = registry.build_model(to_basicsr(checked, root=tmp_path, distributed=False, auto_resume=False))
        assert isinstance(model, DMSASFFNetModel)
        return model

    logging.getLogger("basicsr").setLevel(logging.ERROR)
    return build


def batch(count: int = 4) -> dict[str, Any]:
    random = torch.Generator().manual_seed(1)
    pictures = {name: torch.rand(count, 3, 32, 32, generator=random) for name in ("lq", "gt", "reference")}
    return {
        **pictures,
        "landmark": torch.zeros(count, 1, 32, 32),
        "valid": torch.tensor([1.0, 0.0] * (count // 2)),
        "lq_path": ["x"] * count,
    }


def step(model: DMSASFFNetModel, iteration: int = 1) -> None:
    model.update_learning_rate(iteration)
    model.feed_data(batch())
    model.optimize_parameters(iteration)


def weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_a_step_lowers_the_loss_on_its_batch(make: Make) -> None:
    model = make()
    step(model)
    first = model.get_current_log()["l_pix"]
    assert first == pytest.approx(float((batch()["lq"] - batch()["gt"]).abs().mean()), rel=1e-5)  # the network begins as the identity
    for iteration in range(2, 8):
        step(model, iteration)
    assert model.get_current_log()["l_pix"] < first


def test_chunks_add_up_to_the_whole_batch(make: Make) -> None:
    whole, chunked = make(), make("train:accumulate=4")
    for model in (whole, chunked):
        step(model, 1)
        step(model, 2)
    for name, value in weights(whole.net_g).items():
        torch.testing.assert_close(weights(chunked.net_g)[name], value, atol=1e-6, rtol=1e-5, msg=name)
    assert chunked.get_current_log() == pytest.approx(whole.get_current_log(), rel=1e-5)


def test_clipping_limits_the_step(make: Make) -> None:
    model = make("train:clip_grad_norm=0.001")
    before = weights(model.net_g)
    step(model)
    moved = torch.sqrt(sum(((weights(model.net_g)[name] - before[name]) ** 2).sum() for name in before))
    assert float(moved) == pytest.approx(0.1 * 0.001, rel=1e-3)


def test_bf16_trains_close_to_fp32(make: Make) -> None:
    exact, rounded = make(), make("train:precision=bf16")
    for model in (exact, rounded):
        for iteration in range(1, 4):
            step(model, iteration)
    assert rounded.get_current_log()["l_pix"] == pytest.approx(exact.get_current_log()["l_pix"], rel=0.02)
    assert all(value.dtype == torch.float32 for value in weights(rounded.net_g).values())


def test_average_takes_buffers_along_and_starts_quickly(make: Make) -> None:
    model = make()
    model.networks["g"] = nn.BatchNorm1d(2)
    model.averages["g"] = copy.deepcopy(model.networks["g"])
    with torch.no_grad():
        model.networks["g"].weight.fill_(3.0)
        model.networks["g"].running_mean.fill_(7.0)
    model.iteration = 8
    model.model_ema(0.999)
    assert model.averages["g"].running_mean.tolist() == [7.0, 7.0]
    assert model.averages["g"].weight.tolist() == pytest.approx([1 * 0.5 + 3 * 0.5] * 2)  # decay (1 + 8) / (10 + 8)
    model.iteration = 10**6
    model.model_ema(0.999)
    assert model.averages["g"].weight.tolist() == pytest.approx([2 * 0.999 + 3 * 0.001] * 2)


def test_networks_are_compiled_in_place_where_asked_to(make: Make) -> None:
    plain, compiled = make(*GAN), make(*GAN, "compile=true")
    for net in (compiled.net_g, compiled.net_d):
        assert net._compiled_call_impl is not None
    assert plain.net_g._compiled_call_impl is None
    assert compiled.averages["g"]._compiled_call_impl is None
    assert list(weights(compiled.net_g)) == list(weights(plain.net_g))


def test_adversarial_steps_move_both_networks(make: Make) -> None:
    model = make(*GAN)
    generator, discriminator = weights(model.net_g), weights(model.net_d)
    step(model)
    assert {"l_pix", "l_g_gan", "l_d_real", "l_d_fake"} == set(model.get_current_log())
    assert any(not torch.equal(value, generator[name]) for name, value in weights(model.net_g).items())
    assert any(not torch.equal(value, discriminator[name]) for name, value in weights(model.net_d).items())


def test_generator_waits_for_the_discriminator_when_told_to(make: Make) -> None:
    model = make(*GAN, "train:net_d_init_iters=1")
    generator, discriminator = weights(model.net_g), weights(model.net_d)
    step(model, 1)
    assert all(torch.equal(value, generator[name]) for name, value in weights(model.net_g).items())
    assert any(not torch.equal(value, discriminator[name]) for name, value in weights(model.net_d).items())
    step(model, 2)
    assert any(not torch.equal(value, generator[name]) for name, value in weights(model.net_g).items())


def test_legacy_discriminator_learns_from_originals_only(make: Make) -> None:
    sgd = "train:optim_d={type: SGD, lr: 0.1}"
    right, legacy = make(*GAN, sgd), make(*GAN, sgd, "train:legacy=true")
    assert all(torch.equal(value, weights(right.net_d)[name]) for name, value in weights(legacy.net_d).items())
    expected = copy.deepcopy(legacy.net_d)
    for model in (right, legacy):
        step(model)
    assert set(legacy.get_current_log()) == {"l_pix", "l_g_gan", "l_d_real", "l_d_fake"}
    expected.requires_grad_(requires_grad=True)
    outputs = copy.deepcopy(right.batch["lq"])  # an untrained generator changes nothing
    expected(outputs)  # the generator's step moves the running estimates of the discriminator, too
    legacy.cri_gan(expected(right.batch["gt"]), target_is_real=True, is_disc=True).backward()
    after = dict(legacy.net_d.named_parameters())
    for name, parameter in expected.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(after[name], parameter - 0.1 * parameter.grad, atol=1e-6, rtol=1e-5, msg=name)
    theirs = dict(right.net_d.named_parameters())
    assert any(not torch.allclose(theirs[name], value) for name, value in after.items())


def test_random_numbers_follow_from_seed_and_iteration(make: Make) -> None:
    model = make()
    model.update_learning_rate(5)
    first = torch.rand(3)
    model.update_learning_rate(6)
    other = torch.rand(3)
    model.update_learning_rate(5)
    assert torch.equal(torch.rand(3), first)
    assert not torch.equal(first, other)


def test_a_network_without_mask_sees_the_compressed_picture_instead(make: Make) -> None:
    model = make()
    model.takes_valid = False
    model.feed_data(batch())
    seen: list[torch.Tensor] = []

    def spy(lq: torch.Tensor, reference: torch.Tensor, landmark: torch.Tensor) -> torch.Tensor:
        assert landmark.shape == (4, 1, 32, 32)
        seen.append(reference)
        return lq

    data = batch()
    data["reference"][1::2] = 0
    model.feed_data(data)
    model.restore(spy, model.batch)  # type: ignore[arg-type]
    assert torch.equal(seen[0][0], data["reference"][0])
    assert torch.equal(seen[0][1], data["lq"][1])


def test_the_full_recipe_makes_a_step(make: Make, made_checkpoint: Callable[..., Path]) -> None:
    perceptual = "{type: EASFFNetPerceptualLoss, layer_weights: {relu2_2: 1, conv5_4: 1}, perceptual_weight: 10, style_weight: 1}"
    source = made_checkpoint("vgg19_features")
    model = make(
        "network_g={type: DMSASFFNet}",
        f"path:pretrain_network_vgg19={source}",
        f"train:perceptual_opt={perceptual}",
        *GAN,
        "train:ema_decay=0",
    )
    stored = torch.load(source, weights_only=True)
    assert torch.equal(model.net_g.vgg_extractor.vgg_net.conv1_1.weight, stored["features.0.weight"])
    before = model.net_g.vgg_extractor.vgg_net.conv4_1.weight.clone()
    model.update_learning_rate(1)
    model.feed_data(batch(2))
    model.optimize_parameters(1)
    assert set(model.get_current_log()) == {"l_pix", "l_percep", "l_style", "l_g_gan", "l_d_real", "l_d_fake"}
    assert all(torch.isfinite(torch.tensor(value)) for value in model.get_current_log().values())
    assert torch.equal(model.net_g.vgg_extractor.vgg_net.conv4_1.weight, before)
    assert len(model.optimizer_g.param_groups[0]["params"]) < len(list(model.net_g.parameters()))
