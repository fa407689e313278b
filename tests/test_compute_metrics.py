"""compute_metrics.py on folders of real files: pairing, gains, files written, failures, exit status."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from keyframes_gan import weights
from keyframes_gan.errors import WeightsError, run_door
from keyframes_gan.measure import measure_pair
from keyframes_gan.report import write_png
from keyframes_gan.video.compress import compress, encode_frames
from keyframes_gan.video.read import VideoReader

Run = Callable[..., tuple[int, str, str]]


def _moving(count: int, size: tuple[int, int] = (96, 64), seed: int = 0) -> Iterator[np.ndarray]:
    """Yield pictures of smooth texture that drifts by a pixel a frame."""
    field = np.random.default_rng(seed).integers(0, 256, (size[1] // 4 + 1, size[0] // 4 + 40, 3)).astype(np.uint8)
    texture = np.repeat(np.repeat(field, 4, axis=0), 4, axis=1)
    for index in range(count):
        yield np.ascontiguousarray(texture[: size[1], index : index + size[0]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("videos")
    for folder in ("original", "compressed_42", "restored"):
        (base / folder).mkdir()
    for number, name in enumerate(("a", "b")):
        encode_frames(_moving(6, seed=number), base / "original" / f"{name}.mp4", rate=Fraction(25), crf=1)
        compress(base / "original" / f"{name}.mp4", base / "compressed_42" / f"{name}.mp4", crf=42)
        compress(base / "original" / f"{name}.mp4", base / "restored" / f"{name}.mp4", crf=24)
    return base


@pytest.fixture
def run(repo_root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    spec = importlib.util.spec_from_file_location("compute_metrics", repo_root / "compute_metrics.py")
    door = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(door)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        status = run_door(door.main, [str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def _rows(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Return the rows of clips and totals."""
    with (folder / "metrics.csv").open(newline="") as file:
        return {(row["video"], row["region"]): row for row in csv.DictReader(file) if row["frame"] == "all"}


def test_folders_are_measured_with_gains(folders: Path, run: Run, tmp_path: Path) -> None:
    arguments = ["--gt_path", folders / "original", "--inference_path", folders / "restored", "--metrics", "psnr,ssim,brisque"]
    status, out, _ = run(*arguments, "--compressed_path", folders / "compressed_42", "--output", tmp_path)
    assert status == 0
    for word in ("PSNR [dB]", "higher is better", "lower is better", "gain +", "Total"):
        assert word in out
    rows = _rows(tmp_path)
    assert list(rows) == [("a", "whole"), ("b", "whole"), ("TOTAL", "whole")]
    expected = measure_pair(VideoReader(folders / "original" / "a.mp4"), VideoReader(folders / "restored" / "a.mp4"))
    assert float(rows["a", "whole"]["psnr"]) == pytest.approx(expected["psnr"])
    total = rows["TOTAL", "whole"]
    assert total["frames"] == "12"
    assert float(total["ssim"]) == pytest.approx((float(rows["a", "whole"]["ssim"]) + float(rows["b", "whole"]["ssim"])) / 2)
    assert float(total["psnr_gain"]) == pytest.approx(float(total["psnr"]) - float(total["psnr_compressed"]))
    assert float(total["brisque_gain"]) == pytest.approx(float(total["brisque_compressed"]) - float(total["brisque"]))
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored["total"]["whole"]["restored"]["psnr"] == pytest.approx(float(total["psnr"]))
    assert stored["metrics"]["brisque"]["higher_is_better"] is False
    assert [video["name"] for video in stored["videos"]] == ["a", "b"]


def test_missing_lpips_weights_are_told(folders: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, target: Path, **_: object) -> None:
        msg = f"{target.name}: cannot fetch {url}"
        raise WeightsError(msg)

    monkeypatch.setattr(weights, "fetch", refuse)
    monkeypatch.setattr(weights, "_torch_cache", lambda: tmp_path / "none")
    if (weights.FOLDER / weights.entry("alexnet").file).is_file():
        pytest.skip("LPIPS's weights are here")
    arguments = ["--gt_path", folders / "original", "--inference_path", folders / "restored", "--metrics", "psnr,lpips"]
    status, out, _ = run(*arguments, "--output", tmp_path)
    assert status == 2
    row = weights.entry("alexnet")
    assert f"LPIPS unavailable: {row.file} is not here" in out
    assert f"put it at {weights.FOLDER / row.file}" in out
    assert _rows(tmp_path)["a", "whole"]["lpips"] == "unavailable"
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert row.file in stored["metrics"]["lpips"]["unavailable"]
    status, out, _ = run(*arguments[:4], "--output", tmp_path)
    assert status == 0, "without --metrics, what is available is what counts"
    assert "LPIPS unavailable" in out


