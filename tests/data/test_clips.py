"""Reading preprocessing.py's lists: right ones are typed, wrong ones name the file, the line and the remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.clips import CropCache, check_one_template, read_clips, read_crop
from keyframes_gan.errors import UserError


@pytest.fixture
def copied(synthetic_clips: Path, tmp_path: Path) -> Path:
    shutil.copytree(synthetic_clips.parent, tmp_path / "base")
    return tmp_path / "base" / "clips_42.jsonl"


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows[1])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_clips_are_read_in_order(synthetic_clips: Path) -> None:
    clips = read_clips(synthetic_clips)
    assert [clip.name for clip in clips] == ["first", "second"]
    assert [len(clip) for clip in clips] == [24, 24]
    assert np.flatnonzero(clips[0].is_key).tolist() == [0, 10, 20]
    assert clips[0].landmarks.dtype == np.float32
    assert clips[0].path("original", 3).name == "000003.png"
    assert clips[0].path("original", 3).is_file()


def test_crops_are_rgb(synthetic_clips: Path) -> None:
    clip = read_clips(synthetic_clips)[1]
    crop = read_crop(clip.path("compressed", 5), clip.size)
    assert crop.flags.c_contiguous
    assert np.abs(crop.reshape(-1, 3).mean(axis=0) - [58, 150, 200]).max() < 3


def test_crops_in_which_faces_lie_otherwise_do_not_go_together(copied: Path) -> None:
    check_one_template(read_clips(copied))
    rewrite(copied, lambda row: row.update(options={"template": "upright"}))
    clips = read_clips(copied)
    assert [clip.template for clip in clips] == ["eyes", "upright"]
    with pytest.raises(UserError, match=r"expected crops of one template, got eyes in .*first, upright in .*second; run preprocessing\.py"):
        check_one_template(clips)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row.pop("is_key"), "'is_key'"),
        (lambda row: row.update(count=23), "second has 23 frames, 24 landmarks"),
        (lambda row: row.update(count="many"), "many"),
        (lambda row: row.update(folder="gone"), "landmarks.npy"),
        (lambda row: row.update(options=["upright"]), "an error on"),
    ],
)
def test_wrong_rows_name_the_line(copied: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    rewrite(copied, change)
    with pytest.raises(UserError, match=r"run preprocessing.py again") as caught:
        read_clips(copied)
    assert str(caught.value).startswith(f"{copied}:2: ")
    assert words in str(caught.value)


def test_missing_crops_are_noticed_before_training(copied: Path) -> None:
    (copied.parent / "processed_42" / "first" / "compressed" / "000023.png").unlink()
    with pytest.raises(UserError, match="expected crops of frames 0 to 23"):
        read_clips(copied)


def test_bad_landmarks(copied: Path) -> None:
    target = copied.parent / "processed_42" / "first" / "landmarks.npy"
    np.save(target, np.zeros((24, 5, 2)))
    with pytest.raises(UserError, match=r"\(N, 68, 2\), got shape \(24, 5, 2\)"):
        read_clips(copied)
    np.save(target, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot read"):
        read_clips(copied)


def test_no_list_and_an_empty_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"make it with preprocessing\.py"):
        read_clips(tmp_path / "clips_42.jsonl")
    (tmp_path / "clips_42.jsonl").write_text("\n")
    with pytest.raises(UserError, match="at least one clip"):
        read_clips(tmp_path / "clips_42.jsonl")


def test_broken_crop(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="expected a 96x96 crop, got nothing readable"):
        read_crop(tmp_path / "a.png", 96)


def test_cache_keeps_to_its_budget(synthetic_clips: Path) -> None:
    clip = read_clips(synthetic_clips)[0]
    cache = CropCache(3 * 96 * 96 * 3)
    paths = [clip.path("original", index) for index in range(5)]
    first = [cache.get(path, 96) for path in paths]
    again = [cache.get(path, 96) for path in paths]
    assert cache.used_bytes == 3 * 96 * 96 * 3
    assert [one is other for one, other in zip(first, again, strict=True)] == [True, True, True, False, False]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
