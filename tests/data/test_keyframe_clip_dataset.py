"""Samples compressed on the spot: right frames, the memory's references, crops and videos alike, the same for the same position."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from data import keyframe_clip_dataset
from data.clips import read_crop
from data.keyframe_clip_dataset import KeyframeClipDataset, choose_key
from data.position import Positioned
from data.samples import unit
from keyframes_gan.errors import UserError
from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.types import Reference
from keyframes_gan.video.read import VideoReader

MILD = {"codecs": ["libx264"], "codec_prob": [1.0], "crf_range": {"libx264": [12, 12]}, "p_bitrate": 0.0, "p_scale": 0.0}


def dataset(path: Path, **settings: Any) -> KeyframeClipDataset:
    chosen = {"name": "t", "phase": "train", "dataroot": [str(path)], "patch_size": 64, "use_hflip": False, "gop_range": [5, 9]}
    return KeyframeClipDataset({**chosen, **settings})


def origin(picture: torch.Tensor) -> tuple[int, int]:
    """Clip and frame that a crop's mean colour tells of."""
    red, green, _ = (picture.mean(dim=(1, 2)) * 255).tolist()
    return round((green - 50) / 100), round((red - 8) / 10)


def test_shapes_types_and_ranges(synthetic_clips: Path) -> None:
    data = Positioned(dataset(synthetic_clips, landmark_channels=3), 0)
    for position in range(10):
        sample = data[5 * position % 48, position]
        for name, shape in {"lq": (3, 64, 64), "gt": (3, 64, 64), "reference": (3, 64, 64), "landmark": (3, 64, 64), "valid": ()}.items():
            assert (sample[name].shape, sample[name].dtype) == (shape, torch.float32)
            assert 0 <= sample[name].min() <= sample[name].max() <= 1
        assert not torch.equal(sample["lq"], sample["gt"])


def test_the_originals_patch_and_its_compressed_twin(synthetic_clips: Path) -> None:
    data = dataset(synthetic_clips, p_drop=0.5, **MILD)
    assert len(data) == 48
    for position, index in enumerate((0, 9, 23, 24, 47)):
        sample = Positioned(data, 0)[index, position]
        clip, frame = divmod(index, 24)
        assert sample["lq_path"] == f"{('first', 'second')[clip]}_libx264_{frame:06d}.png"
        assert origin(sample["gt"]) == origin(sample["lq"]) == (clip, frame)
        assert torch.abs(sample["gt"] - sample["lq"]).max() < 25 / 255
        whole = unit(read_crop(data.clips[clip].path("original", frame), 96), flip=False)
        places = [(y, x) for y in range(33) for x in range(33) if torch.equal(sample["gt"], whole[:, y : y + 64, x : x + 64])]
        assert len(places) == 1


def test_a_clip_at_several_crfs_counts_once(synthetic_clips: Path) -> None:
    assert len(dataset(synthetic_clips, dataroot=[str(synthetic_clips)] * 3)) == 48
    assert len(dataset(synthetic_clips, exclude=["first"])) == 24


def test_references_are_key_frames_before_this_one(synthetic_clips: Path) -> None:
    settings = {"gop_range": [6, 6], **MILD}
    hq = Positioned(dataset(synthetic_clips, p_hq=1.0, p_gop=0.0, p_none=0.0, **settings), 0)
    gop = Positioned(dataset(synthetic_clips, p_hq=0.0, p_gop=1.0, p_none=0.0, **settings), 0)
    distances: dict[str, set[int]] = {"hq": set(), "gop": set()}
    for position in range(60):
        for name, data in (("hq", hq), ("gop", gop)):
            sample = data[23, position]
            assert sample["valid"] == 1
            clip, other = origin(sample["reference"])
            assert clip == 0
            distances[name].add(23 - other)
    # Landmarks drift steadily: the nearest key frame is the last one, at most a GOP away.
    assert distances["hq"] == {1, 2, 3, 4, 5, 6}
    assert distances["gop"] == {0, 1, 2, 3, 4, 5}
    assert hq[0, 1]["valid"] == 0  # nothing came before the first frame
    assert gop[0, 1]["valid"] == 1
    none = Positioned(dataset(synthetic_clips, p_hq=0.0, p_gop=0.0, p_none=1.0), 0)[9, 0]
    assert none["valid"] == 0
    assert none["reference"].abs().max() == 0