def test_what_has_no_value_is_told(folders: Path, run: Run, tmp_path: Path) -> None:
    paths = ["--gt_path", folders / "original", "--inference_path", folders / "restored", "--output", tmp_path]
    status, out, _ = run(*paths, "--metrics", "psnr,seam_ratio")
    assert status == 2
    assert "Seam ratio unavailable: expected --clip_length" in out
    status, out, _ = run(*paths, "--metrics", "psnr,fid,seam_ratio", "--region", "full,face", "--clip_length", "3")
    assert status == 2
    assert "not measured: a, face: psnr, seam_ratio: no frame has" in out
    assert "not measured: total, face: fid" in out or "FID unavailable" in out
    assert "not measured: a, whole" not in out
    assert float(_rows(tmp_path)["a", "whole"]["psnr"]) > 20
    assert any(line.startswith("b, face: psnr") for line in json.loads((tmp_path / "metrics.json").read_text())["unmeasured"])
    status, out, _ = run(*paths, "--metrics", "psnr,seam_ratio", "--clip_length", "3")
    assert status == 0, out


def test_a_border_that_leaves_nothing_is_a_failure(folders: Path, run: Run, tmp_path: Path) -> None:
    paths = ["--gt_path", folders / "original" / "a.mp4", "--inference_path", folders / "restored" / "a.mp4", "--output", tmp_path]
    status, out, _ = run(*paths, "--metrics", "psnr", "--crop_border", "32")
    assert status == 2
    assert "failed: a: --crop_border: expected 0 to 31 for 96x64, got 32" in out


def test_one_bad_video_does_not_stop_the_others(folders: Path, run: Run, tmp_path: Path) -> None:
    results = tmp_path / "results"
    (results / "b").mkdir(parents=True)
    encode_frames(_moving(5), results / "a.mp4", rate=Fraction(25), crf=20)
    encode_frames(_moving(6, seed=1), results / "b" / "output_video.mp4", rate=Fraction(25), crf=20)
    encode_frames(_moving(6), results / "stranger.mp4", rate=Fraction(25), crf=20)
    status, out, _ = run("--gt_path", folders / "original", "--inference_path", results, "--metrics", "psnr")
    assert status == 2
    assert f"failed: a: {results / 'a.mp4'}: expected 6 frames as {folders / 'original' / 'a.mp4'}, got 5" in out
    assert f"missing: stranger: no original video in {folders / 'original'}" in out
    assert list(_rows(results)) == [("b", "whole"), ("TOTAL", "whole")]
    stored = json.loads((results / "metrics.json").read_text())
    assert set(stored["failed"]) == {"a"}


def test_other_size_is_named(folders: Path, run: Run, tmp_path: Path) -> None:
    encode_frames(_moving(6, (64, 64)), tmp_path / "a.mp4", rate=Fraction(25), crf=20)
    status, out, _ = run("--gt_path", folders / "original" / "a.mp4", "--inference_path", tmp_path / "a.mp4", "--metrics", "psnr")
    assert status == 2
    assert f"{tmp_path / 'a.mp4'}: expected 96x64 as {folders / 'original' / 'a.mp4'}, got 64x64" in out


def test_missing_compressed_is_listed_and_total_shows_no_gain(folders: Path, run: Run, tmp_path: Path) -> None:
    compressed = tmp_path / "compressed"
    compressed.mkdir()
    (compressed / "a.mp4").write_bytes((folders / "compressed_42" / "a.mp4").read_bytes())
    arguments = ["--gt_path", folders / "original", "--inference_path", folders / "restored", "--compressed_path", compressed]
    status, out, _ = run(*arguments, "--metrics", "psnr", "--output", tmp_path)
    assert status == 2
    assert f"missing: b: no compressed video in {compressed}" in out
    rows = _rows(tmp_path)
    assert rows["a", "whole"]["psnr_gain"]
    assert not rows["b", "whole"]["psnr_gain"]
    assert not rows["TOTAL", "whole"]["psnr_gain"]


