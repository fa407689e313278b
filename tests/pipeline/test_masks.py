"""Which mask faces are pasted with: soft, or the face that a parsing network finds in the restored crop."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import video_inference
from keyframes_gan import upscale, weights
from keyframes_gan.errors import UserError, run_door
from keyframes_gan.faces import align, blend, parse
from keyframes_gan.faces.parse import FaceParser
from keyframes_gan.pipeline.settings import Finish, Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.types import FaceClip
from keyframes_gan.video.write import Encoding

Image = npt.NDArray[np.uint8]
LOSSLESS = Encoding(codec="ffv1", pixel_format="yuv444p")


class LeftHalf:
    """Stands in for a parser: the left half of every crop is face. Counts the crops it is shown."""

    network = "bisenet"

    def __init__(self) -> None:
        self.crops: list[Image] = []

    def masks(self, crops: Image) -> npt.NDArray[np.float32]:
        self.crops.extend(crops)
        masks = np.zeros(crops.shape[:3], np.float32)
        masks[:, :, : crops.shape[2] // 2] = 1
        return masks


def white(clip: FaceClip) -> Image:
    return np.full_like(clip.crops, 235)


@pytest.fixture
def left_half(monkeypatch: pytest.MonkeyPatch) -> LeftHalf:
    """The parser whose weights are at hand."""
    made = LeftHalf()
    monkeypatch.setattr(parse, "parser_at_hand", lambda **_: made)
    return made


@pytest.fixture
def source(tmp_path: Path, moving: Any, make_video: Any, follow: Any, face: Any, request: pytest.FixtureRequest) -> Path:
    """Seven frames, or as many as the test asks for, with one face in the middle, its eyes 20 pixels apart."""
    follow(lambda _: [(0, face(64, 42, 20))])
    path: Path = make_video(tmp_path / "in.mp4", moving(getattr(request, "param", 7)))
    return path


def settings(**finish: Any) -> Settings:
    return Settings(restorer="recorder", smoothing=0, encoding=LOSSLESS, finish=Finish(**finish))


def changes(source: Path, tmp_path: Path, frames_of: Any, given: Settings) -> tuple[Any, npt.NDArray[np.int64]]:
    """The outcome, and by how much each pixel differs, at most of its channels, from a pass that shows nothing of the faces."""
    outcome = restore_video(source, tmp_path / "out.mkv", given, progress=False)
    nothing = replace(given, finish=Finish(strength=0, mask="soft"))
    restore_video(source, tmp_path / "control.mkv", nothing, progress=False)
    pairs = zip(frames_of(tmp_path / "out.mkv"), frames_of(tmp_path / "control.mkv"), strict=True)
    return outcome, np.stack([np.abs(got[2].astype(int) - before[2]).max(axis=2) for got, before in pairs])


@pytest.mark.parametrize("blending", ["feather", "multiband", "poisson"])
@pytest.mark.parametrize("face_upsample", [False, True])
def test_only_the_parsed_face_is_shown(
    source: Path,
    tmp_path: Path,
    record: Any,
    frames_of: Any,
    left_half: LeftHalf,
    blending: Any,
    face_upsample: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = upscale.find
    monkeypatch.setattr(upscale, "find", lambda name, **given: find("bicubic" if name == "model" else name, **given))
    record(white, residual=False)
    outcome, change = changes(source, tmp_path, frames_of, settings(blend=blending, face_upsample=face_upsample))
    assert outcome.mask == "bisenet"
    assert (change[:, 36:60, 66:].max(axis=(1, 2)) == 0).all()
    assert (change[:, 36:60, 40:60].max(axis=(1, 2)) > 3).all()
    assert len(left_half.crops) == 7
    assert all((crop == 235).all() for crop in left_half.crops)


def test_differences_are_masked_too_when_asked_for(source: Path, tmp_path: Path, record: Any, frames_of: Any, left_half: LeftHalf) -> None:
    record(lambda clip: np.clip(clip.crops.astype(int) + 40, 0, 255).astype(np.uint8))
    outcome, change = changes(source, tmp_path, frames_of, settings(mask="parse"))
    assert outcome.mask == "bisenet"
    assert change[:, 36:60, 66:].max() == 0
    assert change[:, 36:60, 50:60].min() >= 20
    outcome, change = changes(source, tmp_path, frames_of, settings())
    assert outcome.mask == "soft"
    assert change[:, 36:60, 66:74].min() >= 20


@pytest.mark.parametrize("mask", ["auto", "soft"])
def test_without_weights_or_on_request_the_mask_is_soft(
    source: Path, tmp_path: Path, record: Any, frames_of: Any, mask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "parser_at_hand", lambda **_: None if mask == "auto" else LeftHalf())
    record(white, residual=False)
    outcome, change = changes(source, tmp_path, frames_of, settings(mask=mask))
    assert outcome.mask == "soft"
    assert (change[:, 36:60, 66:88].max(axis=(1, 2)) > 20).all()


def test_frames_that_clips_share_are_parsed_once(source: Path, tmp_path: Path, record: Any, left_half: LeftHalf) -> None:
    for ahead in (False, True):
        record(white, residual=False, overlap=2, looks_ahead=ahead)
        left_half.crops.clear()
        restore_video(source, tmp_path / "out.mkv", settings(), progress=False)
        assert len(left_half.crops) == 7


def test_an_aligned_picture_has_no_mask(tmp_path: Path, moving: Any, make_video: Any, record: Any, left_half: LeftHalf) -> None:
    record(white, residual=False)
    source = make_video(tmp_path / "in.mp4", moving(2, (128, 128)))
    given = Settings(restorer="recorder", has_aligned=True, encoding=LOSSLESS)
    outcome = restore_video(source, tmp_path / "out.mkv", given, progress=False)
    assert outcome.mask == "none"
    assert not left_half.crops


def test_the_report_says_which(source: Path, tmp_path: Path, record: Any, left_half: LeftHalf) -> None:
    record(white, residual=False)
    words = ["-i", source, "-o", tmp_path / "out.mkv", "--report", tmp_path / "report.json", "--restorer", "recorder", "--codec", "ffv1"]
    for more, mask in (([], "bisenet"), (["--mask", "soft"], "soft")):
        assert run_door(video_inference.main, [str(word) for word in (*words, *more)]) == 0
        assert json.loads((tmp_path / "report.json").read_text())["mask"] == mask


def test_parse_without_weights_is_one_line(source: Path, tmp_path: Path, record: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "at_hand", lambda _: False)
    record(white)
    words = ["-i", source, "-o", tmp_path / "out.mkv", "--restorer", "recorder", "--mask", "parse"]
    assert run_door(video_inference.main, [str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--mask parse: expected the weights of bisenet or parsenet on this machine" in line
    assert not (tmp_path / "out.mkv").exists()
    with pytest.raises(UserError, match="--mask: expected one of auto, parse, soft, bisenet, parsenet, got 'ellipse'"):
        Finish(mask="ellipse")  # type: ignore[arg-type]


def test_what_is_found_for_each_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "at_hand", lambda name: name == "parsenet")

    def network(mask: str, **given: Any) -> str | None:
        found = parse.find(mask, **given)
        return None if found is None else found.network

    assert [network(mask) for mask in ("auto", "parse", "soft", "bisenet", "parsenet")] == [
        "parsenet",
        "parsenet",
        None,
        "bisenet",
        "parsenet",
    ]
    assert network("auto", residual=True) is None
    assert network("parse", residual=True) == "parsenet"


def test_a_blend_takes_any_mask() -> None:
    """A mask of zeros leaves the frame alone, one of ones inside the crop shows all of it."""
    frame, restored = np.full((40, 40, 3), 50, np.uint8), np.full((20, 20, 3), 200, np.uint8)
    matrix = np.array([[1.0, 0, -10], [0, 1, -10]])
    for mask, expected in ((np.zeros((20, 20), np.float32), 50), (np.ones((20, 20), np.float32), 200)):
        given = frame.copy()
        blend.paste(given, restored, matrix, "feather", mask=mask)
        assert (given[11:29, 11:29] == expected).all()
        assert (given[:9] == 50).all()


@pytest.mark.parametrize(("network", "source"), [("bisenet", 2), ("parsenet", 1)], indirect=["source"])
def test_published_networks_go_through_the_whole_pipeline(
    source: Path,
    tmp_path: Path,
    face: Any,
    record: Any,
    frames_of: Any,
    network: str,
    made_checkpoint: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights with the published names, values made up: wherever they find a face, just that part of the crop is shown."""
    parser = FaceParser(network, weights_from=made_checkpoint(network), device="cpu")
    find, found = parser.masks, []

    def masks(crops: Image) -> npt.NDArray[np.float32]:
        found.append(find(crops))
        return found[-1]

    monkeypatch.setattr(parser, "masks", masks)
    monkeypatch.setattr(parse, "parser_at_hand", lambda **_: parser)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    record(lambda clip: np.broadcast_to(noise, clip.crops.shape).copy(), residual=False, crop_sizes=(64,))
    outcome, change = changes(source, tmp_path, frames_of, settings())
    assert outcome.mask == network
    mask = found[0][0]
    whole = align.from_crop(mask, align.CropSpec("eyes", 64).to_crop(face(64, 42, 20)), (96, 128))
    assert change[:, whole == 0].max() == 0
    assert change[:, whole > 0.3].mean() > 10
