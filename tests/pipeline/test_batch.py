"""A folder of videos in, a folder of videos out."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

import video_inference
from keyframes_gan.errors import UserError, run_door
from keyframes_gan.pipeline import batch
from keyframes_gan.types import FaceClip


def command(*words: object) -> int:
    return run_door(video_inference.main, [str(word) for word in [*words, "--restorer", "recorder", "--encoder_preset", "ultrafast"]])


@pytest.fixture
def videos(tmp_path: Path, moving: Any, make_video: Any, follow: Any, face: Any) -> Path:
    """The folder in/ with 2.mp4, 10.mp4 and broken.mp4; faces are followed in all."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("10.mp4", "2.mp4"):
        make_video(folder / name, moving(6))
    (folder / "broken.mp4").write_text("no video")
    (folder / "notes.txt").write_text("no video either")
    follow(lambda _: [(0, face(64, 42, 20))])
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_can_be_restored_is_and_what_fails_is_named(videos: Path, tmp_path: Path, record: Any, capsys: Any, frames_of: Any) -> None:
    record()
    assert command("-i", videos, "-o", tmp_path / "out", "--suffix", "new", "--profile") == 2
    told = capsys.readouterr()
    assert names(tmp_path / "out") == [".10_new.mp4.done.json", ".2_new.mp4.done.json", "10_new.mp4", "2_new.mp4"]
    assert len(frames_of(tmp_path / "out" / "2_new.mp4")) == 6
    assert [line for line in told.err.splitlines() if line.startswith("error:")] == [
        "error: broken.mp4: cannot be read as a video (Invalid data found when processing input); it may be damaged, or not a video at all"
    ]
    assert told.err.index("[1/3] broken.mp4: failed") < told.err.index("[2/3] 2.mp4: 6 frames") < told.err.index("[3/3] 10.mp4: 6 frames")
    assert [line.split(" in ")[0] for line in told.out.splitlines() if "profile" in line] == [
        "2.mp4: profile: 6 frames",
        "10.mp4: profile: 6 frames",
    ]
    assert told.out.endswith("out: 2 restored, 0 finished before, 1 failed\n")
    noted = json.loads((tmp_path / "out" / ".2_new.mp4.done.json").read_text())
    assert (noted["outcome"]["frames"], noted["outcome"]["source"]) == (6, "2.mp4")


def test_a_video_that_goes_away_meanwhile_is_the_one_that_is_named(videos: Path, tmp_path: Path, record: Any, capsys: Any) -> None:
    (videos / "broken.mp4").unlink()

    def restored(clip: FaceClip) -> Any:
        (videos / "10.mp4").unlink(missing_ok=True)
        return clip.crops

    record(restored)
    assert command("-i", videos, "-o", tmp_path / "out") == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert lines == ["error: 10.mp4: cannot be read (No such file or directory); is it still there, and may it be read?"]
    assert "2.mp4" in names(tmp_path / "out")


def test_resume_does_only_what_is_not_done(videos: Path, tmp_path: Path, record: Any, capsys: Any) -> None:
    (videos / "broken.mp4").unlink()
    recorder, out = record(), tmp_path / "out"

    def restored(*more: object) -> set[int]:
        recorder.clips.clear()
        assert command("-i", videos, "-o", out, "--resume", *more) == 0
        return {int(word.split()[0]) for word in capsys.readouterr().out.split(": ")[-1].split(", ")[:1]}

    assert restored() == {2}
    assert restored() == {0}
    assert not recorder.clips
    (out / "2.mp4").write_bytes(b"cut short")
    assert restored() == {1}
    (out / ".10.mp4.done.json").write_text("{")
    assert restored() == {1}
    assert restored("--strength", 0.5) == {2}
    (videos / "2.mp4").write_bytes((videos / "10.mp4").read_bytes() + b"\0")
    assert restored("--strength", 0.5) == {1}
    assert command("-i", videos, "-o", out) == 0
    assert "2 restored, 0 finished before" in capsys.readouterr().out


def test_interrupted_it_keeps_what_is_finished(videos: Path, tmp_path: Path, record: Any, capsys: Any) -> None:
    seen: list[FaceClip] = []

    def interrupt(clip: FaceClip) -> Any:
        seen.append(clip)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return clip.crops

    record(interrupt)
    assert command("-i", videos, "-o", tmp_path / "out") == 130
    assert names(tmp_path / "out") == [".2.mp4.done.json", "2.mp4"]


