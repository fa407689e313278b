"""A small KEEP with random weights: batches, state from clip to clip, old names, gradients. In float64, where rounding is 1e-16.

What `restore_clip` promises is exact, so the tolerance is the rounding of the whole network: 1e-16 times the number of
operations in a row (10^3) times the gain of normalisations of nearly constant features (up to 10^3), 1e-10, generously 1e-9.
Only a code that flips could exceed it, and then by far: the smallest margin of the scores must be far above it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.flow import FlowField
from archs.keep_arch import KEEP, rename_v0
from archs.keep_state import TrackState
from archs.vqgan_blocks import Upsample

EXACT = 1e-9
SIZE = 32
TINY: dict[str, Any] = {
    "img_size": SIZE,
    "nf": 32,
    "ch_mult": (1, 1, 2),
    "attn_resolutions": (8,),
    "res_blocks": 1,
    "emb_dim": 32,
    "codebook_size": 64,
    "dim_embd": 64,
    "n_head": 2,
    "n_layers": 2,
    "kalman_attn_head_dim": 8,
    "num_uncertainty_layers": 2,
}
NEW = {"cft_list": ("8", "16"), "cfa_list": ("8",), "cfa_nhead": 2, "cfa_dim": 16}
OLD = {"connect_list": ["8", "16"], "cross_fuse_list": ["8"], "cross_fuse_nhead": 2, "cross_fuse_dim": 16}


class SmoothFlow(FlowField):
    """A made-up field that depends on both pictures."""

    def between(self, picture: Tensor, other: Tensor) -> Tensor:
        return 2 * torch.tanh(3 * F.avg_pool2d(picture - other, 9, 1, 4)[:, :2])


@pytest.fixture(scope="module")
def net() -> KEEP:
    torch.manual_seed(3)
    made = KEEP(**TINY, **NEW)
    made.flownet = SmoothFlow(nn.Identity())
    nn.init.normal_(made.quantize.embedding.weight)
    nn.init.normal_(made.idx_pred_layer[1].weight)
    nn.init.normal_(made.kalman_filter.kalman_gain_calculator[3].weight, std=0.2)
    return made.double().eval()


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def clip(frames: int, seed: int = 0, batch: int = 1, size: int = SIZE) -> Tensor:
    """A random picture that drifts and changes a little."""
    draw = torch.Generator().manual_seed(seed)
    canvas = F.interpolate(torch.rand((batch, 3, 12, 12), generator=draw, dtype=torch.float64), size + 2 * frames, mode="bicubic")
    change = F.interpolate(torch.rand((batch, 3 * frames, 4, 4), generator=draw, dtype=torch.float64), size, mode="bilinear")
    moved = torch.stack([canvas[..., index : index + size, 2 * index : 2 * index + size] for index in range(frames)], dim=1)
    return 1.6 * moved - 0.8 + 0.2 * change.unflatten(1, (frames, 3))


def same(given: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(given, wanted, rtol=0, atol=EXACT)


def in_clips(net: KEEP, frames: Tensor, lengths: list[int], ahead: int = 0) -> tuple[Tensor, list[TrackState | None]]:
    """Restore frames (B, T, ...) in clips that give `lengths` frames and look `ahead` further, as far as there are frames."""
    states: list[TrackState | None] = [None] * len(frames)
    parts, start = [], 0
    for length in lengths:
        end = min(start + length + ahead, frames.shape[1])
        part, states = net.restore_clip(frames[:, start:end], states, ahead=end - start - length)
        parts.append(part)
        start += length
    return torch.cat(parts, dim=1), states


def test_a_batch_equals_its_rows(net: KEEP) -> None:
    frames = clip(3, batch=2)
    both, insides = net(frames, need_upscale=False, detail=True)
    assert both.shape == frames.shape
    assert insides.logits.shape == (2, 3, 64, 64)
    best = insides.logits.topk(2, dim=-1).values
    assert (best[..., 0] - best[..., 1]).min() > 100 * EXACT
    assert len(insides.logits.argmax(-1).unique()) > 10
    assert insides.gains.std() > 0.01
    for row in (0, 1):
        same(both[row], net(frames[row : row + 1], need_upscale=False)[0])
    assert (both[0] - both[1]).abs().mean() > 0.01


def test_the_frame_before_matters(net: KEEP) -> None:
    frames = clip(2)
    whole = net(frames, need_upscale=False)
    assert (whole[:, 1:] - net(frames[:, 1:], need_upscale=False)).abs().mean() > 0.01


@pytest.mark.parametrize("at_once", [1, 5])
def test_how_many_frames_are_encoded_together_does_not_matter(net: KEEP, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = clip(3, batch=2)
    whole = net(frames, need_upscale=False)
    monkeypatch.setattr(net, "frames_at_once", at_once)
    same(net(frames, need_upscale=False), whole)


def test_one_frame_equals_the_first_of_the_frame_fed_twice(net: KEEP) -> None:
    frame = clip(1)
    same(net(frame, need_upscale=False), net(frame.expand(-1, 2, -1, -1, -1), need_upscale=False)[:, :1])


def test_enlarging_is_bilinear(net: KEEP) -> None:
    small = clip(2, size=SIZE // 4)
    large = F.interpolate(small[0], size=SIZE, mode="bilinear", align_corners=False)[None]
    same(net(small), net(large, need_upscale=False))
    same(net.restore_clip(small, need_upscale=True)[0], net(large, need_upscale=False))


def test_one_clip_with_state_equals_the_plain_pass(net: KEEP) -> None:
    frames = clip(3, batch=2)
    restored, states = net.restore_clip(frames)
    same(restored, net(frames, need_upscale=False))
    assert [state.pending for state in states] == [0, 0]


@pytest.mark.parametrize("lengths", [[3, 4], [1, 1, 5], [2, 2, 3]])
def test_clips_that_see_the_rest_of_the_track_equal_one_long_clip(net: KEEP, lengths: list[int]) -> None:
    frames = clip(7)
    encoded: list[int] = []
    hook = net.encoder.blocks[0].register_forward_hook(lambda _module, args, _out: encoded.append(len(args[0])))
    restored, states = in_clips(net, frames, lengths, ahead=6)
    hook.remove()
    assert sum(encoded) == 7  # a frame that was looked at is not encoded again
    same(restored, net(frames, need_upscale=False))
    assert states[0] is not None
    assert states[0].ahead is None


def test_the_last_clip_has_the_gains_of_one_long_clip(net: KEEP) -> None:
    frames, seen = clip(7), []
    hook = net.kalman_filter.register_forward_hook(lambda _module, _args, out: seen.append(out))
    in_clips(net, frames, [3, 4])
    net(frames, need_upscale=False)
    hook.remove()
    same(seen[1], seen[2][:, 3:])
    assert (seen[0] - seen[2][:, :3]).abs().max() > 100 * EXACT  # the first clip did not see what came after it


def test_where_the_future_is_not_seen_only_the_mixture_differs(net: KEEP) -> None:
    """Frame 1 is the first that uses a gain: its mixed features differ by (g - g') (z' - z), all else before them is equal."""
    frames = clip(5)
    seen: dict[str, list[Tensor]] = {"gain": [], "mixed": [], "predicted": []}
    hooks = [
        net.kalman_filter.register_forward_hook(lambda _module, _args, out: seen["gain"].append(out)),
        net.hq_encoder.register_forward_hook(lambda _module, _args, out: seen["predicted"].append(out)),
        net.feat_emb.register_forward_pre_hook(lambda _module, args: seen["mixed"].append(args[0])),
    ]
    (part, _), whole = net.restore_clip(frames[:, :2]), net(frames, need_upscale=False)
    for hook in hooks:
        hook.remove()
    same(part[:, 0], whole[:, 0])
    own = net.encoder(frames[0, 1:2])
    change = (seen["gain"][0][:, 1] - seen["gain"][1][:, 1]) * (seen["predicted"][0] - own)
    same(seen["predicted"][0], seen["predicted"][1])
    same(seen["mixed"][1] - seen["mixed"][3], change.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("lengths", [[3, 4], [1] * 7])
def test_with_the_same_gains_clips_equal_one_long_clip(net: KEEP, lengths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    frames = clip(7)
    whole, insides = net(frames, need_upscale=False, detail=True)
    starts = iter([sum(lengths[:index]) for index in range(len(lengths))])

    def given(features: Tensor, _tracks: object) -> Tensor:
        start = next(starts)
        return insides.gains[:, start : start + features.shape[1]]

    monkeypatch.setattr(net, "_gains", given)
    same(in_clips(net, frames, lengths)[0], whole)


def test_tracks_of_any_age_share_a_batch(net: KEEP) -> None:
    """Row 0 goes on after five frames, row 1 begins, row 2 goes on after two."""
    old, new, young = clip(7, 1), clip(7, 2), clip(7, 3)
    after_old, states_old = net.restore_clip(old[:, :5])
    _, states_young = net.restore_clip(young[:, :2])
    del after_old
    together, states = net.restore_clip(torch.cat((old[:, 5:], new[:, :2], young[:, 2:4])), [*states_old, None, *states_young])
    same(together[0], net.restore_clip(old[:, 5:], states_old)[0][0])
    same(together[1], net.restore_clip(new[:, :2])[0][0])
    same(together[2], net.restore_clip(young[:, 2:4], states_young)[0][0])
    assert [len(state.history) for state in states] == [7, 2, 4]


def test_rows_may_have_different_numbers_of_pending_frames(net: KEEP) -> None:
    one, two = clip(5, 1), clip(5, 2)
    _, first = net.restore_clip(one[:, :3], ahead=2)
    _, second = net.restore_clip(two[:, :3], ahead=1)
    together, _ = net.restore_clip(torch.cat((one[:, 1:4], two[:, 2:5])), [*first, *second], ahead=1)
    same(together[:1], net.restore_clip(one[:, 1:4], first, ahead=1)[0])
    same(together[1:], net.restore_clip(two[:, 2:5], second, ahead=1)[0])


def test_the_state_does_not_grow(net: KEEP, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "gain_history", 4)
    frames = clip(10)
    states: list[TrackState | None] = [None]
    sizes = []
    for start in range(0, 10, 2):
        _, states = net.restore_clip(frames[:, start : start + 2], states)
        assert states[0] is not None
        sizes.append(states[0].nbytes)
        assert all(part.untyped_storage().nbytes() == part.nbytes for part in (states[0].output, states[0].history, states[0].motion))
    assert sizes[0] < sizes[1] == sizes[2] == sizes[4]


def test_no_history_is_a_choice(net: KEEP, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "gain_history", 0)
    frames, seen = clip(4), []
    hook = net.kalman_filter.register_forward_hook(lambda _module, _args, out: seen.append(out))
    _, states = in_clips(net, frames, [2, 2])
    net(frames[:, 2:], need_upscale=False)
    hook.remove()
    assert states[0] is not None
    assert len(states[0].history) == 0
    same(seen[1], seen[2])


def test_gradients_reach_what_trains(net: KEEP) -> None:
    frames = clip(2)
    with torch.enable_grad():
        net.train().detach_16 = False
        restored, insides = net(frames, need_upscale=False, detail=True)
        (restored.abs().mean() + insides.logits.square().mean()).backward()
    trained = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    fixed = {name for name, _ in net.named_parameters() if name.startswith(("quantize.", "generator."))}
    assert trained == {name for name, _ in net.named_parameters()} - fixed
    net.zero_grad()
    net.eval().detach_16 = True
    same(restored.detach(), net(frames, need_upscale=False))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("what", ["pictures", "codes"])
def test_gradients_are_the_slope_of_the_loss(net: KEEP, layout: torch.memory_format, what: str) -> None:
    """Along a random direction of what trains, against the difference quotient; codes are constants on so short a way.

    Scores are left out for the parts that act on later scores only through the output of the frame before, where no gradient flows.
    """
    frames = clip(3, batch=2).flatten(0, 1).contiguous(memory_format=layout).unflatten(0, (2, 3))
    trained, draw = copy.deepcopy(net).train(), torch.Generator().manual_seed(0)
    left_out = ("encoder.", "cft.", "cfa.") if what == "codes" else ()
    names = [name for name, one in trained.named_parameters() if one.requires_grad and not name.startswith(left_out)]
    along = {name: torch.randn(trained.get_parameter(name).shape, generator=draw).double() for name in names}
    weight = torch.randn(frames.shape, generator=draw)

    def loss() -> Tensor:
        restored, insides = trained(frames, need_upscale=False, detail=True)
        return insides.logits.square().mean() if what == "codes" else (restored * weight).mean() + insides.gains.sum()

    def moved(step: float) -> float:
        for name, direction in along.items():
            trained.get_parameter(name).add_(direction, alpha=step)
        return float(loss())

    with torch.enable_grad():
        loss().backward()
    gradients = {name: trained.get_parameter(name).grad for name in names}
    slope = sum(float((gradients[name] * direction).sum()) for name, direction in along.items() if gradients[name] is not None)
    step = 1e-7
    assert (moved(step) - moved(-2 * step)) / (2 * step) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("precise", [True, False])
def test_the_whole_network_trains_in_either_precision(precise: bool) -> None:
    """GMFlow included; bfloat16 as autocast gives it, whose gradients have 8 bits."""
    torch.manual_seed(0)
    whole = KEEP(**TINY, **NEW, detach_16=False)
    frames = clip(2, batch=2).float()
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=not precise):
        restored, insides = whole(frames, need_upscale=False, detail=True)
        (restored.float().abs().mean() + insides.logits.float().square().mean()).backward()
    gradients = {name: one.grad for name, one in whole.named_parameters() if one.requires_grad}
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients.values())


def test_bfloat16_stays_close(net: KEEP) -> None:
    """Codes may flip on features this coarse; most must not, and the flow stays in full precision."""
    frames = clip(2)
    codes = net(frames, need_upscale=False, detail=True)[1].logits.argmax(-1)
    coarse = KEEP(**TINY, **NEW)
    coarse.flownet = SmoothFlow(nn.Identity())
    coarse.load_state_dict(net.state_dict())
    restored, insides = coarse.eval().reduce_precision(torch.bfloat16)(frames.float(), need_upscale=False, detail=True)
    assert restored.dtype == torch.float32
    assert (insides.logits.argmax(-1) == codes).double().mean() > 0.8


def test_folding_leaves_the_output_equal(net: KEEP) -> None:
    frames = clip(3)
    folded = copy.deepcopy(net).fold()
    assert not any(isinstance(block, Upsample) for block in folded.generator.blocks)
    same(folded(frames, need_upscale=False), net(frames, need_upscale=False))
    same(folded.fold()(frames, need_upscale=False), net(frames, need_upscale=False))


def test_it_compiles_without_breaks(net: KEEP) -> None:
    """Traced only, not turned into machine code: that is the compiler's business, and takes minutes."""
    frames = clip(4)
    traced = copy.deepcopy(net).compile_parts(backend="eager")
    same(traced(frames, need_upscale=False), net(frames, need_upscale=False))
    same(in_clips(traced, frames, [2, 2])[0], in_clips(net, frames, [2, 2])[0])


