"""video_inference.py from the outside: a real face in a real file, and every kind of bad input.

Expected values come from PyAV read directly and from the input itself.
"""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file

import video_inference
from keyframes_gan import restorers, weights
from keyframes_gan.errors import UserError, run_door
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding, VideoWriter


def door(*words: object) -> int:
    return run_door(video_inference.main, [str(word) for word in words])


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        (stream,) = [stream for stream in container.streams if stream.type == kind]
        found = [(packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(stream) if packet.size]
    return sorted(found)


def pictures(path: Path) -> list[npt.NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def write_pictures(path: Path, frames: list[npt.NDArray[np.uint8]]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2] if frames else (96, 96)
        stream.pix_fmt = "yuv420p"
        for index, rgb in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
        if frames:
            container.mux(stream.encode(None))
        else:
            container.start_encoding()
    return path


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 3 frames without a face."""
    ramp = np.tile(np.linspace(40, 200, 96).astype(np.uint8), (96, 1))
    frames = [np.ascontiguousarray(np.stack([np.roll(ramp, index, axis=1)] * 3, axis=2)) for index in range(3)]
    return write_pictures(tmp_path_factory.mktemp("road") / "road.mp4", frames)


@pytest.fixture(scope="module")
def finished(portrait_video: Path, identity_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a network that changes nothing has left out.mkv, pair.mkv and report.json."""
    folder = tmp_path_factory.mktemp("finished")
    outputs = ("-o", folder / "out.mkv", "--compare", folder / "pair.mkv", "--report", folder / "report.json")
    assert door("-i", portrait_video, *outputs, "--codec", "ffv1", "--weights", identity_weights, "--device", "cpu") == 0
    return folder


def test_times_and_sound_are_those_of_the_input(finished: Path, portrait_video: Path) -> None:
    start, given = packets(portrait_video, "video")[0][0], packets(portrait_video, "audio")
    for name in ("out.mkv", "pair.mkv"):
        times, sound = [time for time, _ in packets(finished / name, "video")], packets(finished / name, "audio")
        assert [time - times[0] for time in times] == [Fraction(index, 25) for index in range(12)]
        assert [data for _, data in sound] == [data for _, data in given]
        apart = [(time - times[0]) - (other - start) for (time, _), (other, _) in zip(sound, given, strict=True)]
        assert max(map(abs, apart)) <= Fraction(1, 1000)


def test_a_network_that_changes_nothing_leaves_every_pixel(finished: Path, portrait_video: Path, tmp_path: Path) -> None:
    with VideoReader(portrait_video) as reader:
        size, base, rate = (224, 224), reader.info.time_base, reader.info.rate
        encoding = Encoding(codec="ffv1")
        with VideoWriter(tmp_path / "control.mkv", size=size, time_base=base, rate=rate, like=reader.info, encoding=encoding) as control:
            for frame in reader:
                control.write(frame.rgb, frame.time)
    for got, expected in zip(pictures(finished / "out.mkv"), pictures(tmp_path / "control.mkv"), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert {picture.shape for picture in pictures(finished / "pair.mkv")} == {(224, 448, 3)}


def test_report_says_what_was_done(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text())
    assert (report["frames"], report["faces"], report["people"], report["restorer"]) == (12, 12, 1, "keyframes_lite")
    assert (report["source"], report["target"], report["notes"]) == ("portrait.mp4", "out.mkv", [])
    assert {"decode", "track", "align", "restore", "paste", "encode"} <= set(report["stage_seconds"])
    assert sum(report["stage_seconds"].values()) == pytest.approx(report["seconds"], abs=0.01)
    assert {"detect", "landmarks"} <= set(report["stage_seconds"])
    assert "profile" not in report
    assert report["frames_per_second"] == pytest.approx(12 / report["seconds"], rel=0.01)


def test_video_without_a_face(road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door("-i", road, "-o", tmp_path / "out.mp4", "--restorer", "none") == 2
    assert f"error: {road}: expected a face, found none in 3 frames" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert door("-i", road, "-o", tmp_path / "out.mp4", "--restorer", "none", "--no-face", "copy") == 0
    assert "3 frames, 0 faces of 0 tracks" in capsys.readouterr().out
    assert len(pictures(tmp_path / "out.mp4")) == 3


Arrange = Callable[[Path, Path], list[object]]


def _hostile(folder: Path) -> Path:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(folder / "pwned"),)

    (folder / "hostile.pth").write_bytes(pickle.dumps({"params": Hostile()}))
    return folder / "hostile.pth"


def _checkpoint(folder: Path) -> Path:
    save_file({"conv.weight": torch.zeros(1)}, folder / "other.safetensors")
    return folder / "other.safetensors"


def _text(folder: Path, name: str, text: str = "neither a video nor a picture") -> Path:
    (folder / name).write_text(text)
    return folder / name


def _sound(folder: Path) -> Path:
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts = 44100, 0
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    return folder / "sound.mp4"


def _wall(folder: Path) -> Path:
    cv2.imwrite(str(folder / "wall.png"), np.full((96, 96, 3), 200, np.uint8))
    return folder / "wall.png"


def _cut(folder: Path, video: Path) -> Path:
    (folder / "cut.mp4").write_bytes(video.read_bytes()[:5000])
    return folder / "cut.mp4"


BAD: dict[str, tuple[str, Arrange]] = {
    "missing file": (r"no such file", lambda at, _: ["-i", at / "nowhere.mp4"]),
    "not a video": (r"cannot be read as a video", lambda at, _: ["-i", _text(at, "text.mp4")]),
    "empty file": (r"the file is empty", lambda at, _: ["-i", _text(at, "empty.mp4", "")]),
    "zero frames": (r"cannot be read|without frames|no video stream", lambda at, _: ["-i", write_pictures(at / "zero.mkv", [])]),
    "truncated": (r"cut\.mp4: (truncated|cannot be read)", lambda at, video: ["-i", _cut(at, video)]),
    "empty folder": (r"expected videos or images in the folder, got neither", lambda at, _: ["-i", at]),
    "folder of something else": (r"got neither", lambda at, _: ["-i", _text(at, "notes.txt").parent]),
    "sound alone": (r"sound\.mp4: has no video stream", lambda at, _: ["-i", _sound(at)]),
    "image without a face": (r"wall\.png: expected a face, found none", lambda at, _: ["-i", _wall(at), "-o", at / "out.png"]),
    "image that is none": (r"is not an image", lambda at, _: ["-i", _text(at, "text.png"), "-o", at / "out.png"]),
    "input without a name": (r"-i/--input: expected the name of a file or folder, got nothing", lambda at, _: ["-i", ""]),
    "weights without a name": (r"--weights: expected a name or a file, got nothing", lambda at, video: ["-i", video, "--weights", ""]),
    "original without a name": (r"--gt: expected the name of a file or folder", lambda _, video: ["-i", video, "--gt", ""]),
    "input without a value": (r"-i/--input: expected one argument; see --help", lambda at, _: ["-i"]),
    "word without a flag": (r"unknown: my\.mp4; see --help", lambda at, video: ["-i", video, "my.mp4"]),
    "unknown flag": (r"unknown: --strenght 0\.5; did you mean --strength\?", lambda at, video: ["-i", video, "--strenght", "0.5"]),
    "output in no folder": (r"-o: cannot write", lambda at, video: ["-i", video, "-o", at / "no" / "out.mp4"]),
    "output is a folder": (r"this is a folder", lambda at, video: ["-i", video, "-o", (at / "folder.mp4").mkdir() or at / "folder.mp4"]),
    "output is another folder": (r"output name ending in \.mp4.*, got a folder", lambda at, video: ["-i", video, "-o", at]),
    "output of another kind": (r"output name ending in", lambda at, video: ["-i", video, "-o", at / "out.txt"]),
    "codec not for the container": (r"\.webm", lambda at, video: ["-i", video, "-o", at / "out.webm", "--codec", "h264"]),
    "same input and output": (r"-o: expected another file", lambda at, video: ["-i", video, "-o", video]),
    "same comparison": (r"--compare: expected another file", lambda at, video: ["-i", video, "--compare", at / "out.mp4"]),
    "report in no folder": (r"--report: cannot write", lambda at, video: ["-i", video, "--report", at / "no" / "report.json"]),
    "report is a folder": (
        r"page\.html: cannot write, this is a folder",
        lambda at, video: ["-i", video, "--report", (at / "page.html").mkdir() or at / "page.html"],
    ),
    "original that is no video": (
        r"--gt: .*text\.mp4: cannot be read as a video",
        lambda at, video: ["-i", video, "--report", at / "page.html", "--gt", _text(at, "text.mp4")],
    ),
    "wrong checkpoint": (r"missing.*extra.*choose other weights", lambda at, video: ["-i", video, "--weights", _checkpoint(at)]),
    "hostile pickle": (r"unpickling it could run code", lambda at, video: ["-i", video, "--weights", _hostile(at)]),
    "no such weights": (r"change --weights", lambda at, video: ["-i", video, "--weights", at / "no.pth"]),
    "no such weights' name": (r"change --weights", lambda at, video: ["-i", video, "--weights", "the_best"]),
    "weights' name mistyped": (
        r"did you mean keyframes_lite\? change --weights",
        lambda at, video: ["-i", video, "--weights", "keyframe_lite"],
    ),
    "preset of the encoder": (r"write --encoder_preset medium$", lambda at, video: ["-i", video, "--preset", "medium"]),
    "unknown preset": (r"--preset: expected one of faithful, vivid, got 'best'", lambda at, video: ["-i", video, "--preset", "best"]),
    "preset of no restorer": (
        r"--preset: expected with --restorer keyframes_lite",
        lambda at, video: ["-i", video, "--preset", "vivid", "--restorer", "none"],
    ),
    "preset and weights": (
        r"--preset: expected without --weights",
        lambda at, video: ["-i", video, "--preset", "faithful", "--weights", "x"],
    ),
    "unknown preset of the encoder": (r"--encoder_preset: .*ultrafast", lambda at, video: ["-i", video, "--encoder_preset", "best"]),
    "unknown restorer": (r"--restorer: expected one of keyframes_lite", lambda at, video: ["-i", video, "--restorer", "magic"]),
    "restorer mistyped": (r"did you mean keyframes_lite\?", lambda at, video: ["-i", video, "--restorer", "keyframe_lite"]),
    "unknown device": (r"--device: ", lambda at, video: ["-i", video, "--restorer", "keyframes_lite", "--device", "abacus"]),
    "unknown precision": (r"--precision: ", lambda at, video: ["-i", video, "--restorer", "keyframes_lite", "--precision", "fp1"]),
    "unknown detector": (r"dlib-hog", lambda at, video: ["-i", video, "--detector", "eyes"]),
    "unknown policy": (r"--policy: ", lambda at, video: ["-i", video, "--policy", "best"]),
    "unknown codec": (r"--codec, .*expected one of h264", lambda at, video: ["-i", video, "--codec", "vhs"]),
    "quality out of range": (r"--quality, .*0 .* to 51", lambda at, video: ["-i", video, "--quality", "99"]),
    "no such photo": (r"no\.jpg", lambda at, video: ["-i", video, "--reference", at / "no.jpg"]),
    "photo that is none": (r"not an image", lambda at, video: ["-i", video, "--reference", _text(at, "text.jpg")]),
    "base_path and input": (
        r"expected -i INPUT \[-o OUTPUT\], --camera N -o OUTPUT, or --base_path",
        lambda at, video: ["-i", video, "--base_path", at],
    ),
    "stages of a file": (r"--save_stages: expected only with --base_path", lambda at, video: ["-i", video, "--save_stages"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    case: str, portrait_video: Path, identity_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, arrange = BAD[case]
    given = arrange(tmp_path, portrait_video)
    before = sorted(tmp_path.rglob("*"))
    more = ["--weights", identity_weights] if "--weights" not in given else []
    output = ["-o", tmp_path / "out.mp4"] if "-o" not in given else []
    assert door(*given, *output, *more) == 2
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    (line,) = [line for line in told.err.splitlines() if "error:" in line]
    assert line.startswith("error: ")
    assert re.search(words, line), line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "expected -i INPUT [-o OUTPUT], --camera N -o OUTPUT, or --base_path FOLDER"),
        (["--camera", "0"], "expected -i INPUT [-o OUTPUT], --camera N -o OUTPUT, or --base_path FOLDER"),
        (["--base_path", "B", "-o", "out"], "expected -i INPUT [-o OUTPUT], --camera N -o OUTPUT, or --base_path FOLDER"),
        (["--base_path", "B", "--reference", "a.jpg", "--compare", "c.mp4"], "--reference, --compare: expected only with -i or --camera"),
        (["--base_path", "B", "--no-face", "copy"], "--no-face: expected only with -i or --camera"),
        (["-i", "in.mp4", "--dry-run", "--profile"], "--profile: expected without --dry-run"),
        (["--base_path", ""], "--base_path/--base-path: expected the name of a file or folder, got nothing"),
        (["--base_path", "B", "--profile"], "--profile: expected only with -i or --camera; leave it out"),
        (["--base_path", "nowhere", "--crf", "35", "--restorer", "none"], "clips_35.jsonl, got no such file; run python preprocessing.py"),
    ],
)
def test_forms_are_not_mixed(given: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door(*given) == 2
    assert words in capsys.readouterr().err


def test_presets_are_sets_of_weights(portrait_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    asked: list[str] = []

    def find(_: str, **settings: Any) -> None:
        asked.append(settings["weights"])
        raise UserError

    monkeypatch.setattr(restorers, "find", find)
    for preset in ("faithful", "vivid"):
        assert door("-i", portrait_video, "-o", tmp_path / "out.mp4", "--preset", preset) == 2
    assert asked == ["keyframes_lite", "keyframes_lite_vivid"]
    faithful, vivid = (weights.entry(name) for name in asked)
    assert faithful.kwargs["detail_share"] < vivid.kwargs["detail_share"]
    capsys.readouterr()
    monkeypatch.setattr(weights, "entries", lambda: {"keyframes_lite": faithful})
    assert door("-i", portrait_video, "-o", tmp_path / "out.mp4", "--preset", "vivid") == 2
    words = "expected weights 'keyframes_lite_vivid' in pretrained_models/manifest.yml, got none; use --preset faithful"
    assert words in capsys.readouterr().err


def test_help_lists_the_restorers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        door("--help")
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert all(name in told for name in restorers.names())
