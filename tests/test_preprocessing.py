"""preprocessing.py from the outside: what lies on disk afterwards, and what happens to bad videos and killed runs.

Expected values come from PyAV read directly, hashlib, and the crop's definition, not from the code under test.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from skimage.data import astronaut

import preprocessing
from keyframes_gan.errors import UserError, run_door
from keyframes_gan.faces import detectors
from keyframes_gan.preprocess import Settings, Summary, clip, layout, run
from keyframes_gan.preprocess.settings import find_videos
from keyframes_gan.types import FaceTrack
from keyframes_gan.video.read import VideoReader

RATE = 12
FRAMES = 20
SIZE = 128


def write_video(path: Path, frames: Iterator[npt.NDArray[np.uint8]], *, crf: int = 12) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": str(crf), "preset": "ultrafast"})
        stream.pix_fmt = "yuv420p"
        for index, rgb in enumerate(frames):
            if index == 0:
                stream.height, stream.width = rgb.shape[:2]
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def portrait(count: int, drift: float = 1.5) -> Iterator[npt.NDArray[np.uint8]]:
    for index in range(count):
        left = int(drift * index)
        yield np.ascontiguousarray(astronaut()[0:256, 80 + left : 336 + left])


def landscape(count: int) -> Iterator[npt.NDArray[np.uint8]]:
    ramp = np.linspace(0, 255, 128).astype(np.uint8)
    for index in range(count):
        yield np.ascontiguousarray(np.stack([np.roll(np.tile(ramp, (128, 1)), index, axis=1)] * 3, axis=2))


def decoded(path: Path) -> list[tuple[Fraction, bool, npt.NDArray[np.uint8]]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [((f.pts - frames[0].pts) * f.time_base, bool(f.key_frame), f.to_ndarray(format="rgb24")) for f in frames]


def read(path: Path) -> npt.NDArray[np.uint8]:
    bgr = cv2.imread(str(path))
    assert bgr is not None, path
    return np.ascontiguousarray(bgr[:, :, ::-1])


def sha256(path: Path) -> str:
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    listed = b"".join(part.name.encode() + b"\0" + part.read_bytes() for part in sorted(path.iterdir()))
    return hashlib.sha256(listed).hexdigest()


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and change time of every file: equal before and after means that nothing was written."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


def door(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(preprocessing.__file__)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "face.mp4", portrait(FRAMES))
    write_video(folder / "empty_road.mp4", landscape(6))
    return folder


@pytest.fixture
def new_base(videos: Path, tmp_path: Path) -> Callable[..., Path]:
    """Give `make(NAME=video, ...)`: a base folder whose `original` holds copies of those videos."""

    def make(**names: str) -> Path:
        (tmp_path / "original").mkdir()
        for name, video in names.items():
            shutil.copy(videos / f"{video}.mp4", tmp_path / "original" / f"{name}.mp4")
        return tmp_path

    return make


@pytest.fixture(scope="module")
def done(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    base = tmp_path_factory.mktemp("done")
    (base / "original").mkdir()
    shutil.copy(videos / "face.mp4", base / "original" / "face.mp4")
    return base, run(Settings(base=base, crfs=(42, 35), size=SIZE), bar=False)


def record(base: Path, crf: int = 42) -> dict[str, Any]:
    (line,) = (base / f"clips_{crf}.jsonl").read_text().splitlines()
    loaded: dict[str, Any] = json.loads(line)
    return loaded


def test_every_crf_gets_its_clip_and_list(done: tuple[Path, Summary]) -> None:
    base, summary = done
    assert [(made.name, made.crf, made.frames, made.kept) for made in summary.made] == [
        ("face", 42, FRAMES, False),
        ("face", 35, FRAMES, False),
    ]
    assert (base / "compressed_35/face.mp4").stat().st_size > (base / "compressed_42/face.mp4").stat().st_size
    assert record(base, 35)["crf"] == 35
    assert not [path for path in base.rglob(".*") if path.name != ".preprocessing.lock"]


def test_record_tells_what_the_videos_say(done: tuple[Path, Summary]) -> None:
    base, _ = done
    told, frames = record(base), decoded(base / "compressed_42/face.mp4")
    first, count = told["first"], told["count"]
    assert json.loads((base / told["folder"] / "clip.json").read_text()) == told
    assert (told["version"], told["name"], told["crf"], told["size"], told["rate"]) == (1, "face", 42, SIZE, str(RATE))
    assert (told["original"], told["compressed"]) == ("original/face.mp4", "compressed_42/face.mp4")
    assert told["is_key"] == [key for _, key, _ in frames][first : first + count]
    assert [Fraction(text) for text in told["times"]] == [Fraction(first + index, RATE) for index in range(count)]
    assert len(told["seen"]) == count == len(frames)


def test_hashes_are_those_of_the_files(done: tuple[Path, Summary]) -> None:
    base, _ = done
    told = record(base)
    folder = told["folder"]
    parts = ["original", "compressed", "landmark_images", "landmarks.npy", "matrices.npy"]
    assert set(told["sha256"]) == {"original/face.mp4", "compressed_42/face.mp4", *(f"{folder}/{part}" for part in parts)}
    assert {path: sha256(base / path) for path in told["sha256"]} == told["sha256"]


def test_crops_show_the_face_where_the_template_puts_it(done: tuple[Path, Summary]) -> None:
    base, _ = done
    folder = base / record(base)["folder"]
    landmarks, matrices = np.load(folder / "landmarks.npy"), np.load(folder / "matrices.npy")
    assert (landmarks.dtype, landmarks.shape) == (np.float32, (FRAMES, 68, 2))
    assert (matrices.dtype, matrices.shape) == (np.float64, (FRAMES, 2, 3))
    np.testing.assert_allclose(landmarks[:, 36:48].mean(axis=1), np.tile([0.5 * SIZE, 0.45 * SIZE], (FRAMES, 1)), atol=1e-3)
    np.testing.assert_allclose(landmarks[:, 36:42].mean(axis=1)[:, 0], 0.38 * SIZE, atol=1e-3)
    for index in (0, FRAMES - 1):
        dots = cv2.imread(str(folder / f"landmark_images/{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        assert dots is not None
        assert dots.shape == (SIZE, SIZE)
        assert set(np.unique(dots)) == {0, 255}
        expected = {
            (round(float(x)), round(float(y))) for x, y in landmarks[index] if 0 <= round(float(x)) < SIZE and 0 <= round(float(y)) < SIZE
        }
        rows, columns = np.nonzero(dots)
        assert set(zip(columns.tolist(), rows.tolist(), strict=True)) == expected


def test_upright_crops_are_windows_of_the_frame(new_base: Callable[..., Path]) -> None:
    base = new_base(face="face")
    assert run(Settings(base=base, size=None, crop_template="upright", limit=Fraction(1, 2)), bar=False).problems == []
    made = record(base)
    folder, side = base / made["folder"], made["size"]
    assert made["options"]["template"] == "upright"
    with VideoReader(base / made["original"]) as reader:
        frame = next(iter(reader)).rgb
    left, top = -np.load(folder / "matrices.npy")[0][:, 2].astype(int)
    rows, columns = slice(max(top, 0), min(top + side, frame.shape[0])), slice(max(left, 0), min(left + side, frame.shape[1]))
    crop = read(folder / "original/000000.png")
    np.testing.assert_array_equal(
        crop[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left], frame[rows, columns]
    )


@pytest.mark.parametrize("stream", ["original", "compressed"])
def test_both_crops_are_cut_with_the_same_matrix(done: tuple[Path, Summary], stream: str) -> None:
    base, _ = done
    told = record(base)
    frames, matrices = decoded(base / told[stream]), np.load(base / told["folder"] / "matrices.npy")
    assert len(list((base / told["folder"] / stream).iterdir())) == FRAMES
    for index in (0, 7, FRAMES - 1):
        expected = cv2.warpAffine(frames[index][2], matrices[index], (SIZE, SIZE), flags=cv2.INTER_CUBIC)
        got = read(base / told["folder"] / stream / f"{index:06d}.png").astype(int)

        def off(shift: int, expected: npt.NDArray[Any] = expected, got: npt.NDArray[Any] = got) -> float:
            return float(np.abs(got - np.roll(expected, shift, axis=(0, 1)))[16:-16, 16:-16].mean())

        assert off(0) < 2.5
        assert off(0) < 0.5 * min(off(1), off(-1))


def test_folders_get_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        made = layout.temporary_folder(tmp_path / "processed" / "face")
    finally:
        os.umask(before)
    assert (made.parent, stat.S_IMODE(made.stat().st_mode)) == (tmp_path / "processed", 0o750)
    assert re.fullmatch(r"\.face\.[0-9a-f]{8}\.part", made.name)


def test_second_run_does_nothing(done: tuple[Path, Summary]) -> None:
    base, _ = done
    before = state(base / "processed_42") | state(base / "compressed_42")
    summary = run(Settings(base=base, crfs=(42,), size=SIZE), bar=False)
    assert (len(summary.made), [kept.frames for kept in summary.kept]) == (0, [FRAMES])
    assert state(base / "processed_42") | state(base / "compressed_42") == before


def test_what_changed_is_done_again(new_base: Callable[..., Path]) -> None:
    base = new_base(face="face")
    settings = Settings(base=base, size=64, limit=Fraction(1, 2))
    assert len(run(settings, bar=False).made) == 1
    (base / "processed_42/face/compressed/000002.png").write_bytes(b"broken")
    assert len(run(settings, bar=False).made) == 1
    assert read(base / "processed_42/face/compressed/000002.png").shape == (64, 64, 3)
    assert len(run(Settings(base=base, size=96, limit=Fraction(1, 2)), bar=False).made) == 1
    assert (record(base)["size"], record(base)["count"]) == (96, RATE // 2)
    write_video(base / "original/face.mp4", portrait(9, drift=0.5))
    assert len(run(settings, bar=False).made) == 1
    assert len(decoded(base / "compressed_42/face.mp4")) == 9


def test_key_frames_every_so_many_seconds(new_base: Callable[..., Path]) -> None:
    base = new_base(face="face")
    run(Settings(base=base, size=64, key_seconds=Fraction("0.5"), landmarks_from="original", lossless=False), bar=False)
    keys = [index for index, key in enumerate(record(base)["is_key"]) if key]
    assert keys == list(range(0, FRAMES, RATE // 2))
    assert (base / "processed_42/face/original/000000.jpg").is_file()


def test_official_layout_is_what_the_public_script_reads(new_base: Callable[..., Path]) -> None:
    base = new_base(face="face")
    result = door("--base_path", base, "--crf", 42, "--layout", "official")
    assert result.returncode == 0, result.stderr
    folder, keys = base / "compressed_42/face", {1, 1 + RATE}
    stems = [f"{number}_key" if number in keys else str(number) for number in range(1, FRAMES + 1)]
    for part in ("frames", "crops", "binary_landmarks"):
        assert {path.name for path in (folder / part).iterdir()} == {f"{stem}.jpg" for stem in stems}
    for part in ("landmarks", "transform_matrices"):
        assert {path.name for path in (folder / part).iterdir()} == {f"{stem}.npy" for stem in stems}
    for part in ("frames", "crops"):
        assert {path.name for path in (base / "original/face" / part).iterdir()} == {f"{stem}.jpg" for stem in stems}
    landmarks, matrix = np.load(folder / "landmarks/1_key.npy"), np.load(folder / "transform_matrices/1_key.npy")
    assert (landmarks.dtype.kind, landmarks.shape, matrix.dtype, matrix.shape) == ("i", (68, 2), np.float64, (2, 3))
    assert read(folder / "crops/1_key.jpg").shape == (256, 256, 3)
    assert read(folder / "frames/1_key.jpg").shape == (256, 256, 3)
    np.testing.assert_allclose(landmarks[36:48].mean(axis=0), [128, 115.2], atol=2)
    dots = read(folder / "binary_landmarks/1_key.jpg")
    inside = landmarks[(landmarks >= 0).all(axis=1) & (landmarks < 256).all(axis=1)]
    assert (dots[inside[:, 1], inside[:, 0]] > 200).all()
    assert "1 complete before" in door("--base_path", base, "--layout", "official").stdout


@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_videos_are_named_and_the_others_done(new_base: Callable[..., Path], jobs: int) -> None:
    base = new_base(road="empty_road", good="face")
    (base / "original/text.mp4").write_text("not a video")
    (base / "original/nothing.mov").write_bytes(b"")
    (base / "original/good.webm").write_bytes(b"the name is taken")
    half = (base / "original/good.mp4").read_bytes()
    (base / "original/cut.mp4").write_bytes(half[: len(half) // 2])
    result = door("--base_path", base, "--size", 64, "--jobs", jobs)
    lines = [line for line in result.stderr.splitlines() if "error:" in line]
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert len(lines) == 5
    for name, reason in (("road", "face"), ("text", ""), ("nothing", ""), ("cut", "")):
        assert [line for line in lines if name in line and reason in line], (name, lines)
    assert record(base)["name"] == "good"
    assert "1 clips made, 0 complete before, 5 problems" in result.stdout
    assert {path.name for path in (base / "processed_42").iterdir()} == {"good"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_it_ends_at_once_and_leaves_nothing(new_base: Callable[..., Path], jobs: int) -> None:
    base = new_base(a="face", b="face", c="face")
    command = [sys.executable, "preprocessing.py", "--base_path", str(base), "--size", "512", "--jobs", str(jobs)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not any((base / "processed_42").glob(".*.part/original/*.png")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert not list((base / "processed_42").glob(".*"))
    assert not any(path.name.startswith(".") for path in (base / "compressed_42").iterdir())


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_half_way_it_resumes(new_base: Callable[..., Path], jobs: int) -> None:
    base = new_base(a="face", b="face", c="face", d="face")
    command = [sys.executable, "preprocessing.py", "--base_path", str(base), "--size", "512", "--jobs", str(jobs)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL, start_new_session=True) as process:
        finished = base / "processed_42"
        deadline = time.monotonic() + 120
        while not (any(finished.glob("[a-d]")) and any(finished.glob(".*.part/original/*.png"))):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    wait_for_the_end_of(process.pid)
    complete = sorted(path.name for path in finished.glob("[a-d]"))
    assert 1 <= len(complete) < 4
    assert all((finished / name / "clip.json").is_file() for name in complete)
    assert jobs > 1 or list(finished.glob(".*.part"))  # workers may get a clip done before they notice that they are alone
    before = {name: state(finished / name) for name in complete}
    summary = run(Settings(base=base, size=512), bar=False)
    assert sorted(kept.name for kept in summary.kept) == complete
    assert len(summary.made) == 4 - len(complete)
    assert {name: state(finished / name) for name in complete} == before
    assert sorted(path.name for path in finished.iterdir()) == ["a", "b", "c", "d"]
    assert [json.loads(line)["name"] for line in (base / "clips_42.jsonl").read_text().splitlines()] == ["a", "b", "c", "d"]
    assert not list((base / "compressed_42").glob(".*"))
    for name in "abcd":
        assert len(list((finished / name / "compressed").iterdir())) == FRAMES


def wait_for_the_end_of(session: int) -> None:
    """Wait until no process of the killed run's session is left: workers end with their parent."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("worker processes outlived the killed run")


