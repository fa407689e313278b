"""`benchmark.py`: every kind of method, data set and degradation; resumed, in processes, with failures; its files and its report."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import yaml

import benchmark
from keyframes_gan import options
from keyframes_gan.benchmark import produce, score
from keyframes_gan.benchmark.plan import LOSSLESS
from keyframes_gan.errors import run_door
from keyframes_gan.metrics.fidelity import psnr
from keyframes_gan.portrait import portrait_clip
from keyframes_gan.video.compress import encode_frames
from keyframes_gan.video.read import VideoReader

Change = Callable[[dict[str, Any]], None]
SMALL: dict[str, Any] = {
    "name": "small",
    "datasets": {"portrait": {"type": "portrait", "frames": 8, "size": 192, "zooms": {"near": 0.9}}},
    "degradations": {"crf30": {"crf": 30}, "crf36": {"crf": 36}, "crf42": {"crf": 42}, "crf44": {"crf": 44}},
    "methods": {
        "input": {"type": "input"},
        "deblock": {"type": "filter", "filter": "deblock=filter=strong:block=8"},
        "none": {"type": "restorer", "restorer": "none"},
    },
    "measure": {"metrics": ["psnr", "ssim", "brisque"]},
}


def door(*words: object) -> int:
    return run_door(benchmark.main, [str(word) for word in words])


def written(path: Path, change: Change | None = None) -> Path:
    data = json.loads(json.dumps(SMALL))
    if change:
        change(data)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def results(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return told


def pictures(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame.rgb for frame in reader]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    assert door("-opt", written(folder / "small.yml"), "-o", folder / "out") == 0
    return folder


def test_values_are_those_of_the_files(finished: Path) -> None:
    """Decoded and measured anew: the table holds the mean over the frames, in the original's size, after decoding what was kept."""
    work = finished / "out" / "products" / "portrait" / "near"
    rows = {(row["degradation"], row["method"]): row for row in results(finished / "out")["rows"]}
    for method, file in (("input", "given.mp4"), ("deblock", "deblock.mkv"), ("none", "none.mkv")):
        pairs = zip(pictures(work / "original.mkv"), pictures(work / "crf42" / file), strict=True)
        expected = np.mean([psnr(test, truth) for truth, test in pairs])
        assert rows["crf42", method]["values"]["psnr"] == pytest.approx(expected, abs=1e-9)
    assert rows["crf42", "none"]["gains"]["psnr"] == pytest.approx(0, abs=0.02)
    row = rows["crf44", "deblock"]
    assert row["gains"]["brisque"] == pytest.approx(rows["crf44", "input"]["values"]["brisque"] - row["values"]["brisque"])


def test_rates_are_those_of_the_packets(finished: Path) -> None:
    told = results(finished / "out")
    with av.open(str(finished / "out/products/portrait/near/crf36/given.mp4")) as container:
        bits = 8 * sum(packet.size for packet in container.demux(video=0))
    clip = next(one for one in told["clips"] if (one["degradation"], one["method"]) == ("crf36", "none"))
    assert (clip["bits"], clip["photo_bits"], clip["frames"]) == (bits, 0, 8)
    assert 0 < clip["key_frame_bits"] <= bits
    row = next(one for one in told["rows"] if (one["degradation"], one["method"]) == ("crf36", "none"))
    assert row["values"]["kbit_per_second"] == pytest.approx(bits / (8 / 25) / 1000)


def test_what_changes_nothing_saves_nothing(finished: Path) -> None:
    told = {row["method"]: row["percent"] for row in results(finished / "out")["bd_rate"]}
    assert set(told) == {"deblock", "none"}
    assert told["none"]["psnr"] == pytest.approx(0, abs=0.5)


def test_files_agree_with_one_another(finished: Path) -> None:
    folder, told = finished / "out", results(finished / "out")
    with (folder / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["psnr"]) for row in table] == [row["values"]["psnr"] for row in told["rows"]]
    with (folder / "frames.csv").open(newline="") as file:
        frames = list(csv.DictReader(file))
    assert len(frames) == 4 * 3 * 8
    mine = [float(row["ssim"]) for row in frames if (row["degradation"], row["method"]) == ("crf30", "input")]
    assert np.mean(mine) == pytest.approx(told["rows"][0]["values"]["ssim"])
    assert (folder / "table.md").read_text().count("| crf42 |") == 3
    assert r"\bottomrule" in (folder / "table.tex").read_text()
    assert {"processor", "date", "commit", "python", "torch", "detector", "color"} <= set(told["protocol"])
    assert cv2.imread(str(folder / "close_ups_1.png")).shape[0] == 2 * 160 + 2
    text = (folder / "report.html").read_text()
    for word in ("Rate against quality: portrait", "portrait · near · crf44", "Frame by frame", "BD-rate", "Protocol"):
        assert word in text


