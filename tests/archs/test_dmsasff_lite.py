"""DMSASFFNetLite: shapes, identity at the start, the validity mask, gradients, cost. Expected values are closed forms."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from archs import dmsasff_lite_arch as lite


def inputs(size: tuple[int, int] = (32, 48), count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    pictures = torch.rand((2, count, 3, *size), generator=draw)
    return pictures[0], pictures[1], (torch.rand((count, 1, *size), generator=draw) > 0.9).float()


def awake(seed: int = 0) -> lite.DMSASFFNetLite:
    """A network whose output is not the identity."""
    torch.manual_seed(seed)
    net = lite.DMSASFFNetLite()
    torch.nn.init.normal_(net.tail.weight, std=0.02)
    return net.eval()


def test_it_is_the_identity_when_new() -> None:
    compressed, reference, landmark = inputs()
    assert torch.equal(lite.DMSASFFNetLite()(compressed, reference, landmark), compressed)


@pytest.mark.parametrize("size", [(16, 16), (16, 48), (80, 64)])
def test_any_multiple_of_16_keeps_its_size(size: tuple[int, int]) -> None:
    compressed, reference, landmark = inputs(size, 1)
    with torch.no_grad():
        out = awake()(compressed, reference, landmark, torch.ones(1))
    assert out.shape == compressed.shape
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("absent", [float("nan"), 0.0, 0.7])
def test_an_invalid_reference_changes_nothing(absent: float) -> None:
    net = awake()
    compressed, reference, landmark = inputs()
    spoiled = reference.clone()
    spoiled[0] = absent
    valid = torch.tensor([0, 1])
    with torch.no_grad():
        out = net(compressed, reference, landmark, valid)
        assert torch.equal(net(compressed, spoiled, landmark, valid), out)
        torch.testing.assert_close(net(compressed, None, landmark)[0], out[0], rtol=0, atol=1e-6)
        assert torch.equal(net(compressed, reference, landmark, valid.reshape(2, 1, 1, 1)), out)
        assert (net(compressed, None, landmark)[1] - out[1]).abs().max() > 1e-4


def test_every_input_matters() -> None:
    net = awake()
    compressed, reference, landmark = inputs()
    with torch.no_grad():
        out = net(compressed, reference, landmark)
        assert (net(compressed, reference.flip(3), landmark) - out).abs().max() > 1e-4
        assert (net(compressed, reference, torch.zeros_like(landmark)) - out).abs().max() > 1e-4


@pytest.mark.parametrize("mixed", [False, True])
def test_gradients_reach_every_parameter(mixed: bool) -> None:
    net = awake().train()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        out = net(*inputs(), torch.tensor([1.0, 0.0]))
    out.float().square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_flat_pictures_have_finite_values_and_gradients() -> None:
    net = awake().train()
    _, _, landmark = inputs()
    flat = torch.zeros(2, 3, 32, 48, requires_grad=True)
    out = net(flat, flat, landmark)
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_bfloat16_weights_take_and_give_float32() -> None:
    net, args = awake(), inputs()
    with torch.no_grad():
        exact = net(*args)
        rough = net.bfloat16()(*args)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.02 * (exact - args[0]).abs().mean() + 1e-3


def test_channels_last_and_batch_change_nothing_visible() -> None:
    net, args = awake(), inputs()
    with torch.no_grad():
        out = net(*args)
        alone = net(*(x[1:] for x in args))
        last = net.to(memory_format=torch.channels_last)(*(x.to(memory_format=torch.channels_last) for x in args))
    torch.testing.assert_close(alone, out[1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(last, out, rtol=0, atol=1e-5)


def test_adain_gives_the_statistics_of_the_style() -> None:
    draw = torch.Generator().manual_seed(1)
    content = torch.randn((2, 4, 16, 16), generator=draw) * 3 + 1
    style = torch.randn((2, 4, 8, 8), generator=draw) * 0.5 - 2
    out = lite.adain(content, style)
    torch.testing.assert_close(out.mean((2, 3)), style.mean((2, 3)), rtol=0, atol=1e-4)
    torch.testing.assert_close(out.std((2, 3), correction=0), style.std((2, 3), correction=0), rtol=1e-3, atol=1e-4)


def test_it_is_within_its_budget() -> None:
    net = lite.DMSASFFNetLite().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*inputs((256, 256), 1))
    assert sum(p.numel() for p in net.parameters()) <= 3_000_000
    assert counter.get_total_flops() / 2 <= 8e9


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"compressed": (1, 3, 24, 32)}, "multiples of 16"),
        ({"reference": (1, 3, 16, 32)}, "reference"),
        ({"landmark": (1, 3, 32, 32)}, "landmark"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change: dict[str, tuple[int, ...]], word: str) -> None:
    shapes = {"compressed": (1, 3, 32, 32), "reference": (1, 3, 32, 32), "landmark": (1, 1, 32, 32)} | change
    with pytest.raises(ValueError, match=word):
        lite.DMSASFFNetLite()(*(torch.zeros(shape) for shape in shapes.values()))


def test_a_mask_of_another_length_is_named() -> None:
    with pytest.raises(ValueError, match="valid"):
        lite.DMSASFFNetLite()(*inputs(), torch.ones(3))
