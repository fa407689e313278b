"""Aligned clips and pictures: right frames, right place, draws as asked for, and the same sample for the same position."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.footage import aligned, find_footage
from data.position import Positioned
from data.vfhq_dataset import SingleVFHQDataset, VFHQDataset
from keyframes_gan.errors import UserError
from keyframes_gan.faces.align import five_points

SIZE = 48  # half of the face's square of 96
GENTLE = {"blur_sigma": [0.3, 0.3], "noise_range": [0, 0], "kernel_list": ["iso"], "kernel_prob": [1.0], "crf_range": [10, 10], "scale": 2}


def dataset(root: Path, **settings: Any) -> VFHQDataset:
    chosen = {"name": "t", "phase": "train", "dataroot_gt": str(root), "gt_size": SIZE, "num_frame": 3, "exclude": ["video", "square"]}
    return VFHQDataset({**chosen, **settings})


def shown(clip: torch.Tensor) -> list[int]:
    """Which frames a clip shows, from their mean red."""
    return [round((float(picture[0].mean()) * 255 - 8) / 10) for picture in clip]


def place(picture: torch.Tensor, frame: int) -> tuple[float, float]:
    """Where in its frame the middle of a crop lies, less the middle of the face, in frame pixels."""
    middle = picture[:, SIZE // 2 - 2 : SIZE // 2 + 2, SIZE // 2 - 2 : SIZE // 2 + 2].mean(dim=(1, 2)) * 255 - 40
    return float(middle[1]) - (20 + 2 * frame + 47.5), float(middle[2]) - (16 + frame + 47.5)


def told(path: str) -> tuple[int, int]:
    """First frame and step of a `lq_path`."""
    numbers = path.split("/")[1]
    cut = max(numbers.rfind("+"), numbers.rfind("-"))
    return int(numbers[:cut]), int(numbers[cut:])


@pytest.mark.parametrize("kind", ["frames", "video", "square"])
def test_every_kind_of_footage_is_aligned_and_in_order(kind: str, footage: Path) -> None:
    others = [name for name in ("frames", "video", "square") if name != kind]
    data = Positioned(dataset(footage, exclude=others, use_hflip=False, **GENTLE), 0)
    assert len(data) == 12
    places: dict[str, list[tuple[float, float]]] = {"lq": [], "gt": []}
    for position in range(8):
        sample = data[position, position]
        first, step = told(sample["lq_path"])
        wanted = [first, first + step, first + 2 * step]
        assert sample["key"] == sample["lq_path"]
        for twin in ("gt", "lq"):
            clip = sample[twin]
            assert (clip.shape, clip.dtype) == ((3, 3, SIZE, SIZE), torch.float32)
            assert 0 <= clip.min() <= clip.max() <= 1
            assert shown(clip) == wanted
            places[twin] += [place(picture, frame) for picture, frame in zip(clip, wanted, strict=True)]
    for twin, found in places.items():
        # A level of colour is a pixel of the frame, and codecs round levels, of blue more than of green.
        across, down = np.mean(found, axis=0)
        assert abs(across) < 0.75, twin
        assert abs(down) < 2, twin


@pytest.mark.parametrize("reduced", [1, 2, 4])
def test_reduced_frames_are_aligned_to_a_fraction_of_a_pixel(reduced: int) -> None:
    y, x = np.mgrid[:144, :160]
    blob = 255 * np.exp(-((x - 70.25) ** 2 + (y - 61.5) ** 2) / (2 * 9.0**2))
    small = blob.reshape(144 // reduced, reduced, 160 // reduced, reduced).mean(axis=(1, 3))
    frame = np.repeat(np.rint(small)[..., None], 3, axis=2).astype(np.uint8)
    to_crop = np.array([[0.5, 0, -12.0], [0, 0.5, -8.0]])
    crop = aligned([frame], [to_crop], SIZE, reduced=reduced)[0][..., 0].astype(float)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    found = [(crop * columns).sum() / crop.sum(), (crop * rows).sum() / crop.sum()]
    assert found == pytest.approx([0.5 * 70.25 - 12, 0.5 * 61.5 - 8], abs=0.05)


def test_the_twin_is_worse_and_degraded_alike_in_all_frames(footage: Path) -> None:
    sample = Positioned(dataset(footage, noise_range=[0, 0], use_hflip=False), 0)[0, 0]
    assert not torch.equal(sample["lq"], sample["gt"])
    assert torch.abs(sample["lq"] - sample["gt"]).mean() < 0.1


def test_draws(footage: Path) -> None:
    data = Positioned(dataset(footage, interval_list=[1, 3, 9], **GENTLE), 0)
    steps, flips = [], 0
    for position in range(80):
        sample = data[position % 12, position]
        first, step = told(sample["lq_path"])
        steps.append(step)
        flips += bool(sample["gt"][0, 1, :, 0].mean() > sample["gt"][0, 1, :, -1].mean())
        if step in (1, 3) and position % 12 + 2 * step <= 11:
            assert first == position % 12
    assert set(steps) == {1, -1, 3, -3}  # 9 does not fit: 2 * 9 > 11
    assert 22 < flips < 58  # over 4 standard deviations
    assert 22 < sum(step < 0 for step in steps) < 58


def test_published_faults_on_request(footage: Path) -> None:
    right, faulty = (
        dataset(footage, phase="val", windows_per_clip=2, interval_list=[4], legacy=legacy, **GENTLE)[1] for legacy in (False, True)
    )
    assert told(right["lq_path"]) == told(faulty["lq_path"]) == (3, 4)
    for number, frame in enumerate((3, 7, 11)):
        assert np.abs(place(right["gt"][number], frame)).max() < 0.75
        # Aligned by the landmarks of frame `number`, the face has moved on by 2 and 1 pixels for each frame since.
        assert place(faulty["gt"][number], frame) == pytest.approx((-2 * (frame - number), -(frame - number)), abs=0.75)


def test_validation_depends_on_the_index_only(footage: Path, same: Callable[..., bool]) -> None:
    data = dataset(footage, phase="val", windows_per_clip=3, interval_list=[2])
    assert [data[index]["lq_path"] for index in range(len(data))] == ["frames/000000+2", "frames/000004+2", "frames/000007+2"]
    first = data[1]
    np.random.seed(99)
    assert same(first, data[1])
    other = dataset(footage, phase="val", windows_per_clip=3, interval_list=[2], seed=1)[1]
    assert torch.equal(other["gt"], first["gt"])
    assert not torch.equal(other["lq"], first["lq"])


@pytest.mark.parametrize("kind", [VFHQDataset, SingleVFHQDataset])
def test_workers_do_not_change_the_samples(
    kind: type[VFHQDataset | SingleVFHQDataset], footage: Path, stream_of: Callable[..., Any], same: Callable[..., bool]
) -> None:
    opt = {"name": "t", "phase": "train", "dataroot_gt": str(footage), "gt_size": SIZE, "num_frame": 2}
    alone = stream_of(kind(opt), 0)
    assert len(alone) == 6
    assert same(alone, stream_of(kind(opt), 2))


def test_a_short_clip_is_named_before_training(footage: Path) -> None:
    with pytest.raises(UserError, match="frames: expected at least 13 frames for num_frame 13, got 12; lower num_frame, or put"):
        dataset(footage, num_frame=13)
    with pytest.raises(UserError, match="frames: expected at least 16 frames"):
        dataset(footage, num_frame=4, interval_list=[5, 6])
    assert dataset(footage, num_frame=12)[0]["gt"].shape[0] == 12


def test_lists_of_preprocessing(synthetic_clips: Path) -> None:
    opt = {"name": "t", "phase": "train", "dataroot": [str(synthetic_clips), str(synthetic_clips)], "gt_size": SIZE, "num_frame": 2}
    data = VFHQDataset({**opt, "exclude": ["first"]})
    assert [clip.name for clip in data.clips] == ["second"]
    assert len(VFHQDataset(opt)) == 48  # the same clips at two CRFs have the same originals
    sample = Positioned(data, 0)[3, 0]
    assert sample["gt"].shape == (2, 3, SIZE, SIZE)
    assert sample["lq_path"].startswith("second/")


def test_single_pictures(footage: Path) -> None:
    opt = {"name": "t", "dataroot_gt": str(footage / "square"), "gt_size": 96}
    train = Positioned(SingleVFHQDataset({**opt, "phase": "train"}), 0)
    assert len(train) == 12
    flips = set()
    for position in range(12):
        sample = train[7, position]
        assert sample["gt_path"] == "square/000007"
        assert shown(sample["gt"][None]) == [7]
        flips.add(bool(sample["gt"][1, 0, 0] > sample["gt"][1, 0, -1]))
    assert flips == {False, True}
    val = SingleVFHQDataset({**opt, "phase": "val", "frames_per_clip": 3})
    assert [val[index]["gt_path"] for index in range(len(val))] == ["square/000000", "square/000006", "square/000011"]
    # Aligned already and of the right size: not touched.
    columns = val[0]["gt"][1, 0] * 255 - 40
    assert columns.tolist() == pytest.approx(list(range(20, 116)), abs=1e-3)


def test_five_landmarks_will_do(footage: Path, tmp_path: Path, same: Callable[..., bool]) -> None:
    shutil.copytree(footage / "frames", tmp_path / "frames")
    landmarks = np.load(footage / "frames" / "landmarks.npy")
    np.save(tmp_path / "frames" / "landmarks.npy", np.stack([five_points(points) for points in landmarks]))
    whole, five = (Positioned(dataset(root), 0)[5, 0]["gt"] for root in (footage, tmp_path))
    assert torch.abs(whole - five).max() <= 1 / 255
    with pytest.raises(UserError, match="frames: expected 68 landmarks for template eyes, got 5; set template: ffhq"):
        _ = dataset(tmp_path, template="eyes")[0]


def test_a_list_of_names(footage: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("square 12 (96,96,3)\nframes 12 (144,160,3)\n")
    found = find_footage({"dataroot_gt": str(footage), "meta_info_file": str(names)})
    assert [clip.name for clip in found] == ["square", "frames"]
    names.write_text("other\n")
    with pytest.raises(UserError, match=r"expected a folder or a video called other in .*; correct the list"):
        find_footage({"dataroot_gt": str(footage), "meta_info_file": str(names)})


def test_footage_that_will_not_do(footage: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a folder of clips, got"):
        find_footage({"dataroot_gt": str(tmp_path / "gone")})
    with pytest.raises(UserError, match="expected folders of frames or videos"):
        find_footage({"dataroot_gt": str(tmp_path)})
    with pytest.raises(UserError, match="no clip is left after `exclude`"):
        find_footage({"dataroot_gt": str(footage), "exclude": ["frames", "video", "square"]})
    shutil.copytree(footage, tmp_path / "copy")
    np.save(tmp_path / "copy" / "frames" / "landmarks.npy", np.zeros((5, 68, 2), np.float32))
    with pytest.raises(UserError, match="frames: expected landmarks for 12 frames, got 5"):
        dataset(tmp_path / "copy")
    (tmp_path / "copy" / "frames" / "landmarks.npy").unlink()
    with pytest.raises(UserError, match=r"frames: expected landmarks\.npy with the frames, or square frames .* got 160x144"):
        dataset(tmp_path / "copy")[0]
    np.save(tmp_path / "copy" / "video.npy", np.zeros((5, 68, 2), np.float32))
    with pytest.raises(UserError, match="video: expected landmarks for 12 frames, got 5"):
        dataset(tmp_path / "copy", exclude=["frames", "square"])[0]