def test_the_second_time_nothing_is_done(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("done again")

    before = results(finished / "out")
    for name in ("encode_again", "restore_apart", "_make"):
        monkeypatch.setattr(produce, name, refuse)
    monkeypatch.setattr(score, "_measured", refuse)
    assert door("-opt", finished / "small.yml", "-o", finished / "out") == 0
    again = results(finished / "out")
    assert (again["rows"], again["clips"]) == (before["rows"], before["clips"])


def test_only_what_changed_is_done_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another filter is one product more for each degradation; one metric more is measured alone, for all; what is broken is made anew."""

    def change(data: dict[str, Any]) -> None:
        data["methods"]["deblock"]["filter"] = "deblock=filter=weak:block=8"
        data["measure"]["metrics"].append("psnr_y")

    made, measured = [], []
    make, measure_files = produce._make, score.measure.measure_files
    (finished / "out/products/portrait/near/crf30/none.mkv").write_bytes(b"broken")

    def counted(case: Any, method: Any, *rest: Any, **named: Any) -> Any:
        made.append((case.degradation, method.type))
        return make(case, method, *rest, **named)

    def noted(original: Path, versions: dict[str, Path], scorers: dict[str, Any], **named: Any) -> Any:
        measured.append((sorted(versions), sorted(scorers)))
        return measure_files(original, versions, scorers, **named)

    monkeypatch.setattr(produce, "_make", counted)
    monkeypatch.setattr(score.measure, "measure_files", noted)
    assert door("-opt", written(finished / "other.yml", change), "-o", finished / "out") == 0
    assert sorted(made) == [("crf30", "filter"), ("crf30", "restorer"), ("crf36", "filter"), ("crf42", "filter"), ("crf44", "filter")]
    assert {versions[0] for versions, _ in measured} == {"deblock"}
    assert "psnr_y" in results(finished / "out")["rows"][0]["values"]


def test_several_at_a_time_give_the_same_and_what_is_timed_comes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(data: dict[str, Any]) -> None:
        data["bars"] = {"fast": {"type": "speed", "what": "fast", "method": "deblock", "degradations": ["crf42"], "at_least": 0.01}}
        data["degradations"] = {"crf30": {"crf": 30}, "crf42": {"crf": 42}}
        del data["methods"]["none"]
        data["measure"]["metrics"] = ["psnr"]

    file = written(tmp_path / "f.yml", change)
    assert door("-opt", file, "-o", tmp_path / "one") == 0
    running = import_module("keyframes_gan.benchmark.run")
    alone, here_alone = [], running._here

    def noted(asked: Any, cases: list[Any], *rest: Any) -> Any:
        alone.extend(case.degradation for case in cases)
        return here_alone(asked, cases, *rest)

    monkeypatch.setattr(running, "_here", noted)
    assert door("-opt", file, "-o", tmp_path / "two", "--jobs", 2) == 0
    assert set(alone) == {"crf42"}
    for here, there in zip(results(tmp_path / "one")["rows"], results(tmp_path / "two")["rows"], strict=True):
        for row in (here, there):
            row["values"].pop("frames_per_second", None)
        assert here == there


def test_failures_stay_where_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Results made elsewhere: right ones, ones of another length, and none at all; a restorer that does not exist."""
    made = list(np.random.default_rng(0).integers(0, 256, (8, 192, 192, 3), np.uint8))
    encode_frames(made, tmp_path / "right.mkv", rate=25, encoding=LOSSLESS)
    encode_frames(made[:5], tmp_path / "short.mkv", rate=25, encoding=LOSSLESS)

    def change(data: dict[str, Any]) -> None:
        data["degradations"] = {"crf42": {"crf": 42}}
        for name, file in (("right", "right"), ("short", "short.mkv"), ("absent", "absent")):
            data["methods"][name] = {"type": "folder", "path": f"{tmp_path}/{file}"[: -len(file)] + f"{{clip}}_{file}"}
            for suffix in ("", ".mkv"):
                if (tmp_path / f"{file}{suffix}").is_file():
                    (tmp_path / f"near_{file}{suffix}").write_bytes((tmp_path / f"{file}{suffix}").read_bytes())
        data["methods"]["unknown"] = {"type": "restorer", "restorer": "magic"}
        data["report"] = {"after": "right"}

    assert door("-opt", written(tmp_path / "f.yml", change), "-o", tmp_path / "out") == 2
    rows = {row["method"]: row for row in results(tmp_path / "out")["rows"]}
    assert {name for name, row in rows.items() if row["failure"]} == {"short", "absent", "unknown"}
    assert "8" in rows["short"]["failure"]
    assert "expected results of portrait/near/crf42" in rows["absent"]["failure"]
    assert rows["right"]["values"]["psnr"] < 15
    assert "expected one of keyframes_lite" in " ".join(capsys.readouterr().out.split())
    assert "failed: portrait, crf42, short" in (tmp_path / "out/table.md").read_text()


def test_photos_count_and_unused_ones_are_told(tmp_path: Path, portrait_video: Path) -> None:
    """The portrait as a photo of itself is used; its bits are added to the stream's. A photo of nobody is refused for its clip."""
    cv2.imwrite(str(tmp_path / "near.png"), pictures(portrait_video)[0][..., ::-1])
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((64, 64, 3), np.uint8))

    def change(data: dict[str, Any]) -> None:
        data["degradations"] = {"crf30": {"crf": 30}}
        data["methods"]["none"]["photos"] = [f"{tmp_path}/{{clip}}.png"]
        data["methods"]["nobody"] = {"type": "restorer", "restorer": "none", "photos": [f"{tmp_path}/empty.png"]}
        data["methods"]["missing"] = {"type": "restorer", "restorer": "none", "photos": [f"{tmp_path}/missing.png"]}

    assert door("-opt", written(tmp_path / "f.yml", change), "-o", tmp_path / "out") == 2
    clips = {one["method"]: one for one in results(tmp_path / "out")["clips"]}
    bits = 8 * (tmp_path / "near.png").stat().st_size
    assert (clips["none"]["photo_bits"], clips["none"]["bits"]) == (bits, clips["input"]["bits"] + bits)
    assert "expected a photo with a face" in clips["nobody"]["failure"]
    assert "missing.png" in clips["missing"]["failure"]


