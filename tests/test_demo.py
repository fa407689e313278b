"""`make demo`: what it leaves in its folder, with a network that changes nothing and with the shipped one."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from keyframes_gan import demo, weights
from keyframes_gan.errors import run_door
from keyframes_gan.video.compress import encode_frames

FILES = {
    "original.mp4",
    "compressed.mp4",
    "restored.mp4",
    "comparison.mp4",
    "contact_sheet.png",
    "metrics.json",
    "metrics.csv",
    "report.html",
}


def facts(path: Path) -> tuple[int, int, int]:
    """(width, height, frames) by PyAV alone."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.width, stream.codec_context.height, sum(1 for _ in container.decode(stream))


@pytest.fixture
def run_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity_weights: Path) -> Callable[..., int]:
    """Give `run_demo(frames, *flags, shipped=False)`: the demonstration in `tmp_path / "demo"`."""

    def run(frames: int, *flags: object, shipped: bool = False) -> int:
        monkeypatch.setattr(demo, "CLIP_FRAMES", frames)
        if not shipped:
            monkeypatch.setattr(demo, "Settings", partial(demo.Settings, weights=str(identity_weights)))
        return run_door(demo.main, ["--output", str(tmp_path / "demo"), *map(str, flags)])

    return run


def test_files_and_table(run_demo: Callable[..., int], tmp_path: Path, repo_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(5) == 0
    folder = tmp_path / "demo"
    assert {path.name for path in folder.iterdir()} == FILES
    for name in ("original", "compressed", "restored"):
        assert facts(folder / f"{name}.mp4") == (384, 384, 5)
    assert facts(folder / "comparison.mp4") == (768, 384, 5)
    assert (folder / "compressed.mp4").stat().st_size < 0.1 * (folder / "original.mp4").stat().st_size
    sheet = cv2.imread(str(folder / "contact_sheet.png"))
    assert sheet is not None
    assert sheet.shape[0] > 4 * 384
    assert sheet.shape[1] >= 3 * 384
    rows = rows_of(folder)
    assert {("original", "whole"), ("original", "face")} <= set(rows)
    for row in rows.values():
        for metric in ("psnr", "ssim"):
            values = [float(row[column]) for column in (metric, f"{metric}_compressed", f"{metric}_gain")]
            assert all(math.isfinite(value) for value in values)
            assert values[0] - values[1] == pytest.approx(values[2], abs=2e-4)
    shown = capsys.readouterr().out
    assert shown.index("Whole picture") < shown.index("Faces only")
    assert "PSNR" in shown
    assert "gain" in shown
    assert "frames/s" in shown
    for name in ("restored.mp4", "comparison.mp4", "contact_sheet.png", "report.html", "metrics.json"):
        assert f"written: {folder / name}" in shown
    check_readme_picture(folder, repo_root)


def check_readme_picture(folder: Path, repo_root: Path) -> None:
    """What `make readme-assets` makes of that folder is the middles of three versions, with gaps."""
    spec = importlib.util.spec_from_file_location("readme_picture", repo_root / "benchmarks" / "readme_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.picture(folder)
    side = module.SIDE_PX
    assert made.shape == (side, 3 * side + 2 * module.GAP_PX, 3)
    with av.open(str(folder / "original.mp4")) as container:
        frame = list(container.decode(video=0))[1].to_ndarray(format="rgb24")
    below, margin = side // 2, (384 - side) // 2
    expected = frame[margin + below : margin + side, margin : margin + side].astype(float)
    assert np.abs(made[below:, -side:] - expected).mean() < 2


def rows_of(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return {(row["video"], row["region"]): row for row in csv.DictReader(file)}


def test_with_the_shipped_weights_the_face_gains(run_demo: Callable[..., int], tmp_path: Path) -> None:
    row = weights.entry("keyframes_lite")
    if not row.sha256 or not (weights.FOLDER / row.file).is_file():
        pytest.skip("the manifest has no shipped weights of keyframes_lite (no sha256, or no file)")
    assert run_demo(12, shipped=True) == 0
    assert float(rows_of(tmp_path / "demo")["original", "face"]["psnr_gain"]) > 0
    stored: dict[str, Any] = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert stored["metrics"]


def test_own_video(run_demo: Callable[..., int], portrait_video: Path, tmp_path: Path) -> None:
    assert run_demo(5, "--input", portrait_video) == 0
    assert {path.name for path in (tmp_path / "demo").iterdir()} == FILES - {"original.mp4"}
    assert facts(tmp_path / "demo" / "restored.mp4") == (224, 224, 12)


def test_a_video_without_a_face_is_told_in_the_words_of_the_demonstration(
    run_demo: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encode_frames((np.full((96, 96, 3), 90, np.uint8) for _ in range(3)), tmp_path / "wall.mp4", rate=Fraction(25), crf=20)
    assert run_demo(5, "--input", tmp_path / "wall.mp4") == 2
    told = capsys.readouterr().err
    assert f"error: --input: expected a video with a face, found none in {tmp_path / 'wall.mp4'}" in told
    assert "--detector" not in told


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (lambda _: ["--input", ""], "--input: expected the name of a file or folder, got nothing"),
        (lambda at: ["--input", at / "nowhere.mp4"], "nowhere.mp4: no such file"),
        (lambda at: ["--input", at / "demo" / "restored.mp4"], "--input: expected a video that the demonstration does not write itself"),
        (lambda at: (at / "demo").write_text("a file is in the way") and [], "demo: cannot write"),
    ],
)
def test_bad_input_is_one_line(
    run_demo: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], arrange: Callable[[Path], list[object]], words: str
) -> None:
    assert run_demo(5, *arrange(tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line
