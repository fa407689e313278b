"""Samples: all inputs cut from the same place, references chosen and warped as promised, probabilities kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.clips import read_clips, read_crop
from data.dmsasff_dataset import DMSASFFNetDataset, unit, warp_patch
from data.position import Positioned
from keyframes_gan.errors import UserError
from keyframes_gan.keyframes.warp import warp


def dataset(path: Path, **settings: Any) -> DMSASFFNetDataset:
    chosen = {"name": "t", "phase": "train", "dataroot": [str(path)], "patch_size": 48, "reference_gap": 5, "use_hflip": False, **settings}
    return DMSASFFNetDataset(chosen)


def origin(picture: torch.Tensor) -> tuple[int, int, str]:
    """Clip, frame and stream that a crop's mean colour tells of."""
    red, green, blue = (picture.mean(dim=(1, 2)) * 255).tolist()
    return round((green - 50) / 100), round((red - 8) / 10), "compressed" if blue > 100 else "original"


def test_shapes_types_and_ranges(synthetic_clips: Path) -> None:
    sample = Positioned(dataset(synthetic_clips, landmark_channels=3), 0)[0, 0]
    assert {name: tuple(sample[name].shape) for name in ("lq", "gt", "reference", "landmark", "valid")} == {
        "lq": (3, 48, 48),
        "gt": (3, 48, 48),
        "reference": (3, 48, 48),
        "landmark": (3, 48, 48),
        "valid": (),
    }
    for name in ("lq", "gt", "reference", "landmark", "valid"):
        assert sample[name].dtype == torch.float32
        assert 0 <= sample[name].min() <= sample[name].max() <= 1
    assert set(sample["landmark"].unique().tolist()) <= {0.0, 1.0}


def test_every_index_is_its_own_frame(synthetic_clips: Path) -> None:
    data = dataset(synthetic_clips, p_hq=0.0, p_gop=0.0, p_none=1.0)
    assert len(data) == 48
    for index in (0, 17, 24, 47):
        sample = Positioned(data, 0)[index, 3]
        clip, frame = divmod(index, 24)
        assert origin(sample["gt"]) == (clip, frame, "original")
        assert origin(sample["lq"]) == (clip, frame, "compressed")
        assert sample["lq_path"] == f"{('first', 'second')[clip]}_crf42_{frame:06d}.png"


def test_all_inputs_are_cut_at_the_same_place_and_flipped_together(synthetic_clips: Path) -> None:
    data = dataset(synthetic_clips, use_hflip=True)
    clip = data.clips[0]
    whole_gt = read_crop(clip.path("original", 4), 96)
    whole_lq = read_crop(clip.path("compressed", 4), 96)
    dots = np.zeros((96, 96), dtype=np.float32)
    columns, rows = np.rint(clip.landmarks[4]).astype(int).T
    dots[rows, columns] = 1
    flips = set()
    for position in range(12):
        sample = Positioned(data, 0)[4, position]
        found = [
            (top, left, flip)
            for flip in (False, True)
            for top in range(49)
            for left in range(49)
            if torch.equal(sample["gt"], unit(whole_gt[top : top + 48, left : left + 48], flip=flip))
        ]
        assert len(found) == 1
        top, left, flip = found[0]
        flips.add(flip)
        window = (slice(top, top + 48), slice(left, left + 48))
        assert torch.equal(sample["lq"], unit(whole_lq[window], flip=flip))
        mark = dots[window][:, ::-1] if flip else dots[window]
        assert np.array_equal(sample["landmark"][0].numpy(), mark)
    assert flips == {False, True}


def test_references_come_from_where_the_options_say(synthetic_clips: Path) -> None:
    hq = Positioned(dataset(synthetic_clips, p_hq=1.0, p_gop=0.0, p_none=0.0, reference_candidates=1000), 0)
    for frame in (0, 9, 23):
        sample = hq[frame, 1]
        # Landmarks drift steadily, so the nearest of all frames at least 5 away is exactly 5 away.
        clip, other, stream = origin(sample["reference"])
        assert (clip, abs(other - frame), stream) == (0, 5, "original")
        assert sample["valid"] == 1
    gop = Positioned(dataset(synthetic_clips, p_hq=0.0, p_gop=1.0, p_none=0.0), 0)
    for frame, key in ((0, 0), (9, 0), (10, 10), (19, 10), (23, 20)):
        assert origin(gop[24 + frame, 1]["reference"]) == (1, key, "compressed")
    none = Positioned(dataset(synthetic_clips, p_hq=0.0, p_gop=0.0, p_none=1.0), 0)[3, 1]
    assert none["valid"] == 0
    assert none["reference"].abs().max() == 0


