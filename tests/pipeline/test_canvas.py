"""The output picture: enlarged backgrounds, where faces land on them, strength, colours, blends; the flags that ask for them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

import video_inference
from keyframes_gan import upscale
from keyframes_gan.errors import UserError, run_door
from keyframes_gan.faces import align
from keyframes_gan.pipeline import arguments, door
from keyframes_gan.pipeline.canvas import Canvas, RestoredFace
from keyframes_gan.pipeline.paper import restore_preprocessed
from keyframes_gan.pipeline.people import Slot
from keyframes_gan.pipeline.settings import Finish, Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.types import FaceClip, Frame
from keyframes_gan.video.write import Encoding

Image = npt.NDArray[np.uint8]
SIZE = 64


def texture(height: int, width: int, seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return np.ascontiguousarray(cv2.GaussianBlur(noise, (0, 0), 2.0))


@pytest.fixture
def to_crop(face: Any) -> npt.NDArray[np.float64]:
    return align.CropSpec("eyes", SIZE).to_crop(face(80, 50, 16))


def pasted(finish: Finish, restored: Image, to_crop: npt.NDArray[np.float64], *, residual: bool, frame: Image | None = None) -> Image:
    rgb = texture(120, 160) if frame is None else frame
    slot = Slot(Frame(0, Fraction(0), rgb), Canvas(finish, device="cpu"))
    slot.waiting = 1
    slot.paste(RestoredFace(restored, align.crop(rgb, to_crop, SIZE), to_crop, residual))
    assert slot.waiting == 0
    return slot.picture


@pytest.mark.parametrize("residual", [True, False])
def test_by_default_it_is_a_feathered_paste(to_crop: npt.NDArray[np.float64], residual: bool) -> None:
    frame, restored = texture(120, 160), texture(SIZE, SIZE, 1)
    before = frame.copy()
    got = pasted(Finish(), restored, to_crop, residual=residual, frame=frame)
    original = align.crop(frame, to_crop, SIZE) if residual else None
    np.testing.assert_array_equal(got, align.paste(frame, restored, to_crop, original=original))
    np.testing.assert_array_equal(frame, before)


@pytest.mark.parametrize("apart", [0, 12, 30, 60, 200])
def test_what_overlapping_crops_add_is_not_added_twice(face: Any, apart: int) -> None:
    """Both restorers make their crops lighter by 20 levels; where they overlap it is 20 as well, whoever comes first."""
    frame = np.full((120, 320, 3), 100, np.uint8)
    places = [align.CropSpec("eyes", SIZE).to_crop(face(x, 50, eyes)) for x, eyes in ((60, 16), (60 + apart, 12))]
    lighter, given = (np.full((SIZE, SIZE, 3), level, np.uint8) for level in (120, 100))
    faces = [RestoredFace(lighter, given, place, residual=True) for place in places]
    got = []
    for order in (faces, faces[::-1]):
        slot = Slot(Frame(0, Fraction(0), frame), Canvas(device="cpu"))
        slot.waiting = len(order)
        for one in order:
            slot.paste(one)
        got.append(slot.picture)
    assert 119 <= got[0].max() <= 121
    np.testing.assert_allclose(got[0].astype(int), got[1], atol=1)
    alone = [pasted(Finish(), lighter, place, residual=True, frame=frame) for place in places]
    larger = np.maximum(*alone).astype(int)
    assert (got[0].astype(int) - larger).max() <= 1
    middles = [align.transform_points(np.array([[31.5, 31.5]]), align.invert(place))[0].astype(int) for place in places]
    assert all(np.abs(got[0][y, x].astype(int) - 120).max() <= 1 for x, y in middles)


def test_a_frame_without_a_face_is_the_decoded_one_or_only_enlarged() -> None:
    rgb = texture(31, 44)
    assert Slot(Frame(0, Fraction(0), rgb)).picture is rgb
    for name, flag in (("none", cv2.INTER_LANCZOS4), ("lanczos", cv2.INTER_LANCZOS4), ("bicubic", cv2.INTER_CUBIC)):
        canvas = Canvas(Finish(upscale=3, background=name))
        got = Slot(Frame(0, Fraction(0), rgb), canvas).picture
        np.testing.assert_array_equal(got, cv2.resize(rgb, (132, 93), interpolation=flag))


@pytest.mark.parametrize("scale", [2, 3])
def test_an_unchanged_crop_leaves_the_enlarged_background_as_it_is(to_crop: npt.NDArray[np.float64], scale: int) -> None:
    frame = texture(120, 160)
    got = pasted(Finish(upscale=scale), align.crop(frame, to_crop, SIZE), to_crop, residual=True, frame=frame)
    np.testing.assert_array_equal(got, upscale.find("lanczos", scale=scale).upscale(frame))


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("face_upsample", [False, True])
def test_faces_land_where_they_are_at_every_scale(
    to_crop: npt.NDArray[np.float64], scale: int, face_upsample: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = upscale.find
    monkeypatch.setattr(upscale, "find", lambda name, **given: find("bicubic" if name == "model" else name, **given))
    restored = np.full((SIZE, SIZE, 3), 20, np.uint8)
    restored[28:36, 20:28] = 230  # a square mark; its middle in crop pixels: (23.5, 31.5)
    frame = np.full((120, 160, 3), 20, np.uint8)
    got = pasted(Finish(upscale=scale, face_upsample=face_upsample), restored, to_crop, residual=False, frame=frame)
    assert got.shape == (120 * scale, 160 * scale, 3)
    weights = got[..., 0].astype(float) - 20
    rows, columns = np.mgrid[: got.shape[0], : got.shape[1]]
    middle = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
    expected = align.transform_points(np.array([[23.5, 31.5]]), align.invert(to_crop))[0]
    np.testing.assert_allclose((middle + 0.5) / scale - 0.5, expected, atol=0.15)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("blend", ["feather", "poisson", "multiband"])
def test_strength_goes_from_the_background_to_the_restored_face(to_crop: npt.NDArray[np.float64], residual: bool, blend: Any) -> None:
    frame, restored = texture(120, 160), texture(SIZE, SIZE, 3)
    none, half, full = (
        pasted(Finish(strength=strength, blend=blend), restored, to_crop, residual=residual, frame=frame) for strength in (0, 0.5, 1)
    )
    np.testing.assert_array_equal(none, frame)
    assert np.abs(half - (frame.astype(float) + full) / 2).mean() < 0.6
    assert (full != frame).any()


@pytest.mark.parametrize(("blend", "own"), [("feather", True), ("multiband", False), ("poisson", False)])
def test_on_a_background_from_a_network_a_blended_face_is_the_restorers(
    to_crop: npt.NDArray[np.float64], monkeypatch: pytest.MonkeyPatch, blend: Any, own: bool
) -> None:
    """A background that has been sharpened already must not get the restorer's sharpening added to it."""
    monkeypatch.setattr(upscale, "find", lambda _name, *, scale, **_: upscale.Interpolation(scale, cv2.INTER_NEAREST))
    frame = texture(120, 160)
    crop = align.crop(frame, to_crop, SIZE)
    for name, kept in (("model", own), ("lanczos", True)):
        got = pasted(Finish(upscale=4, background=name, blend=blend), crop, to_crop, residual=True, frame=frame)
        blocky = cv2.resize(frame, (640, 480), interpolation=cv2.INTER_NEAREST)
        assert (got == blocky).all() == kept


