"""Bars: results made up with closed forms, judged; the exit status; and what a part of the bars needs of the options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import yaml

import benchmark
from keyframes_gan import options
from keyframes_gan.benchmark.bars import all_met, judge
from keyframes_gan.benchmark.plan import Case, find_cases
from keyframes_gan.benchmark.produce import degrade
from keyframes_gan.benchmark.run import Cell, Cost, Results
from keyframes_gan.benchmark.score import Asked, Scores, columns
from keyframes_gan.errors import OptionsError, UserError, run_door
from keyframes_gan.metrics.clips import ClipScore
from keyframes_gan.options.benchmark import narrowed
from keyframes_gan.video.packets import count_frames
from keyframes_gan.video.read import VideoReader

GUIDED = {"type": "restorer", "restorer": "none"}
CRFS = {"crf32": 32, "crf37": 37, "crf42": 42, "crf47": 47}
PSNR_DB = {"crf32": 36.0, "crf37": 33.0, "crf42": 30.0, "crf47": 27.0}
BITS = {"crf32": 8e5, "crf37": 4e5, "crf42": 2e5, "crf47": 1e5}
GAINS = {"good": {"a": 1.5, "b": 0.75}, "bad": {"a": 0.5, "b": -0.125}}
FILE: dict[str, Any] = {
    "name": "judged",
    "datasets": {"clips": {"type": "portrait", "zooms": {"a": 1.0, "b": 1.2}, "frames": 4, "size": 128}},
    "degradations": {name: {"crf": crf} for name, crf in CRFS.items()},
    "methods": {"input": {"type": "input"}, "good": {"type": "filter", "filter": "null"}, "bad": {"type": "filter", "filter": "null"}},
    "measure": {"metrics": ["psnr", "e_warp"], "only": {"e_warp": ["crf42"]}},
}


def written(path: Path, **changed: Any) -> Path:
    path.write_text(yaml.safe_dump({**FILE, **changed}, sort_keys=False))
    return path


def bar(kind: str = "gain", **given: Any) -> dict[str, Any]:
    common: dict[str, Any] = {"type": kind, "what": "some words", "degradations": ["crf42"]}
    if kind == "gain":
        common |= {"metric": "psnr", "method": "good"}
    return {**common, **given}


def results(tmp_path: Path, bars: dict[str, Any], *, halved: bool = False, failing: str = "") -> Results:
    """Two clips; `good` and `bad` gain what `GAINS` says at every rate, or nothing, but `good` for half the bits, with `halved`."""
    checked = options.load_benchmark(written(tmp_path / "f.yml", bars=bars))
    cells = []
    for clip in ("a", "b"):
        for name in CRFS:
            case = Case("clips", clip, name, tmp_path, tmp_path, checked.degradations[name], tmp_path)
            for method in checked.methods:
                gain = 0.0 if halved or method == "input" else GAINS[method][clip]
                metrics = {"psnr": ClipScore((PSNR_DB[name] + gain,), PSNR_DB[name] + gain)}
                if name == "crf42":
                    metrics["e_warp"] = ClipScore((0.002 - 0.001 * gain,), 0.002 - 0.001 * gain)
                bits = round(BITS[name] * (0.5 if halved and method == "good" else 1))
                failure = "broken" if method == failing and clip == "b" else ""
                scores = None if failure else Scores((0,), (None,), metrics)
                cells.append(Cell(case, method, 100, 4.0, bits, 0, cost=Cost(8.0 if clip == "a" else 12.0), scores=scores, failure=failure))
    return Results(checked, columns(Asked.of(checked.measure, "cpu")), tuple(cells), {"threads": 2, "load_before": 0.5})


@pytest.mark.parametrize(
    ("given", "value", "verdict"),
    [
        ({"at_least": 1.0}, 1.125, "met"),
        ({"at_least": 1.2}, 1.125, "NOT met"),
        ({"of": "each", "at_least": 0.75}, 0.75, "met"),
        ({"of": "each", "above": 0.75}, 0.75, "NOT met"),
        ({"over": "bad", "of": "each", "above": 0.8}, 0.875, "met"),
        ({"method": "bad", "of": "each", "at_least": -0.05, "degradations": ["crf32", "crf42"]}, -0.125, "NOT met"),
        ({"metric": "e_warp", "at_least": 0.001}, 0.001125, "met"),
    ],
)
def test_gains(tmp_path: Path, given: dict[str, Any], value: float, verdict: str) -> None:
    """Gains of 1.5 and 0.75 dB (good), 0.5 and -0.125 dB (bad); less of a distance is a gain."""
    found = results(tmp_path, {"one": bar(**given)})
    (judged,) = judge(found)
    assert judged.value == pytest.approx(value, abs=1e-9)
    assert judged.verdict == verdict
    assert all_met([judged], found) == (verdict == "met")
    assert str(judged).startswith(verdict)


def test_a_line_tells_what_was_measured_and_wanted(tmp_path: Path) -> None:
    (judged,) = judge(results(tmp_path, {"one": bar(method="bad", degradations=["crf32", "crf42"], at_least=0.2)}))
    expected = "NOT met      some words: PSNR +0.19 dB in the mean, -0.12 dB at least (b, crf32); wanted at least +0.20 dB in the mean"
    assert str(judged) == expected


def test_half_the_bits_save_half(tmp_path: Path) -> None:
    """The same quality at half the rate is a BD-rate of -50 %; with one method of two that saves, the best counts."""
    ladder = bar("bd_rate", metric="psnr", methods=["good", "bad"], degradations=list(CRFS), below=-49.9)
    (judged,) = judge(results(tmp_path, {"one": ladder}, halved=True))
    assert (judged.value, judged.verdict) == (pytest.approx(-50.0), "met")
    assert judged.measured == "good -50.0 %, bad +0.0 %"
    (judged,) = judge(results(tmp_path, {"one": {**ladder, "methods": ["bad"], "below": 0}}, halved=True))
    assert (judged.value, judged.verdict) == (pytest.approx(0.0, abs=1e-9), "NOT met")


def test_3_db_are_half_the_bits(tmp_path: Path) -> None:
    """Quality is linear in the rate's logarithm, 3 dB an octave: a gain of g dB is a BD-rate of 2^(-g/3) - 1, clip by clip."""
    ladder = bar("bd_rate", metric="psnr", methods=["good"], degradations=list(CRFS))
    (judged,) = judge(results(tmp_path, {"one": ladder}))
    assert judged.value == pytest.approx(100 * np.mean([2 ** (-gain / 3) - 1 for gain in (1.5, 0.75)]))


