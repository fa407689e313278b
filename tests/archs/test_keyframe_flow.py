"""KeyframeFlowNet: what it does when new, one frame at a time, gradients, cost. Expected values are closed forms."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch.utils.flop_counter import FlopCounterMode

from archs.flow import warp
from archs.keyframe_flow_arch import (
    AHEAD,
    DETAIL_PREFIX,
    KEY_CHANNELS,
    NEXT_CHANNELS,
    PAST_CHANNELS,
    KeyframeFlowNet,
    Known,
    Made,
    VividKeyframeFlowNet,
    carried,
)

Inputs = tuple[torch.Tensor, ...]
FEATURES = 8


def inputs(size: tuple[int, int] = (24, 40), count: int = 2, features: int = FEATURES) -> Inputs:
    """Compressed picture, key, past, features and following, all filled with noise."""
    draw = torch.Generator().manual_seed(3)
    compressed = torch.rand((count, 3, *size), generator=draw)
    half = size[0] // 2, size[1] // 2
    shapes = (KEY_CHANNELS, *size), (PAST_CHANNELS, *size), (features, *half), (NEXT_CHANNELS, *size)
    return compressed, *(torch.rand((count, *shape), generator=draw) * 0.4 - 0.2 for shape in shapes)


def run(net: KeyframeFlowNet, given: Inputs) -> Made:
    compressed, key, past, features, following = given
    made: Made = net(compressed, key, Known(past, features), following)
    return made


def awake() -> KeyframeFlowNet:
    """A network whose gates and own correction depend on what it sees."""
    torch.manual_seed(0)
    net = KeyframeFlowNet((8, 12, 16), (1, 1, 1))
    torch.nn.init.normal_(net.tail.weight, std=0.05)
    torch.nn.init.normal_(net.tail.bias, std=0.05)
    torch.nn.init.normal_(net.recall.weight, std=0.1)
    return net.eval()


def test_new_it_adds_half_of_each_residual_and_nothing_else() -> None:
    compressed, key, past, *_ = given = inputs(features=32)
    with torch.no_grad():
        made = run(KeyframeFlowNet(), given)
    assert made.shown is made.faithful
    torch.testing.assert_close(made.faithful, compressed + key[:, :3] / 2 + past[:, :3] / 2, rtol=0, atol=1e-6)


def test_new_it_is_the_identity_where_nothing_is_known() -> None:
    compressed, key, *_, following = inputs()
    made = KeyframeFlowNet()(compressed, torch.zeros_like(key), None, torch.zeros_like(following))
    assert torch.equal(made.faithful, compressed)


@torch.no_grad()
def test_a_first_frame_is_one_that_knows_nothing_of_others() -> None:
    net, (compressed, key, past, features, following) = awake(), inputs()
    first = net(compressed, key, None, following)
    for one, other in zip(first, net(compressed, key, Known(0 * past, 0 * features), following), strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def test_no_key_frame_is_one_of_zeros() -> None:
    net, (compressed, key, past, features, following) = awake(), inputs()
    known = Known(past, features)
    for one, other in zip(net(compressed, None, known, following), net(compressed, 0 * key, known, following), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_what_is_carried_lies_where_flow_leads() -> None:
    """What lies at p lay at p + (4, -2): features, at half the size, 2 to the right and 1 above."""
    before, compressed, restored = torch.rand((3, 1, 3, 24, 40), generator=torch.Generator().manual_seed(1))
    features = torch.rand((1, 5, 12, 20), generator=torch.Generator().manual_seed(2))
    flow = torch.tensor([4.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 24, 40)
    known = carried(Made(restored, 1 - restored, features), before, compressed, flow)
    assert known.past.shape == (1, PAST_CHANNELS, 24, 40)
    inside = known.past[..., 2:, :-4]
    torch.testing.assert_close(inside[:, :3], (restored - before)[..., :-2, 4:], rtol=0, atol=1e-5)
    torch.testing.assert_close(inside[:, 3:6], restored[..., :-2, 4:] - compressed[..., 2:, :-4], rtol=0, atol=1e-5)
    assert (known.past[:, 6] == 1).all()
    torch.testing.assert_close(known.features[..., 1:, :-2], features[..., :-1, 2:], rtol=0, atol=1e-5)
    torch.testing.assert_close(known.features[..., :1, :-2], features[..., :1, 2:], rtol=0, atol=1e-5)  # the border is repeated
    uneven = torch.rand((1, 2, 24, 40), generator=torch.Generator().manual_seed(3))
    half = torch.stack([uneven[..., y::2, x::2] for y in (0, 1) for x in (0, 1)]).mean(dim=0) / 2
    moved = carried(Made(restored, restored, features), before, compressed, uneven).features
    torch.testing.assert_close(moved, warp(features, half, outside="border"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (8, 24), (40, 16)])
@torch.no_grad()
def test_any_multiple_of_8_keeps_its_size(size: tuple[int, int]) -> None:
    given = inputs(size, 1)
    out = run(awake(), given)
    assert out.faithful.shape == given[0].shape
    assert out.features.shape == (1, FEATURES, size[0] // 2, size[1] // 2)
    assert all(torch.isfinite(one).all() for one in out)


@torch.no_grad()
def test_it_enters_as_by_unshuffled_pixels_with_differences_four_times_as_large() -> None:
    net, (compressed, key, past, features, following) = awake(), inputs()
    gains = torch.tensor([1.0] * 3 + 2 * ([4.0] * 6 + [1.0]) + AHEAD * [4.0, 4.0, 4.0, 1.0]).view(-1, 1, 1)
    seen = torch.cat((compressed - 0.5, key, past, following), dim=1) * gains
    entered: list[torch.Tensor] = []
    net.fine_down.register_forward_pre_hook(lambda _module, given: entered.append(given[0]))
    run(net, (compressed, key, past, features, following))
    expected = net.enter(F.pixel_unshuffle(seen, 2)) + net.recall(features)
    torch.testing.assert_close(entered[0], F.leaky_relu(expected, 0.1), rtol=0, atol=1e-5)


@torch.no_grad()
def test_every_input_matters() -> None:
    net, given = awake(), inputs()
    out = run(net, given).faithful
    for number, tensor in enumerate(given):
        for channel in range(tensor.shape[1]):
            changed = [one.clone() for one in given]
            changed[number][:, channel] += 0.1
            assert (run(net, tuple(changed)).faithful - out).abs().max() > 1e-5, (number, channel)


@torch.no_grad()
def test_a_frame_does_not_depend_on_its_batch_nor_on_the_order_of_memory() -> None:
    net, given = awake(), inputs()
    out = run(net, given).faithful
    torch.testing.assert_close(run(net, tuple(one[1:] for one in given)).faithful, out[1:], rtol=0, atol=1e-6)
    last = run(net.to(memory_format=torch.channels_last), tuple(one.to(memory_format=torch.channels_last) for one in given))
    torch.testing.assert_close(last.faithful, out, rtol=0, atol=1e-5)


@torch.no_grad()
def test_bfloat16_takes_and_gives_float32() -> None:
    net, given = awake(), inputs()
    exact = run(net, given).faithful
    with torch.autocast("cpu", torch.bfloat16):
        mixed = run(net, given).faithful
    halved = run(net.bfloat16(), given).faithful
    for rough in (mixed, halved):
        assert rough.dtype == torch.float32
        assert not torch.equal(rough, exact)
        assert (rough - exact).abs().mean() < 0.03 * (exact - given[0]).abs().mean()


def test_bfloat16_keeps_pictures_that_need_no_change_exact() -> None:
    compressed, key, *_, following = inputs()
    out = KeyframeFlowNet().bfloat16()(compressed, torch.zeros_like(key), None, torch.zeros_like(following))
    assert torch.equal(out.faithful, compressed)


@pytest.mark.parametrize("mixed", [False, True])
def test_gradients_reach_every_parameter_and_the_past(mixed: bool) -> None:
    net, given = awake().train(), inputs()
    given[2].requires_grad_()
    given[3].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        out = run(net, given)
    out.faithful.square().mean().backward()
    for name, tensor in (*net.named_parameters(), ("past", given[2]), ("features", given[3])):
        assert tensor.grad is not None, name
        assert torch.isfinite(tensor.grad).all(), name
        assert tensor.grad.abs().max() > 0, name


def test_it_is_within_its_budget(repo_root: Path) -> None:
    """3 M parameters and 8 G multiply-accumulates for a frame of 256x256, by itself and as the recipe has it."""
    recipe = yaml.safe_load((repo_root / "options" / "train" / "keyframes_lite.yml").read_text())["network_g"]
    for settings in ({}, {key: value for key, value in recipe.items() if key != "type"}):
        with torch.device("meta"):
            net = KeyframeFlowNet(**settings)
            compressed, key, following = (torch.empty(1, channels, 256, 256) for channels in (3, KEY_CHANNELS, NEXT_CHANNELS))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(compressed, key, None, following)
        assert sum(parameter.numel() for parameter in net.parameters()) <= 3_000_000
        assert 0 < counter.get_total_flops() / 2 <= 8e9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compressed": (1, 3, 20, 32)}, r"compressed: expected .* multiples of 8, got \(1, 3, 20, 32\)"),
        ({"compressed": (1, 1, 32, 32)}, "compressed: expected"),
        ({"key": (1, 3, 32, 32)}, r"key: expected \(1, 7, 32, 32\), got \(1, 3, 32, 32\)"),
        ({"past": (2, 7, 32, 32)}, r"past: expected \(1, 7, 32, 32\), got \(2, 7, 32, 32\)"),
        ({"features": (1, 8, 32, 32)}, r"features: expected \(1, 8, 16, 16\), got \(1, 8, 32, 32\)"),
        ({"following": (1, 20, 32, 24)}, r"following: expected \(1, 20, 32, 32\), got \(1, 20, 32, 24\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change: dict[str, tuple[int, ...]], words: str) -> None:
    shapes = {"compressed": (1, 3, 32, 32), "key": (1, 7, 32, 32), "past": (1, 7, 32, 32), "features": (1, 8, 16, 16)}
    shapes |= {"following": (1, NEXT_CHANNELS, 32, 32)} | change
    with pytest.raises(ValueError, match=words):
        run(awake(), tuple(torch.zeros(shape) for shape in shapes.values()))


def vivid_of(net: KeyframeFlowNet, share: float = 1.0) -> VividKeyframeFlowNet:
    """`net` with details that are not nothing, of which so much is shown."""
    torch.manual_seed(1)
    made = VividKeyframeFlowNet((8, 12, 16), (1, 1, 1), 1, share)
    missing, unexpected = made.load_state_dict(net.state_dict(), strict=False)
    assert not unexpected
    assert {name.startswith(DETAIL_PREFIX) for name in missing} == {True}
    torch.nn.init.normal_(made.detail_tail.weight, std=0.05)
    return made.eval()


@torch.no_grad()
def test_the_vivid_network_makes_the_faithful_picture_and_another() -> None:
    net, given = awake(), inputs()
    plain, crisp = run(net, given), run(vivid_of(net), given)
    torch.testing.assert_close(crisp.faithful, plain.faithful, rtol=0, atol=1e-6)
    torch.testing.assert_close(crisp.features, plain.features, rtol=0, atol=1e-6)
    assert (crisp.shown - crisp.faithful).abs().max() > 1e-3
    part = run(vivid_of(net, 0.25), given)
    torch.testing.assert_close(part.shown, torch.lerp(crisp.faithful, crisp.shown, 0.25), rtol=0, atol=1e-6)
    torch.testing.assert_close(part.faithful, plain.faithful, rtol=0, atol=1e-6)
    same = run(VividKeyframeFlowNet((8, 12, 16), (1, 1, 1)), given)
    assert torch.equal(same.shown, same.faithful)


@torch.no_grad()
def test_details_are_grey_and_no_even_shade() -> None:
    net, given = vivid_of(awake()), inputs()
    made = run(net, given)
    detail = made.shown - made.faithful
    torch.testing.assert_close(detail, detail[:, :1].expand_as(detail), rtol=0, atol=1e-6)
    assert detail.abs().max() > 1e-3
    net.detail_tail.bias.add_(5.0)
    torch.testing.assert_close(run(net, given).shown, made.shown, rtol=0, atol=1e-5)


@torch.no_grad()
def test_details_lack_what_a_binomial_blur_leaves() -> None:
    net, given = vivid_of(awake()), inputs()
    made = run(net, given)
    drawn = F.pixel_shuffle(net.detail_tail(net.detail(made.features)), 2)
    taps = torch.tensor([1.0, 2.0, 1.0]) / 4
    blurred = F.conv2d(F.pad(drawn, (1, 1, 1, 1), mode="replicate"), torch.outer(taps, taps).view(1, 1, 3, 3))
    torch.testing.assert_close(made.shown - made.faithful, (0.1 * (drawn - blurred)).expand(-1, 3, -1, -1), rtol=0, atol=1e-6)


def test_only_details_make_pictures_vivid() -> None:
    net, given = vivid_of(awake()), inputs()
    made = run(net, given)
    (made.shown - made.faithful).square().mean().backward()
    own = [name for name, _ in net.named_parameters() if name.startswith(DETAIL_PREFIX)]
    assert all(net.get_parameter(name).grad.abs().max() > 0 for name in own)  # type: ignore[union-attr]
    assert net.tail.weight.grad is None or not net.tail.weight.grad.any()