def test_a_reference_as_the_stream_showed_it_is_compressed(synthetic_clips: Path) -> None:
    rough = {"codecs": ["libx264"], "codec_prob": [1.0], "crf_range": {"libx264": [40, 40]}, "p_bitrate": 0.0, "p_scale": 0.0}
    pictures = [
        Positioned(dataset(synthetic_clips, p_hq=p_hq, p_gop=1 - p_hq, p_none=0.0, gop_range=[1, 1], **rough), 0)[20, 0]["reference"]
        for p_hq in (0.0, 1.0)
    ]
    detail = [float(torch.abs(picture[:, 1:] - picture[:, :-1]).mean()) for picture in pictures]
    assert detail[0] < 0.7 * detail[1]


def test_only_what_the_warp_reads_of_a_reference_is_encoded(synthetic_clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def nothing_lost(frames: list[np.ndarray], *_: object, **__: object) -> list[np.ndarray]:
        sizes.append(frames[0].size)
        return list(frames)

    monkeypatch.setattr(keyframe_clip_dataset, "through", nothing_lost)
    settings = {"patch_size": 16, "margin": 0, "gop_range": [6, 6], **MILD}
    part = Positioned(dataset(synthetic_clips, p_hq=0.0, p_gop=1.0, p_none=0.0, **settings), 0)
    for position in range(10):
        one = part[23, position]["reference"]
        cut = len(sizes)
        monkeypatch.setattr(keyframe_clip_dataset, "SMALLEST_SIDE", 96)
        assert torch.abs(one - part[23, position]["reference"]).max() < 1.5 / 255
        monkeypatch.undo()
        monkeypatch.setattr(keyframe_clip_dataset, "through", nothing_lost)
        assert min(sizes[:cut]) < 96 * 96 * 3 == sizes[-2]


def test_probabilities(synthetic_clips: Path) -> None:
    data = Positioned(dataset(synthetic_clips, p_hq=0.2, p_gop=0.3, p_none=0.5, window=1, ahead=0, **MILD), 0)
    valid = [float(data[20 + position % 4, position]["valid"]) for position in range(200)]
    assert np.mean(valid) == pytest.approx(0.5, abs=0.11)  # 3 standard deviations


@pytest.mark.parametrize("capacity", [1, 3])
def test_the_memory_has_served_every_frame_before(capacity: int) -> None:
    rng = np.random.default_rng(capacity)
    for _ in range(20):
        landmarks = rng.normal(size=(60, 68, 2)).astype(np.float32)
        gop, frame = int(rng.integers(3, 30)), int(rng.integers(20, 60))
        keys = list(range(int(rng.integers(0, 3)), frame + 1, gop))
        memory, picture = KeyframeMemory(capacity), np.zeros((1, 1, 3), np.uint8)
        for index in range(keys[0], frame + 1):
            if index in keys:
                memory.add(Reference(picture, None, landmarks[index], Fraction(index)), index)
            expected = memory.choose(landmarks[index])
        assert expected is not None
        assert choose_key(landmarks, keys, frame, capacity) == expected.time


def test_validation_takes_whole_evenly_spaced_frames_and_never_changes(synthetic_clips: Path, same: Callable[..., bool]) -> None:
    data = dataset(synthetic_clips, phase="val", frames_per_clip=3)
    names = [data[index]["lq_path"].split("_")[-1] for index in range(len(data))]
    assert names == ["000000.png", "000012.png", "000023.png"] * 2
    for index in range(len(data)):
        first = data[index]
        np.random.seed(index)
        assert first["lq"].shape == (3, 96, 96)
        assert same(first, data[index])


@pytest.mark.parametrize("cache_gb", [0.0, 0.1])
def test_workers_and_caches_do_not_change_the_samples(
    synthetic_clips: Path, cache_gb: float, stream_of: Callable[..., Any], same: Callable[..., bool]
) -> None:
    alone = stream_of(dataset(synthetic_clips, use_hflip=True), 0)
    workers = stream_of(dataset(synthetic_clips, use_hflip=True, cache_gb=cache_gb, num_worker_per_gpu=2), 2)
    assert same(alone, workers)
    assert len({path.split("_")[1] for batch in alone for path in batch["lq_path"]}) > 2


@pytest.fixture
def filmed(footage: Path, tmp_path: Path) -> Path:
    """Give a list whose one clip is the video of the footage from its third frame on, cut out as preprocessing.py would."""
    clip = tmp_path / "processed_42" / "clip"
    for stream in ("original", "compressed"):
        (clip / stream).mkdir(parents=True)
    (tmp_path / "original").mkdir()
    video = tmp_path / "original" / "clip.mp4"
    video.write_bytes((footage / "video.mp4").read_bytes())
    frames = [frame.rgb for frame in VideoReader(video)][2:]
    matrices = [np.array([[1, 0, -18.0 - 2 * index], [0, 1, -30.0 - index]]) for index in range(10)]
    for index, (rgb, matrix) in enumerate(zip(frames, matrices, strict=True)):
        left, top = -matrix[:, 2].astype(int)
        for stream in ("original", "compressed"):
            cv2.imwrite(str(clip / stream / f"{index:06d}.png"), rgb[top : top + 96, left : left + 96, ::-1])
    np.save(clip / "matrices.npy", np.stack(matrices))
    rng = np.random.default_rng(0)
    np.save(clip / "landmarks.npy", (rng.uniform(10, 80, (1, 68, 2)) + np.zeros((10, 1, 1))).astype(np.float32))
    row = {"name": "clip", "crf": 42, "size": 96, "count": 10, "folder": "processed_42/clip", "is_key": [True] * 10}
    (tmp_path / "clips_42.jsonl").write_text(json.dumps({**row, "first": 2, "original": "original/clip.mp4", "rate": "25"}) + "\n")
    return tmp_path / "clips_42.jsonl"


def test_videos_give_what_the_crops_of_them_show(filmed: Path) -> None:
    crops, video = (dataset(filmed, source=source, p_hq=1.0, p_gop=0.0, p_none=0.0, **MILD) for source in ("crops", "video"))
    for position in range(6):
        one, other = (Positioned(data, 0)[position + 3, position] for data in (crops, video))
        assert one["lq_path"] == other["lq_path"]
        assert torch.equal(one["gt"], other["gt"])
        assert torch.equal(one["reference"], other["reference"])
        assert not torch.equal(one["lq"], other["lq"])  # the face moves within the frame, not within its crop
        assert torch.abs(one["lq"] - other["lq"]).mean() < 4 / 255


def test_footage_without_any_crops(footage: Path, tmp_path: Path) -> None:
    """The face of the footage is 96 pixels wide, its crop 256, cut out by the landmarks of each frame."""
    data = dataset(footage, dataroot=[], dataroot_gt=str(footage), exclude=["square"], p_hq=1.0, p_gop=0.0, p_none=0.0, **MILD)
    assert len(data) == 24
    for position, index in enumerate((8, 20)):
        sample = Positioned(data, 0)[index, position]
        frame = index % 12
        assert sample["lq_path"] == f"{('frames', 'video')[index // 12]}_libx264_{frame:06d}.png"
        for name in ("gt", "lq"):
            assert float(sample[name][0].mean()) * 255 == pytest.approx(10 * frame + 8, abs=3)
        assert torch.abs(sample["gt"] - sample["lq"]).max() < 0.1
        assert sample["valid"] == 1
        other = round((float(sample["reference"][0].mean()) * 255 - 8) / 10)
        assert 1 <= frame - other <= 9
    with pytest.raises(UserError, match="square: expected 68 landmarks for every frame"):
        dataset(footage, dataroot=[], dataroot_gt=str(footage))


def test_a_face_at_the_edge_of_the_frame(filmed: Path) -> None:
    clip = filmed.parent / "processed_42" / "clip"
    np.save(clip / "matrices.npy", np.tile(np.array([[4.0, 0, 300.0], [0, 4.0, -400.0]]), (10, 1, 1)))
    sample = Positioned(dataset(filmed, source="video", **MILD), 0)[4, 0]
    assert sample["lq"].shape == (3, 64, 64)


def test_videos_that_are_missing(filmed: Path, synthetic_clips: Path) -> None:
    with pytest.raises(UserError, match="first: expected the original video for source video, got no such file"):
        dataset(synthetic_clips, source="video")
    (filmed.parent / "original" / "clip.mp4").unlink()
    with pytest.raises(UserError, match=r"original/clip\.mp4 for source video, got no such file; .* set source: crops"):
        dataset(filmed, source="video")


def test_workers_share_the_memory_that_is_given(synthetic_clips: Path) -> None:
    budgets = [dataset(synthetic_clips, cache_gb=2.0, num_worker_per_gpu=workers).cache.budget_bytes for workers in (0, 1, 4)]
    assert budgets == [2 << 30, 2 << 30, 1 << 29]