def test_colours_are_matched_before_pasting(to_crop: npt.NDArray[np.float64]) -> None:
    frame = texture(120, 160) // 2 + 60
    tinted = np.clip(align.crop(frame, to_crop, SIZE) + np.array([30, -20, 10]), 0, 255).astype(np.uint8)
    plain = pasted(Finish(), tinted, to_crop, residual=True, frame=frame).astype(int)
    matched = pasted(Finish(color_match=True), tinted, to_crop, residual=True, frame=frame).astype(int)
    assert np.abs(plain - frame).max() >= 25
    assert np.abs(matched - frame).max() <= 2


def test_one_network_serves_background_and_faces(to_crop: npt.NDArray[np.float64], monkeypatch: pytest.MonkeyPatch) -> None:
    find, asked = upscale.find, []

    def counted(name: str, **given: Any) -> Any:
        asked.append((name, given["scale"], given["tile"]))
        return find("bicubic", **given)

    monkeypatch.setattr(upscale, "find", counted)
    pasted(Finish(upscale=2, background="realesrgan", bg_tile=200, face_upsample=True), texture(SIZE, SIZE), to_crop, residual=True)
    assert asked == [("realesrgan", 2, 200)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"upscale": 5}, "--upscale: expected 1 to 4, got 5"),
        ({"bg_tile": -1}, "--bg_tile"),
        ({"strength": 1.5}, "--strength: expected 0 to 1"),
        ({"strength": float("nan")}, "--strength: expected 0 to 1"),
        ({"blend": "laplace"}, "--blend: expected one of feather, multiband, poisson"),
    ],
)
def test_values_out_of_range_name_their_flag(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Finish(**change)


def test_an_unknown_background_names_its_flag() -> None:
    with pytest.raises(UserError, match=r"--background.*did you mean realesrgan"):
        Canvas(Finish(background="realesrgna"))


def streams(path: Path) -> tuple[int, int, int]:
    with av.open(str(path)) as container:
        (track,) = container.streams.video
        return track.width, track.height, sum(1 for _ in container.decode(video=0))


def test_a_video_twice_as_large(tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any, make_video: Any, frames_of: Any) -> None:
    source = make_video(tmp_path / "in.mp4", moving(9, (128, 96)), crf=1)
    follow(lambda index: [(0, face(64, 40, 16))] if 2 <= index < 7 else [])

    def brighter(clip: FaceClip) -> Image:
        return np.clip(clip.crops.astype(int) + 40, 0, 255).astype(np.uint8)

    record(brighter)
    target, pair = tmp_path / "out.mkv", tmp_path / "pair.mkv"
    settings = Settings(restorer="recorder", encoding=Encoding(codec="ffv1"), finish=Finish(upscale=2))
    outcome = restore_video(source, target, settings, compare=pair, progress=False)
    assert (outcome.frames, outcome.faces) == (9, 5)
    assert "background" in outcome.stage_seconds
    assert streams(target) == (256, 192, 9)
    assert streams(pair)[0] == 512
    plain = tmp_path / "plain.mkv"
    restore_video(source, plain, replace(settings, finish=Finish(upscale=2, strength=0.0)), progress=False)
    for index, (got, bare) in enumerate(zip(frames_of(target), frames_of(plain), strict=True)):
        change = got[2].astype(int) - bare[2]
        assert got[0] == bare[0] == Fraction(index, 25)
        if 2 <= index < 7:
            assert change[60:100, 110:146].mean() > 30
            change[:, 40:220] = 0
        assert np.abs(change).max() == 0


def test_the_flags_reach_the_pipeline_and_not_the_other_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--upscale", "3", "--bg-upsampler", "bicubic", "--bg_tile", "0", "--face_upsample", "--strength", "0.7"]
    words += ["--color-match", "--blend", "poisson"]
    given = arguments.read(["-i", "in.mp4", "-o", "out.mp4", *words])
    expected = Finish(upscale=3, background="bicubic", bg_tile=0, face_upsample=True, strength=0.7, color_match=True, blend="poisson")
    assert door.settings_of(given).finish == expected
    assert run_door(video_inference.main, ["--base_path", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    for flag in ("--upscale", "--background", "--bg_tile", "--face_upsample", "--strength", "--color-match", "--blend", "-i or --camera"):
        assert flag in error
    assert door.settings_of(arguments.read(["-i", "a", "-o", "b"])).finish == Finish()


def test_the_papers_protocol_refuses_what_it_cannot_do(tmp_path: Path, record: Any) -> None:
    record()
    with pytest.raises(UserError, match="use -i and -o"):
        restore_preprocessed(tmp_path, 42, Settings(restorer="recorder", finish=Finish(upscale=2)), progress=False)


def test_a_restorer_gets_crops_by_its_template(tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any, make_video: Any) -> None:
    follow(lambda _: [(0, face(64, 40, 16))])
    recorder = record(template="ffhq", crop_sizes=(128,), residual=False)
    source = make_video(tmp_path / "in.mp4", moving(3, (128, 96)))
    restore_video(source, tmp_path / "out.mp4", Settings(restorer="recorder"), progress=False)
    landmarks = np.concatenate([clip.landmarks for clip in recorder.clips])
    assert len(landmarks) == 3
    for points in landmarks:
        np.testing.assert_allclose(align.five_points(points).mean(axis=0), np.mean(align.FFHQ_POINTS, axis=0) / 4, atol=0.01)