def test_speed_is_over_all_clips(tmp_path: Path) -> None:
    """200 frames in 20 seconds."""
    found = judge(results(tmp_path, {"one": bar("speed", method="good", at_least=10), "two": bar("speed", method="good", at_least=10.5)}))
    assert [(one.value, one.verdict) for one in found] == [(pytest.approx(10), "met"), (pytest.approx(10), "NOT met")]
    assert found[0].measured == "10.0 frames/s (2 threads, load before 0.5)"


def test_what_failed_is_not_measured(tmp_path: Path) -> None:
    """A bar without a value is not met, unless the method was optional."""
    found = results(tmp_path, {"one": bar(at_least=0.0), "two": bar(method="bad", at_least=0.0)}, failing="good")
    judged = judge(found)
    assert [one.verdict for one in judged] == ["not measured", "met"]
    assert str(judged[0]) == "not measured some words: b: broken; wanted at least 0.00 dB in the mean"
    assert not all_met(judged, found)
    assert not found.complete
    methods = dict(FILE["methods"], good={"type": "restorer", "restorer": "none", "optional": True})
    relaxed = options.load_benchmark(written(tmp_path / "g.yml", methods=methods, bars={"one": bar(at_least=0.0)}))
    optional = Results(relaxed, found.columns, found.cells, found.protocol)
    assert all_met(judge(optional), optional)
    assert optional.complete