def test_a_clip_without_candidates_gives_no_reference(synthetic_clips: Path) -> None:
    sample = Positioned(dataset(synthetic_clips, p_hq=1.0, p_gop=0.0, p_none=0.0, reference_gap=24), 0)[3, 1]
    assert sample["valid"] == 0


def test_references_at_a_fixed_distance(synthetic_clips: Path) -> None:
    data = dataset(synthetic_clips, p_hq=1.0, p_gop=0.0, p_none=0.0, reference_offset=5)
    for frame, expected in ((3, 8), (5, 0), (17, 12), (23, 18)):
        assert origin(Positioned(data, 0)[frame, 1]["reference"]) == (0, expected, "original")
    beyond = dataset(synthetic_clips, p_hq=1.0, p_gop=0.0, p_none=0.0, reference_offset=24)
    assert Positioned(beyond, 0)[3, 1]["valid"] == 0


def test_probabilities(synthetic_clips: Path) -> None:
    data = Positioned(dataset(synthetic_clips, p_hq=0.5, p_gop=0.3, p_none=0.2, cache_gb=0.1), 0)
    kinds = []
    for position in range(400):
        sample = data[position % 48, position]
        kinds.append("none" if sample["valid"] == 0 else origin(sample["reference"])[2])
    for kind, expected in (("original", 0.5), ("compressed", 0.3), ("none", 0.2)):
        assert kinds.count(kind) / 400 == pytest.approx(expected, abs=0.08)  # over 3 standard deviations


def test_warping_the_patch_is_warping_the_crop(synthetic_clips: Path) -> None:
    clip = read_clips(synthetic_clips)[0]
    picture = read_crop(clip.path("original", 2), 96)
    whole = warp(picture, clip.landmarks[2], clip.landmarks[9], step=1)
    target = clip.landmarks[9] - np.array([16, 32], dtype=np.float32)
    patch = warp_patch(picture, clip.landmarks[2], target, 48)
    difference = np.abs(patch.astype(int) - whole[32:80, 16:64].astype(int))
    assert difference.max() <= 2


def test_validation_takes_whole_evenly_spaced_frames_and_never_changes(synthetic_clips: Path) -> None:
    data = dataset(synthetic_clips, phase="val", frames_per_clip=3, use_hflip=True)
    assert [data[index]["lq_path"] for index in range(len(data))][:3] == [f"first_crf42_{frame:06d}.png" for frame in (0, 12, 23)]
    for index in range(len(data)):
        first, second = data[index], data[index]
        assert first["lq"].shape == (3, 96, 96)
        assert all(torch.equal(first[name], second[name]) for name in ("lq", "gt", "reference", "landmark", "valid"))


def test_workers_do_not_change_the_samples(synthetic_clips: Path, stream_of: Callable[..., Any], same: Callable[..., bool]) -> None:
    settings = {"use_hflip": True, "cache_gb": 0.1, "num_worker_per_gpu": 2}
    alone = stream_of(dataset(synthetic_clips, **settings), 0)
    assert len(alone) == 6
    assert same(alone, stream_of(dataset(synthetic_clips, **settings), 2))


def test_excluded_clips_and_small_crops(synthetic_clips: Path) -> None:
    assert len(dataset(synthetic_clips, exclude=["first"])) == 24
    with pytest.raises(UserError, match="no clip is left after `exclude`"):
        dataset(synthetic_clips, exclude=["first", "second"])
    with pytest.raises(UserError, match="smaller than patch_size 128"):
        dataset(synthetic_clips, patch_size=128)


def test_faces_that_lie_otherwise_are_refused(synthetic_clips: Path, tmp_path: Path) -> None:
    shutil.copytree(synthetic_clips.parent, tmp_path / "base")
    other = tmp_path / "base" / "clips_42.jsonl"
    rows = [{**json.loads(line), "options": {"template": "upright"}} for line in other.read_text().splitlines()]
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="expected crops of one template"):
        dataset(synthetic_clips, dataroot=[str(synthetic_clips), str(other)])