def test_two_videos_of_one_result_are_told(videos: Path, tmp_path: Path, record: Any, capsys: Any) -> None:
    (videos / "broken.mp4").unlink()
    (videos / "2.avi").write_bytes((videos / "2.mp4").read_bytes())
    record()
    assert command("-i", videos, "-o", tmp_path / "out") == 2
    assert "another video that also becomes 2.mp4; rename one" in capsys.readouterr().err
    assert names(tmp_path / "out") == [".10.mp4.done.json", ".2.mp4.done.json", "10.mp4", "2.mp4"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--tracks", "t.json", "--compare", "c.mp4"], "--compare, --tracks: expected only with one video"),
        (["--suffix", "../x"], "--suffix: expected a part of a file name"),
    ],
)
def test_what_suits_one_video_only_is_refused(videos: Path, tmp_path: Path, record: Any, capsys: Any, more: list[str], words: str) -> None:
    record()
    assert command("-i", videos, "-o", tmp_path / "out", *more) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_folder_itself_is_no_target(videos: Path, record: Any, capsys: Any) -> None:
    record()
    assert command("-i", videos, "-o", videos) == 2
    assert "-o: expected another folder than that of -i" in capsys.readouterr().err


def test_one_video_takes_a_suffix_but_does_not_resume(videos: Path, tmp_path: Path, record: Any, capsys: Any) -> None:
    record()
    assert command("-i", videos / "2.mp4", "-o", tmp_path / "out.mp4", "--resume") == 2
    assert "--resume: expected only with a folder of videos" in capsys.readouterr().err
    assert command("-i", videos / "2.mp4", "-o", tmp_path / "out.mp4", "--suffix", "new") == 0
    assert names(tmp_path) == ["in", "out_new.mp4"]


def test_without_a_name_results_lie_beside_the_input_and_are_no_inputs(videos: Path, tmp_path: Path, record: Any, capsys: Any) -> None:
    (videos / "broken.mp4").unlink()
    record()
    assert command("-i", videos / "2.mp4") == 0
    assert capsys.readouterr().out.startswith(f"{videos / '2_restored.mp4'}: 6 frames")
    assert command("-i", videos / "2.mp4") == 0
    assert names(videos) == ["10.mp4", "2.mp4", "2_restored.mp4", "notes.txt"]
    for _ in range(2):
        capsys.readouterr()
        assert command("-i", videos, "--resume") == 0
        told = capsys.readouterr()
        assert names(tmp_path) == ["in", "in_restored"]
        assert names(tmp_path / "in_restored") == [".10.mp4.done.json", ".2.mp4.done.json", "10.mp4", "2.mp4"]
        assert "note: 2_restored.mp4 is left out, it is what an earlier run made" in told.err
    assert told.out == f"{tmp_path / 'in_restored'}: 0 restored, 2 finished before, 0 failed\n"


@pytest.mark.parametrize(
    ("source", "suffix", "target"),
    [
        ("my.mp4", "", "my_restored.mp4"),
        ("a b/mein Gesicht ü.MOV", "", "a b/mein Gesicht ü_restored.MOV"),
        ("my.webm", "new", "my_new.webm"),
        ("my.avi", "", "my_restored.mp4"),
        ("my", "", "my_restored.mp4"),
        ("v1.2.mkv", "", "v1.2_restored.mkv"),
        ("my.JPEG", "", "my_restored.JPEG"),
        ("folder.v2", "", "folder_v2_restored"),
        ("folder.v2/", "new", "folder_v2_new"),
    ],
)
def test_names_of_results_without_a_name(source: str, suffix: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.v2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert batch.beside(Path(source), suffix) == Path(target)


def test_the_working_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert batch.beside(Path(), "") == tmp_path.with_name(f"{tmp_path.name}_restored")
    with pytest.raises(UserError, match="-o: expected the name of a folder"):
        batch.beside(Path("/"), "")


def test_a_folder_of_pictures_is_one_video(tmp_path: Path) -> None:
    (tmp_path / "0.png").touch()
    assert batch.videos_in(tmp_path) == []
    assert batch.videos_in(tmp_path / "0.png") == []


def test_the_plan_of_a_folder_is_that_of_its_videos(videos: Path, record: Any, capsys: Any) -> None:
    record()
    assert command("-i", videos, "--dry-run") == 2
    told = capsys.readouterr()
    assert told.out.count(".mp4: 6 frames\n") == 2
    assert re.fullmatch(r"error: .*broken\.mp4: .*\n", told.err)
    (videos / "broken.mp4").unlink()
    assert command("-i", videos, "--dry-run") == 0
    assert capsys.readouterr().out.count(".mp4: 6 frames\n") == 2
