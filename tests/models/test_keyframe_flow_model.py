"""The recipe of KeyframeFlowNet: what goes from frame to frame, what a step does, what is validated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archs.keyframe_flow_arch import KEY_CHANNELS, NEXT_CHANNELS, Known, Made
from keyframes_gan.errors import WeightsError
from keyframes_gan.models.keyframe_flow_model import KeyframeFlowModel, VividFlowModel

SMALL = {"type": "KeyframeFlowNet", "widths": [8, 8, 8], "blocks": [0, 1, 1]}
VIVID = SMALL | {"type": "VividKeyframeFlowNet", "detail_blocks": 1}
GAN = {
    "network_d": {"type": "MultiScaleDiscriminator", "base_ch": 4, "num_layers": 1, "num_discriminators": 2},
    "train_options": {
        "optim_d": {"type": "Adam", "lr": 1e-3},
        "gan_opt": {"type": "MultiScaleGANLoss", "gan_type": "hinge", "loss_weight": 0.1},
    },
}
FRAMES, SIZE = 3, 32

Build = Callable[..., KeyframeFlowModel]
Seen = list[tuple[Tensor, Tensor, Known | None, Tensor]]


@pytest.fixture
def build(make: Callable[..., Any]) -> Build:
    def go(**options: Any) -> KeyframeFlowModel:
        model = make("KeyframeFlowModel", SMALL, **options)
        assert isinstance(model, KeyframeFlowModel)
        return model

    return go


def data(count: int = 2) -> dict[str, Any]:
    """Runs whose key residual is 0.6 of what is missing, without motion."""
    draw = torch.Generator().manual_seed(1)
    gt, error = torch.rand((2, count, FRAMES, 3, SIZE, SIZE), generator=draw)
    lq = gt - (error - 0.5) * 0.2
    key = torch.zeros(count, FRAMES, KEY_CHANNELS, SIZE, SIZE)
    key[:, :, :3], key[:, :, 6] = 0.6 * (gt - lq), 1
    following = torch.zeros(count, FRAMES, NEXT_CHANNELS, SIZE, SIZE)
    for ahead in range(1, FRAMES):
        there = slice(4 * ahead - 4, 4 * ahead - 1)
        following[:, :-ahead, there], following[:, :-ahead, there.stop] = lq[:, ahead:] - lq[:, :-ahead], 1
    flow = torch.zeros(count, FRAMES, 2, SIZE, SIZE)
    return {"lq": lq, "gt": gt, "key": key, "following": following, "flow": flow, "lq_path": [f"c_{n:06d}.png" for n in range(count)]}


def restore(model: KeyframeFlowModel, batch: dict[str, Any], answer: Callable[..., Tensor]) -> tuple[Tensor, Seen]:
    """Return what is restored by a network that answers as told, and what it was given, frame by frame."""
    seen: Seen = []

    def net(lq: Tensor, key: Tensor, known: Known | None, following: Tensor) -> Made:
        seen.append((lq, key, known, following))
        picture = answer(lq)
        return Made(picture, 1 - picture, picture[:, :2, ::2, ::2])

    model.feed_data(batch)
    return model.restore(net, model.batch), seen  # type: ignore[arg-type]


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_the_first_frame_has_no_past_and_the_next_ones_what_was_made_of_it(build: Build) -> None:
    batch = data()
    batch["flow"][:, 1:] = torch.tensor([3.0, -2.0])[:, None, None]
    out, seen = restore(build(), batch, lambda lq: lq + 0.25 * lq.square())
    torch.testing.assert_close(out, batch["lq"] + 0.25 * batch["lq"].square())
    assert len(seen) == FRAMES
    assert seen[0][2] is None
    for frame in (1, 2):
        lq, key, known, following = seen[frame]
        assert known is not None
        past = known.past
        assert past.shape == (2, 7, SIZE, SIZE)
        made = out[:, frame - 1, :2, ::2, ::2]
        # Half of (3, -2): between the second and the third to the right, one above.
        torch.testing.assert_close(known.features[:, :, 1:, :-2], (made[..., :-1, 1:-1] + made[..., :-1, 2:]) / 2, rtol=0, atol=1e-5)
        for given, name in ((lq, "lq"), (key, "key"), (following, "following")):
            assert torch.equal(given, batch[name][:, frame])
        # What lies at p lay at p + (3, -2): 3 to the right, 2 above.
        before = batch["lq"][:, frame - 1, :, : SIZE - 2, 3:]
        inside = past[:, :, 2:, : SIZE - 3]
        torch.testing.assert_close(inside[:, :3], 0.25 * before.square(), rtol=0, atol=1e-5)
        torch.testing.assert_close(inside[:, 3:6], before + 0.25 * before.square() - lq[:, :, 2:, : SIZE - 3], rtol=0, atol=1e-5)
        assert (past[:, 6] == 1).all()
        # Beyond the border it is repeated.
        torch.testing.assert_close(past[:, :3, :2, :-3], past[:, :3, 2:3, :-3].expand(-1, -1, 2, -1), rtol=0, atol=1e-5)


def test_a_later_frame_depends_on_earlier_ones_and_not_the_other_way(build: Build) -> None:
    model, batch = build(), data()
    with torch.no_grad():
        model.feed_data(batch)
        plain = model.restore(model.net_g, model.batch)
        for changed in (0, 2):
            other = {name: value.clone() if isinstance(value, Tensor) else value for name, value in batch.items()}
            other["key"][:, changed, :3] = 0.3
            model.feed_data(other)
            moved = (model.restore(model.net_g, model.batch) - plain).abs().amax(dim=(0, 2, 3, 4)) > 1e-4
            assert moved.tolist() == [frame >= changed for frame in range(FRAMES)]


def test_the_gradient_goes_back_through_all_frames(build: Build) -> None:
    model, batch = build(), data()
    batch["key"].requires_grad_()
    model.feed_data(batch)
    model.restore(model.net_g, model.batch)[:, -1].sum().backward()
    # New, it hands on half of what it added before: 1/2 of the residual, and 1/2 of that a frame later.
    torch.testing.assert_close(batch["key"].grad[:, :, :3].mean(dim=(0, 2, 3, 4)), torch.tensor([0.125, 0.25, 0.5]), rtol=0, atol=1e-5)


def test_a_step_begins_with_half_of_each_residual_and_lowers_the_loss(build: Build, step: Callable[..., dict[str, float]]) -> None:
    model = build(train_options={"gradient_weight": 0.5})
    first = step(model, data())
    missing = data()["gt"] - data()["lq"]
    expected = [torch.zeros_like(missing[:, 0])]
    for frame in range(FRAMES):
        expected.append(0.5 * 0.6 * missing[:, frame] + 0.5 * expected[-1])
    error = torch.stack(expected[1:], dim=1) - missing
    slopes = error.diff(dim=-2).abs().mean() + error.diff(dim=-1).abs().mean()
    assert first == pytest.approx({"l_pix": float(error.abs().mean()), "l_gradient": 0.5 * float(slopes)}, rel=1e-4)
    last = [step(model, data(), iteration) for iteration in range(2, 16)][-1]
    assert last["l_pix"] < 0.9 * first["l_pix"]
    assert set(step(build(), data())) == {"l_pix"}


def test_chunks_add_up_to_the_whole_batch(build: Build, step: Callable[..., dict[str, float]]) -> None:
    sgd = {"optim_g": {"type": "SGD", "lr": 0.1}, "gradient_weight": 0.2}
    whole, chunked = build(train_options=sgd), build(train_options={**sgd, "accumulate": 2})
    for iteration in (1, 2):
        logged = [step(model, data(), iteration) for model in (whole, chunked)]
    assert logged[1] == pytest.approx(logged[0], rel=1e-5)
    for name, value in weights(whole.net_g).items():
        torch.testing.assert_close(weights(chunked.net_g)[name], value, atol=1e-6, rtol=1e-5, msg=name)


def test_bf16_trains_close_to_fp32(build: Build, step: Callable[..., dict[str, float]]) -> None:
    exact, rounded = build(), build(train_options={"precision": "bf16"})
    logged = [[step(model, data(), iteration)["l_pix"] for iteration in range(1, 5)] for model in (exact, rounded)]
    assert logged[1] == pytest.approx(logged[0], rel=0.02)
    assert all(value.dtype == torch.float32 for value in weights(rounded.net_g).values())


def test_a_discriminator_judges_single_frames(build: Build, step: Callable[..., dict[str, float]]) -> None:
    model = build(**GAN)
    generator, judge = weights(model.net_g), weights(model.net_d)
    sizes: list[torch.Size] = []
    model.net_d.register_forward_pre_hook(lambda _module, given: sizes.append(given[0].shape))
    assert set(step(model, data())) == {"l_pix", "l_g_gan", "l_d_real", "l_d_fake"}
    assert set(sizes) == {(2 * FRAMES, 3, SIZE, SIZE)}
    assert any(not torch.equal(value, generator[name]) for name, value in weights(model.net_g).items())
    assert any(not torch.equal(value, judge[name]) for name, value in weights(model.net_d).items())


def test_weights_of_a_smaller_network_begin_a_larger_one(build: Build, make: Callable[..., Any], tmp_path: Path) -> None:
    small = build()
    torch.nn.init.normal_(small.net_g.tail.weight, std=0.05)
    source = tmp_path / "small.pth"
    torch.save({"params": small.net_g.state_dict()}, source)
    large = make("KeyframeFlowModel", SMALL | {"blocks": [2, 1, 3]}, path={"pretrain_network_g": str(source)})
    assert len(large.net_g.state_dict()) > len(small.net_g.state_dict())
    small.feed_data(data())
    with torch.no_grad():
        torch.testing.assert_close(large.restore(large.net_g, small.batch), small.restore(small.net_g, small.batch), rtol=0, atol=1e-5)
    with pytest.raises(WeightsError, match="4 extra: coarse"):
        make("KeyframeFlowModel", SMALL | {"blocks": [0, 1, 0]}, path={"pretrain_network_g": str(source)})


@pytest.fixture
def vivid(build: Build, make: Callable[..., Any], tmp_path: Path) -> VividFlowModel:
    """A model whose faithful part does something."""
    faithful = build()
    torch.nn.init.normal_(faithful.net_g.tail.weight, std=0.05)
    source = tmp_path / "faithful.pth"
    torch.save({"params": faithful.net_g.state_dict()}, source)
    options = {**GAN["train_options"], "ema_decay": 0.5}
    made = make("VividFlowModel", VIVID, path={"pretrain_network_g": str(source)}, network_d=GAN["network_d"], train_options=options)
    assert isinstance(made, VividFlowModel)
    return made


def test_only_details_learn_and_only_faithful_pictures_go_on(vivid: VividFlowModel, step: Callable[..., dict[str, float]]) -> None:
    before = weights(vivid.net_g)
    vivid.feed_data(data())
    with torch.no_grad():
        first = vivid.frame_by_frame(vivid.net_g, vivid.batch)
    assert torch.equal(*first)  # there are no details yet
    for iteration in range(1, 6):
        assert set(step(vivid, data(), iteration)) == {"l_pix", "l_g_gan", "l_d_real", "l_d_fake"}
    for states in (weights(vivid.net_g), vivid.averages["g"].state_dict()):
        changed = {name for name, value in states.items() if not torch.equal(value, before[name])}
        assert changed
        assert all(name.startswith("detail") for name in changed)
    with torch.no_grad():
        faithful, shown = vivid.frame_by_frame(vivid.net_g, vivid.batch)
        assert torch.equal(vivid.restore(vivid.net_g, vivid.batch), shown)
    assert torch.equal(faithful, first[0])
    assert (shown - faithful).abs().max() > 1e-4


def test_a_stored_vivid_network_is_loaded_with_its_details(
    vivid: VividFlowModel, make: Callable[..., Any], step: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    step(vivid, data())
    source = tmp_path / "vivid.pth"
    torch.save({"params": vivid.net_g.state_dict()}, source)
    again = make("VividFlowModel", VIVID, path={"pretrain_network_g": str(source)})
    assert all(torch.equal(value, weights(vivid.net_g)[name]) for name, value in weights(again.net_g).items())
    faithful = make("KeyframeFlowModel", SMALL, path={"pretrain_network_g": str(source)})
    assert all(torch.equal(value, weights(vivid.net_g)[name]) for name, value in weights(faithful.net_g).items())


def test_validation_scores_every_frame_of_whole_runs(build: Build, tmp_path: Path) -> None:
    model = build(val={"metrics": {"psnr": {"type": "psnr"}}})
    samples = [{name: value[:1] for name, value in data().items()}]
    model.validation([_Loader("a", samples)], 7, None)
    row = json.loads((tmp_path / "validation.jsonl").read_text())
    assert (row["iteration"], row["data"]) == (7, "a")
    # Errors are spread evenly over +-0.1, which has a deviation of 0.1 / sqrt(3).
    assert row["compressed"]["psnr"] == pytest.approx(20 * torch.tensor(3**0.5 / 0.1).log10().item(), abs=0.2)
    assert row["restored"]["psnr"] > row["compressed"]["psnr"]
    shown = model.shown(model.get_bare_model(model.net_g).eval(), samples[0])
    assert shown.name == "c_000000"
    assert [len(part) for part in (shown.restored, shown.truth, shown.given)] == [FRAMES] * 3
    levels = (samples[0]["gt"][0, 2] * 255).round().permute(1, 2, 0).numpy()
    assert (shown.truth[2] == levels).all()


class _Loader(list[dict[str, Any]]):
    """Samples with the data set's name where the engine's loaders have it."""

    def __init__(self, name: str, samples: list[dict[str, Any]]) -> None:
        super().__init__(samples)
        self.dataset = SimpleNamespace(opt={"name": name})
