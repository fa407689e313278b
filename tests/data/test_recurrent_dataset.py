"""Pairs of whole clips: paired by name, aligned alike, in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from data.clips import read_clips, read_crop
from data.recurrent_dataset import VideoRecurrentTestDataset
from data.samples import unit
from keyframes_gan.errors import UserError


@pytest.fixture
def twins(footage: Path, tmp_path: Path) -> dict[str, Any]:
    """Options for good clips and bad ones of half the size; "square" is a video on neither side."""
    bad = tmp_path / "lq"
    for name in ("frames", "square"):
        (bad / name).mkdir(parents=True)
        for path in (footage / name).glob("*.png"):
            cv2.imwrite(str(bad / name / path.name), cv2.resize(cv2.imread(str(path)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    shutil.copy(footage / "video.mp4", bad / "video.mp4")
    return {"name": "t", "phase": "val", "dataroot_gt": str(footage), "dataroot_lq": str(bad), "gt_size": 96}


def test_folders_and_videos_in_pairs(twins: dict[str, Any]) -> None:
    data = VideoRecurrentTestDataset(twins)
    assert [data[index]["folder"] for index in range(len(data))] == ["frames", "square", "video"]
    for index in range(3):
        sample = data[index]
        assert sample["lq_path"] == sample["folder"]
        for twin in ("lq", "gt"):
            assert (sample[twin].shape, sample[twin].dtype) == ((12, 3, 96, 96), torch.float32)
            reds = sample[twin][:, 0].mean(dim=(1, 2)) * 255
            assert reds.tolist() == pytest.approx([10 * frame + 8 for frame in range(12)], abs=3)
        assert torch.abs(sample["lq"] - sample["gt"]).mean() < 2 / 255
    assert torch.equal(data[2]["lq"], data[2]["gt"])


def test_lists_of_preprocessing(synthetic_clips: Path) -> None:
    opt = {"name": "t", "phase": "val", "dataroot": [str(synthetic_clips)], "gt_size": 96, "template": "eyes", "exclude": ["first"]}
    data = VideoRecurrentTestDataset({**opt, "num_frame": 5})
    assert len(data) == 1
    sample = data[0]
    assert sample["folder"] == "second_crf42"
    assert sample["gt"].shape == sample["lq"].shape == (5, 3, 96, 96)
    assert abs(float(sample["lq"][2, 2].mean() - sample["gt"][2, 2].mean()) * 255 - 190) < 4


def test_aligned_clips_of_the_right_size_are_not_touched(synthetic_clips: Path, tmp_path: Path) -> None:
    clip = read_clips(synthetic_clips)[0]
    for stream, folder in (("original", "gt"), ("compressed", "lq")):
        shutil.copytree(clip.folder / stream, tmp_path / folder / "first")
    opt = {"name": "t", "phase": "val", "dataroot_gt": str(tmp_path / "gt"), "dataroot_lq": str(tmp_path / "lq"), "gt_size": 96}
    sample = VideoRecurrentTestDataset(opt)[0]
    for stream, twin in (("original", "gt"), ("compressed", "lq")):
        assert torch.equal(sample[twin][7], unit(read_crop(clip.path(stream, 7), 96), flip=False))


def test_kept_clips_are_the_same_and_not_read_again(twins: dict[str, Any], same: Callable[..., bool]) -> None:
    data, again = VideoRecurrentTestDataset({**twins, "cache_data": True}), VideoRecurrentTestDataset(twins)
    first = data[0]
    shutil.rmtree(Path(twins["dataroot_lq"]) / "frames")
    assert same(data[0], first)
    with pytest.raises(UserError, match="cannot be read"):
        _ = again[0]


def test_clips_that_are_no_pairs(twins: dict[str, Any]) -> None:
    bad = Path(twins["dataroot_lq"])
    (bad / "frames" / "00000011.png").unlink()
    with pytest.raises(UserError, match="frames: expected as many bad frames as good ones, got 11 and 12"):
        _ = VideoRecurrentTestDataset(twins)[0]
    shutil.rmtree(bad / "frames")
    with pytest.raises(UserError, match="expected a bad clip called frames, as in dataroot_gt"):
        VideoRecurrentTestDataset(twins)
    with pytest.raises(UserError, match="no clip is left after `exclude`"):
        VideoRecurrentTestDataset({**twins, "dataroot_lq": twins["dataroot_gt"], "exclude": ["frames", "square", "video"]})


def test_not_changed_by_random_numbers(twins: dict[str, Any], same: Callable[..., bool]) -> None:
    data = VideoRecurrentTestDataset(twins)
    first = data[1]
    np.random.seed(7)
    assert same(first, data[1])
