"""What lies beside the restored video or image: the input only scaled, both side by side; forced sizes; images of several sizes."""

from __future__ import annotations

import errno
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
from keyframes_gan.errors import MediaError, UserError, run_door
from keyframes_gan.faces.shots import CutFinder
from keyframes_gan.pipeline import arguments, door, stream
from keyframes_gan.pipeline.settings import Finish, Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.pipeline.tracks import TracksWriter
from keyframes_gan.types import FaceClip
from keyframes_gan.video.pictures import read_picture
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding

Image = npt.NDArray[np.uint8]
LOSSLESS = Encoding(codec="ffv1")
SIZE = (128, 96)


def brighter(clip: FaceClip) -> Image:
    return np.clip(clip.crops.astype(np.int16) + 40, 0, 255).astype(np.uint8)


@pytest.fixture
def source(tmp_path: Path, moving: Any, make_video: Any, follow: Any, face: Any, record: Any) -> Path:
    follow(lambda _: [(0, face(64, 42, 16))])
    record(brighter)
    made: Path = make_video(tmp_path / "in.mp4", moving(5, SIZE), crf=1)
    return made


def settings(**finish: Any) -> Settings:
    return Settings(restorer="recorder", encoding=LOSSLESS, smoothing=0, finish=Finish(**finish))


