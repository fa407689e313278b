"""KEEP's recipes: where a stage begins, what it moves and what it leaves alone, and what its terms say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archs.flow import FlowField
from archs.gmflow_arch import GMFlow
from archs.keep_arch import KEEP
from archs.vqgan_arch import VQAutoEncoder
from keyframes_gan.errors import WeightsError
from keyframes_gan.models.keep_model import KEEPGANModel, KEEPModel

SMALL: dict[str, Any] = {
    "img_size": 64,
    "nf": 32,
    "ch_mult": [1, 1, 2],
    "res_blocks": 1,
    "attn_resolutions": [16],
    "codebook_size": 32,
    "emb_dim": 32,
}
MORE: dict[str, Any] = {
    "type": "KEEP",
    **SMALL,
    "dim_embd": 64,
    "n_head": 2,
    "n_layers": 1,
    "kalman_attn_head_dim": 8,
    "num_uncertainty_layers": 1,
    "flow_type": "none",
}
FIXED_2 = ["quantize", "generator", "flownet", "cft", "hq_encoder"]
STAGE_2 = {**MORE, "cft_list": [], "cfa_list": [], "cond": 0, "detach_16": False, "fix_modules": FIXED_2}
FIXED_3 = [*FIXED_2, "encoder", "kalman_filter", "position_emb", "feat_emb", "ft_layers", "idx_pred_layer"]
FIXED_3.remove("cft")
STAGE_3 = {**MORE, "cft_list": [16, 32, 64], "cfa_list": [16, 32], "cfa_nhead": 2, "cfa_dim": 16, "fix_modules": FIXED_3}
LOSSES_2 = {"code_opt": {"type": "CodeLoss"}, "pixel_opt": {"type": "L1Loss", "loss_weight": 0.1}}
LOSSES_3 = {
    "pixel_opt": {"type": "L1Loss", "loss_weight": 0.1},
    "temporal_opt": {"type": "TemporalWarpLoss", "loss_weight": 0.1},
    "temporal_side": 32,
    "gan_opt": {"type": "GANLoss", "gan_type": "hinge", "loss_weight": 0.01},
    "optim_d": {"type": "Adam", "lr": 1e-3},
}
DISCRIMINATOR = {"type": "Discriminator3D", "nf": 8}

Make = Callable[..., Any]
Step = Callable[..., dict[str, float]]


@pytest.fixture
def vqgan(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    net = VQAutoEncoder(**SMALL)
    nn.init.normal_(net.quantize.embedding.weight)
    torch.save({"params_ema": net.state_dict()}, tmp_path / "vqgan.pth")
    return tmp_path / "vqgan.pth"


@pytest.fixture
def second(make: Make, vqgan: Path) -> KEEPModel:
    model = make("KEEPModel", STAGE_2, train_options=LOSSES_2, path={"pretrain_network_vqgan": str(vqgan)})
    assert isinstance(model, KEEPModel)
    return model


@pytest.fixture
def third(make: Make, second: KEEPModel, tmp_path: Path) -> Make:
    torch.save({"params": second.net_g.state_dict()}, tmp_path / "stage2.pth")

    def build(path: dict[str, str] | None = None, **options: Any) -> KEEPGANModel:
        begin = {"pretrain_network_g": str(tmp_path / "stage2.pth"), **(path or {})}
        model = make("KEEPGANModel", STAGE_3, train_options={**LOSSES_3, **options}, path=begin, network_d=DISCRIMINATOR)
        assert isinstance(model, KEEPGANModel)
        return model

    return build


def data(frames: int = 3, batch: int = 1) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(0)
    truth = nn.functional.interpolate(torch.rand(batch * frames, 3, 8, 8, generator=draw), 64, mode="bilinear")
    coarse = nn.functional.interpolate(nn.functional.avg_pool2d(truth, 8), 64, mode="bilinear")
    pair = {name: pictures.unflatten(0, (batch, frames)) for name, pictures in (("gt", truth), ("lq", coarse))}
    return {**pair, "lq_path": ["a/0+1"] * batch, "key": ["a/b"] * batch}


def moved(net: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


def copied(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_stage_2_begins_as_the_vqgan(second: KEEPModel, vqgan: Path) -> None:
    state, net = torch.load(vqgan, weights_only=True)["params_ema"], second.net_g
    for part, source in (("encoder", "encoder"), ("hq_encoder", "encoder"), ("quantize", "quantize"), ("generator", "generator")):
        for name, value in net.get_submodule(part).state_dict().items():
            assert torch.equal(value, state[f"{source}.{name}"])


def test_the_flow_network_brings_weights_of_its_own(make: Make, vqgan: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    flow = GMFlow().state_dict()
    torch.save(flow, tmp_path / "bare.pth")
    begin = {"pretrain_network_vqgan": str(vqgan), "pretrain_network_flow": str(tmp_path / "bare.pth")}
    net = make("KEEPModel", {**STAGE_2, "flow_type": "gmflow"}, train_options=LOSSES_2, path=begin).net_g
    assert all(torch.equal(value, flow[name]) for name, value in net.flownet.model.state_dict().items())
    with pytest.raises(WeightsError, match="pretrain_network_vqgan"):
        make("KEEPModel", STAGE_2, train_options=LOSSES_2, path={"pretrain_network_vqgan": str(tmp_path / "bare.pth")})


def test_stage_2_moves_what_finds_codes_and_nothing_else(second: KEEPModel, step: Step) -> None:
    before = copied(second.net_g)
    first = step(second, data())
    assert set(first) == {"l_pix", "l_feature", "l_entropy", "right_codes"}
    assert moved(second.net_g, before) == {"encoder", "kalman_filter", "position_emb", "feat_emb", "ft_layers", "idx_pred_layer"}
    for iteration in range(2, 16):
        last = step(second, data(), iteration)
    assert last["l_entropy"] < 0.6 * first["l_entropy"]
    assert last["right_codes"] > first["right_codes"]


def test_the_targets_are_the_codes_of_the_originals(second: KEEPModel, step: Step) -> None:
    given = data(1)
    given["lq"] = given["gt"]  # a single original: what the encoder sees is what the codes are made of
    logged = step(second, given)
    net: KEEP = second.net_g
    with torch.no_grad():
        features = net.hq_encoder(given["gt"][:, 0] * 2 - 1)
        rows = net.quantize(features)[0]
    assert logged["l_feature"] == pytest.approx((features - rows).square().mean().item(), rel=1e-4)


@pytest.mark.parametrize("through", [False, True])
def test_pixels_train_through_the_choice_of_codes_only_when_told(make: Make, vqgan: Path, step: Step, through: bool) -> None:
    network, path = {**STAGE_2, "detach_16": not through}, {"pretrain_network_vqgan": str(vqgan)}
    losses = {"code_opt": {"type": "CodeLoss", "feature_weight": 0.0, "entropy_weight": 0.5}, "pixel_opt": {"type": "L1Loss"}}
    plain = make("KEEPModel", network, train_options={**losses, "pixel_opt": None}, path=path)
    both = make("KEEPModel", network, train_options=losses, path=path)
    gradients = []
    for model in (plain, both):
        step(model, data(2))
        gradients.append([parameter.grad for parameter in model.net_g.encoder.parameters()])
    same = all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert same is not through


def test_chunks_add_up_to_the_whole_batch(make: Make, vqgan: Path, step: Step) -> None:
    options, path = {**LOSSES_2, "optim_g": {"type": "SGD", "lr": 0.1}}, {"pretrain_network_vqgan": str(vqgan)}
    models = [make("KEEPModel", STAGE_2, train_options={**options, "accumulate": parts}, path=path) for parts in (1, 2)]
    logs = [step(model, data(2, batch=2)) for model in models]
    assert logs[1] == pytest.approx(logs[0], rel=1e-4)
    for one, other in zip(*(model.net_g.state_dict().values() for model in models), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_stage_3_begins_where_stage_2_ended(third: Make, second: KEEPModel, make: Make, tmp_path: Path) -> None:
    net = third().net_g
    assert all(torch.equal(net.state_dict()[name], value) for name, value in second.net_g.state_dict().items())
    assert any(name.startswith("cft.64") for name in net.state_dict())
    state = {name: value for name, value in second.net_g.state_dict().items() if name != "position_emb"}
    torch.save(state, tmp_path / "lacking.pth")
    with pytest.raises(WeightsError, match="1 missing: position_emb"):  # only what guides the generator may be missing
        third({"pretrain_network_g": str(tmp_path / "lacking.pth")})


def test_stage_3_goes_on_from_a_whole_network_of_either_release(third: Make, tmp_path: Path) -> None:
    state = {name: torch.randn_like(value) for name, value in third().net_g.state_dict().items()}
    old = {name.replace("cft.", "fuse_convs_dict.").replace("cfa.", "cross_fuse."): value for name, value in state.items()}
    torch.save(old, tmp_path / "whole.pth")
    net = third({"pretrain_network_g": str(tmp_path / "whole.pth")}).net_g
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_stage_3_moves_what_guides_the_generator_and_the_discriminator(third: Make, step: Step, lpips_files: dict[str, str]) -> None:
    model = third(lpips_files, perceptual_opt={"type": "LPIPSLoss", "range_norm": True})
    before, judged = copied(model.net_g), copied(model.net_d)
    logged = step(model, data())
    assert set(logged) == {"l_pix", "l_percep", "l_temporal", "l_g_gan", "l_d_real", "l_d_fake"}
    assert all(np.isfinite(value) for value in logged.values())
    assert moved(model.net_g, before) == {"cft", "cfa"}
    assert moved(model.net_d, judged) == {"layers"}
    assert {name for name, parameter in model.net_g.named_parameters() if parameter.requires_grad and parameter.grad is None} == set()


def test_the_temporal_term_looks_at_the_frames_met_along_the_originals_flow(
    third: Make, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = third(), {}

    class Watched(FlowField):
        def between(self, picture: Tensor, other: Tensor) -> Tensor:
            seen["pair"] = picture, other
            return torch.full((len(picture), 2, 64, 64), 4.0)

    def watch(features: Tensor, flow: Tensor) -> Tensor:
        seen["features"], seen["flow"] = features, flow
        return features.mean() * 0 + 7.0

    monkeypatch.setattr(model.net_g.flownet, "clip", Watched(nn.Identity()).clip)
    monkeypatch.setattr(model.cri_temporal, "forward", watch)
    assert step(model, data())["l_temporal"] == 7.0
    assert seen["features"].shape == (1, 3, 32, 32, 32)
    assert seen["flow"].shape == (1, 2, 2, 64, 64)
    torch.testing.assert_close(seen["pair"][0], data()["gt"][0, 1:] * 2 - 1)
    torch.testing.assert_close(seen["pair"][1], data()["gt"][0, :-1] * 2 - 1)


def test_what_is_shown_is_what_the_whole_clip_gives(second: KEEPModel, monkeypatch: pytest.MonkeyPatch) -> None:
    given = data(5)
    with torch.inference_mode():
        whole = second.net_g.eval()(given["lq"] * 2 - 1, need_upscale=False)
        shown = second.shown(second.net_g, given)
    assert shown.name == "a/b"
    assert [len(pictures) for pictures in (shown.restored, shown.truth, shown.given)] == [5, 5, 5]
    wanted = (whole[0, 4] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy() * 255
    assert np.abs(shown.restored[4] - wanted).max() <= 0.51
    monkeypatch.setattr("keyframes_gan.models.keep_model.CLIP_FRAMES", 2)
    with torch.inference_mode():
        assert len(second.shown(second.net_g, given).restored) == 5


def test_flow_stays_in_full_precision(make: Make, vqgan: Path, step: Step, tmp_path: Path) -> None:
    torch.save(GMFlow().state_dict(), tmp_path / "flow.pth")
    begin = {"pretrain_network_vqgan": str(vqgan), "pretrain_network_flow": str(tmp_path / "flow.pth")}
    model = make("KEEPModel", {**STAGE_2, "flow_type": "gmflow"}, train_options={**LOSSES_2, "precision": "bf16"}, path=begin)
    inside, kinds = model.net_g.flownet.model, set()
    for part in (inside.backbone, inside.transformer):
        part.register_forward_hook(lambda _module, _given, made: kinds.add((made[0] if isinstance(made, tuple) else made).dtype))
    assert np.isfinite(list(step(model, data()).values())).all()
    assert kinds == {torch.float32}


def test_keep_is_compiled_frame_by_frame(third: Make, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    third()  # writes what stage 2 made
    compiled = []
    monkeypatch.setattr(KEEP, "compile_parts", lambda net: compiled.append(type(net).__name__))
    monkeypatch.setattr(nn.Module, "compile", lambda net: compiled.append(type(net).__name__))
    path = {"pretrain_network_g": str(tmp_path / "stage2.pth")}
    make("KEEPGANModel", STAGE_3, train_options=LOSSES_3, path=path, network_d=DISCRIMINATOR, compile=True)
    assert compiled == ["KEEP", "Discriminator3D"]


def test_an_evaluation_needs_no_training_section(make: Make, second: KEEPModel, tmp_path: Path) -> None:
    torch.save(second.net_g.state_dict(), tmp_path / "whole.pth")
    model = make("KEEPModel", STAGE_2, is_train=False, train=None, path={"pretrain_network_g": str(tmp_path / "whole.pth")})
    assert not model.optimizers
    assert model.net_g.cond == 0