def test_reduced_videos_are_enlarged(tmp_path: Path) -> None:
    """Constant pictures stay as they are; repeated pixels come in squares, cubic ones do not; the restorer enlarges too."""

    def change(data: dict[str, Any]) -> None:
        data["degradations"] = {"x4": {"crf": 10, "scale": 4}}
        data["methods"] = {"input": {"type": "input"}, "bicubic": {"type": "bicubic"}, "none": {"type": "restorer", "restorer": "none"}}
        data["datasets"]["portrait"].update(size=384, zooms={"near": 1.8}, frames=3)

    assert door("-opt", written(tmp_path / "f.yml", change), "-o", tmp_path / "out") == 0
    folder = tmp_path / "out/products/portrait/near/x4"
    assert pictures(folder / "given.mp4")[0].shape == (96, 96, 3)
    squares, smooth = pictures(folder / "input.mkv")[0], pictures(folder / "bicubic.mkv")[0]
    assert squares.shape == smooth.shape == pictures(folder / "none.mkv")[0].shape == (384, 384, 3)
    assert (squares[::4, ::4] == squares[3::4, 3::4]).all()
    assert (squares[::4, ::4] == pictures(folder / "given.mp4")[0]).all()
    assert not (smooth[::4] == smooth[3::4]).all()
    values = {row["method"]: row["values"]["psnr"] for row in results(tmp_path / "out")["rows"]}
    assert values["bicubic"] > values["input"] + 0.5


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    """Two clips of 3 pictures in GT and, with 4 levels more, in easy; only the first in heavy, with 16 more."""
    for name, clips, more in (("GT", "ab", 0), ("easy", "ab", 4), ("heavy", "a", 16)):
        for clip in clips:
            (tmp_path / name / clip).mkdir(parents=True)
            for index in range(3):
                cv2.imwrite(str(tmp_path / name / clip / f"{index:08d}.png"), np.full((64, 64, 3), 100 + index + more, np.uint8))
    return tmp_path