def test_single_files_of_other_names_and_a_folder_of_pictures(folders: Path, run: Run, tmp_path: Path) -> None:
    files = ["--gt_path", folders / "original" / "a.mp4", "--inference_path", folders / "restored" / "b.mp4"]
    status, _, _ = run(*files, "--metrics", "psnr", "--output", tmp_path)
    assert status == 0
    for frame in VideoReader(folders / "original" / "a.mp4"):
        write_png(frame.rgb, tmp_path / "pictures" / "a" / f"{frame.index}.png")
    status, _, _ = run("--gt_path", folders / "original" / "a.mp4", "--inference_path", tmp_path / "pictures", "--metrics", "psnr")
    assert status == 0
    assert float(_rows(tmp_path / "pictures")["a", "whole"]["psnr"]) == 100.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--metrics", "pnsr"], "--metrics: expected some of psnr, ssim"),
        (["--metrics", ","], "--metrics: expected at least one, got none"),
        (["--metrics", ""], "--metrics: expected at least one, got none"),
        (["--every", "0"], "--every: expected 1 (every frame) or more, got 0"),
        (["--crop_border", "-1"], "--crop_border: expected 0 or more pixels, got -1"),
        (["--gt_path", "nowhere"], "--gt_path: expected a folder of videos or a video, got nowhere"),
        (["--inference_path", "nowhere"], "--inference_path: expected a folder of videos or a video, got nowhere"),
        (["--compressed_path", "nowhere"], "--compressed_path: expected a folder"),
        (["--detector", "none", "--face-region"], "dlib-hog"),
    ],
)
def test_bad_arguments_get_one_line(arguments: Sequence[str], words: str, folders: Path, run: Run, tmp_path: Path) -> None:
    paths = ["--gt_path", folders / "original", "--inference_path", folders / "restored", "--metrics", "psnr", "--output", tmp_path]
    status, out, err = run(*paths, *arguments)
    assert status == 2
    assert words in out + err
    assert len(err.splitlines()) <= 1


def test_an_output_that_cannot_be_is_told_before_any_work(folders: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyframes_gan.measure.batch.measure_files", lambda *_, **__: pytest.fail("too late"))
    (tmp_path / "file").write_text("text")
    (tmp_path / "taken" / "metrics.json").mkdir(parents=True)
    paths = ["--gt", folders / "original", "--restored", folders / "restored", "--metrics", "psnr", "--output"]
    for output, words in (
        (tmp_path / "file", f"--output: expected a folder for metrics.csv and metrics.json, got {tmp_path / 'file'}"),
        (tmp_path / "file" / "deep" / "er", f"but {tmp_path / 'file'} is a file"),
        (tmp_path / "taken", "metrics.json: cannot write, this is a folder"),
    ):
        status, out, err = run(*paths, output)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert words in err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "metrics.json", "taken"]


