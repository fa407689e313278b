"""The default restorer frame by frame: what a track carries on, references, frames ahead, and vivid weights beside faithful ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from archs.keyframe_flow_arch import AHEAD, KeyframeFlowNet, VividKeyframeFlowNet
from keyframes_gan.faces import align
from keyframes_gan.restorers import keyframes_lite
from keyframes_gan.restorers.flow_guided import FlowGuided, _key
from keyframes_gan.types import FaceClip, Image, Reference

SIZE, FRAMES = 64, 12
BLOCKS = "[1, 1, 1]"
FACE = np.random.default_rng(6).uniform(8, SIZE - 9, (68, 2)).astype(np.float32)


@pytest.fixture
def sharp() -> Image:
    rng = np.random.default_rng(4)
    coarse = rng.integers(60, 200, (SIZE // 4, SIZE // 4 + FRAMES, 3)).astype(np.uint8)
    return coarse.repeat(4, axis=0).repeat(4, axis=1)


@pytest.fixture
def crops(sharp: Image) -> Image:
    """A picture that moves to the left, with the marks of coding."""
    marks = np.random.default_rng(5).integers(-6, 7, (FRAMES, SIZE, SIZE, 3))
    moved = np.stack([sharp[:, 2 * frame : 2 * frame + SIZE] for frame in range(FRAMES)])
    return (moved + marks).clip(0, 255).astype(np.uint8)


def clip(crops: Image, begin: int, end: int, *, ahead: int = 0, references: tuple[Reference | None, ...] = ()) -> FaceClip:
    count = end - begin + ahead
    matrices = np.tile(np.eye(2, 3), (count, 1, 1))
    return FaceClip(0, begin, crops[begin : end + ahead], matrices, np.tile(FACE, (count, 1, 1)), references, ahead=ahead)


def stored(net: torch.nn.Module, path: Path, kind: str, extra: str = "") -> str:
    about = {"arch": kind, "kwargs": f'{{"widths": [8, 12, 16], "blocks": {BLOCKS}{extra}}}'}
    save_file(net.state_dict(), path, metadata=about)
    return str(path)


@pytest.fixture
def faithful(tmp_path: Path) -> str:
    torch.manual_seed(0)
    net = KeyframeFlowNet((8, 12, 16), (1, 1, 1))
    torch.nn.init.normal_(net.tail.weight, std=0.01)
    torch.nn.init.normal_(net.recall.weight, std=0.05)
    return stored(net, tmp_path / "faithful.safetensors", "KeyframeFlowNet")


@pytest.fixture
def vivid(faithful: str, tmp_path: Path) -> str:
    from keyframes_gan import weights  # noqa: PLC0415

    net = VividKeyframeFlowNet((8, 12, 16), (1, 1, 1), 1)
    net.load_state_dict(weights.load_state(faithful), strict=False)
    torch.nn.init.normal_(net.detail_tail.weight, std=0.3)
    return stored(net, tmp_path / "vivid.safetensors", "VividKeyframeFlowNet", ', "detail_blocks": 1')


def build(source: str) -> FlowGuided:
    restorer = keyframes_lite.create(weights=source, device="cpu", precision="fp32")
    assert isinstance(restorer, FlowGuided)
    return restorer


def test_cut_anywhere_the_result_is_the_same(faithful: str, crops: Image) -> None:
    restorer = build(faithful)
    whole = restorer.restore(clip(crops, 0, FRAMES), restorer.start(0))
    state = restorer.start(0)
    cuts = ((0, 1), (1, 4), (4, 8), (8, 12))
    parts = [restorer.restore(clip(crops, *cut, ahead=min(AHEAD, FRAMES - cut[1])), state)[: cut[1] - cut[0]] for cut in cuts]
    assert np.array_equal(np.concatenate(parts), whole)
    cold = restorer.restore(clip(crops, 8, 12), restorer.start(0))
    assert not np.array_equal(cold, whole[8:])


@pytest.mark.parametrize("ahead", [1, AHEAD])
def test_frames_ahead_are_seen_and_left_as_they_are(faithful: str, crops: Image, ahead: int) -> None:
    """A frame sees `AHEAD` after it: of 7, those that lack some are the last ones."""
    restorer = build(faithful)
    seen, unseen = (restorer.restore(clip(crops, 0, 7, ahead=given), restorer.start(0)) for given in (ahead, 0))
    assert np.array_equal(seen[7:], crops[7 : 7 + ahead])
    same = 7 - AHEAD
    assert np.array_equal(seen[:same], unseen[:same])
    assert not np.array_equal(seen[same], unseen[same])


def test_a_key_frame_helps_and_one_that_knows_nothing_better_is_none(faithful: str, crops: Image, sharp: Image) -> None:
    restorer = build(faithful)
    key = Reference(np.ascontiguousarray(sharp[:, :SIZE]), crops[0], FACE, None)
    useless = Reference(crops[0], crops[0], FACE, None)
    made = {
        name: restorer.restore(clip(crops, 0, 2, references=(given, given)), restorer.start(0))
        for name, given in (("key", key), ("useless", useless), ("none", None))
    }
    assert np.array_equal(made["useless"], made["none"])
    truth = np.stack([sharp[:, 2 * frame : 2 * frame + SIZE] for frame in range(2)]).astype(float)
    error = {name: np.abs(picture - truth).mean() for name, picture in made.items()}
    assert error["key"] < 0.9 * error["none"]


def test_a_key_frame_whose_face_lies_far_away_is_brought_near(faithful: str, crops: Image, sharp: Image) -> None:
    """A photo that shows the face turned and nearly twice as large serves about as well as one that shows it as the video does."""
    restorer = build(faithful)
    turned = align.similarity_between(FACE, (FACE @ np.array([[1.6, 0.7], [-0.7, 1.6]], np.float32)) + np.float32(20))
    large = align.crop(np.ascontiguousarray(sharp[:, :SIZE]), turned, 192)
    photos = {
        "near": Reference(np.ascontiguousarray(sharp[:, :SIZE]), None, FACE, None),
        "far": Reference(large, None, align.transform_points(FACE, turned), None),
        "wrong": Reference(large, None, FACE * 3, None),
    }
    made = {
        name: restorer.restore(clip(crops, 0, 1, references=(given,)), restorer.start(0))[0, 8:-8, 8:-8].astype(float)
        for name, given in photos.items()
    }
    error = {name: float(np.abs(picture - made["near"]).mean()) for name, picture in made.items()}
    assert error["far"] < 0.5 * error["wrong"]


@pytest.mark.parametrize(("moved", "exact"), [(3.0, True), (5.0, False)])
def test_a_key_frame_that_lies_near_keeps_its_pixels(crops: Image, moved: float, exact: bool) -> None:
    given = Reference(crops[1], crops[0], FACE + np.float32([moved, 0]), None)
    key = _key(given, FACE, SIZE)
    assert key is not None
    assert key.compressed is not None
    assert (np.array_equal(key.picture, crops[1]), np.array_equal(key.compressed, crops[0])) == (exact, exact)
    if not exact:
        assert np.array_equal(key.picture[:, : SIZE - 8], crops[1][:, 5 : SIZE - 3])


def test_vivid_pictures_do_not_go_on(faithful: str, vivid: str, crops: Image) -> None:
    plain, crisp = build(faithful), build(vivid)
    states = plain.start(0), crisp.start(0)
    first, second = plain.restore(clip(crops, 0, 5), states[0]), crisp.restore(clip(crops, 0, 5), states[1])
    assert (np.abs(first.astype(int) - second).reshape(5, -1).max(axis=1) > 5).all()
    assert states[0].past is not None
    assert states[1].past is not None
    torch.testing.assert_close(states[1].past.made.faithful, states[0].past.made.faithful, rtol=0, atol=1e-5)
