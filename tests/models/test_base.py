"""What all recipes share: steps that are not finite, half precision, compiled and fused steps, memory order."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from keyframes_gan.models.base import EngineModel, to_channels_last
from keyframes_gan.models.soundness import NonFiniteError


class Toy(EngineModel):
    """One network with batch statistics, one loss term: `scale` times the mean output."""

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))
        self.networks["g"] = self.net
        self.averages["g"] = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))
        self.averages["g"].load_state_dict(self.net.state_dict())
        self.optimizer = self.add_optimizer(self.net.parameters(), self.train_options["optim_g"])

    def optimize_parameters(self, _current_iter: int, loss: Callable[[Tensor], Tensor] = torch.mean) -> bool:
        self.losses = {}
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            output = self.net(self.batch["lq"])
        term = loss(output.float())
        self.note({"l_toy": term})
        self.backward(term)
        moved = self.step(self.optimizer)
        if moved:
            self.model_ema(0.5)
        return moved

    def everything(self) -> dict[str, Tensor]:
        """All that a step may change."""
        moments = {f"o{n}.{k}": v for n, state in self.optimizer.state_dict()["state"].items() for k, v in state.items()}
        nets = {f"{part}.{k}": v for part, net in (("net", self.net), ("ema", self.averages["g"])) for k, v in net.state_dict().items()}
        return {name: value.clone() for name, value in (nets | moments).items()}


Make = Callable[..., Toy]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    logging.getLogger("basicsr").setLevel(logging.ERROR)

    def build(optimizer: dict[str, Any] | None = None, **train: Any) -> Toy:
        optim = {"type": "Adam", "lr": 1e-2, **(optimizer or {})}
        opt = {"device": "cpu", "num_gpu": 0, "is_train": True, "dist": False, "rank": 0, "world_size": 1, "manual_seed": 0}
        opt |= {"path": {"experiments_root": str(tmp_path)}, "datasets": {"train": {"batch_size_per_gpu": 2}}}
        opt |= {"options_sha256": "", "commit": "", "name": "toy", "network_g": {"type": "Toy"}, "logger": {}}
        schedule = {"type": "MultiStepLR", "milestones": [1000]}
        return Toy({**opt, "train": {"total_iter": 9, "optim_g": optim, "scheduler": schedule, **train}})

    return build


def step(model: Toy, iteration: int, loss: Callable[[Tensor], Tensor] = torch.mean) -> bool:
    model.update_learning_rate(iteration)
    picture = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(iteration))
    model.feed_data({"lq": picture, "lq_path": [f"clip/{iteration}_{n}.png" for n in range(2)]})
    return model.optimize_parameters(iteration, loss)


def small(output: Tensor) -> Tensor:
    """Fit for fp16: the last bias's gradient is the loss's scale, 65536, times this slope; fp16 ends at 65504."""
    return output.mean() * 0.25


def nan(output: Tensor) -> Tensor:
    return output.mean() * float("nan")


def infinite_slope(output: Tensor) -> Tensor:
    return (output.sum() * 0).sqrt()  # 0, whose derivative 1 / (2 sqrt(0)) is infinite


def steep(output: Tensor) -> Tensor:
    return (output - output.detach()).sum() * 1e30  # 0, and gradients near 1e31, whose squares pass 3.4e38


def same(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    return before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (nan, r"loss term l_toy is nan \(clip/2_0\.png, clip/2_1\.png\)"),
        (infinite_slope, r"the gradient of 0\.weight in network_g is not finite \(clip/2_0\.png, clip/2_1\.png\)"),
        (steep, r"the norm of the gradients overflows"),
    ],
)
def test_a_step_that_is_not_finite_stops_the_run(make: Make, tmp_path: Path, loss: Callable[[Tensor], Tensor], said: str) -> None:
    model = make()
    assert step(model, 1)
    before = model.everything()
    with pytest.raises(NonFiniteError, match=rf"^iteration 2: {said}; .*skip_nonfinite") as caught:
        step(model, 2, loss)
    assert "\n" not in str(caught.value)
    after = model.everything()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if "1.running" not in name and "batches" not in name)
    kept = torch.load(tmp_path / "nonfinite_2.pt", weights_only=True)
    assert (kept["iteration"], kept["files"]) == (2, ["clip/2_0.png", "clip/2_1.png"])
    assert torch.equal(kept["batch"]["lq"], model.batch["lq"])
    assert set(kept["losses"]) == {"l_toy"}


def test_steps_that_are_not_finite_are_left_out_whole_and_counted(make: Make) -> None:
    model = make(skip_nonfinite=2)
    assert step(model, 1)
    before = model.everything()
    assert not step(model, 2, nan)
    assert not step(model, 3, infinite_slope)
    assert same(before, model.everything())
    assert step(model, 4)
    assert not same(before, model.everything())
    resumed = make(skip_nonfinite=2)
    resumed.skipped = model._state({})["skipped"]
    with pytest.raises(NonFiniteError, match=r"iteration 5: .*skip_nonfinite \(now 2\)"):
        step(resumed, 5, nan)


def test_fp16_finds_its_scale_and_keeps_it(make: Make) -> None:
    model = make(precision="fp16")
    assert step(model, 1, small)
    before, scale = model.everything(), model.scaler.get_scale()
    # Scaled by 65536 these gradients pass float32's largest number 3.4e38; the loss itself does not.
    assert not step(model, 2, lambda output: output.mean() * 1e34)
    assert same(before, model.everything())
    assert model.scaler.get_scale() == scale / 2
    assert model.skipped == 0
    assert model._state({})["scaler"]["scale"] == scale / 2
    with pytest.raises(NonFiniteError, match="loss term"):
        step(model, 3, nan)
    other = make(precision="fp16")
    assert step(other, 1, small)
    other.scaler.update(1.0)
    with pytest.raises(NonFiniteError, match="the gradient of"):
        step(other, 2, infinite_slope)


def test_fp16_follows_fp32(make: Make) -> None:
    exact, half = make({"type": "SGD"}), make({"type": "SGD"}, precision="fp16")
    for model in (exact, half):
        assert step(model, 1, small)
    for name, value in exact.net.state_dict().items():
        # Rate 1e-2; gradients of order 1, whose rounding to 11 bits (2^-11 each) adds up over some layers.
        torch.testing.assert_close(half.net.state_dict()[name], value, atol=1e-2 * 8 * 2**-11, rtol=2**-8, msg=name)


def test_fused_adam_makes_the_same_steps(make: Make) -> None:
    # With eps well above rounding: the bias before the batch norm has no gradient but that, and Adam would make it a whole step.
    plain, fused = make({"eps": 1e-3}), make({"eps": 1e-3, "fused": True})
    for model in (plain, fused):
        for iteration in (1, 2):
            assert step(model, iteration)
    for name, value in plain.net.state_dict().items():
        torch.testing.assert_close(fused.net.state_dict()[name], value, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="torch.compile needs a C compiler on the CPU, and there is none")
def test_compiled_networks_keep_their_names_and_their_numbers(make: Make) -> None:
    plain, compiled = make({"type": "SGD"}), make({"type": "SGD"})
    compiled.net.compile()
    for model in (plain, compiled):
        for iteration in (1, 2):
            assert step(model, iteration)
    assert list(compiled.net.state_dict()) == list(plain.net.state_dict())
    for name, value in plain.net.state_dict().items():
        torch.testing.assert_close(compiled.net.state_dict()[name], value, atol=1e-6, rtol=1e-4, msg=name)


def test_memory_order_is_changed_where_there_are_four_axes() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(4, 5, 3), nn.Linear(5, 6))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    to_channels_last(net)
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert net[1].weight.is_contiguous()
    assert same(before, net.state_dict())
