"""Images in, images out: one, or a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import video_inference
from keyframes_gan.errors import MediaError, run_door
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.types import FaceClip
from keyframes_gan.video.pictures import PictureWriter

SETTINGS = Settings(restorer="recorder", smoothing=0)


def brighter(clip: FaceClip) -> npt.NDArray[np.uint8]:
    return np.clip(clip.crops.astype(np.int16) + 40, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, moving: Any, follow: Any, face: Any, record: Any) -> Path:
    """Ten images, called so that their order is not that of the alphabet, with a face in the middle that is made brighter."""
    path = tmp_path / "in"
    path.mkdir()
    for index, rgb in enumerate(moving(10)):
        cv2.imwrite(str(path / f"view {index + 2}.{'png' if index % 2 else 'bmp'}"), rgb[:, :, ::-1])
    follow(lambda _: [(0, face(64, 42, 20))])
    record(brighter)
    return path


def files(path: Path) -> list[str]:
    return sorted(str(entry.relative_to(path)) for entry in path.rglob("*") if entry.is_file())


def test_a_folder_of_images_becomes_a_folder_of_images(folder: Path, tmp_path: Path) -> None:
    outcome = restore_video(folder, tmp_path / "out", SETTINGS, progress=False)
    assert (outcome.frames, outcome.faces) == (10, 10)
    assert files(tmp_path / "out") == sorted(f"view {index}.png" for index in range(2, 12))
    for source in folder.iterdir():
        before, after = cv2.imread(str(source)).astype(int), cv2.imread(str(tmp_path / "out" / f"{source.stem}.png")).astype(int)
        assert (after - before)[36:50, 58:70].min() >= 20
        assert (after == before)[:, :16].all()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_an_image_becomes_an_image(folder: Path, tmp_path: Path, suffix: str) -> None:
    restore_video(folder / "view 3.png", tmp_path / f"out{suffix}", SETTINGS, progress=False)
    before, after = cv2.imread(str(folder / "view 3.png")).astype(int), cv2.imread(str(tmp_path / f"out{suffix}")).astype(int)
    assert after.shape == before.shape
    assert (after - before)[36:50, 58:70].mean() > 20
    assert np.abs(after - before)[:, :16].mean() < 4


def test_from_the_command_line_with_a_suffix(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-i", folder, "-o", tmp_path / "out", "--suffix", "new", "--restorer", "recorder"]
    assert run_door(video_inference.main, [str(word) for word in words]) == 0
    assert len(files(tmp_path / "out_new")) == 10
    assert "out_new: 10 frames" in capsys.readouterr().out


def test_a_failure_leaves_nothing_and_older_files_as_they_were(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "view 2.png").write_text("mine")
    (folder / "view 9.png").write_text("no image")
    for name in ("old", "fresh"):
        with pytest.raises(MediaError, match=r"view 9\.png: is not an image"):
            restore_video(folder, tmp_path / name, SETTINGS, progress=False)
    assert files(tmp_path / "old") == ["view 2.png"]
    assert (tmp_path / "old" / "view 2.png").read_text() == "mine"
    assert not (tmp_path / "fresh").exists()


def test_a_folder_of_images_is_not_written_over_itself(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="-o: expected another file than that of -i"):
        restore_video(folder, folder, SETTINGS, progress=False)
    with pytest.raises(MediaError, match="-o: cannot write"):
        restore_video(folder, tmp_path / "no" / "out", SETTINGS, progress=False)


@pytest.mark.parametrize("named_by", ["", "again"])
def test_an_image_is_not_written_over_itself_in_its_folder(folder: Path, tmp_path: Path, named_by: str) -> None:
    before = (folder / "view 3.png").read_bytes()
    into = folder
    if named_by:
        into = tmp_path / named_by
        into.symlink_to(folder)
    with pytest.raises(MediaError, match=r"expected a place where no image of the input lies, got that of view 3\.png; change -o"):
        restore_video(folder / "view 3.png", into, SETTINGS, progress=False)
    assert (folder / "view 3.png").read_bytes() == before


@pytest.mark.parametrize(
    ("target", "sources", "words"),
    [
        ("out.txt", ["a.png"], r"expected a video's suffix or one of .*\.png.*, got '\.txt'; change -o"),
        ("out.png", ["a.png", "b.png"], r"expected a video's suffix or no suffix, for a folder of images, got '\.png'"),
        ("out", ["a.png", "a.jpg"], "names differ in more than the suffix"),
    ],
)
def test_names_that_cannot_be_are_one_line(tmp_path: Path, target: str, sources: list[str], words: str) -> None:
    with pytest.raises(MediaError, match=words):
        PictureWriter(tmp_path / target, [tmp_path / source for source in sources])


def test_images_still_become_a_video(folder: Path, tmp_path: Path, frames_of: Any) -> None:
    restore_video(folder, tmp_path / "out.mp4", SETTINGS, progress=False)
    assert len(frames_of(tmp_path / "out.mp4")) == 10
    with pytest.raises(MediaError, match=r"expected an output name ending in \.mp4"):
        restore_video(tmp_path / "out.mp4", tmp_path / "out.png", SETTINGS, progress=False)