def with_sound(source: Path, target: Path) -> Path:
    """Add a fifth of a second of a tone, in packets of 20 ms."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        picture = made.add_stream_from_template(given.streams.video[0])
        sound = made.add_stream("flac", rate=8000, layout="mono")
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = picture
                made.mux(packet)
        samples = (9000 * np.sin(np.arange(1600) / 4)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
        made.mux(sound.encode(frame))
        made.mux(sound.encode(None))
    return target


def sound_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_the_baseline_is_the_scaled_input_with_its_sound(source: Path, tmp_path: Path, frames_of: Any) -> None:
    heard = with_sound(source, tmp_path / "heard.mkv")
    names = ("out.mkv", "baseline.mkv", "pair.mkv")
    target, baseline, pair = (tmp_path / name for name in names)
    restore_video(heard, target, settings(upscale=2), baseline=baseline, compare=pair, progress=False)
    assert sound_of(heard) == sound_of(target) == sound_of(baseline) == sound_of(pair) != []
    shown = [frames_of(path) for path in (heard, target, baseline, pair)]
    assert [len(one) for one in shown] == [5] * 4
    for given, restored, plain, both in zip(*shown, strict=True):
        assert given[0] == restored[0] == plain[0] == both[0]
        large = cv2.resize(given[2], (256, 192), interpolation=cv2.INTER_LANCZOS4).astype(int)
        assert np.abs(large - plain[2]).mean() < 2.5  # what 4:2:0 does to colours
        np.testing.assert_array_equal(plain[2][:, :16], restored[2][:, :16])
        assert (restored[2].astype(int) - plain[2])[80:90, 120:136].mean() > 30
        assert both[2].shape == (192, 512, 3)
        assert np.abs(both[2][96:, :256].astype(int) - plain[2][96:]).mean() < 2.5
        assert np.abs(both[2][96:, 256:].astype(int) - restored[2][96:]).mean() < 2.5


@pytest.mark.parametrize(("size", "scale"), [((256, 192), 2), ((200, 150), 2), ((64, 48), 1), ((300, 96), 3), ((600, 450), 4), (None, 1)])
def test_a_forced_size_enlarges_as_far_as_it_needs(source: Path, tmp_path: Path, frames_of: Any, size: Any, scale: int) -> None:
    target, baseline = tmp_path / "out.mkv", tmp_path / "baseline.mkv"
    outcome = restore_video(source, target, settings(size=size), baseline=baseline, progress=False)
    restored, plain = (frames_of(path)[2][2] for path in (target, baseline))
    width, height = size or SIZE
    assert restored.shape == plain.shape == (height, width, 3)
    rows, columns = np.nonzero((restored.astype(int) - plain).max(axis=2) > 15)
    assert abs(columns.mean() / width - 64 / 128) < 0.02
    assert abs(rows.mean() / height - 47 / 96) < 0.05
    odd = [note for note in outcome.notes if "--size 300x96: not in the proportions of the input, which is shown as 128x96" in note]
    assert len(odd) == (size == (300, 96))
    info = type("Info", (), {"width": 128, "height": 96})
    spec = type("Spec", (), {"blend": "feather", "photo_blend": "poisson"})
    assert Finish(size=size).settled(spec, info, photos=False) == Finish(size=size, upscale=scale, blend="feather")  # type: ignore[arg-type]
    assert Finish(size=size, blend="multiband").settled(spec, info, photos=True).blend == "multiband"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "aspect", "notes"),
    [
        ({}, Fraction(4, 3), 0),
        ({"fps": Fraction(10)}, Fraction(4, 3), 0),
        ({"finish": Finish(size=(128, 72))}, Fraction(1), 0),
        ({"finish": Finish(size=(128, 96))}, Fraction(1), 1),
    ],
)
def test_wide_pixels_stay_wide_unless_a_size_is_forced(
    source: Path, tmp_path: Path, asked: dict[str, Any], aspect: Fraction, notes: int
) -> None:
    with av.open(str(source)) as given, av.open(str(tmp_path / "wide.mp4"), "w") as made:
        track = made.add_stream("libx264", rate=25)
        track.width, track.height, track.pix_fmt, track.codec_context.sample_aspect_ratio = 128, 96, "yuv420p", Fraction(4, 3)
        for frame in given.decode(video=0):
            made.mux(track.encode(frame))
        made.mux(track.encode(None))
    target, baseline = tmp_path / "out.mp4", tmp_path / "baseline.mp4"
    wanted = Settings(restorer="recorder", smoothing=0, **asked)
    outcome = restore_video(tmp_path / "wide.mp4", target, wanted, baseline=baseline, progress=False)
    assert sum("which is shown as 171x96" in note for note in outcome.notes) == notes
    for path in (target, baseline):
        with av.open(str(path)) as container:
            assert container.streams.video[0].sample_aspect_ratio == aspect


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--size", "1280x720", "--upscale", "2"], "--size: expected without --upscale"),
        (["--size", "8x9"], "--size: expected 16 to 16384 pixels, got 8x9"),
        (["--background", "lanczos", "--bg_upsampler", "bicubic"], "--background and --bg_upsampler are one flag"),
        (["--bg-upsampler", "none", "--background", "model"], "are one flag: expected one value, got none and model"),
        (["--background", "modle"], "--background: expected none, lanczos, bicubic, model"),
        (["--baseline", "out.mp4"], "--baseline: expected another file than that of -o"),
    ],
)
def test_what_does_not_fit_together_is_one_line(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], line: str
) -> None:
    monkeypatch.chdir(source.parent)
    assert run_door(video_inference.main, ["-i", "in.mp4", "-o", "out.mp4", "--restorer", "recorder", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert line in error


@pytest.mark.parametrize("text", ["1280", "1280x", "x720", "12.5x10", "-5x10", "axb"])
def test_a_size_is_two_numbers(text: str) -> None:
    with pytest.raises(UserError, match="--size: expected width and height in pixels, such as 1280x720"):
        arguments.read(["-i", "a", "-o", "b", f"--size={text}"])


def test_the_flags_reach_the_settings() -> None:
    given = arguments.read(["-i", "a", "-o", "b", "--size", "640X360", "--bg_upsampler", "model", "--background", "model"])
    assert door.settings_of(given).finish == Finish(size=(640, 360), background="model")


def test_images_of_several_sizes(source: Path, tmp_path: Path, moving: Any) -> None:
    folder, made = tmp_path / "photos", {}
    folder.mkdir()
    for name, size in (("a", (128, 96)), ("b", (128, 96)), ("c", (160, 100))):
        made[name] = moving(1, size)[0]
        cv2.imwrite(str(folder / f"{name}.png"), made[name][:, :, ::-1])
    places = {one: tmp_path / one for one in ("out", "plain", "pair", "faces")}
    outcome = restore_video(
        folder,
        places["out"],
        settings(upscale=2),
        baseline=places["plain"],
        compare=places["pair"],
        faces=places["faces"],
        progress=False,
    )
    assert (outcome.frames, outcome.faces) == (3, 3)
    for name, picture in made.items():
        shown = {one: read_picture(places[one] / f"{name}.png") for one in ("out", "plain", "pair")}
        height, width = picture.shape[0] * 2, picture.shape[1] * 2
        np.testing.assert_array_equal(shown["plain"], cv2.resize(picture, (width, height), interpolation=cv2.INTER_LANCZOS4))
        assert (shown["out"].astype(int) - shown["plain"])[80:90, 120:136].mean() > 30
        np.testing.assert_array_equal(shown["pair"][height // 2 :], np.hstack([shown["plain"], shown["out"]])[height // 2 :])
        assert (places["faces"] / name / f"{name}_faces_overview.png").is_file()
    with pytest.raises(MediaError, match=r"c\.png: is 160x100, expected 128x96 as the first image"):
        restore_video(folder, tmp_path / "out.mkv", settings(), progress=False)


def test_in_images_smaller_faces_are_looked_for_and_in_each(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moving: Any
) -> None:
    asked: list[tuple[bool, int | None]] = []
    build = stream.build_detector

    def built(settings: Settings, tracking: Any = None, *, photos: bool = False) -> Any:
        detector: Any = build(settings, tracking, photos=photos)
        assert detector.min_face == (40 if photos else 64)
        asked.append((photos, settings.every))
        return detector

    monkeypatch.setattr(stream, "build_detector", built)
    cv2.imwrite(str(tmp_path / "a.png"), moving(1, SIZE)[0])
    restore_video(tmp_path / "a.png", tmp_path / "b.png", settings(), progress=False)
    restore_video(tmp_path / "a.png", tmp_path / "b.png", replace(settings(), every=3), progress=False)
    restore_video(tmp_path / "a.png", tmp_path / "b.mkv", settings(), progress=False)
    restore_video(source, tmp_path / "b.mkv", settings(), progress=False)
    assert asked == [(True, 1), (True, 3), (False, None), (False, None)]


def test_a_picture_of_another_size_begins_a_shot() -> None:
    find, flat = CutFinder(), np.full((96, 128, 3), 120, np.uint8)
    assert [find.is_cut(picture) for picture in (flat, flat, np.full((96, 96, 3), 120, np.uint8), flat[:, :96], flat)] == [
        False,
        False,
        True,
        False,
        True,
    ]


def test_a_disk_full_at_the_very_end_leaves_no_half_written_tracks(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "tracks.json"
    before = sorted(tmp_path.iterdir())
    with (
        pytest.raises(MediaError, match=r"tracks\.json: cannot write, No space left"),
        TracksWriter(target, VideoReader(source).info) as writer,
    ):
        monkeypatch.setattr(writer._file, "write", full)
    assert sorted(tmp_path.iterdir()) == before
