"""Runs of frames in encoded streams: right pictures, right guides, streams made once, the same sample for the same position."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from archs.flow import warp
from archs.keyframe_flow_arch import AHEAD, NEXT_CHANNELS
from data import encoded_clips
from data.encoded_clips import StreamSettings, inner_side
from data.keyframe_sequence_dataset import PARTS, KeyframeSequenceDataset
from data.position import Positioned
from keyframes_gan.errors import UserError
from keyframes_gan.keyframes.flow import Key, Window
from keyframes_gan.types import FloatArray, Image
from keyframes_gan.video.roundtrip import Codec, roundtrip

FRAMES, INNER, EDGE = 12, 128, 8
STREAM = {"codec": "libx264", "crf": 30, "preset": "veryfast"}
Build = Callable[..., KeyframeSequenceDataset]


@pytest.fixture(scope="module")
def build(shots: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Give `build(**options)`: the data set in phase train, without flips; streams are kept from test to test."""
    cache = tmp_path_factory.mktemp("streams")

    def make(**options: Any) -> KeyframeSequenceDataset:
        opt = {"name": "t", "phase": "train", "dataroot": [str(shots)], "streams": [STREAM], "cache": str(cache)}
        opt |= {"num_frame": 3, "patch_size": 64, "key_gap": 6, "photo_gap": 4, "use_hflip": False}
        return KeyframeSequenceDataset({**opt, **options})

    return make


def decoded(path: Path) -> list[Image]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def middles(frames: list[Image], begin: int) -> Tensor:
    """The middles of the crops of a clip that begins with frame `begin`: (12, 3, 128, 128) in [0, 1]."""
    corners = [(20 - index + EDGE, 6 + EDGE) for index in range(begin, begin + FRAMES)]
    cut = [frame[top : top + INNER, left : left + INNER] for frame, (left, top) in zip(frames[begin:], corners, strict=False)]
    return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def truth(shots: Path) -> list[Tensor]:
    """What the crops of both clips show, by clip."""
    frames = decoded(shots.parent / "original" / "talk.mkv")
    return [middles(frames, begin) for begin in (0, 2)]


@pytest.fixture(scope="module")
def streamed(shots: Path) -> list[Tensor]:
    """The same in the stream of each clip."""
    frames = decoded(shots.parent / "original" / "talk.mkv")
    codec = Codec("libx264", crf=30, preset="veryfast")
    return [middles([*frames[:begin], *roundtrip(frames[begin : begin + FRAMES], codec).frames], begin) for begin in (0, 2)]


def place(patch: Tensor, picture: Tensor) -> tuple[int, int]:
    """Where in a picture a patch lies, (row, column)."""
    side = patch.shape[-1]
    spots = [
        (y, x)
        for y, x in torch.nonzero(picture[0, : INNER - side + 1, : INNER - side + 1] == patch[0, 0, 0]).tolist()
        if torch.equal(picture[:, y : y + side, x : x + side], patch)
    ]
    assert len(spots) == 1
    return spots[0][0], spots[0][1]


def spied(data: KeyframeSequenceDataset, monkeypatch: pytest.MonkeyPatch) -> list[Key]:
    """Return a list that takes down which key frames are used; no flow is looked for."""
    seen: list[Key] = []

    def note(crop: Image, key: Key, window: Window) -> FloatArray:
        seen.append(key)
        return np.zeros((*crop[window].shape[:2], 7), np.float32)

    monkeypatch.setattr(data.guides, "key", note)
    return seen


def number(picture: Image, pictures: Tensor) -> int:
    """Which of `pictures` a picture is."""
    wanted = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255
    found = [index for index, one in enumerate(pictures) if torch.equal(wanted, one)]
    assert len(found) == 1
    return found[0]