def test_both_releases_name_the_same_network(net: KEEP) -> None:
    old = KEEP(**TINY, **OLD, cross_fuse_nlayers=1)
    old.flownet = SmoothFlow(nn.Identity())
    state = net.state_dict()
    assert rename_v0(state) == state
    assert [(key, value.shape) for key, value in old.state_dict().items()] == [(key, value.shape) for key, value in state.items()]
    foreign = {key.replace("cft.", "fuse_convs_dict.").replace("cfa.", "cross_fuse."): value for key, value in state.items()}
    assert set(foreign) != set(state)
    assert rename_v0(foreign) == state


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_size": 100}, "latent_size 64"),
        ({**NEW, "cross_fuse_dim": 8}, "cfa_dim or its older name"),
        ({"cft_list": ["8", "48"]}, r"cft_list: expected some of \[8, 16, 32\]"),
        ({"flow_type": "raft"}, "flow_type: expected one of gmflow"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KEEP(**{**TINY, **arguments})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: net(clip(2, size=16), need_upscale=False), r"expected frames of \(3, 32, 32\), got \(3, 16, 16\)"),
        (lambda net: net(clip(2)[0], need_upscale=False), r"expected a clip \(B, T, 3, H, W\)"),
        (lambda net: net(clip(2)[:, :0], need_upscale=False), r"got \(1, 0, 3, 32, 32\)"),
        (lambda net: net.restore_clip(clip(2), ahead=2), "T > ahead >= 0"),
        (lambda net: net.restore_clip(clip(2), [None, None]), "a state for each row"),
        (lambda net: net.restore_clip(clip(1), net.restore_clip(clip(3), ahead=2)[1]), "the frames pending"),
    ],
)
def test_clips_that_do_not_fit_are_refused(net: KEEP, call: Callable[[KEEP], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(net)
