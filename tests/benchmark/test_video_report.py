"""`video_inference.py --report FILE.html`: the page of one restored video."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

import video_inference
from keyframes_gan.benchmark import pages, video_report
from keyframes_gan.errors import run_door
from keyframes_gan.video.compress import compress


def door(*words: object) -> int:
    return run_door(video_inference.main, [str(word) for word in words])


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the metric whose weights would be looked for in the network."""
    monkeypatch.setattr(pages, "DEFAULT", ("psnr", "ssim", "brisque"))


@pytest.fixture(scope="module")
def compressed(portrait_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compressed") / "compressed.mp4"
    compress(portrait_video, path, crf=42)
    return path


def test_page_against_the_original(
    compressed: Path, portrait_video: Path, identity_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network that changes nothing, written losslessly: input and restored have the same PSNR."""
    words = ["-i", compressed, "-o", tmp_path / "out.mkv", "--codec", "ffv1", "--weights", identity_weights, "--device", "cpu"]
    assert door(*words, "--report", tmp_path / "report.html", "--gt", portrait_video) == 0
    assert f"written: {tmp_path / 'report.html'}" in capsys.readouterr().out
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert {"original", "input", "restored"} <= set(re.findall(r"<option[^>]*>([^<]*)</option>", text))
    assert {"PSNR", "SSIM", "Frame by frame", "One line over time", "Side by side", "Protocol"} <= set(re.findall(r">([\w ]+)\s*<", text))
    gains = [float(gain) for gain in re.findall(r'<small class="(?:good|bad|even)">([^<]*)</small>', text)]
    assert abs(gains[0]) < 0.1, "PSNR in dB; the rest is the output's conversion to 4:2:0"
    assert "stage seconds: restore" in text


def test_page_without_an_original_shows_blind_metrics(compressed: Path, portrait_video: Path, tmp_path: Path) -> None:
    (page,) = video_report(tmp_path / "new" / "report.html", compressed, portrait_video, device="cpu")
    text = page.read_text(encoding="utf-8")
    assert "BRISQUE" in text
    assert "PSNR" not in text
    assert "original" not in re.findall(r"<option[^>]*>([^<]*)</option>", text)


ROUTE = {"person": 4, "first_frame": 0, "frames": 1, "w": 80.0, "q": 90.0, "noise": 1.0, "expert": "T", "ms": 30.0}
ABOUT = {"routes": [{**ROUTE, "identity": {"compared": 1, "mean": 0.985, "min": 0.985}}], "identity": [{"person": 4}]}


def test_pictures_and_smaller_inputs(tmp_path: Path) -> None:
    """One image in, one twice as large out: shown beside each other, only the result is measured."""
    large = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    for name, picture in (("in", large[::2, ::2]), ("out", large), ("gt", large)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    (page,) = video_report(
        tmp_path / "r.html", tmp_path / "in.png", tmp_path / "out.png", original=tmp_path / "gt.png", about=ABOUT, device="cpu"
    )
    text = page.read_text(encoding="utf-8")
    assert "input: of another size, so it is shown but not measured" in text
    assert re.search(r"<h2>People</h2>.*expert T.*<td>0\.9850</td>", text, re.DOTALL)
    assert "routes" not in text
    assert re.search(r"<td[^>]*>100\.00", text), "equal pictures count as 100 dB"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-i", "IN", "--gt", "IN"], r"--gt: expected only with --report FILE\.html"),
        (["-i", "IN", "--gt", "IN", "--report", "r.json"], r"--gt: expected only with --report FILE\.html"),
        (["-i", "IN", "--gt", "nowhere.mp4", "--report", "r.html"], r"--gt: expected the original video, got nowhere\.mp4"),
        (["--camera", "0", "--report", "r.html"], r"--report: expected a \.json file with --camera"),
    ],
)
def test_what_no_page_can_be_made_of(
    words: list[str], reason: str, compressed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert door(*[compressed if word == "IN" else word for word in words], "-o", tmp_path / "out.mp4", "--restorer", "none") == 2
    assert re.search(reason, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []
