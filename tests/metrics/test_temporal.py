"""Steadiness over time against closed forms: known shift, known noise, known flicker, known seams."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from archs.flow import flow_field
from keyframes_gan import metrics, weights
from keyframes_gan.metrics import flow
from keyframes_gan.metrics.clips import ClipScore, Frames, Strip

SIDE = 96
rng = np.random.default_rng(0)
FIELD = gaussian_filter(rng.uniform(0, 255, (SIDE + 40, SIDE + 40)), 2)
FIELD = np.repeat((60 + 130 * (FIELD - FIELD.min()) / np.ptp(FIELD))[..., None], 3, axis=2).astype(np.uint8)


def moving(count: int, step: int = 1) -> list[np.ndarray]:
    """Texture that moves to the left by `step` pixels a frame."""
    return [np.ascontiguousarray(FIELD[:SIDE, index * step : index * step + SIDE]) for index in range(count)]


Clip = Sequence[np.ndarray]


def score(name: str, original: Clip, judged: Clip, splits: Sequence[int] = (), **more: Sequence) -> ClipScore:
    scorer = metrics.load_clip(name)()
    edges = [0, *sorted(set(splits)), len(original)]
    for first, last in pairwise(edges):
        before = (None, None) if first == 0 else (original[first - 1], judged[first - 1])
        strips = Strip(original[first:last], before[0]), Strip(judged[first:last], before[1])
        scorer.add(Frames(*strips, **{key: value[first:last] for key, value in more.items()}))
    return scorer.finish()


@pytest.mark.parametrize("name", ["e_warp", "tof", "flicker"])
def test_a_standing_copy_is_perfectly_steady(name: str) -> None:
    clip = [FIELD[:SIDE, :SIDE]] * 4
    assert score(name, clip, clip).values == (None, 0.0, 0.0, 0.0)
    assert score(name, clip[:1], clip[:1]) == ClipScore((None,), None)


def test_flow_finds_a_known_shift() -> None:
    clip = moving(3, step=2)
    dis = flow.estimator("dis")
    for found, sign in ((dis.to_before, 1), (dis.from_before, -1)):
        inner = found(Strip(clip))[1][8:-8, 8:-8]
        assert np.median(inner[..., 0]) == pytest.approx(2 * sign, abs=0.05)
        assert np.median(inner[..., 1]) == pytest.approx(0, abs=0.05)


def test_warping_error_of_a_known_shift_is_small_and_standing_still_costs() -> None:
    clip = moving(4)
    same = score("e_warp", clip, clip)
    stuck = score("e_warp", clip, [clip[0]] * 4)
    difference = np.square((clip[1].astype(float) - clip[0]) / 255).mean()
    assert same.value < 0.01 * stuck.value
    assert stuck.value == pytest.approx(difference, rel=0.2)


def test_warping_error_of_known_noise_is_twice_its_variance() -> None:
    clip = [FIELD[:SIDE, :SIDE]] * 6
    noisy = [np.clip(np.rint(picture + rng.normal(0, 6, picture.shape)), 0, 255).astype(np.uint8) for picture in clip]
    assert score("e_warp", clip, noisy).value == pytest.approx(2 * (6**2 + 1 / 12) / 255**2, rel=0.03)


def test_tof_of_a_picture_that_does_not_follow_is_the_shift() -> None:
    clip = moving(4, step=2)
    assert score("tof", clip, clip).value == 0.0
    assert score("tof", clip, [clip[0]] * 4).value == pytest.approx(2, rel=0.1)


def test_flicker_of_known_size_counts_only_where_the_original_stands_still() -> None:
    still = FIELD[:SIDE, :SIDE]
    half = [np.concatenate([still[:48], picture[48:]]) for picture in moving(4, step=9)]
    pulsing = [np.where(np.arange(SIDE)[:, None, None] < 46, picture + 5 * (index % 2), picture) for index, picture in enumerate(half)]
    found = score("flicker", half, [picture.astype(np.uint8) for picture in pulsing])
    counted = [np.abs(after.astype(int) - before).max(axis=2) <= 2 for before, after in pairwise(half)]
    assert found.values[0] is None
    assert 4.6 < found.value <= 5.0
    assert min(mask[:46].mean() for mask in counted) == 1.0
    assert score("flicker", [still] * 4, [still + np.uint8(3 * (index % 2)) for index in range(4)]).value == 3.0


def test_seam_ratio_is_the_error_at_borders_over_that_inside() -> None:
    still = [FIELD[:SIDE, :SIDE]] * 12
    levels = np.cumsum([0, *[10 if index % 4 == 0 else 2 for index in range(1, 12)]]).astype(np.uint8)
    restored = [picture + level for picture, level in zip(still, levels, strict=True)]
    seams = [index in (4, 8) for index in range(12)]
    assert score("seam_ratio", still, restored, seams=seams).value == pytest.approx(25, rel=1e-4)
    assert score("seam_ratio", still, restored).value is None
    assert score("seam_ratio", still, still, seams=seams).value is None
    even = [picture + np.uint8(2 * index) for index, picture in enumerate(still)]
    assert score("seam_ratio", still, even, seams=seams).value == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("name", ["e_warp", "tof", "flicker"])
def test_nothing_is_compared_across_a_cut(name: str) -> None:
    clip = moving(4)
    cuts = [True, False, True, False]
    assert [value is None for value in score(name, clip, clip, cuts=cuts).values] == cuts


def test_boxes_limit_what_counts() -> None:
    clip = [FIELD[:SIDE, :SIDE]] * 3
    spoilt = [picture.copy() for picture in clip]
    spoilt[1][:20] += 20
    inside, outside = ([[box]] * 3 for box in ((0, 0, SIDE, 18), (0, 24, SIDE, SIDE)))
    for name, expected in (("e_warp", (20 / 255) ** 2), ("flicker", 20.0)):
        assert score(name, clip, spoilt, boxes=inside).value == pytest.approx(expected)
        assert score(name, clip, spoilt, boxes=outside).value == 0.0
        assert score(name, clip, spoilt, boxes=[[]] * 3).value is None


def test_small_pictures_have_no_flow() -> None:
    clip = [FIELD[:16, :16]] * 2
    assert score("e_warp", clip, clip).value is None
    assert score("tof", clip, clip).value is None


def test_pixels_without_counterpart_are_found() -> None:
    still = np.zeros((40, 40, 2), np.float32)
    right = still + np.float32([3, 0])
    agree = flow.consistent(right, -right)
    assert agree[:, :36].all()
    assert not agree[:, 37:].any()
    assert not flow.consistent(right, right).any()
    edge = still.copy()
    edge[:, 20:, 0] = 3
    assert not flow.consistent(edge, -edge)[:, 19:21].any()


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 5), max_size=4), st.sampled_from(["e_warp", "tof", "flicker", "seam_ratio"]))
def test_batches_do_not_change_the_result(splits: list[int], name: str) -> None:
    clip = moving(6)
    judged = [np.roll(picture, index % 2, axis=0) for index, picture in enumerate(clip)]
    more = {"seams": [index == 3 for index in range(6)], "cuts": [index in (0, 5) for index in range(6)]}
    assert score(name, clip, judged, splits, **more) == score(name, clip, judged, **more)


@settings(deadline=None, max_examples=15)
@given(st.integers(-50, 50))
def test_steadiness_does_not_depend_on_brightness(level: int) -> None:
    clip = moving(3)
    judged = [np.roll(picture, index % 2, axis=0) for index, picture in enumerate(clip)]
    shifted = [(picture.astype(int) + level).astype(np.uint8) for picture in judged]
    for name in ("e_warp", "flicker"):
        assert score(name, clip, shifted).value == pytest.approx(score(name, clip, judged).value, rel=1e-4)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(0, 1), min_size=3, max_size=6))
def test_flicker_is_symmetric_where_both_stand_still(levels: list[int]) -> None:
    one = [FIELD[:SIDE, :SIDE]] * len(levels)
    two = [one[0] + np.uint8(level) for level in levels]
    assert score("flicker", one, two) == score("flicker", two, one)


def test_raft_stands_in_for_dense_inverse_search(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    torch.manual_seed(0)
    network = flow_field("raft_large").eval()
    monkeypatch.setattr(weights, "load_state", lambda name: network.model.state_dict() if name == "raft_large" else None)
    flow._raft.cache_clear()
    request.addfinalizer(flow._raft.cache_clear)
    clip = moving(2)
    (_, found) = flow.estimator("raft", "cpu").to_before(Strip(clip))
    pair = [torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()).float() / 127.5 - 1 for picture in clip]
    with torch.inference_mode():
        assert np.allclose(found, network(pair[1], pair[0])[0].permute(1, 2, 0).numpy(), atol=1e-3)
    still = [clip[0]] * 2
    assert score("tof_raft", still, still).values == (None, 0.0)
    assert metrics.find("e_warp_raft").weights == ("raft_large",)