def test_full_disk_is_one_line_and_leaves_nothing(new_base: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    base = new_base(face="face")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(layout, "save_picture", full)
    (problem,) = run(Settings(base=base, size=64), bar=False, say=lambda _: None).problems
    assert "No space left on device" in problem
    assert list((base / "processed_42").iterdir()) == []


def test_unexpected_errors_keep_their_traceback_and_leave_nothing(new_base: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    base = new_base(face="face")

    def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(clip, "_points", bug)
    with pytest.raises(ZeroDivisionError):
        run(Settings(base=base, size=64), bar=False)
    assert list((base / "processed_42").iterdir()) == []


def test_two_runs_on_one_folder_are_refused(new_base: Callable[..., Path]) -> None:
    fcntl = pytest.importorskip("fcntl")
    base = new_base(face="face")
    with (base / ".preprocessing.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another preprocessing"):
            run(Settings(base=base), bar=False)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--crf", "52"], "--crf: expected whole numbers from 0 to 51, got 52"),
        (["--crf", "-1"], "got -1"),
        (["--layout", "mine"], "--layout: expected one of default, official"),
        (["--layout", "official", "--crf", "30", "--crf", "40"], "room for one CRF"),
        (["--layout", "official", "--keyframes", "2"], "leave out --keyframes"),
        (["--layout", "official", "--template", "upright"], "leave out --template"),
        (["--template", "paper"], "--template: expected one of eyes, ffhq, upright, got 'paper'"),
        (["--keyframes", "soon"], "--keyframes: expected gop or a number of seconds, got 'soon'"),
        (["--keyframes", "0"], "--keyframes"),
        (["--size", "5"], "--size"),
        (["--detect-every", "0"], "--detect-every"),
        (["--smoothing", "-1"], "--smoothing"),
        (["--smoothing", "inf"], "--smoothing: expected 0 to 10 frames, got inf"),
        (["--smoothing", "nan"], "--smoothing: expected 0 to 10 frames, got nan"),
        (["--landmarks-from", "memory"], "--landmarks-from"),
        (["--jobs", "0"], "--jobs"),
        (["--detector", "eyes"], "dlib-hog"),
    ],
)
def test_bad_flags_are_one_line(new_base: Callable[..., Path], capsys: pytest.CaptureFixture[str], flags: list[str], told: str) -> None:
    base = new_base(face="face")
    assert run_door(preprocessing.main, ["--base_path", str(base), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert sorted(path.name for path in base.iterdir()) == ["original"]


def test_help_and_documentation_list_the_detectors(repo_root: Path) -> None:
    told, page = " ".join(door("--help").stdout.split()), (repo_root / "docs" / "preprocessing.md").read_text(encoding="utf-8")
    for name in detectors.names():
        assert name in told.replace("- ", "-")
        assert f"`{name}`" in page


def test_a_folder_without_a_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_door(preprocessing.main, ["--base_path", ""]) == 2
    assert "--base_path/--base-path: expected the name of a file or folder, got nothing" in capsys.readouterr().err


def test_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        find_videos(tmp_path)
    (tmp_path / "original").mkdir()
    (tmp_path / "original/notes.txt").write_text("hello")
    with pytest.raises(UserError, match="at least one video"):
        find_videos(tmp_path)


def test_videos_come_in_natural_order(tmp_path: Path) -> None:
    (tmp_path / "original").mkdir()
    for name in ("clip10.mp4", "clip2.MOV", "clip1.webm", ".hidden.mp4"):
        (tmp_path / "original" / name).touch()
    assert [path.name for path in find_videos(tmp_path)[0]] == ["clip1.webm", "clip2.MOV", "clip10.mp4"]


@pytest.mark.parametrize(
    ("chosen", "eyes", "mouth", "side"),
    [
        ("default", 40, 40, 256),
        ("default", 80, 80, 384),
        ("default", 50, 130, 384),
        ("official", 50, 130, 256),
        ("official", 80, 80, 384),
        ("default", 400, 400, 1024),
    ],
)
def test_native_size_loses_no_pixel_of_the_face(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, eyes: int, mouth: int, side: int
) -> None:
    """The eyes stand 0.24 of the crop apart; template "eyes" takes their distance as at least 0.6 of that to the mouth."""
    (tmp_path / "original").mkdir()
    source = Path(shutil.copy(videos / "empty_road.mp4", tmp_path / "original" / "face.mp4"))
    points = np.zeros((6, 68, 2), np.float32)
    points[:, 36:42], points[:, 42:48], points[:, 48:68] = (64 - eyes / 2, 40), (64 + eyes / 2, 40), (64, 40 + mouth)
    track = FaceTrack(0, 0, points, np.ones(6, np.bool_), np.ones(6, np.float32))
    monkeypatch.setattr(clip, "main_face", lambda *_: track)
    settings = Settings(base=tmp_path, layout=chosen, size=None)
    assert clip.make_clip(source, 42, settings, lambda _: None) == clip.Outcome("face", 42, 6, kept=False)
    folder = tmp_path / ("compressed_42" if chosen == "official" else "processed_42") / "face"
    told = json.loads((folder / "clip.json").read_text())
    assert (told["size"], told["options"]["size"]) == (side, "native")
    crops = sorted((folder / ("crops" if chosen == "official" else "compressed")).iterdir())
    assert {read(path).shape for path in crops} == {(side, side, 3)}
    assert clip.make_clip(source, 42, settings, lambda _: None).kept


def test_native_is_a_word_for_size() -> None:
    assert preprocessing.parse(["--base_path", "B", "--size", "native"]).size is None
    assert preprocessing.parse(["--base_path", "B", "--size", "384"]).size == 384
    with pytest.raises(UserError, match="--size"):
        preprocessing.parse(["--base_path", "B", "--size", "large"])