def test_nothing_to_compare(folders: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, _, err = run("--gt_path", folders / "original", "--inference_path", tmp_path / "empty")
    assert status == 2
    assert "expected videos named like those in" in err
    status, _, err = run("--gt_path", tmp_path / "empty", "--inference_path", folders / "restored")
    assert "--gt_path: expected videos" in err


def test_two_videos_of_one_name_are_refused(folders: Path, run: Run, tmp_path: Path) -> None:
    for suffix in ("mp4", "mkv"):
        (tmp_path / f"a.{suffix}").write_bytes((folders / "original" / "a.mp4").read_bytes())
    status, _, err = run("--gt_path", tmp_path, "--inference_path", folders / "restored")
    assert status == 2
    assert "one video per name, got a.mkv and a.mp4" in err


def test_faces_are_measured_apart(clips_dir: Path, run: Run, tmp_path: Path) -> None:
    with VideoReader(clips_dir / "val" / "spk25.mp4") as reader:
        frames = [frame.rgb for frame, _ in zip(reader, range(6), strict=False)]
    encode_frames(iter(frames), tmp_path / "gt.mp4", rate=Fraction(30), crf=8)
    spoilt = [frame.copy() for frame in frames]
    for frame in spoilt:
        frame[:20] = 0
        frame[:, :30] = 0
    encode_frames(iter(spoilt), tmp_path / "test.mp4", rate=Fraction(30), crf=8)
    files = ["--gt_path", tmp_path / "gt.mp4", "--inference_path", tmp_path / "test.mp4"]
    status, out, _ = run(*files, "--metrics", "psnr,ssim", "--face-region")
    assert status == 0
    assert "Faces only" in out
    rows = _rows(tmp_path)
    assert float(rows["gt", "face"]["psnr"]) > float(rows["gt", "whole"]["psnr"]) + 10


def test_several_at_a_time_give_the_same(folders: Path, run: Run, tmp_path: Path) -> None:
    paths = ["--gt", folders / "original", "--restored", folders / "restored", "--metrics", "psnr,tof"]
    for jobs in (1, 2):
        status, _, err = run(*paths, "--jobs", jobs, "--output", tmp_path / str(jobs))
        assert status == 0, err
    one, two = (json.loads((tmp_path / jobs / "metrics.json").read_text()) for jobs in ("1", "2"))
    assert one["videos"] == two["videos"]
    assert (tmp_path / "1" / "metrics.csv").read_text() == (tmp_path / "2" / "metrics.csv").read_text()


def test_trees_regions_and_the_protocol(portrait_video: Path, run: Run, tmp_path: Path) -> None:
    for folder, crf in (("gt", None), ("restored", 30), ("lq", 45)):
        (tmp_path / folder / "x").mkdir(parents=True)
        if crf is None:
            (tmp_path / folder / "x" / "a.mp4").write_bytes(portrait_video.read_bytes())
        else:
            compress(portrait_video, tmp_path / folder / "x" / "a.mp4", crf=crf)
        shutil.copytree(tmp_path / folder / "x", tmp_path / folder / "y" / "z")
    paths = ["--gt", tmp_path / "gt", "--restored", tmp_path / "restored", "--lq", tmp_path / "lq", "--every", "6"]
    status, out, err = run(*paths, "--metrics", "psnr,ids,akd", "--region", "full,face,crop", "--clip_length", "6", "--output", tmp_path)
    assert status == 0, err
    assert "Aligned crops of the main person" in out
    rows = _rows(tmp_path)
    assert list(rows)[:3] == [("x/a", "whole"), ("y/z/a", "whole"), ("TOTAL", "whole")]
    for region in ("whole", "face", "crop"):
        total = rows["TOTAL", region]
        assert all(float(total[f"{name}_gain"]) > 0 for name in ("psnr", "ids", "akd"))
    with (tmp_path / "metrics.csv").open(newline="") as file:
        frames = [row for row in csv.DictReader(file) if (row["video"], row["region"]) == ("x/a", "whole") and row["frame"] != "all"]
    assert [(row["frame"], float(row["time"])) for row in frames] == [("0", 0), ("6", 0.24)]
    assert float(rows["x/a", "whole"]["psnr"]) == pytest.approx(np.mean([float(row["psnr"]) for row in frames]))
    stored = json.loads((tmp_path / "metrics.json").read_text())
    told = stored["protocol"]
    assert (told["detector"], told["crop"]["size"], told["every"], told["clip_length"]) == ("dlib-hog", 512, 6, 6)
    assert len(told["weights"]["shape_predictor_68_face_landmarks.dat"]) == 64
    assert {"commit", "date", "processor", "torch", "color", "flow", "matching"} <= set(told)
    spread = stored["videos"][0]["whole"]["statistics"]["restored"]["psnr"]
    low, high = spread["ci95"]
    assert low < spread["mean"] < high
    assert (spread["count"], spread["over"]) == (2, "frames")
    assert stored["total"]["whole"]["statistics"]["restored"]["psnr"]["over"] == "clips"
    assert stored["metrics"]["psnr"]["better"] == "higher"


def test_a_missing_frame_is_named(folders: Path, run: Run, tmp_path: Path) -> None:
    frames = [frame.rgb for frame in VideoReader(folders / "original" / "a.mp4")]
    encode_frames(iter(frames[:3] + frames[4:]), tmp_path / "a.mp4", rate=Fraction(25), crf=20)
    status, out, _ = run("--gt", folders / "original" / "a.mp4", "--restored", tmp_path / "a.mp4", "--metrics", "psnr")
    assert status == 2
    assert "got 5: frame 5 of the original at 0.200 s is not in it" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--region", "nose"], "--region: expected some of full, face, crop, got nose"),
        (["--jobs", "0"], "--jobs: expected at least 1 video at a time, got 0"),
        (["--clip_length", "0"], "--clip_length: expected at least 1 frame, got 0"),
        (["--device", "abacus", "--metrics", "ids_arcface"], "abacus"),
        (["--gt", "nowhere"], "--gt: expected a folder of videos or a video, got nowhere"),
        (["--gt", ""], "expected the name of a file or folder, got nothing"),
        (["--output", ""], "expected the name of a file or folder, got nothing"),
        (["--lq", "nowhere"], "--lq: expected a folder of videos or a video, got nowhere"),
    ],
)
def test_bad_arguments_of_the_other_form(arguments: Sequence[str], words: str, folders: Path, run: Run, tmp_path: Path) -> None:
    paths = ["--gt", folders / "original", "--restored", folders / "restored", "--metrics", "psnr", "--output", tmp_path]
    status, out, err = run(*paths, *arguments)
    assert status == 2
    assert words in out + err
    assert len(err.splitlines()) <= 1
