"""What the user can choose of a single pass: which faces, aligned input, boxes, rate, the identity guard, tracks.json, the plan."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

import video_inference
from keyframes_gan.errors import MediaError, UserError, run_door
from keyframes_gan.faces.detectors import network
from keyframes_gan.pipeline import arguments, door, guard, stream
from keyframes_gan.pipeline.guard import IdentityGuard
from keyframes_gan.pipeline.plan import plan_of
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.restorers.none import Unchanged
from keyframes_gan.types import Cutoffs, Decision, FaceClip, Tracking
from keyframes_gan.video.write import Encoding

LOSSLESS = Encoding(codec="ffv1")


def settings(**given: Any) -> Settings:
    return Settings(**{"restorer": "recorder", "encoding": LOSSLESS, "smoothing": 0, **given})


def command(*words: object) -> int:
    return run_door(video_inference.main, [str(word) for word in words])


def brighter(clip: FaceClip) -> npt.NDArray[np.uint8]:
    return np.clip(clip.crops.astype(np.int16) + 40, 0, 255).astype(np.uint8)


@pytest.fixture
def source(tmp_path: Path, moving: Any, make_video: Any) -> Path:
    path: Path = make_video(tmp_path / "in.mp4", moving(12, (256, 96)), gop=5)
    return path


def frames_restored(recorder: Any) -> dict[int, list[int]]:
    people: dict[int, list[int]] = {}
    for clip in recorder.clips:
        people.setdefault(clip.track_id, []).extend(range(clip.first, clip.first + len(clip)))
    return people


def test_the_centre_face_is_kept_while_it_is_there(source: Path, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    """Person 1 walks away from the centre, person 0 comes near; person 1 leaves at frame 8."""
    follow(lambda index: [(0, face(40 + 5 * index, 42, 20)), (1, face(140 + 4 * index, 42, 20))][: 2 if index < 8 else 1])
    recorder = record()
    outcome = restore_video(source, tmp_path / "out.mkv", settings(only_center_face=True), tracks=tmp_path / "tracks.json", progress=False)
    assert frames_restored(recorder) == {1: list(range(8)), 0: list(range(8, 12))}
    assert (outcome.faces, outcome.people) == (12, 2)
    first = json.loads((tmp_path / "tracks.json").read_text())["frames"][0]["faces"]
    assert {(one["track"], one["person"], one["done"], one["why"]) for one in first} == {
        (0, None, "passed", "another face is nearer to the centre"),
        (1, 1, "restored", "96 px crop, key frame of 0.000 s"),
    }


def test_a_cut_lets_the_centre_face_be_chosen_anew(source: Path, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    follow(lambda index: [(0, face(60, 42, 20)), (1, face(110 + 12 * index, 42, 20))], cuts=[8])
    recorder = record()
    restore_video(source, tmp_path / "out.mkv", settings(only_center_face=True), progress=False)
    assert frames_restored(recorder) == {1: list(range(8)), 0: list(range(8, 12))}


@pytest.mark.parametrize(("residual", "size"), [(True, 96), (False, 96), (True, 128)])
def test_aligned_input_is_restored_as_a_whole(
    tmp_path: Path, follow: Any, record: Any, moving: Any, make_video: Any, frames_of: Any, residual: bool, size: int
) -> None:
    path = make_video(tmp_path / "in.mp4", moving(5, (96, 96)))
    follow(lambda _: [])
    recorder = record(brighter, residual=residual, crop_sizes=(64, size))
    restore_video(path, tmp_path / "out.mkv", settings(has_aligned=True), progress=False)
    assert [clip.crops.shape[1:3] for clip in recorder.clips] == [(size, size)] * 2
    before = tmp_path / "before.mkv"
    recorder._change = lambda clip: clip.crops
    restore_video(path, before, settings(has_aligned=True), progress=False)
    for (_, _, one), (_, _, other) in zip(frames_of(tmp_path / "out.mkv"), frames_of(before), strict=True):
        change = one.astype(int) - other
        assert abs(np.median(change) - 40) <= 1
        assert (change[[0, 0, -1, -1], [0, -1, 0, -1]] > 20).all()


def test_aligned_input_must_be_square(source: Path, tmp_path: Path, record: Any) -> None:
    record()
    with pytest.raises(MediaError, match="--has_aligned: expected square pictures, got 256x96"):
        restore_video(source, tmp_path / "out.mkv", settings(has_aligned=True), progress=False)


def test_boxes_are_drawn_around_restored_faces(source: Path, tmp_path: Path, follow: Any, record: Any, face: Any, frames_of: Any) -> None:
    follow(lambda index: [(0, face(64, 42, 20))] if index < 6 else [])
    record()
    for name, drawn in (("box.mkv", True), ("plain.mkv", False)):
        restore_video(source, tmp_path / name, settings(draw_box=drawn), progress=False)
    for index, (boxed, plain) in enumerate(zip(frames_of(tmp_path / "box.mkv"), frames_of(tmp_path / "plain.mkv"), strict=True)):
        changed = (boxed[2] != plain[2]).any(axis=2)
        assert changed.any() == (index < 6)
        if index < 6:
            rows, columns = np.nonzero(changed)
            assert columns.min() < 44
            assert 84 < columns.max() < 110
            assert not changed[rows.min() + 10 : rows.max() - 9, columns.min() + 10 : columns.max() - 9].any()


def test_a_rate_of_ones_own_leaves_out_the_sound(portrait_video: Path, tmp_path: Path, record: Any, frames_of: Any) -> None:
    record(crop_sizes=(128,))
    outcome = restore_video(portrait_video, tmp_path / "out.mkv", settings(fps=Fraction(10)), progress=False)
    assert [time for time, _, _ in frames_of(tmp_path / "out.mkv")] == [Fraction(index, 10) for index in range(12)]
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert len(container.streams.audio) == 0
    assert outcome.notes == ["--save_video_fps: sound and subtitles are left out, they would not fit the new times"]


def brightness(rgb: npt.NDArray[np.uint8], _points: Any) -> npt.NDArray[np.float32]:
    """Faces turn away from one another by a degree a level."""
    angle = np.deg2rad(rgb.mean())
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def grey_clip(first: int, count: int) -> FaceClip:
    crops = np.full((count, 8, 8, 3), 50, np.uint8)
    return FaceClip(0, first, crops, np.tile(np.eye(2, 3), (count, 1, 1)), np.zeros((count, 68, 2), np.float32))


def test_the_identity_guard_finds_the_strength_that_is_alike_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 degrees apart; 20 degrees (half of it) are allowed, 30 are not."""
    monkeypatch.setattr(guard, "embed", brightness)
    judge = IdentityGuard(float(np.cos(np.deg2rad(22))))
    clip, later, last = grey_clip(0, 5), grey_clip(5, 10), grey_clip(40, 3)
    first = judge.judge(clip, clip.crops, [None] * 5)
    np.testing.assert_array_equal(first.strengths, np.ones(5))
    assert first.identities == pytest.approx({0: 1.0})
    second = judge.judge(later, later.crops + np.uint8(40), [None] * 10)
    np.testing.assert_allclose(second.strengths, [max(1 - (index + 1) / 8, 0.5) for index in range(10)])
    assert second.identities == pytest.approx({7: np.cos(np.deg2rad(20))}, abs=1e-6), "12 frames after the first comparison"
    after = judge.judge(last, last.crops + np.uint8(200), [None] * 3)
    np.testing.assert_array_equal(after.strengths, np.zeros(3), "after an absence at once")
    assert after.identities == {0: 1.0}, "what is shown is the input"


