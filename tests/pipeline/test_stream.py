"""The streaming pass with faces by script: what reaches the restorer, what reaches the output, and how much is held in memory."""

from __future__ import annotations

import math
import os
import resource
import signal
import weakref
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import video_inference
from keyframes_gan.errors import FaceError, MediaError, UserError, run_door
from keyframes_gan.pipeline import stream
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.report import write_png
from keyframes_gan.types import FaceClip, Frame, Tracking
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding, VideoWriter

LOSSLESS = Encoding(codec="ffv1")
CROP = 20 / 0.24
"""Side in frame pixels of the square that is cut out around eyes 20 pixels apart: they stand 0.24 of it apart."""


def settings(**given: Any) -> Settings:
    return Settings(**{"restorer": "recorder", "encoding": LOSSLESS, **given})


def brighter(clip: FaceClip) -> npt.NDArray[np.uint8]:
    return np.clip(clip.crops.astype(np.int16) + 40, 0, 255).astype(np.uint8)


def rewritten(source: Path, target: Path) -> Path:
    """The source encoded as the pipeline would, no face touched."""
    with VideoReader(source) as reader:
        info = reader.info
        with VideoWriter(
            target, size=(info.width, info.height), time_base=info.time_base, rate=info.rate, like=info, encoding=LOSSLESS
        ) as writer:
            for frame in reader:
                writer.write(frame.rgb, frame.time)
    return target


def restored_frames(clips: list[FaceClip], track_id: int) -> list[int]:
    return [index for clip in clips if clip.track_id == track_id for index in range(clip.first, clip.first + len(clip))]


@pytest.fixture
def two_faces(tmp_path: Path, moving: Any, make_video: Any) -> Path:
    path: Path = make_video(tmp_path / "two.mp4", moving(22, (256, 96)), gop=5, stamps=[*range(10), *range(12, 24)])
    return path


def test_unchanged_crops_leave_every_pixel_and_time_as_it_was(
    two_faces: Path, tmp_path: Path, follow: Any, record: Any, face: Any, frames_of: Any
) -> None:
    follow(lambda index: [(0, face(64.3 + index, 45, 20)), (1, face(180.6, 50, 24.5))])
    recorder = record()
    outcome = restore_video(two_faces, tmp_path / "out.mkv", settings(), progress=False)
    got, expected = frames_of(tmp_path / "out.mkv"), frames_of(rewritten(two_faces, tmp_path / "control.mkv"))
    assert [time for time, _, _ in got] == [Fraction(index if index < 10 else index + 2, 25) for index in range(22)]
    for (_, _, one), (_, _, other) in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (outcome.frames, outcome.faces, outcome.people) == (22, 44, 2)
    assert restored_frames(recorder.clips, 0) == restored_frames(recorder.clips, 1) == list(range(22))


def test_two_faces_are_restored_each_in_its_place(
    two_faces: Path, tmp_path: Path, follow: Any, record: Any, face: Any, frames_of: Any
) -> None:
    follow(lambda _: [(0, face(64, 42, 20)), (1, face(190, 42, 20))])
    recorder = record(brighter)
    restore_video(two_faces, tmp_path / "out.mkv", settings(), progress=False)
    got, before = frames_of(tmp_path / "out.mkv"), frames_of(rewritten(two_faces, tmp_path / "control.mkv"))
    for (_, _, one), (_, _, other) in zip(got, before, strict=True):
        change = np.abs(one.astype(int) - other).max(axis=2)
        for centre in (64, 190):
            assert (change[30:60, centre - 15 : centre + 15] >= 20).all()
        outside = np.ones_like(change, np.bool_)
        for centre in (64, 190):
            outside[:, int(centre - CROP / 2) - 2 : int(centre + CROP / 2) + 3] = False
        assert not change[outside].any()
    assert {track_id for track_id, _ in recorder.states} == {0, 1}
    assert all(state == ("state of", track_id) for track_id, state in recorder.states)
    for clip in recorder.clips:
        np.testing.assert_allclose(clip.landmarks[:, 36:48].mean(axis=1), np.tile([48, 43.2], (len(clip), 1)), atol=0.01)