def pairs(trees: Path, **more: Any) -> Change:
    def change(data: dict[str, Any]) -> None:
        lq = {name: str(trees / name) for name in ("easy", "heavy")}
        data["datasets"] = {"set": {"type": "pairs", "gt": str(trees / "GT"), "lq": lq, "limit": 1}}
        del data["degradations"]
        data["methods"] = {"input": {"type": "input"}, "smooth": {"type": "filter", "filter": "null"}}
        data["measure"] = {"metrics": ["psnr"], "size": 64}
        data["paper"] = [{"method": "Paper", "dataset": "set", "degradation": "easy", "source": "Nobody 2020", "metrics": {"psnr": 33.0}}]
        data.update(more)

    return change


def test_pairs_of_folders(trees: Path, tmp_path: Path) -> None:
    """A difference of d levels everywhere is 20 log10(255 / d) dB; clips degraded elsewhere have no rate; the paper's row stands beside."""
    assert door("-opt", written(tmp_path / "f.yml", pairs(trees)), "-o", tmp_path / "out") == 0
    told = results(tmp_path / "out")
    values = {(row["degradation"], row["method"]): row["values"] for row in told["rows"]}
    assert values["easy", "input"]["psnr"] == pytest.approx(20 * math.log10(255 / 4))
    assert values["heavy", "smooth"]["psnr"] == pytest.approx(20 * math.log10(255 / 16))
    assert values["easy", "Paper"] == {"psnr": 33.0}
    assert "kbit_per_second" not in values["easy", "input"]
    assert told["bd_rate"] == []
    assert "Paper: Nobody 2020" in (tmp_path / "out/table.md").read_text()


def test_smaller_pairs_are_enlarged(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(3):
        cv2.imwrite(str(trees / f"heavy/a/{index:08d}.png"), np.full((16, 16, 3), 100 + index + 16, np.uint8))
    assert door("-opt", written(tmp_path / "f.yml", pairs(trees)), "-o", tmp_path / "out") == 0
    values = {(row["degradation"], row["method"]): row["values"] for row in results(tmp_path / "out")["rows"]}
    assert values["heavy", "smooth"]["psnr"] == values["heavy", "input"]["psnr"] == pytest.approx(20 * math.log10(255 / 16))
    cv2.imwrite(str(trees / "heavy/a/00000000.png"), np.zeros((20, 16, 3), np.uint8))
    assert door("-opt", tmp_path / "f.yml", "-o", tmp_path / "out") == 2
    assert "expected the size of the original, or a whole number of times less, got 16x20" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"measure": {"size": 512}}, "measure.size: expected originals of 512x512, got 64x64"),
        ({"measure": {"metrics": ["psnrr"]}}, "psnrr"),
        ({"jobs": 0}, "jobs: unknown key"),
    ],
)
def test_wrong_requests_are_one_line(
    trees: Path, tmp_path: Path, more: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door("-opt", written(tmp_path / "f.yml", pairs(trees, **more)), "-o", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_a_missing_degraded_clip_is_named(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(data: dict[str, Any]) -> None:
        pairs(trees)(data)
        del data["datasets"]["set"]["limit"]

    assert door("-opt", written(tmp_path / "f.yml", change), "-o", tmp_path / "out") == 2
    assert "datasets:set:lq:heavy: expected a degraded version of b" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"baseline": "x"}, 'baseline: expected one of the methods input, deblock, none, got "x"'),
        ({"report": {"after": "x"}}, "report.after: expected one of the methods"),
        ({"report": {"methods": ["x"]}}, "report.methods: expected some of the methods"),
        ({"report": {"degradation": "x"}}, "report.degradation: expected one of the degradations crf30"),
        ({"paper": [{"method": "m", "dataset": "x", "degradation": "y", "source": "s"}]}, "expected a data set of this file"),
        ({"degradations": {}}, "degradations: expected at least one"),
        ({"methods": {"original": {"type": "input"}}}, "methods.original: expected another name"),
        ({"methods": {"m": {"type": "magic"}}}, "methods.m.type: expected one of"),
        ({"degradations": {"d": {"crf": 60}}}, "degradations.d.crf: expected less than or equal to 51, got 60"),
        ({"datasets": {"v": {"type": "videos", "root": "no/where"}}}, "datasets.v.root: no such folder"),
    ],
)
def test_wrong_options_are_told_with_their_place(
    changed: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "f.yml", lambda data: data.update(changed))
    assert door("-opt", file, "--check") == 2
    told = capsys.readouterr().err
    assert message in told
    assert "f.yml:" in told