def test_the_identity_guard_looks_when_the_expert_changes_and_not_at_faces_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "embed", brightness)
    clip = grey_clip(3, 9)
    experts = [Decision(80, 100, 1, name, "") for name in ("T", "T", "none", "none", "F", "F", "T", "T", "T")]
    judged = IdentityGuard(0.5).judge(clip, clip.crops + np.uint8(20), experts)
    assert sorted(judged.identities) == [0, 4, 6]
    np.testing.assert_array_equal(judged.strengths, np.ones(9))


def test_a_face_like_nobody_is_left_as_it_was(
    source: Path, tmp_path: Path, follow: Any, record: Any, face: Any, frames_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "embed", brightness)
    follow(lambda _: [(0, face(64, 42, 20))])
    record(lambda clip: 255 - clip.crops)
    outcome = restore_video(source, tmp_path / "out.mkv", settings(min_identity=1.0), tracks=tmp_path / "tracks.json", progress=False)
    faces = [one for frame in json.loads((tmp_path / "tracks.json").read_text())["frames"] for one in frame["faces"]]
    assert {(one["done"], one["strength"]) for one in faces} == {("weakened", 0.0)}
    assert all(one["why"].endswith("identity below --min-identity") for one in faces)
    assert [one.get("identity") for one in faces] == [1.0, *[None] * 11], "compared every 12 frames; what is shown is the input"
    assert outcome.as_json()["identity"] == [{"person": 0, "compared": 1, "mean": 1.0, "min": 1.0}]
    record()
    restore_video(source, tmp_path / "plain.mkv", settings(), progress=False)
    for one, other in zip(frames_of(tmp_path / "out.mkv"), frames_of(tmp_path / "plain.mkv"), strict=True):
        np.testing.assert_array_equal(one[2], other[2])


