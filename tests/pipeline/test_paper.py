"""The paper's protocol on preprocessed folders: results, stages, timing, and doing again only what must be."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import compute_metrics
import video_inference
from keyframes_gan.errors import UserError, run_door
from keyframes_gan.keyframes.sent import KeyPlan
from keyframes_gan.pipeline import paper
from keyframes_gan.pipeline.paper import restore_preprocessed
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.preprocess.clip import write_clip
from keyframes_gan.preprocess.records import write_list
from keyframes_gan.preprocess.settings import Settings as PreprocessSettings
from keyframes_gan.types import FaceClip, FaceTrack
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding, VideoWriter

LOSSLESS = Encoding(crf=0, preset="ultrafast")
RESULTS = Path("inference/recorder/max_keyframes_2/LFU")
FIRST, COUNT = 2, 10


def settings(**given: Any) -> Settings:
    return Settings(**{"restorer": "recorder", "encoding": LOSSLESS, "max_keyframes": 2, **given})


def restore(base: Path, *, save_stages: bool = False, **given: Any) -> list[str]:
    return restore_preprocessed(base, 42, settings(**given), save_stages=save_stages, progress=False)


def picture(path: Path) -> npt.NDArray[np.uint8]:
    bgr = cv2.imread(str(path))
    assert bgr is not None, path
    return np.ascontiguousarray(bgr[:, :, ::-1])


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory: pytest.TempPathFactory, module_tools: Any) -> Path:
    """Clips "a" (frames 2 to 11 of 14) and "b" (all of 6) at 64 pixels, as preprocessing.py leaves them; key frames 0, 4, 8, 12."""
    base = tmp_path_factory.mktemp("preprocessed")
    asked = PreprocessSettings(base=base, size=64)
    for name, frames, first, count in (("a", 14, FIRST, COUNT), ("b", 6, 0, 6)):
        for folder, crf in (("original", 5), ("compressed_42", 40)):
            (base / folder).mkdir(exist_ok=True)
            module_tools.write_video(base / folder / f"{name}.mp4", module_tools.pictures(frames), gop=4, crf=crf)
        points = np.stack([module_tools.face68(60 + 0.7 * index, 42, 15) for index in range(count)])
        track = FaceTrack(0, first, points, np.ones(count, np.bool_), np.ones(count, np.float32))
        write_clip(base / f"original/{name}.mp4", base / f"compressed_42/{name}.mp4", 42, track, asked, lambda _: None)
    write_list(base, 42)
    return base


@pytest.fixture
def base(preprocessed: Path, tmp_path: Path) -> Path:
    shutil.copytree(preprocessed, tmp_path / "B")
    return tmp_path / "B"


def brighter(clip: FaceClip) -> npt.NDArray[np.uint8]:
    return np.clip(clip.crops.astype(np.int16) + 40, 0, 255).astype(np.uint8)


def test_results_of_unchanged_crops(base: Path, record: Any, frames_of: Any, tmp_path: Path) -> None:
    recorder = record()
    assert restore(base) == []
    assert {path.name for path in (base / RESULTS).iterdir()} == {*paper.VIDEOS, "a", "b", "timing.csv"}
    with VideoReader(base / "compressed_42/a.mp4") as reader:
        info = reader.info
        with VideoWriter(
            tmp_path / "a.mp4", size=(128, 96), time_base=info.time_base, rate=info.rate, like=info, encoding=LOSSLESS
        ) as control:
            for frame in reader:
                control.write(frame.rgb, frame.time)
    whole = frames_of(base / RESULTS / "output_video/a.mp4")
    assert [time for time, _, _ in whole] == [Fraction(index, 25) for index in range(14)]
    for (_, _, got), (_, _, expected) in zip(whole, frames_of(tmp_path / "a.mp4"), strict=True):
        np.testing.assert_array_equal(got, expected)
    crops = [picture(base / f"processed_42/a/compressed/{index:06d}.png") for index in range(COUNT)]
    cropped, stacked = (frames_of(base / RESULTS / f"{video}/a.mp4") for video in ("cropped_output_video", "stacked_output_video"))
    assert [time for time, _, _ in cropped] == [Fraction(index, 25) for index in range(COUNT)]
    for (_, _, single), (_, _, pair), expected in zip(cropped, stacked, crops, strict=True):
        assert np.abs(single.astype(int) - expected).mean() < 3
        assert pair.shape == (64, 128, 3)
        assert np.abs(pair.astype(int) - np.hstack([expected, expected])).mean() < 3
    assert [(clip.first, len(clip)) for clip in recorder.clips] == [(0, 4), (4, 4), (8, 2), (0, 4), (4, 2)]
    np.testing.assert_array_equal(np.concatenate([clip.crops for clip in recorder.clips[:3]]), crops)


def test_key_frames_come_in_high_quality(base: Path, record: Any) -> None:
    recorder = record()
    restore(base, max_keyframes=1)
    references = [reference for clip in recorder.clips[:3] for reference in clip.references]
    assert references[:2] == [None, None]
    for index in range(2, COUNT):
        key = 2 if index < 6 else 6
        assert references[index].time == Fraction(FIRST + key, 25)
        for stream, got in (("original", references[index].picture), ("compressed", references[index].compressed)):
            np.testing.assert_array_equal(got, picture(base / f"processed_42/a/{stream}/{key:06d}.png"))
    assert references[2].landmarks.tolist() == np.load(base / "processed_42/a/landmarks.npy")[2].tolist()


@pytest.mark.parametrize("quality", [None, 30])
def test_key_frames_at_an_interval_asked_for(base: Path, record: Any, quality: int | None) -> None:
    """Frames 2 to 11 at 25/s, one key frame every 0.2 s: in each period the first frame there is, from its own time on."""
    recorder = record()
    restore(base, max_keyframes=1, keys=KeyPlan(Fraction("0.2"), quality))
    references = [reference for clip in recorder.clips[:3] for reference in clip.references]
    assert [25 * reference.time for reference in references] == [2, 2, 2, 5, 5, 5, 5, 5, 10, 10]
    pristine = picture(base / "processed_42/a/original/000003.png")
    assert (references[3].picture == pristine).all() == (quality is None)
    assert np.abs(references[3].picture.astype(int) - pristine).mean() < 4
    np.testing.assert_array_equal(references[3].compressed, picture(base / "processed_42/a/compressed/000003.png"))
    done = json.loads((base / "inference/recorder/max_keyframes_1/LFU/a/done.json").read_text())
    assert (done["keys_sent"], done["key_bits"] > 0) == (3, True)
    recorder.clips.clear()
    restore(base, max_keyframes=1)
    assert recorder.clips


def test_crops_grow_to_a_size_the_restorer_takes(base: Path, record: Any, frames_of: Any) -> None:
    recorder = record(crop_sizes=(128, 256))
    restore(base)
    clip = recorder.clips[0]
    assert clip.crops.shape == (4, 128, 128, 3)
    landmarks, matrices = (np.load(base / f"processed_42/a/{name}.npy")[:4] for name in ("landmarks", "matrices"))
    np.testing.assert_allclose(clip.landmarks, (landmarks + 0.5) * 2 - 0.5, atol=1e-3)
    np.testing.assert_allclose(clip.to_crop[:, :, :2], 2 * matrices[:, :, :2])
    assert {shape.shape for _, _, shape in frames_of(base / RESULTS / "cropped_output_video/a.mp4")} == {(128, 128, 3)}


def test_stages_on_request(base: Path, record: Any) -> None:
    record(brighter)
    restore(base, save_stages=True)
    folder = base / RESULTS / "a"
    assert sorted(path.name for path in folder.iterdir()) == [*paper.STAGES, "done.json"]
    names = [f"{index:06d}.png" for index in range(COUNT)]
    for stage in paper.STAGES:
        without = 2 if stage in ("2_key_frame", "3_warped_key_frame") else 0
        assert sorted(path.name for path in (folder / stage).iterdir()) == names[without:]
    crop = picture(folder / "1_compressed_crop/000005.png")
    np.testing.assert_array_equal(crop, picture(base / "processed_42/a/compressed/000005.png"))
    np.testing.assert_array_equal(picture(folder / "4_restored_crop/000005.png"), np.clip(crop.astype(int) + 40, 0, 255))
    np.testing.assert_array_equal(picture(folder / "2_key_frame/000002.png"), picture(base / "processed_42/a/original/000002.png"))
    warped = picture(folder / "3_warped_key_frame/000002.png").astype(int)
    assert np.abs(warped - picture(folder / "2_key_frame/000002.png")).mean() < 2
    with VideoReader(base / "compressed_42/a.mp4") as reader:
        before = next(frame.rgb for frame in reader if frame.index == FIRST + 5)
    change = picture(folder / "5_restored_frame/000005.png").astype(int) - before
    assert (change[35:55, 55:70] > 25).all()
    assert not change[:, :25].any()


def test_timing_table_has_a_line_a_clip(base: Path, record: Any) -> None:
    record()
    restore(base)
    with (base / RESULTS / "timing.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["frames"]) for row in rows] == [("a", "10"), ("b", "6")]
    stages = {"read_seconds", "restore_seconds", "paste_seconds", "write_seconds"}
    assert set(rows[0]) == {"name", "frames", "seconds_per_frame", *stages}
    for row in rows:
        assert 0 < sum(float(row[stage]) for stage in stages) <= float(row["seconds_per_frame"]) * 1.01 + 1e-4


def test_complete_clips_are_left_alone(base: Path, record: Any) -> None:
    recorder = record()
    restore(base)
    before = {path: value for path, value in state(base / RESULTS).items() if not path.endswith("timing.csv")}
    recorder.clips.clear()
    assert restore(base) == []
    assert recorder.clips == []
    assert {path: value for path, value in state(base / RESULTS).items() if not path.endswith("timing.csv")} == before
    with (base / RESULTS / "timing.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2


@pytest.mark.parametrize("change", ["encoding", "stages", "clip", "video gone", "done gone", "done broken"])
def test_what_changed_is_done_again(base: Path, record: Any, change: str) -> None:
    recorder = record()
    restore(base)
    recorder.clips.clear()
    done: dict[str, tuple[int, int]] = {}
    given: dict[str, Any] = {"encoding": Encoding(crf=1, preset="ultrafast")} if change == "encoding" else {}
    if change == "clip":
        rows = [json.loads(line) for line in (base / "clips_42.jsonl").read_text().splitlines()]
        rows[0]["sha256"] = {path: "0" * 64 for path in rows[0]["sha256"]}
        (base / "clips_42.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif change == "video gone":
        (base / RESULTS / "cropped_output_video/a.mp4").unlink()
    elif change == "done gone":
        (base / RESULTS / "a/done.json").unlink()
    elif change == "done broken":
        (base / RESULTS / "a/done.json").write_text("[1, 2")
    if change not in ("encoding", "stages"):
        done = state(base / RESULTS / "b")
    assert restore(base, save_stages=change == "stages", **given) == []
    assert sum(len(clip) for clip in recorder.clips) == (COUNT if done else COUNT + 6)
    assert not done or state(base / RESULTS / "b") == done
    assert (base / RESULTS / "cropped_output_video/a.mp4").is_file()


def test_other_weights_are_done_again(base: Path, record: Any, tmp_path: Path) -> None:
    recorder = record(weights="of its own")
    (tmp_path / "weights.pth").write_bytes(b"one")
    restore(base, weights=str(tmp_path / "weights.pth"))
    recorder.clips.clear()
    restore(base, weights=str(tmp_path / "weights.pth"))
    assert recorder.clips == []
    (tmp_path / "weights.pth").write_bytes(b"two")
    restore(base, weights=str(tmp_path / "weights.pth"))
    assert sum(len(clip) for clip in recorder.clips) == COUNT + 6


def test_interrupted_clip_is_done_again_and_leaves_nothing(base: Path, record: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(clip: FaceClip) -> npt.NDArray[np.uint8]:
        if len(recorder.clips) == 5:
            assert list((base / RESULTS / "output_video").glob(".part-*-b.mp4"))
            os.kill(os.getpid(), signal.SIGINT)
        return clip.crops

    recorder = record(interrupt)
    fast = ["--quality", "0", "--encoder_preset", "ultrafast"]
    command = ["--base_path", str(base), "--restorer", "recorder", "--max_keyframes", "2", *fast]
    assert run_door(video_inference.main, command) == 130
    assert "Traceback" not in capsys.readouterr().err
    left = {path.relative_to(base / RESULTS).as_posix() for path in (base / RESULTS).rglob("*") if path.is_file()}
    assert left == {"a/done.json", *(f"{video}/a.mp4" for video in paper.VIDEOS)}
    assert not list((base / RESULTS).glob(".*"))
    (base / RESULTS / ".b.killed.part").mkdir()
    (base / RESULTS / "output_video/.part-0123abcd-b.mp4").touch()
    recorder.clips.append(recorder.clips[0])
    before = len(recorder.clips)
    assert run_door(video_inference.main, command) == 0
    assert sum(len(clip) for clip in recorder.clips[before:]) == 6
    assert not list((base / RESULTS).rglob(".*"))


@pytest.mark.parametrize("fault", ["missing video", "truncated video", "short video", "broken crop", "no room"])
def test_one_bad_clip_does_not_stop_the_others(
    base: Path, record: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def full_disk(work: Path, final: Path) -> None:
        if final.name == "a":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        publish(work, final)

    publish = paper.publish
    record()
    video = base / "compressed_42/a.mp4"
    if fault == "missing video":
        video.unlink()
    elif fault == "truncated video":
        video.write_bytes(video.read_bytes()[:-600])
    elif fault == "short video":
        shutil.copy(base / "compressed_42/b.mp4", video)
    elif fault == "broken crop":
        (base / "processed_42/a/compressed/000003.png").write_bytes(b"broken")
    else:
        monkeypatch.setattr(paper, "publish", full_disk)
    assert run_door(video_inference.main, ["--base_path", str(base), "--restorer", "recorder", "--max_keyframes", "2"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert line.startswith("error: a: ")
    for video_folder in paper.VIDEOS:
        shown = {path.name for path in (base / RESULTS / video_folder).iterdir()}
        assert shown == ({"a.mp4", "b.mp4"} if fault == "no room" else {"b.mp4"})
    assert (base / RESULTS / "b/done.json").is_file()
    assert not (base / RESULTS / "a").is_dir()


def test_results_that_cannot_be_written(base: Path, record: Any) -> None:
    record()
    (base / "inference").write_text("a file is in the way")
    for name, line in zip("ab", restore(base), strict=True):
        assert line.startswith(f"{name}: {base / RESULTS / name}: cannot write")


def test_without_preprocessing_it_says_what_to_run(tmp_path: Path, record: Any) -> None:
    record()
    with pytest.raises(UserError, match=r"clips_42\.jsonl.*run python preprocessing\.py --base_path"):
        restore(tmp_path)


def test_crops_that_the_restorer_cannot_take_are_refused(base: Path, record: Any) -> None:
    recorder = record(template="ffhq")
    with pytest.raises(UserError, match=r"--restorer recorder: expected crops of the template ffhq, got eyes in .*a; .*--template ffhq"):
        restore(base)
    assert not (base / "inference").exists()
    listed = base / "clips_42.jsonl"
    listed.write_text(listed.read_text().replace('"template": "eyes"', '"template": "ffhq"'))
    assert restore(base) == []
    assert recorder.clips


def test_a_restorer_that_enlarges_is_refused(base: Path, record: Any) -> None:
    record(lambda clip: clip.crops.repeat(2, axis=1).repeat(2, axis=2))
    lines = restore(base)
    assert [line[:14] for line in lines] == ["a: --restorer:", "b: --restorer:"]
    assert all("64 pixels, got 128 from recorder; use -i and -o" in line for line in lines)
    assert not list((base / "inference").rglob("*.mp4"))


@pytest.mark.parametrize("fault", ["not json", "no first", "no matrices", "short matrices", "bad times"])
def test_bad_records_are_one_line(base: Path, record: Any, fault: str) -> None:
    record()
    rows = [json.loads(line) for line in (base / "clips_42.jsonl").read_text().splitlines()]
    if fault == "no first":
        del rows[0]["first"]
    elif fault == "bad times":
        rows[0]["times"][1] = "soon"
    elif fault == "no matrices":
        (base / "processed_42/a/matrices.npy").unlink()
    elif fault == "short matrices":
        np.save(base / "processed_42/a/matrices.npy", np.zeros((3, 2, 3)))
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (base / "clips_42.jsonl").write_text("{nothing\n" + text if fault == "not json" else text)
    with pytest.raises(UserError, match=r"run preprocessing\.py again"):
        restore(base)


def test_metrics_find_the_results(base: Path, record: Any, capsys: pytest.CaptureFixture[str]) -> None:
    record()
    restore(base)
    command = ["--gt_path", base / "original", "--inference_path", base / RESULTS, "--metrics", "psnr"]
    assert run_door(compute_metrics.main, [str(word) for word in command]) == 0, capsys.readouterr().err
    assert (base / RESULTS / "metrics.csv").is_file()
