"""A camera through the whole pipeline: FFmpeg's test sources, and a video played in real time, stand in for one."""

from __future__ import annotations

import json
import os
import signal
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

import video_inference
from keyframes_gan.errors import run_door
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.types import FaceClip
from keyframes_gan.video.camera import QUEUE, Camera
from keyframes_gan.video.write import Encoding

QUICK = Encoding(preset="ultrafast")
ENDLESS = "testsrc2=size=128x96:rate=30,realtime,format=yuv420p"


def stamps(path: Path) -> list[Fraction]:
    """The times of all frames of a file, by PyAV alone."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def settings(**given: Any) -> Settings:
    return Settings(**{"restorer": "recorder", "encoding": QUICK, **given})


def test_a_recording_keeps_the_times_at_which_pictures_came(tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    follow(lambda _: [(0, face(64, 42, 20))])
    recorder = record()
    start = time.monotonic()
    outcome = restore_video(
        Camera(ENDLESS, "lavfi", max_frames=40), tmp_path / "out.mp4", settings(), tracks=tmp_path / "tracks.json", progress=False
    )
    elapsed = time.monotonic() - start
    shown = stamps(tmp_path / "out.mp4")
    noted = [Fraction(frame["time"]) for frame in json.loads((tmp_path / "tracks.json").read_text())["frames"]]
    assert len(shown) == outcome.frames == outcome.faces == 40
    assert shown == noted
    assert shown[0] == 0
    assert 0.5 < shown[-1] < elapsed
    assert len(set(shown)) == 40
    assert sum(len(clip) for clip in recorder.clips) == 40


def test_a_slow_restorer_drops_frames_and_counts_them(tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    """A device that gives 200 pictures as fast as it can, and clips that take a third of a second each."""
    follow(lambda _: [(0, face(64, 42, 20))])

    def slowly(clip: FaceClip) -> npt.NDArray[np.uint8]:
        time.sleep(0.35)
        return clip.crops

    record(slowly, clip_length=8)
    outcome = restore_video(Camera("testsrc2=size=128x96:d=8", "lavfi"), tmp_path / "out.mp4", settings(), progress=False)
    assert outcome.frames + outcome.dropped == 200
    assert outcome.dropped > 200 - 3 * QUEUE
    assert len(stamps(tmp_path / "out.mp4")) == outcome.frames >= QUEUE
    assert outcome.as_json()["dropped"] == outcome.dropped
    assert outcome.profile.clock.stages["wait"].count == outcome.profile.clock.experts["recorder"].count == outcome.frames
    assert outcome.profile.clock.experts["recorder"].quantile(0.5) == pytest.approx(0.35 / 8, rel=0.15)
    assert outcome.profile.work_seconds < outcome.seconds
    assert any("ended by itself" in note for note in outcome.notes)


def test_ctrl_c_ends_the_recording_and_leaves_a_playable_file(tmp_path: Path, follow: Any, record: Any, face: Any) -> None:

    def script(index: int) -> list[tuple[int, Any]]:
        if index == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return [(0, face(64, 42, 20))]

    follow(script)
    record()
    before = signal.getsignal(signal.SIGINT)
    outcome = restore_video(Camera(ENDLESS, "lavfi"), tmp_path / "out.mp4", settings(), progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(stamps(tmp_path / "out.mp4")) == outcome.frames > 10
    assert outcome.notes == []


def test_the_second_ctrl_c_gives_up(tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    follow(lambda _: [(0, face(64, 42, 20))])

    def impatient(clip: FaceClip) -> npt.NDArray[np.uint8]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        return clip.crops

    record(impatient)
    with pytest.raises(KeyboardInterrupt):
        restore_video(Camera(ENDLESS, "lavfi"), tmp_path / "out.mp4", settings(), progress=False)
    assert list(tmp_path.iterdir()) == []


def test_from_the_command_line(
    tmp_path: Path, record: Any, portrait_video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A portrait, played in real time over and over; its face is found by the real detector."""
    record()
    asked: list[dict[str, Any]] = []

    def called(name: str, **given: Any) -> Camera:
        asked.append({"name": name, **given})
        return Camera(f"movie={portrait_video}:loop=0,setpts=N/25/TB,realtime", "lavfi", **given)

    monkeypatch.setattr(Camera, "called", called)
    words = ["--camera", "0", "-o", tmp_path / "out.mp4", "--max-frames", 20, "--seconds", 60, "--report", tmp_path / "report.json"]
    assert run_door(video_inference.main, [str(word) for word in [*words, "--restorer", "recorder", "--encoder_preset", "ultrafast"]]) == 0
    assert asked == [{"name": "0", "seconds": 60.0, "max_frames": 20}]
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["frames"] == told["faces"] == len(stamps(tmp_path / "out.mp4")) == 20
    assert told["dropped"] >= 0
    assert "20 frames" in capsys.readouterr().out


def test_nobody_before_the_camera_is_no_error(tmp_path: Path, follow: Any, record: Any) -> None:
    follow(lambda _: [])
    record()
    outcome = restore_video(Camera(ENDLESS, "lavfi", seconds=0.4), tmp_path / "out.mp4", settings(), progress=False)
    assert len(stamps(tmp_path / "out.mp4")) == outcome.frames > 0
    assert outcome.notes == ["no face was seen; the recording is as the camera gave it"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--camera", "0"], "expected -i INPUT [-o OUTPUT], --camera N"),
        (["--camera", "0", "-i", "in.mp4", "-o", "out.mp4"], "expected -i INPUT [-o OUTPUT], --camera N"),
        (["--camera", "0", "-o", "out.mp4", "--dry-run"], "--dry-run: expected only with -i; leave it out"),
        (["--camera", "0", "-o", "out.mp4", "--resume"], "--resume: expected only with -i; leave it out"),
        (["--camera", "0", "-o", "out.mp4", "--save_stages"], "--save_stages: expected only with --base_path; leave it out"),
        (["-i", "in.mp4", "-o", "out.mp4", "--crf", "20"], "--crf: expected only with --base_path; leave it out"),
        (["--base_path", "B", "--resume"], "--resume: expected only with -i; leave it out"),
        (["-i", "in.mp4", "-o", "out.mp4", "--seconds", "2"], "--seconds: expected only with --camera; leave it out"),
        (["--base_path", "B", "--max-frames", "2"], "--max-frames: expected only with --camera; leave it out"),
        (["--camera", "0", "-o", "out.mp4", "--seconds", "0"], "--seconds: expected more than 0, got 0.0"),
    ],
)
def test_flags_that_do_not_go_together(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_door(video_inference.main, words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