def test_tracks_lists_every_face_of_every_frame(source: Path, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    follow(lambda index: [] if 4 <= index <= 5 else [(3, face(64 + index, 42, 20))], cuts=[8])
    record()
    restore_video(source, tmp_path / "out.mkv", settings(), tracks=tmp_path / "tracks.json", progress=False)
    told = json.loads((tmp_path / "tracks.json").read_text())
    assert (told["version"], told["source"], told["width"], told["height"]) == (1, "in.mp4", 256, 96)
    assert [frame["index"] for frame in told["frames"]] == list(range(12))
    assert [Fraction(frame["time"]) for frame in told["frames"]] == [Fraction(index, 25) for index in range(12)]
    assert [frame["cut"] for frame in told["frames"]] == [index == 8 for index in range(12)]
    for index, frame in enumerate(told["frames"]):
        (one,) = frame["faces"]
        assert (one["person"], one["track"], one["done"], one["strength"]) == (3, 3, "restored", 1.0)
        assert (one["seen"], one["score"]) == ((False, 0.0) if 4 <= index <= 5 else (True, 1.0))
        np.testing.assert_allclose(one["landmarks"], face(64 + index, 42, 20), atol=0.01)
        x0, y0, x1, y1 = one["box"]
        assert x0 < 54 + index < 74 + index < x1
        assert y0 < 42 < y1
    assert told["frames"][4]["faces"][0]["why"] == "96 px crop, key frame of 0.000 s, landmarks bridged over a gap"


def test_a_failed_pass_leaves_no_tracks(source: Path, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    follow(lambda _: [(0, face(64, 42, 20))])
    record(lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(ZeroDivisionError):
        restore_video(source, tmp_path / "out.mkv", settings(), tracks=tmp_path / "tracks.json", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_the_plan_counts_and_writes_nothing(
    source: Path, tmp_path: Path, follow: Any, record: Any, face: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    follow(lambda index: [(0, face(64, 42, 20)), (1, face(180, 42, 20))][: 2 if index < 6 else 1])
    recorder = record(clip_length=8)
    plan = plan_of(source, settings())
    assert (plan.frames, plan.sampled, plan.people, plan.faces_per_frame) == (12, 12, 2, 1.5)
    assert (plan.clip_length, plan.look_ahead) == (8, 15)
    assert plan.frame_bytes == (15 + 8 + 1 + 8) * 3 * 256 * 96
    assert plan.seconds > 0
    assert [len(clip) for clip in recorder.clips] == [1, 1]
    assert command("-i", source, "--dry-run", "--restorer", "recorder", "--max_length", 2, "--upscale", 2) == 0
    told = capsys.readouterr().out
    assert "12 frames" in told
    assert "clips of 2" in told
    assert command("-i", source, "--dry-run", "--restorer", "recorder", "--overlap", 8) == 2
    assert "--overlap: expected less than the 8 frames of a clip, got 8" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def settings_from(*words: str) -> Settings:
    return door.settings_of(arguments.read(["-i", "a.mp4", "-o", "b.mp4", *words]))


def test_names_of_the_public_script_are_understood() -> None:
    given = settings_from(
        *("--max_length", "7", "--has_aligned", "--only_center_face", "--draw_box", "--detection_model", "retinaface_resnet50"),
        *("--save_video_fps", "30000/1001", "--min-identity", "0.9", "--protocol", "paper"),
    )
    assert (given.max_length, given.has_aligned, given.only_center_face, given.draw_box) == (7, True, True, True)
    assert (given.detector, given.fps, given.min_identity) == ("retinaface_resnet50", Fraction(30000, 1001), 0.9)
    assert (given.protocol, given.smoothing) == ("paper", 5.0)
    assert settings_from("--protocol", "paper", "--smoothing", "2").smoothing == 2
    assert settings_from("--smoother", "one-euro").smoother == "one-euro"
    plain = settings_from("--all-faces")
    assert (plain.only_center_face, plain.smoothing, plain.max_length, plain.fps) == (False, None, None, None)
    assert stream.tracking_of(plain, Unchanged.spec) == Tracking(10, 10, 1.5, "gaussian", None)


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ((), {}),
        (("--detect-every", "3"), {"every": 3}),
        (("--smoothing", "2"), {"smoothing": 2.0, "region": None}),
        (("--smoother", "one-euro"), {"smoother": "one-euro", "region": None}),
    ],
)
def test_flags_of_following_win_over_what_the_restorer_asks_for(words: tuple[str, ...], changed: dict[str, Any]) -> None:
    asked = Tracking(12, 11, 1.2, "gaussian", (Cutoffs(1.2, 0.007, 1.0), Cutoffs(1.0, 0.010, 1.0)))
    assert stream.tracking_of(settings_from(*words), replace(Unchanged.spec, tracking=asked)) == replace(asked, **changed)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_length": 0}, "--max_length: expected at least 1 frame, got 0"),
        ({"protocol": "vhs"}, "--protocol: expected one of stream, paper, got 'vhs'"),
        ({"min_identity": 1.5}, "--min-identity: expected 0 to 1, got 1.5"),
        ({"fps": Fraction(0)}, "--save_video_fps: expected more than 0"),
    ],
)
def test_values_out_of_range_are_named_with_their_flag(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Settings(**wrong)


@pytest.mark.parametrize("name", ["YOLOv5n", "retinaface_resnet50"])
def test_detectors_run_where_the_user_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class StoppedError(Exception):
        pass

    def load(_name: str, _weights: object, device: str) -> None:
        asked.append(device)
        raise StoppedError

    monkeypatch.setattr(network, "load_network", load)
    detector = stream.build_detector(settings(detector=name, device="cpu"))
    with pytest.raises(StoppedError):
        detector.detect(np.zeros((64, 64, 3), np.uint8))
    assert asked == ["cpu"]
    assert stream.build_detector(settings(detector="dlib-hog", device="cpu")).detect(np.zeros((96, 96, 3), np.uint8)) == []


@pytest.mark.parametrize(
    ("photos", "tracking", "expected"),
    [
        (False, None, (64, 500_000)),
        (False, Tracking(min_face=50, max_pixels=10**6), (50, 10**6)),
        (True, Tracking(min_face=50), (40, 500_000)),
    ],
)
def test_searches_for_faces_as_small_as_the_restorer_asks(photos: bool, tracking: Tracking | None, expected: tuple[int, int]) -> None:
    detector = stream.build_detector(settings(detector="dlib-hog"), tracking, photos=photos)
    assert (detector.min_face, detector.max_pixels) == expected  # type: ignore[attr-defined]
