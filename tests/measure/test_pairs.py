"""Pairing by name: single files, folders of pictures, trees, the paper's folders, and what has no counterpart."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyframes_gan.errors import UserError
from keyframes_gan.measure.pairs import Paths, find_pairs


def touch(base: Path, *names: str) -> Path:
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).touch()
    return base


def paired(paths: Paths) -> dict[str, list[str]]:
    """Return per name the files below their roots: restored, compressed."""
    roots = {"restored": paths.restored, "compressed": paths.compressed}
    return {
        pair.name: [path.relative_to(roots[version]).as_posix() for version, path in pair.versions.items()] for pair in find_pairs(paths)[0]
    }


def test_trees_are_paired_by_their_paths(tmp_path: Path) -> None:
    gt = touch(tmp_path / "gt", "x/a.mp4", "x/b/0.png", "x/b/1.png", "y/a.mkv", "y/.hidden.mp4", ".trash/c.mp4", "notes.txt")
    restored = touch(tmp_path / "restored", "x/a.avi", "x/b/0.png", "y/a/output_video.mp4")
    lq = touch(tmp_path / "lq", "x/a.mp4", "x/b.mp4", "y/a/0.jpg")
    paths = Paths(gt, restored, lq)
    assert paired(paths) == {
        "x/a": ["x/a.avi", "x/a.mp4"],
        "x/b": ["x/b", "x/b.mp4"],
        "y/a": ["y/a/output_video.mp4", "y/a"],
    }
    assert find_pairs(paths)[1] == []


def test_two_single_things_are_a_pair_whatever_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "one.mp4", "two.mkv", "frames/0.png", "others/0.png", "picture.png")
    for original in ("one.mp4", "frames", "picture.png"):
        for restored in ("two.mkv", "others"):
            pairs, missing = find_pairs(Paths(tmp_path / original, tmp_path / restored))
            assert [pair.name for pair in pairs] == [Path(original).stem]
            assert pairs[0].versions == {"restored": tmp_path / restored}
            assert missing == []


def test_the_published_folders_are_found(tmp_path: Path) -> None:
    gt = touch(tmp_path / "original", "a.mp4", "b.mp4")
    results = touch(tmp_path / "results", "output_video/a.mp4", "output_video/b.mp4", "restored_face/a.mp4", "restored_face/b.mp4")
    pairs, missing = find_pairs(Paths(gt, results))
    assert [pair.versions["restored"].relative_to(results).as_posix() for pair in pairs] == ["output_video/a.mp4", "output_video/b.mp4"]
    assert missing == []


def test_what_the_official_layout_adds_to_the_originals_is_left_out(tmp_path: Path) -> None:
    gt = touch(tmp_path / "original", "a.mp4", "a/crops/1.jpg", "a/frames/1.jpg", "b/frames/1.jpg", "c.mp4", "c/other/1.jpg")
    results = touch(tmp_path / "results", "output_video/a.mp4", "output_video/c.mp4")
    pairs, missing = find_pairs(Paths(gt, results))
    assert [pair.name for pair in pairs] == ["a", "c"]
    assert missing == [f"{name}: no restored video in {results}" for name in ("b/frames", "c/other")]


def test_what_has_no_counterpart_is_listed(tmp_path: Path) -> None:
    gt, restored, lq = (
        touch(tmp_path / "gt", "a.mp4", "b.mp4"),
        touch(tmp_path / "restored", "a.mp4", "c.mp4"),
        touch(tmp_path / "lq", "b.mp4"),
    )
    pairs, missing = find_pairs(Paths(gt, restored, lq))
    assert [pair.name for pair in pairs] == ["a"]
    assert missing == [
        f"a: no compressed video in {lq}",
        f"b: no restored video in {restored}",
        f"c: no original video in {gt}",
    ]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda at: Paths(at / "gt", at / "none"), "--restored: expected a folder of videos or a video, got .*none, which does not exist"),
        (lambda at: Paths(at / "none", at / "gt", flags=("--gt_path", "--x", "--y")), "--gt_path: expected a folder"),
        (lambda at: Paths(touch(at / "notes", "a.txt"), at / "gt"), "--gt: expected videos .* or folders of pictures"),
        (lambda at: Paths(at / "gt", touch(at / "other", "z.mp4")), "--restored .*: expected videos named like those in"),
        (lambda at: Paths(touch(at / "double", "a.mp4", "a.mkv"), at / "gt"), r"one video per name, got a\.mkv and a\.mp4"),
    ],
)
def test_what_cannot_be_paired_is_told(make: object, words: str, tmp_path: Path) -> None:
    touch(tmp_path / "gt", "a.mp4", "b.mp4")
    with pytest.raises(UserError, match=words):
        find_pairs(make(tmp_path))