def test_face_that_leaves_and_returns(
    tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any, make_video: Any, frames_of: Any
) -> None:
    source = make_video(tmp_path / "in.mp4", moving(34))
    here = {**dict.fromkeys(range(2, 10), 0), **dict.fromkeys(range(24, 31), 1)}
    follow(lambda index: [(here[index], face(64, 42, 20))] if index in here else [])
    recorder = record(brighter)
    outcome = restore_video(source, tmp_path / "out.mkv", settings(), progress=False)
    assert restored_frames(recorder.clips, 0) == list(range(2, 10))
    assert restored_frames(recorder.clips, 1) == list(range(24, 31))
    assert [len(clip) for clip in recorder.clips] == [4, 4, 4, 3]
    got, before = frames_of(tmp_path / "out.mkv"), frames_of(rewritten(source, tmp_path / "control.mkv"))
    changed = [index for index, (one, other) in enumerate(zip(got, before, strict=True)) if (one[2] != other[2]).any()]
    assert changed == sorted(here)
    assert (outcome.frames, outcome.faces, outcome.people) == (34, 15, 2)


def test_short_gap_is_bridged_but_gives_no_key_frame(
    tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any, make_video: Any
) -> None:
    source = make_video(tmp_path / "in.mp4", moving(16), gop=4)
    follow(lambda index: [] if 6 <= index <= 9 else [(0, face(64, 42, 20))])
    recorder = record()
    restore_video(source, tmp_path / "out.mkv", settings(max_keyframes=1), progress=False)
    assert restored_frames(recorder.clips, 0) == list(range(16))
    times = [reference.time for clip in recorder.clips for reference in clip.references]
    assert times == [Fraction(4 * min(index // 4, 1) if index < 12 else 12, 25) for index in range(16)]


def test_the_streams_own_key_frames_are_the_references(two_faces: Path, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    follow(lambda index: [(0, face(64, 42, 20))] if index >= 3 else [])
    recorder = record()
    restore_video(two_faces, tmp_path / "out.mkv", settings(max_keyframes=1, smoothing=0), progress=False)
    crops = {clip.first + i: crop for clip in recorder.clips for i, crop in enumerate(clip.crops)}
    references = {clip.first + i: reference for clip in recorder.clips for i, reference in enumerate(clip.references)}
    assert [references[index] for index in (3, 4)] == [None, None]
    for index in range(5, 22):
        key = index // 5 * 5
        assert references[index].time == Fraction(key if key < 10 else key + 2, 25)
        np.testing.assert_array_equal(references[index].picture, crops[key])
        np.testing.assert_array_equal(references[index].compressed, crops[key])


def test_memory_is_bounded_whatever_the_length(
    tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any, make_video: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot, alive, peaks = stream.Slot, [], []

    def counted(*given: Any) -> Any:
        alive[:] = [one for one in alive if one() is not None]
        made = slot(*given)
        alive.append(weakref.ref(made))
        peaks[-1] = max(peaks[-1], len(alive))
        return made

    monkeypatch.setattr(stream, "Slot", counted)
    follow(lambda index: [(0, face(32, 20, 10)), (1, face(36, 24, 10))] if index % 50 < 40 else [])
    record(clip_length=8)
    for count in (60, 180):
        peaks.append(0)
        source = make_video(tmp_path / f"{count}.mp4", moving(count, (64, 48)), gop=10)
        restore_video(source, tmp_path / "out.mp4", settings(encoding=Encoding(preset="ultrafast")), progress=False)
    assert peaks[0] == peaks[1] <= stream.LOOK_AHEAD + 8 + 1


@pytest.mark.parametrize("smoothing", [0, 1.5, 2.5, 10])
def test_look_ahead_covers_the_smoothing_and_the_gaps(smoothing: float) -> None:
    smoother, held = stream.smoother_of(Tracking(smoothing=smoothing)), 0
    while not smoother.push(held, []):
        held += 1
    assert held == max(15, math.ceil(3 * smoothing) + 10)


def test_comparison_shows_input_and_output(two_faces: Path, tmp_path: Path, follow: Any, record: Any, face: Any, frames_of: Any) -> None:
    follow(lambda _: [(0, face(64, 42, 20))])
    record(brighter)
    restore_video(two_faces, tmp_path / "out.mkv", settings(), compare=tmp_path / "pair.mkv", progress=False)
    out, pair, before = (frames_of(path) for path in (tmp_path / "out.mkv", tmp_path / "pair.mkv", two_faces))
    assert [time for time, _, _ in pair] == [time for time, _, _ in out]
    for (_, _, picture), (_, _, one), (_, _, other) in zip(pair, before, out, strict=True):
        assert picture.shape == (96, 512, 3)
        assert np.abs(picture[40:, :256].astype(int) - one[40:]).mean() < 2
        assert np.abs(picture[40:, 256:].astype(int) - other[40:]).mean() < 2


def test_folder_of_pictures_of_odd_size(tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any, frames_of: Any) -> None:
    (tmp_path / "frames").mkdir()
    for index, picture in enumerate(moving(4, (127, 95))):
        write_png(picture, tmp_path / "frames" / f"{index}.png")
    follow(lambda _: [(0, face(64, 42, 20))])
    recorder = record()
    source, lossy = tmp_path / "frames", Encoding(crf=8, preset="ultrafast")
    restore_video(source, tmp_path / "out.mp4", settings(encoding=lossy), compare=tmp_path / "pair.mp4", progress=False)
    out = frames_of(tmp_path / "out.mp4")
    assert [time for time, _, _ in out] == [Fraction(index, 25) for index in range(4)]
    for (_, _, picture), given in zip(out, moving(4, (127, 95)), strict=True):
        assert picture.shape == (95, 127, 3)
        assert np.abs(picture.astype(int) - given).mean() < 3
    assert {picture.shape for _, _, picture in frames_of(tmp_path / "pair.mp4")} == {(96, 254, 3)}
    assert None not in recorder.clips[0].references


def test_restorer_is_built_as_asked(two_faces: Path, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    follow(lambda _: [(0, face(64, 42, 20))])
    recorder = record()
    restore_video(two_faces, tmp_path / "out.mkv", settings(device="cuda:3", precision="bf16", weights="mine"), progress=False)
    assert recorder.settings == {"device": "cuda:3", "precision": "bf16", "weights": "mine"}


def test_no_face_is_an_error_unless_asked_otherwise(two_faces: Path, tmp_path: Path, follow: Any, record: Any, frames_of: Any) -> None:
    follow(lambda _: [])
    record()
    with pytest.raises(FaceError, match=r"two\.mp4: expected a face, found none in 22 frames"):
        restore_video(two_faces, tmp_path / "out.mkv", settings(), compare=tmp_path / "pair.mkv", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["two.mp4"]
    outcome = restore_video(two_faces, tmp_path / "out.mkv", settings(no_face="copy"), progress=False)
    assert (outcome.frames, outcome.faces) == (22, 0)
    pairs = zip(frames_of(tmp_path / "out.mkv"), frames_of(rewritten(two_faces, tmp_path / "control.mkv")), strict=True)
    assert all((one[2] == other[2]).all() for one, other in pairs)


def test_truncated_video_leaves_no_output(
    two_faces: Path, tmp_path: Path, follow: Any, record: Any, face: Any, make_video: Any, moving: Any
) -> None:
    follow(lambda _: [(0, face(64, 42, 20))])
    record()
    whole = make_video(tmp_path / "whole.mkv", moving(22)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(MediaError, match=r"cut\.mkv: truncated or damaged"):
        restore_video(tmp_path / "cut.mkv", tmp_path / "out.mkv", settings(), compare=tmp_path / "pair.mkv", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.mkv", "two.mp4", "whole.mkv"]


def test_failing_restorer_keeps_its_traceback_and_leaves_no_output(
    two_faces: Path, tmp_path: Path, follow: Any, record: Any, face: Any
) -> None:
    def broken(clip: FaceClip) -> npt.NDArray[np.uint8]:
        raise ZeroDivisionError

    follow(lambda _: [(0, face(64, 42, 20))])
    record(broken)
    with pytest.raises(ZeroDivisionError):
        restore_video(two_faces, tmp_path / "out.mkv", settings(), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["two.mp4"]


def test_interrupted_it_leaves_nothing_half_written(
    two_faces: Path, tmp_path: Path, follow: Any, record: Any, face: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(clip: FaceClip) -> npt.NDArray[np.uint8]:
        if clip.first > 0:
            assert list(tmp_path.glob(".part-*-out.mp4"))
            os.kill(os.getpid(), signal.SIGINT)
        return clip.crops

    follow(lambda _: [(0, face(64, 42, 20))])
    record(interrupt)
    (tmp_path / "out.mp4").write_text("what was there before")
    command = ["-i", two_faces, "-o", tmp_path / "out.mp4", "--compare", tmp_path / "pair.mp4", "--restorer", "recorder"]
    assert run_door(video_inference.main, [str(word) for word in command]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "two.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "what was there before"


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ({"-o": "in.mp4"}, "-o: expected another file than that of -i"),
        ({"-o": "out.mp4", "--compare": "link.mp4"}, "--compare: expected another file than that of -i"),
        ({"-o": "out.mp4", "--compare": "sub/../out.mp4"}, "--compare: expected another file than that of -o"),
        ({"-o": "out.mp4", "--compare": None, "--report": "out.mp4"}, "--report: expected another file than that of -o"),
        ({"-o": "nowhere/out.mp4"}, "-o: cannot write .*nowhere does not exist"),
    ],
)
def test_outputs_that_would_overwrite_something_are_refused(tmp_path: Path, targets: dict[str, str | None], words: str) -> None:
    (tmp_path / "in.mp4").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "in.mp4")
    with pytest.raises(MediaError, match=words):
        stream.check_targets(tmp_path / "in.mp4", {flag: None if name is None else tmp_path / name for flag, name in targets.items()})


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_keyframes": 0},
        {"policy": "best"},
        {"every": 0},
        {"every": 251},
        {"max_faces": 0},
        {"smoothing": -1},
        {"smoothing": float("nan")},
        {"smoothing": 11},
        {"smoother": "kalman"},
        {"no_face": "skip"},
    ],
)
def test_settings_out_of_range_are_named_with_their_flag(wrong: dict[str, Any]) -> None:
    flags = {"max_keyframes": "--max_keyframes", "every": "--detect-every", "max_faces": "--max-faces", "no_face": "--no-face"}
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"^{flags.get(name, f'--{name}')}: expected .*{value}"):
        Settings(**wrong)


def test_progress_is_drawn_on_standard_error(
    two_faces: Path, tmp_path: Path, follow: Any, record: Any, face: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    follow(lambda _: [(0, face(64, 42, 20))])
    record()
    restore_video(two_faces, tmp_path / "out.mkv", settings())
    shown = capsys.readouterr()
    assert "22/22" in shown.err
    assert shown.out == ""


class WithoutKeyFrames(VideoReader):
    """A reader of streams that show no key frame."""

    def __iter__(self) -> Iterator[Frame]:
        return (replace(frame, is_key=False) for frame in super().__iter__())


def test_photos_of_the_person_reach_the_restorer(
    portrait_video: Path, tmp_path: Path, record: Any, frames_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "reader_of", WithoutKeyFrames)
    recorder = record(crop_sizes=(256,))
    write_png(frames_of(portrait_video)[6][2], tmp_path / "photo.png")
    outcome = restore_video(portrait_video, tmp_path / "out.mkv", settings(references=(tmp_path / "photo.png",)), progress=False)
    assert (outcome.faces, outcome.people) == (12, 1)
    references = [reference for clip in recorder.clips for reference in clip.references]
    assert {reference.time for reference in references} == {None}
    crop = recorder.clips[1].crops[2].astype(int)
    assert np.abs(references[6].picture.astype(int) - crop)[64:192, 64:192].mean() < 6


def test_full_disk_leaves_no_output(two_faces: Path, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    follow(lambda _: [(0, face(64, 42, 20))])
    record()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(MediaError, match=r"out\.mkv: cannot write, .*free some space"):
            restore_video(two_faces, tmp_path / "out.mkv", settings(), progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["two.mp4"]


def test_a_grey_video_stays_grey(tmp_path: Path, moving: Any, make_video: Any, follow: Any, record: Any, face: Any, frames_of: Any) -> None:
    grey = [np.repeat(picture[..., 1:2], 3, axis=2) for picture in moving(6)]
    source = make_video(tmp_path / "in.mkv", grey, crf=10)
    follow(lambda _: [(0, face(64, 42, 20))])
    record(lambda clip: np.clip(clip.crops + np.array([30, 0, 10]), 0, 255).astype(np.uint8))
    restore_video(source, tmp_path / "out.mkv", Settings(restorer="recorder"), progress=False)
    restored, given = (np.stack([one[2] for one in frames_of(path)]).astype(int) for path in (tmp_path / "out.mkv", source))
    assert np.ptp(restored, axis=-1).max() <= 2
    assert (restored - given).max() >= 7
