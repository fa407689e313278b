"""High-quality key frames beside a video: which frames they serve, what the restorer gets, and originals that do not fit."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import video_inference
from keyframes_gan.errors import MediaError, UserError, run_door
from keyframes_gan.faces import align
from keyframes_gan.keyframes.sent import KeyPlan
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import Outcome, restore_video
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding

LOSSLESS = Encoding(crf=0, preset="ultrafast")
FRAMES = 12


@pytest.fixture
def videos(tmp_path: Path, moving: Any, make_video: Any) -> tuple[Path, Path]:
    """Original and compressed video, 12 frames at 25/s; the compressed one's own key frames are 0, 4 and 8."""
    frames = moving(FRAMES, (160, 128))
    return make_video(tmp_path / "original.mp4", frames, crf=2), make_video(tmp_path / "given.mp4", frames, gop=4, crf=40)


def restore(videos: tuple[Path, Path], tmp_path: Path, **given: Any) -> Outcome:
    asked = Settings(**{"restorer": "recorder", "encoding": LOSSLESS, "max_keyframes": 1, "key_source": videos[0], **given})
    return restore_video(videos[1], tmp_path / "out.mp4", asked, progress=False)


@pytest.mark.parametrize("quality", [None, 40])
def test_key_frames_serve_from_their_own_time_on(
    videos: tuple[Path, Path], tmp_path: Path, record: Any, follow: Any, face: Any, quality: int | None
) -> None:
    """One every 0.2 s: frames 0, 5 and 10, cut from the original, and not the stream's own 4 and 8."""
    recorder = record()
    follow(lambda index: [(0, face(80, 60, 15))])
    outcome = restore(videos, tmp_path, keys=KeyPlan(Fraction("0.2"), quality))
    references = [reference for clip in recorder.clips for reference in clip.references]
    assert [25 * reference.time for reference in references] == [0] * 5 + [5] * 5 + [10] * 2
    clip, reference = recorder.clips[1], references[5]
    with VideoReader(videos[0]) as reader:
        fifth = next(frame.rgb for frame in reader if frame.index == 5)
    pristine = align.crop(fifth, clip.to_crop[1], clip.crops.shape[1])
    assert (reference.picture == pristine).all() == (quality is None)
    assert np.abs(reference.picture.astype(int) - pristine).mean() < 4
    np.testing.assert_array_equal(reference.compressed, clip.crops[1])
    assert (outcome.keys_sent, outcome.as_json()["key_bits"]) == (3, outcome.key_bits)
    assert outcome.key_bits > 0


@pytest.mark.parametrize(
    ("references", "given", "flags"),
    [
        ("given", {"max_keyframes": 1, "policy": "lru"}, "--max_keyframes, --policy"),
        ("given", {"max_keyframes": 5, "policy": "all"}, "--policy"),
        ("given", {"max_keyframes": 5}, None),
        ("given", {"max_keyframes": 1, "keys": KeyPlan(Fraction("0.2"))}, None),
        ("stream", {"max_keyframes": 1, "policy": "lru"}, None),
        ("none", {"max_keyframes": 1}, "--max_keyframes"),
    ],
)
def test_memories_that_nothing_fills_are_told(
    videos: tuple[Path, Path],
    tmp_path: Path,
    record: Any,
    follow: Any,
    face: Any,
    references: str,
    given: dict[str, Any],
    flags: str | None,
) -> None:
    record(references=references)
    follow(lambda index: [(0, face(80, 60, 15))])
    source = {} if "keys" in given else {"key_source": None}
    outcome = restore(videos, tmp_path, **{**source, **given})
    assert [note.split(":")[0] for note in outcome.notes] == ([] if flags is None else [flags])


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"keys": KeyPlan(Fraction("0.2"))}, "--key_interval"),
        ({"keys": KeyPlan(Fraction("0.2")), "references": (Path("photo.jpg"),)}, "--reference and --key_interval"),
        ({"key_source": None, "references": (Path("photo.jpg"),)}, "--reference"),
    ],
)
def test_key_frames_that_nothing_looks_at_are_refused(
    videos: tuple[Path, Path], tmp_path: Path, record: Any, given: dict[str, Any], flags: str
) -> None:
    record(references="none")
    with pytest.raises(UserError, match=f"^{flags}: expected a restorer that key frames guide, got recorder, which looks at none; leave"):
        restore(videos, tmp_path, **given)
    assert not (tmp_path / "out.mp4").exists()


def test_a_restorer_without_key_frames_is_given_none(
    videos: tuple[Path, Path], tmp_path: Path, record: Any, follow: Any, face: Any
) -> None:
    recorder = record(references="none")
    follow(lambda index: [(0, face(80, 60, 15))])
    restore_video(videos[1], tmp_path / "out.mp4", Settings(restorer="recorder"), tracks=tmp_path / "tracks.json", progress=False)
    assert {reference for clip in recorder.clips for reference in clip.references} == {None}
    assert "key frame" not in (tmp_path / "tracks.json").read_text()


def test_a_key_frame_is_sent_for_each_face_that_is_seen(
    videos: tuple[Path, Path], tmp_path: Path, record: Any, follow: Any, face: Any
) -> None:
    record()
    follow(lambda index: [(0, face(40, 60, 12)), *([(1, face(120, 60, 12))] if index > 3 else [])])
    assert restore(videos, tmp_path, keys=KeyPlan(Fraction("0.2"))).keys_sent == 5


def test_originals_that_do_not_fit(
    videos: tuple[Path, Path], tmp_path: Path, record: Any, follow: Any, face: Any, moving: Any, make_video: Any
) -> None:
    record()
    follow(lambda index: [(0, face(80, 60, 15))])
    plan = KeyPlan(Fraction(1))
    smaller = make_video(tmp_path / "smaller.mp4", moving(FRAMES, (128, 96)))
    with pytest.raises(MediaError, match=r"--key_source: expected the original of 160x128 .* got 128x96"):
        restore(videos, tmp_path, keys=plan, key_source=smaller)
    shorter = make_video(tmp_path / "shorter.mp4", moving(FRAMES - 2, (160, 128)))
    with pytest.raises(MediaError, match=r"--key_source: expected a frame at 0\.400 s .* got the end of the video"):
        restore(videos, tmp_path, keys=plan, key_source=shorter)
    slower = make_video(tmp_path / "slower.mp4", moving(FRAMES, (160, 128)), rate=20)
    with pytest.raises(MediaError, match=r"--key_source: expected a frame at 0\.080 s .* got one at 0\.100 s"):
        restore(videos, tmp_path, keys=plan, key_source=slower)
    with pytest.raises(UserError, match="add --key_source VIDEO"):
        restore(videos, tmp_path, keys=plan, key_source=None)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--key_source", "o.mp4"], "--key_source: expected --key_interval beside it"),
        (["--key_quality", "30"], "--key_quality: expected --key_interval beside it"),
        (["--key_interval", "0"], "--key_interval: expected more than 0 seconds"),
        (["--key_interval", "1", "--key_quality", "70"], "--key_quality: expected 1"),
    ],
)
def test_flags_that_do_not_go_together(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_door(video_inference.main, ["-i", "in.mp4", "-o", str(tmp_path / "out.mp4"), "--restorer", "none", *words]) == 2
    assert message in capsys.readouterr().err