def test_a_sample_is_a_run_of_the_original_and_of_its_stream(build: Build, truth: list[Tensor], streamed: list[Tensor]) -> None:
    data = build()
    assert len(data) == 2 * (FRAMES - 2)
    places = set()
    for position, index in enumerate((0, 4, 9, 10, 19)):
        sample = Positioned(data, 0)[index, position]
        clip, first = divmod(index, 10)
        assert sample["lq_path"] == f"{('first', 'second')[clip]}_libx264_crf30_veryfast_gop250_{first:06d}.png"
        for name, channels in PARTS.items():
            assert (sample[name].shape, sample[name].dtype) == ((3, channels, 64, 64), torch.float32)
        y, x = place(sample["gt"][0], truth[clip][first])
        places.add((y, x))
        window = (slice(first, first + 3), slice(None), slice(y, y + 64), slice(x, x + 64))
        assert torch.equal(sample["gt"], truth[clip][window])
        assert torch.equal(sample["lq"], streamed[clip][window])
    assert len(places) == 5


def test_patches_may_lie_in_the_middle_more_often(build: Build, truth: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    spread = {}
    for towards_middle in (False, True):
        data = build(num_frame=1, towards_middle=towards_middle, p_hq=0, p_photo=0, p_none=1)
        monkeypatch.setattr(
            data.guides, "following", lambda here, _, window: np.zeros((*here[window].shape[:2], NEXT_CHANNELS), np.float32)
        )
        places = [place(Positioned(data, 0)[4, position]["gt"][0], truth[0][4]) for position in range(60)]
        offsets = np.array(places) - (INNER - 64) / 2
        assert np.abs(offsets.mean(axis=0)).max() < 8
        spread[towards_middle] = offsets.std()
    # Standard deviations of an even draw from 0..64 and of the mean of two
    assert spread[False] == pytest.approx(18.8, abs=2.5)
    assert spread[True] == pytest.approx(18.8 / 2**0.5, abs=2.0)


def test_flow_leads_to_the_frame_before_and_the_next_ones_are_brought_here(build: Build) -> None:
    """Within the crop the scene moves by (-2, 1)."""
    data = build(patch_size=128)
    for index in (2, 9):
        sample = data[index]
        assert not sample["flow"][0].any()
        off = sample["flow"][1:, :, 24:-24, 24:-24] - torch.tensor([2.0, -1.0])[:, None, None]
        assert off.abs().mean() < 0.3
        guides = sample["following"].unflatten(1, (AHEAD, 4))
        shown = guides[:, :, 3].mean(dim=(2, 3))
        assert shown.tolist() == [[float(index + at + ahead < FRAMES) for ahead in range(1, AHEAD + 1)] for at in range(3)]
        inside = guides[:, :, :3, 24:-24, 24:-24].abs().mean(dim=(2, 3, 4))
        assert (inside[0, :2] < 0.5 * (sample["lq"][1:] - sample["lq"][0])[..., 24:-24, 24:-24].abs().mean(dim=(1, 2, 3))).all()
        assert torch.equal(inside == 0, shown == 0)


def test_a_key_frame_brings_its_coding_residual(build: Build) -> None:
    """With a gap of 1 it is the first frame itself, to which the flow is none."""
    sample = build(p_hq=1, p_photo=0, key_gap=1, patch_size=128)[4]
    residual = sample["gt"] - sample["lq"]
    torch.testing.assert_close(sample["key"][0], torch.cat((residual[0], residual[0], torch.ones(1, 128, 128))), rtol=0, atol=1e-6)
    # A frame later it lies 2 pixels to the left and 1 below: there it is alike, elsewhere not.
    moved = residual[0].roll((1, -2), (1, 2))[:, 24:-24, 24:-24]
    found = sample["key"][1, :3, 24:-24, 24:-24]
    assert (found - moved).abs().mean() < 0.5 * moved.abs().mean()
    assert (found - residual[0][:, 24:-24, 24:-24]).abs().mean() > moved.abs().mean()
    assert 0.5 < sample["key"][1, 6].mean() <= 1
    assert sample["key"][:, 6].min() >= 0
    assert sample["key"][:, 6].max() <= 1


def test_a_photo_has_no_residual_and_without_a_key_there_is_nothing(build: Build) -> None:
    photo = build(p_hq=0, p_photo=1)[4]["key"]
    assert not photo[:, :3].any()
    assert photo[:, 3:6].abs().mean() > 0
    assert photo[:, 6].max() > 0.5
    assert not build(p_hq=0, p_photo=0, p_none=1)[4]["key"].any()


def test_which_key_frames_are_drawn(build: Build, truth: list[Tensor], streamed: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    data = build(p_hq=0.4, p_photo=0.3, num_frame=1, patch_size=128)
    seen = spied(data, monkeypatch)
    back, away, count = [], set(), 0
    for position in range(160):
        sample = Positioned(data, 0)[8, position]
        assert sample["lq_path"].endswith("000008.png")
        if len(seen) == count:
            continue
        count += 1
        other = number(seen[-1].picture, truth[0])
        if seen[-1].compressed is None:
            away.add(abs(8 - other))
        else:
            back.append(8 - other)
            assert number(seen[-1].compressed, streamed[0]) == other
    assert len(back) / 160 == pytest.approx(0.4, abs=0.12)  # 3 standard deviations
    assert count / 160 == pytest.approx(0.7, abs=0.11)
    assert set(back) == {0, 1, 2, 3, 4, 5}
    assert np.mean(back) < 2.2  # 1.6 expected: near ones more often
    assert away == {4, 5, 6, 7, 8}


def test_a_clip_that_is_too_short_for_the_gap_gives_its_farthest_photo(
    build: Build, truth: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = build(p_hq=0, p_photo=1, num_frame=1, patch_size=128, photo_gap=50)
    seen = spied(data, monkeypatch)
    for index in (2, 9):
        _ = data[index]
    assert [number(key.picture, truth[0]) for key in seen] == [11, 0]


def test_flips_mirror_pictures_and_flow(build: Build) -> None:
    plain, flipped = (build(use_hflip=flip, p_hq=1, p_photo=0) for flip in (False, True))
    changed = 0
    for position in range(6):
        one, other = (Positioned(data, 0)[5, position] for data in (plain, flipped))
        if torch.equal(one["lq"], other["lq"]):
            assert torch.equal(one["flow"], other["flow"])
            continue
        changed += 1
        for name in ("lq", "gt", "key", "following"):
            assert torch.equal(one[name].flip(3), other[name])
        assert torch.equal(one["flow"].flip(3) * torch.tensor([-1.0, 1.0])[:, None, None], other["flow"])
    assert 0 < changed < 6


def test_workers_do_not_change_the_samples(build: Build, stream_of: Callable[..., Any], same: Callable[..., bool]) -> None:
    data = build(use_hflip=True)
    alone = stream_of(data, 0)
    assert same(alone, stream_of(data, 1))
    assert len({path for batch in alone for path in batch["lq_path"]}) > 6
    assert same(alone, stream_of(pickle.loads(pickle.dumps(data)), 0))


def test_validation_takes_whole_evenly_spaced_runs_and_never_changes(
    build: Build, same: Callable[..., bool], truth: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = build(phase="val", runs_per_clip=3, p_hq=1, p_photo=0)
    assert [int(data[index]["lq_path"][-10:-4]) for index in range(len(data))] == [0, 4, 9] * 2
    for index in (1, 5):
        first = data[index]
        np.random.seed(index)
        assert same(first, data[index])
        assert torch.equal(first["gt"], truth[index // 3][(0, 4, 9)[index % 3] :][:3])
    seen = spied(data, monkeypatch)
    for index in range(3):
        _ = data[index]
    assert [number(key.picture, truth[0]) for key in seen[::3]] == [0, 0, 3]  # 6 frames back, as far as there are so many
    assert all(key is other for key, other in zip(seen, np.repeat(np.array(seen[::3], dtype=object), 3), strict=True))


@pytest.fixture
def own(shots: Path, tmp_path: Path) -> Path:
    """Give a copy of the clips."""
    return Path(shutil.copytree(shots.parent, tmp_path / "own")) / shots.name


def test_streams_are_made_once_and_anew_when_the_video_changes(
    build: Build, own: Path, monkeypatch: pytest.MonkeyPatch, truth: list[Tensor]
) -> None:
    made: list[str] = []

    def noted(frames: list[Image], codec: Codec) -> Any:
        made.append(codec.name)
        return roundtrip(frames, codec)

    monkeypatch.setattr(encoded_clips, "roundtrip", noted)
    options = {"dataroot": [str(own)] * 2, "cache": str(own.parent / "deep" / "cache"), "patch_size": 128}
    first = build(**options)[3]
    assert made == ["libx264"] * 2
    files = sorted(path.name for path in (own.parent / "deep" / "cache").iterdir())
    assert len(files) == 4
    assert files[0].startswith("first_libx264_crf30_veryfast_gop250_")
    assert torch.equal(build(**options)[3]["lq"], first["lq"])
    assert len(made) == 2
    both = build(**options, streams=[STREAM, {"codec": "mpeg4", "crf": 5}])
    assert made[2:] == ["mpeg4"] * 2
    assert len(both) == 40
    frames = decoded(own.parent / "original" / "talk.mkv")
    with av.open(str(own.parent / "original" / "talk.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "bgr0"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(255 - frame, format="rgb24")))
        output.mux(stream.encode(None))
    changed = build(**options)[3]
    assert made[4:] == ["libx264"] * 2
    torch.testing.assert_close(changed["gt"], 1 - truth[0][3:6], rtol=0, atol=1e-6)
    assert build(**options, most_frames=5).clips[0].count == 5
    assert len(made) == 8


def test_a_stream_of_a_smaller_video_has_originals_of_its_size(build: Build, shots: Path, truth: list[Tensor]) -> None:
    data = build(streams=[STREAM, {**STREAM, "scale": 0.5}], num_frame=1, p_hq=0, p_photo=0)
    whole, half = data.clips[:2]
    assert half.name == "first_libx264_crf30_veryfast_gop250_x0.5"
    assert (whole.side, half.side) == (INNER, 64)
    assert torch.equal(torch.from_numpy(whole.pictures("original").copy()).permute(0, 3, 1, 2).float() / 255, truth[0])
    for index, frame in enumerate(decoded(shots.parent / "original" / "talk.mkv")[:FRAMES:2]):
        small = cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        # Half of where it lies in the whole picture, and the crop, 72 pixels wide, loses 4 at each side.
        top, left = 3 + 4, 10 - index + 4
        assert np.array_equal(half.pictures("original")[2 * index], small[top : top + 64, left : left + 64])
    shown, original = (half.pictures(which).astype(float) for which in ("shown", "original"))
    assert 0.5 < np.abs(shown - original).mean() < 0.9 * np.abs(shown[:, :, 1:] - original[:, :, :-1]).mean()


def test_settings_of_streams(build: Build) -> None:
    clip = next(iter(build().clips))
    assert clip.pictures("original").shape == clip.pictures("shown").shape == (FRAMES, INNER, INNER, 3)
    assert str(StreamSettings(bits_per_pixel=0.012, preset="fast", gop=50)) == "libx264_bpp0.012_fast_gop50"
    assert str(StreamSettings(crf=42, scale=0.6)) == "libx264_crf42_medium_gop250_x0.6"
    record = encoded_clips.ClipRecord("x", 42, Path(), 144, np.zeros((1, 68, 2), np.float32), np.ones(1, np.bool_), ".png")
    assert StreamSettings(bits_per_pixel=0.01).encoder(record, 640 * 360).bitrate == 57600  # 25 frames a second
    assert StreamSettings("libx265", crf=33.5, preset="slow", gop=9).encoder(record, 1) == Codec(
        "libx265", crf=33.5, preset="slow", gop=9, rate=record.rate
    )


@pytest.mark.parametrize(("size", "side"), [(96, 96), (144, 128), (160, 128), (256, 192), (512, 384), (1024, 512)])
def test_the_middle_of_a_crop_is_kept(size: int, side: int) -> None:
    assert inner_side(size) == side


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"exclude": ["first", "second"]}, "t: no clip is left after `exclude`"),
        ({"num_frame": 13}, "first_libx264.*: expected num_frame 13 and patch_size 64 at least, got 12 frames of 128 px"),
        ({"patch_size": 144}, "expected num_frame 3 and patch_size 144 at least, got 12 frames of 128 px"),
        ({"dataroot": ["gone.jsonl"]}, "gone.jsonl: cannot read the list of clips"),
    ],
)
def test_data_that_does_not_suffice(build: Build, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        build(**options)
    assert "\n" not in str(caught.value)


def test_material_that_is_missing(build: Build, own: Path, synthetic_clips: Path) -> None:
    options = {"dataroot": [str(own)], "cache": str(own.parent / "cache")}
    with pytest.raises(UserError, match="first: expected the original video to encode it anew, got no such file; run preprocessing"):
        build(**options | {"dataroot": [str(synthetic_clips)]})
    rows = [json.loads(line) for line in own.read_text().splitlines()]
    own.write_text("".join(json.dumps({**row, "first": row["first"] + 5}) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"talk\.mkv: expected frames 5 to 16, got 14 frames; run preprocessing.py again"):
        build(**options)
    (own.parent / "processed_42" / "second" / "matrices.npy").unlink()
    with pytest.raises(UserError, match=r"second: expected .*matrices\.npy to encode it anew, got no such file"):
        build(**options, exclude=["first"])
    (own.parent / "original" / "talk.mkv").unlink()
    with pytest.raises(UserError, match=r"first: expected .*talk\.mkv to encode it anew, got no such file"):
        build(**options)


def test_turned_samples_are_the_plain_one_in_eight_ways(build: Build) -> None:
    """The flow is turned along: fetched by it, the turned frame before is the turned frame before, fetched."""
    plain, every = (build(p_hq=1, p_photo=0, use_hflip=turn, use_rot=turn, patch_size=128) for turn in (False, True))
    expected = Positioned(plain, 0)[5, 0]
    seen = set()
    for position in range(40):
        sample = Positioned(every, 0)[5, position]
        for way in range(8):
            turns = (bool(way & 1), bool(way & 2), bool(way & 4))

            def as_it_was(picture: Tensor, turns: tuple[bool, bool, bool] = turns) -> Tensor:
                picture = picture.transpose(-1, -2) if turns[2] else picture
                return picture.flip([axis for axis, flipped in ((-1, turns[0]), (-2, turns[1])) if flipped])

            if torch.equal(as_it_was(sample["lq"]), expected["lq"]):
                seen.add(way)
                assert torch.equal(as_it_was(sample["following"]), expected["following"])
                before, plain_before = (warp(each["lq"][:-1], each["flow"][1:], outside="border") for each in (sample, expected))
                torch.testing.assert_close(as_it_was(before), plain_before, rtol=0, atol=1e-5)
    assert seen == set(range(8))


def test_recoloured_samples_stay_one_scene(build: Build) -> None:
    options = {"p_hq": 1, "p_photo": 0, "patch_size": 128}
    before, after = build(**options), build(**options, recolour=0.4)
    for position in range(4):
        expected, sample = (Positioned(data, 0)[5, position] for data in (before, after))
        for part, start in (("key", 0), ("key", 3), ("following", 0), ("following", 16), ("lq", 0), ("gt", 0)):
            plain, changed = (each[part][:, start : start + 3].movedim(1, -1).reshape(-1, 3).double() for each in (expected, sample))
            ones = torch.ones(len(plain), 1, dtype=torch.float64)
            found = torch.linalg.lstsq(torch.cat((plain, ones), dim=1), changed).solution
            torch.testing.assert_close(torch.cat((plain, ones), dim=1) @ found, changed, rtol=0, atol=1e-4)
            if part != "gt":
                linear = found[:3]
                assert (found[3].abs() < 1e-4).all() or part == "lq"
            else:
                torch.testing.assert_close(found[:3], linear, rtol=0, atol=1e-3)
                assert (linear - torch.eye(3)).abs().max() > 0.02
                grey = linear.sum(dim=0)  # grey stays grey
                torch.testing.assert_close(grey, grey.mean().expand(3), rtol=0, atol=1e-3)
        assert torch.equal(sample["flow"], expected["flow"])
        assert torch.equal(sample["key"][:, 6], expected["key"][:, 6])
    assert torch.equal(build(**options, recolour=0.4, phase="val")[1]["lq"], build(**options, phase="val")[1]["lq"])