def test_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A filter that changes nothing gains nothing; printed, in results.json, in table.md, on the page."""
    crf42 = {"degradations": {"crf42": {"crf": 42}}, "measure": {"metrics": ["psnr"]}, "report": {"clips": 0}}
    bars = {"kept": bar(at_least=-0.01), "better": bar(at_least=1.0)}
    words = ["-opt", str(written(tmp_path / "f.yml", bars=bars, **crf42)), "-o", str(tmp_path / "out")]
    assert run_door(benchmark.main, words) == 1
    printed = capsys.readouterr().out
    assert "met          some words: PSNR 0.00 dB" in printed
    assert "NOT met      some words: PSNR 0.00 dB" in printed
    told = json.loads((tmp_path / "out/results.json").read_text())["bars"]
    assert [(one["name"], one["verdict"]) for one in told] == [("kept", "met"), ("better", "NOT met")]
    for file in ("table.md", "report.html"):
        assert "NOT met" in (tmp_path / "out" / file).read_text()
    assert run_door(benchmark.main, [*words, "--bars", "kept"]) == 0
    assert run_door(benchmark.main, [*words, "--bars", "other"]) == 2
    assert "--bars: expected some of kept, better, got other" in capsys.readouterr().err


def test_bars_ask_only_for_what_they_need(tmp_path: Path) -> None:
    bars = {"one": bar(method="bad", over="good", at_least=0.0), "two": bar("speed", method="good", at_least=1)}
    small = narrowed(options.load_benchmark(written(tmp_path / "f.yml", bars=bars)), ["two"])
    assert (list(small.methods), list(small.degradations), small.measure.metrics) == (["input", "good"], ["crf42"], ["psnr"])
    assert list(small.bars) == ["two"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bars": {"x": bar(at_least=1.0, above=1.0)}}, "bars.x.at_least: expected either at_least or above"),
        ({"bars": {"x": bar(method="best", at_least=1.0)}}, "bars.x.method: expected methods of this file, input, good, bad"),
        ({"bars": {"x": bar(metric="ssim", at_least=1.0)}}, "bars.x.metric: expected one of the metrics psnr, e_warp"),
        (
            {"bars": {"x": bar(degradations=["crf1"], at_least=1.0)}},
            "bars.x.degradations: expected degradations in which good is tried, not crf1",
        ),
        (
            {"bars": {"x": bar(metric="e_warp", degradations=["crf47"], above=0.0)}},
            "expected degradations in which e_warp is taken, not crf47",
        ),
        ({"bars": {"x": bar("bd_rate", metric="psnr", methods=["good"])}}, "bars.x.degradations: expected"),
        ({"degradations": {"crf42": {"crf": 42, "bits_per_pixel": 0.1}}, "measure": {}}, "expected either crf or bits_per_pixel"),
        ({"measure": {"metrics": ["psnr"], "only": {"ssim": ["crf42"]}}}, "measure.only: expected some of the metrics psnr"),
        (
            {"methods": {"input": {"type": "input"}, "f": {**GUIDED, "keys": {"every": 1, "quality": {"crf42": 40}}}}},
            "methods.f.keys.quality: expected one for each degradation",
        ),
        (
            {"methods": {"input": {"type": "input"}, "f": {"type": "bicubic", "degradations": ["x"]}}},
            "methods.f.degradations: expected some of",
        ),
    ],
)
def test_wrong_bars_are_told_with_their_place(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError) as caught:
        options.load_benchmark(written(tmp_path / "f.yml", **changed))
    assert message in str(caught.value)


@pytest.fixture
def parts(tmp_path: Path, portrait_video: Path) -> Path:
    """A file of options for the 12 frames of the portrait video at 25/s, of which the last four (0.16 s) are spared."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/face.mp4").write_bytes(portrait_video.read_bytes())
    return written(
        tmp_path / "f.yml",
        datasets={"v": {"type": "videos", "root": str(tmp_path / "videos"), "spare_seconds": 0.16}},
        degradations={
            "h": {"crf": 40},
            "hevc": {"codec": "hevc", "crf": 36},
            "vp9": {"codec": "vp9", "crf": 50},
            "rate": {"bits_per_pixel": 0.02},
        },
        methods={
            "input": {"type": "input"},
            "guided": {
                "type": "restorer",
                "restorer": "none",
                "degradations": ["h"],
                "photos": ["{photo}"],
                "keys": {"every": 0.2, "quality": {"h": 40}},
            },
        },
        measure={"metrics": ["psnr"], "costs": False},
        report={"clips": 0},
    )


def test_parts_of_videos_in_several_codecs(parts: Path, tmp_path: Path) -> None:
    """The part is the source's very samples, the photo its last picture; every degradation gives a clip of that part."""
    source = tmp_path / "videos/face.mp4"
    cases = find_cases(options.load_benchmark(parts), tmp_path / "work", tmp_path)
    assert [case.degradation for case in cases] == ["h", "hevc", "vp9", "rate"]
    with VideoReader(source) as whole, VideoReader(cases[0].original) as part:
        frames = [(frame.time, frame.rgb) for frame in whole]
        for (time, rgb), kept in zip(frames[:8], part, strict=True):
            assert kept.time == time
            np.testing.assert_array_equal(kept.rgb, rgb)
    assert cases[0].photo is not None
    assert np.abs(cv2.imread(str(cases[0].photo))[..., ::-1].astype(int) - frames[-1][1]).mean() < 2
    for case in cases:
        degrade(case)
        assert count_frames(case.given) == 8
        with av.open(str(case.given)) as container:
            assert container.streams.video[0].codec_context.name == {"h": "h264", "rate": "h264"}.get(case.degradation, case.degradation)
    few = options.load_benchmark(parts, ["datasets:v:frames=3"])
    assert count_frames(find_cases(few, tmp_path / "work", tmp_path)[0].original) == 3
    with pytest.raises(UserError, match=r"spare_seconds: expected less than the length of .* \(12 frames\), got 3"):
        find_cases(options.load_benchmark(parts, ["datasets:v:spare_seconds=3.0"]), tmp_path / "work", tmp_path)


def test_sent_key_frames_and_photos_are_counted(parts: Path, tmp_path: Path) -> None:
    """One key frame every 0.2 s, of 8 frames at 25/s: two."""
    assert run_door(benchmark.main, ["-opt", str(parts), "-o", str(tmp_path / "out"), "--force_yml", "degradations:rate:gop=4"]) == 0
    told = json.loads((tmp_path / "out/results.json").read_text())
    clips = {(one["degradation"], one["method"]): one for one in told["clips"]}
    assert ("vp9", "guided") not in clips
    one, base = clips["h", "guided"], clips["h", "input"]
    assert one["photo_bits"] == 8 * (tmp_path / "out/products/v/face/photo.jpg").stat().st_size
    assert one["bits"] == base["bits"] + one["photo_bits"] + one["sent_key_bits"]
    assert 2 * 8 * 300 < one["sent_key_bits"] < 2 * 8 * 10000
    assert told["rows"][1]["values"]["kbit_per_second"] == pytest.approx(one["bits"] / (8 / 25) / 1000)
