"""KeyframeFlowNet: what it does when new, one frame at a time, gradients, cost. Expected values are closed forms."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from archs.keyframe_flow_arch import DETAIL_PREFIX, KEY_CHANNELS, NEXT_CHANNELS, PAST_CHANNELS, KeyframeFlowNet, VividKeyframeFlowNet

Inputs = tuple[torch.Tensor, ...]


def inputs(size: tuple[int, int] = (24, 40), count: int = 2) -> Inputs:
    """Compressed picture, key, past and following, all filled with noise."""
    draw = torch.Generator().manual_seed(3)
    compressed = torch.rand((count, 3, *size), generator=draw)
    return compressed, *(
        torch.rand((count, channels, *size), generator=draw) * 0.4 - 0.2 for channels in (KEY_CHANNELS, PAST_CHANNELS, NEXT_CHANNELS)
    )


def awake() -> KeyframeFlowNet:
    """A network whose gates and own correction depend on what it sees."""
    torch.manual_seed(0)
    net = KeyframeFlowNet((8, 12, 16), (1, 1, 1))
    torch.nn.init.normal_(net.tail.weight, std=0.05)
    torch.nn.init.normal_(net.tail.bias, std=0.05)
    return net.eval()


def test_new_it_adds_half_of_each_residual_and_nothing_else() -> None:
    compressed, key, past, following = inputs()
    with torch.no_grad():
        out = KeyframeFlowNet()(compressed, key, past, following)
    torch.testing.assert_close(out, compressed + key[:, :3] / 2 + past[:, :3] / 2, rtol=0, atol=1e-6)


def test_new_it_is_the_identity_where_nothing_is_known() -> None:
    compressed, *guides = inputs()
    assert torch.equal(KeyframeFlowNet()(compressed, *(torch.zeros_like(guide) for guide in guides)), compressed)


@pytest.mark.parametrize("size", [(8, 8), (8, 24), (40, 16)])
@torch.no_grad()
def test_any_multiple_of_8_keeps_its_size(size: tuple[int, int]) -> None:
    given = inputs(size, 1)
    out = awake()(*given)
    assert out.shape == given[0].shape
    assert torch.isfinite(out).all()


@torch.no_grad()
def test_every_input_matters() -> None:
    net, given = awake(), inputs()
    out = net(*given)
    for number, tensor in enumerate(given):
        for channel in range(tensor.shape[1]):
            changed = [one.clone() for one in given]
            changed[number][:, channel] += 0.1
            assert (net(*changed) - out).abs().max() > 1e-5, (number, channel)


@torch.no_grad()
def test_a_frame_does_not_depend_on_its_batch_nor_on_the_order_of_memory() -> None:
    net, given = awake(), inputs()
    out = net(*given)
    torch.testing.assert_close(net(*(one[1:] for one in given)), out[1:], rtol=0, atol=1e-6)
    last = net.to(memory_format=torch.channels_last)(*(one.to(memory_format=torch.channels_last) for one in given))
    torch.testing.assert_close(last, out, rtol=0, atol=1e-5)


@torch.no_grad()
def test_bfloat16_takes_and_gives_float32() -> None:
    net, given = awake(), inputs()
    exact = net(*given)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(*given)
    halved = net.bfloat16()(*given)
    for rough in (mixed, halved):
        assert rough.dtype == torch.float32
        assert not torch.equal(rough, exact)
        assert (rough - exact).abs().mean() < 0.03 * (exact - given[0]).abs().mean()


def test_bfloat16_keeps_pictures_that_need_no_change_exact() -> None:
    compressed, *guides = inputs()
    out = KeyframeFlowNet().bfloat16()(compressed, *(torch.zeros_like(guide) for guide in guides))
    assert torch.equal(out, compressed)


@pytest.mark.parametrize("mixed", [False, True])
def test_gradients_reach_every_parameter_and_the_past(mixed: bool) -> None:
    net, given = awake().train(), inputs()
    given[2].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        out = net(*given)
    out.square().mean().backward()
    for name, tensor in (*net.named_parameters(), ("past", given[2])):
        assert tensor.grad is not None, name
        assert torch.isfinite(tensor.grad).all(), name
        assert tensor.grad.abs().max() > 0, name


def test_it_is_within_its_budget(repo_root: Path) -> None:
    """3 M parameters and 8 G multiply-accumulates for a frame of 256x256, by itself and as the recipe has it."""
    recipe = yaml.safe_load((repo_root / "options" / "train" / "keyframes_lite.yml").read_text())["network_g"]
    for settings in ({}, {key: value for key, value in recipe.items() if key != "type"}):
        with torch.device("meta"):
            net = KeyframeFlowNet(**settings)
            given = [torch.empty(1, channels, 256, 256) for channels in (3, KEY_CHANNELS, PAST_CHANNELS, NEXT_CHANNELS)]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(*given)
        assert sum(parameter.numel() for parameter in net.parameters()) <= 3_000_000
        assert 0 < counter.get_total_flops() / 2 <= 8e9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compressed": (1, 3, 20, 32)}, r"compressed: expected .* multiples of 8, got \(1, 3, 20, 32\)"),
        ({"compressed": (1, 1, 32, 32)}, "compressed: expected"),
        ({"key": (1, 3, 32, 32)}, r"key: expected \(1, 7, 32, 32\), got \(1, 3, 32, 32\)"),
        ({"past": (2, 7, 32, 32)}, r"past: expected \(1, 7, 32, 32\), got \(2, 7, 32, 32\)"),
        ({"following": (1, 4, 32, 24)}, r"following: expected \(1, 4, 32, 32\), got \(1, 4, 32, 24\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change: dict[str, tuple[int, ...]], words: str) -> None:
    shapes = {"compressed": (1, 3, 32, 32), "key": (1, 7, 32, 32), "past": (1, 7, 32, 32), "following": (1, 4, 32, 32)} | change
    with pytest.raises(ValueError, match=words):
        awake()(*(torch.zeros(shape) for shape in shapes.values()))


def vivid_of(net: KeyframeFlowNet) -> VividKeyframeFlowNet:
    """`net` with details that are not nothing."""
    torch.manual_seed(1)
    made = VividKeyframeFlowNet((8, 12, 16), (1, 1, 1), 1)
    missing, unexpected = made.load_state_dict(net.state_dict(), strict=False)
    assert not unexpected
    assert {name.startswith(DETAIL_PREFIX) for name in missing} == {True}
    torch.nn.init.normal_(made.detail_tail.weight, std=0.05)
    return made.eval()


@torch.no_grad()
def test_the_vivid_network_makes_the_faithful_picture_and_another() -> None:
    net, given = awake(), inputs()
    faithful, vivid = vivid_of(net)(*given)
    torch.testing.assert_close(faithful, net(*given), rtol=0, atol=1e-6)
    assert (vivid - faithful).abs().max() > 1e-3
    same = VividKeyframeFlowNet((8, 12, 16), (1, 1, 1))(*given)
    assert torch.equal(*same)


def test_only_details_make_pictures_vivid() -> None:
    net, given = vivid_of(awake()), inputs()
    faithful, vivid = net(*given)
    (vivid - faithful).square().mean().backward()
    own = [name for name, _ in net.named_parameters() if name.startswith(DETAIL_PREFIX)]
    assert all(net.get_parameter(name).grad.abs().max() > 0 for name in own)  # type: ignore[union-attr]
    assert net.tail.weight.grad is None or not net.tail.weight.grad.any()