def test_keep_s_protocol_runs_on_its_folders(repo_root: Path, tmp_path: Path) -> None:
    """A portrait in VFHQ-Test's layout, one clip of two pictures: crops that are restored to themselves score as the input does."""
    data = yaml.safe_load((repo_root / "options/test/keep_vfhq.yml").read_text())
    for index, rgb in zip(range(2), portrait_clip(60, (512, 512), 1.0), strict=False):
        for name, scale in (("GT", 1), ("easy", 2), ("heavy", 8)):
            small = cv2.resize(rgb[..., ::-1], (512 // scale, 512 // scale), interpolation=cv2.INTER_AREA)
            (tmp_path / name / "Clip+a").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / name / "Clip+a" / f"{index:08d}.png"), cv2.resize(small, (512, 512), interpolation=cv2.INTER_CUBIC))
    data["datasets"]["vfhq"] = {
        "type": "pairs",
        "gt": f"{tmp_path}/GT",
        "lq": {one: f"{tmp_path}/{one}" for one in ("easy", "heavy")},
    }
    data["paper"] = [row for row in data["paper"] if row["degradation"] != "medium"]
    data["methods"] = {"input": {"type": "input"}, "itself": {**data["methods"]["keep"], "restorer": "none"}}
    data["measure"]["metrics"].remove("lpips")
    (tmp_path / "f.yml").write_text(yaml.safe_dump(data, sort_keys=False))
    assert door("-opt", tmp_path / "f.yml", "-o", tmp_path / "out") == 0
    rows = {(row["degradation"], row["method"]): row["values"] for row in results(tmp_path / "out")["rows"]}
    assert set(rows) == {(one, method) for one in ("easy", "heavy") for method in ("input", "itself", "KEEP (paper)")}
    for metric in data["measure"]["metrics"]:
        values = [rows[one, "input"][metric] for one in ("easy", "heavy")]
        assert [rows[one, "itself"][metric] for one in ("easy", "heavy")] == pytest.approx(values)
    psnr_db = [rows[one, "input"]["psnr"] for one in ("easy", "heavy")]
    assert psnr_db == sorted(psnr_db, reverse=True)


def test_the_shipped_files_are_right(repo_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only quick.yml runs from a fresh clone; the others name folders of the user's."""
    assert door("-opt", repo_root / "options/test/quick.yml", "--check") == 0
    crf = options.load_benchmark(repo_root / "options/test/keyframes_crf.yml", check_paths=False)
    assert [one.crf for one in crf.degradations.values()] == [32, 37, 42, 47]
    assert [getattr(one, "max_keyframes", None) for one in crf.methods.values()] == [None, 1, 3, 5, 10]
    assert all(one.keys is not None for one in crf.methods.values() if one.type == "restorer")  # without, the memory stays empty
    bars = options.load_benchmark(repo_root / "options/test/default_weights.yml", check_paths=False).bars
    wanted = {
        "file_psnr": 1.0,
        "file_worst": 0.5,
        "keys_1s_psnr": 3.0,
        "keys_1s_worst": 1.8,
        "keys_5s_psnr": 2.0,
        "robust": -0.05,
        "speed": 8,
    }
    assert {name: getattr(bars[name], "at_least", None) for name in wanted} == wanted
    keep = options.load_benchmark(repo_root / "options/test/keep_vfhq.yml", check_paths=False)
    assert (keep.measure.size, keep.measure.crop_border, keep.measure.region) == (512, 0, "whole")
    assert keep.degradations_of("vfhq") == ["easy", "medium", "heavy"]
    assert door("-opt", repo_root / "options/test/keyframes_crf.yml", "--check", "--force_yml", f"datasets:videos:root={tmp_path}") == 0
