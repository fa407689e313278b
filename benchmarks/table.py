"""The measurements as tables: reads benchmarks/results/*.json, prints Markdown, and with --write puts it into the README.

python benchmarks/table.py [--write]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
MARKS = ("<!-- {}: begin -->\n", "<!-- {}: end -->\n")


def load(name: str) -> tuple[dict[str, Any], Any]:
    stored = json.loads((RESULTS / f"{name}.json").read_text())
    return stored["circumstances"], stored["measured"]


def when(around: dict[str, Any]) -> str:
    """Return hardware, threads, date and commit in a few words."""
    return f"{around['processor']}, {around['cores']} cores, threads {around['threads']}, {around['date']}, commit {around['commit']}"


def preprocessing() -> list[str]:
    around, measured = load("preprocessing")
    rows = [
        f"| preprocessing, `{run['detector']}`: s/frame | {run['total_seconds']:.3f} (compress {run['compress_seconds']:.3f}, "
        f"track {run['detect_and_track_seconds']:.3f}, write {run['crop_and_write_seconds']:.3f}) | {measured['reference_seconds']:.2f} "
        f"(CNN detector on every frame) | {run['times_faster']:.0f}x |"
        for run in measured["runs"]
    ]
    return [*rows, f"| | {when(around)} | | |"]


def warp() -> list[str]:
    around, measured = load("mls")
    rows = [
        f"| moving-least-squares warp, {row['size_px']} px: ms | {row['fast_ms']:.2f} | {row['plain_ms']:.0f} (plain NumPy) | "
        f"{row['ratio_fast_to_plain']:.0f}x |"
        for row in measured
    ]
    return [*rows, f"| | {when(around)} | | |"]


def pipeline() -> list[str]:
    around, measured = load("pipeline_speed")
    rows = [
        f"| whole pipeline, {row['size']}, one face: frames/s | {row['frames_per_second']:.1f} | {row['plain_frames_per_second']:.2f} "
        f"(plain method) | {row['ratio']:.1f}x |"
        for row in measured
    ]
    return [*rows, f"| | {when(around)} | | |"]


def memory(result: str = "pipeline_memory", what: str = "") -> list[str]:
    around, measured = load(result)
    short, long = measured[0], measured[-1]
    ratio = long["peak_bytes"] / short["peak_bytes"]
    return [
        f"| peak memory{what}, {long['video_seconds']} s of video: MB | {long['peak_bytes'] / 1e6:.0f} | {short['peak_bytes'] / 1e6:.0f} "
        f"({short['video_seconds']} s of video) | {ratio:.2f} |",
        f"| | {when(around)} | | |",
    ]


def document() -> str:
    """Return the whole block between the README's markers."""
    rows = [*pipeline(), *memory(), *preprocessing(), *network(), *warp(), *keep(), *enlarging(), *routing(), *training(), *samples()]
    return "\n".join(["| What | Here | Against | Ratio |", "|---|---|---|---|", *rows]) + "\n"


def network() -> list[str]:
    around, measured = load("dmsasffnet")
    rows = []
    for threads, run in measured["threads"].items():
        plain = run["dmsasffnet_ms"]["plain"]
        what = f"DMSASFFNet, {measured['size']} px, {threads} thread(s)"
        for name, value in run["dmsasffnet_ms"].items():
            if name != "plain":
                rows.append(f"| {what}, {name}: ms/frame | {value:.0f} | {plain:.0f} (plain fp32) | {plain / value:.2f}x |")
    return [*rows, f"| | {when(around)} | | |"]


def keep() -> list[str]:
    """Return the rows of KEEP: a frame at 512 px, memory over length, and the seam ratio."""
    around, measured = load("keep_cpu")
    plain = measured["paths"]["plain"]["seconds_per_frame"]
    rows = [
        f"| KEEP, 512 px, {around['threads']} thread(s), {name}: s/frame | {row['seconds_per_frame']:.1f} | {plain:.1f} (plain fp32) | "
        f"{row['times_faster_than_plain']:.2f}x |"
        for name, row in measured["paths"].items()
        if name != "plain"
    ]
    rows += [f"| | {when(around)} | | |", *memory("keep_memory", " with a KEEP of toy size")]
    around, measured = load("seam_fitted")
    carried, paper = ({row["way"]: row for row in measured["ways"]}[way]["seam_ratio"] for way in ("carried", "paper"))
    what = f"KEEP, seam ratio over {measured['borders']} clip borders, weights {measured['weights']}"
    return [*rows, f"| {what} | {carried:.2f} | {paper:.2f} (`--protocol paper`) | |", f"| | {when(around)} | | |"]


def row(what: str, here: str, against: str = "", ratio: str = "") -> str:
    return f"| {what} | {here} | {against} | {ratio} |"


def enlarging() -> list[str]:
    """Return the rows of SRNet's attention against PyTorch's own encoder."""
    around, measured = load("srnet")
    ways = {each["way"]: each for each in measured["rows"]}
    stock = ways.pop("stock")
    against = f"{stock['seconds']:.0f}, {stock['gigabytes']:.1f} (PyTorch's encoder)"
    rows = []
    for way, each in ways.items():
        what = f"SRNet, {each['size_px']} px, {way.removeprefix('own, ').replace('own', 'whole picture')}: s, GB"
        rows.append(row(what, f"{each['seconds']:.2f}, {each['gigabytes']:.2f}", against, f"{stock['seconds'] / each['seconds']:.0f}x"))
    return [*rows, row("", when(around))]


def routing() -> list[str]:
    """Return the rows of routed experts against the heavier one for every face."""
    around, measured = load("routed")
    rows = []
    for clip in measured["clips"]:
        here, against = (clip["ways"][way] for way in ("routed", "every face to T"))
        speeds = [f"{one['frames_per_second']:.2f} (identity {one['identity']:.3f})" for one in (here, against)]
        name = clip["video"].partition(" (")[0].replace("1 faces", "1 face")
        rows.append(row(f"routed experts, 1280x720, {name}: frames/s", speeds[0], f"{speeds[1]}, every face to T", f"{clip['ratio']:.1f}x"))
    return [*rows, row("", when(around) + busy(around))]


def training() -> list[str]:
    """Return the rows of training: a step against BasicSR's plain path, two processes, and how long the step waits for data."""
    around, measured = load("training_cpu")
    step, keep, scaling = measured["step"], measured["keep"], measured["scaling"]
    speeds, clips, processes = step["samples_per_second"], keep["samples_per_second"], scaling["samples_per_second"]
    plain = f"{speeds['basicsr']:.1f} (BasicSR's plain path)"
    what = f"training step, KEEP stage 3, {keep['frames']} frames of {keep['size']} px, no LPIPS: clips/s"
    return [
        row("training step, lite recipe: samples/s", f"{speeds['recipe']:.1f}", plain, f"{step['times_basicsr']['recipe']:.2f}x"),
        row(what, f"{clips['recipe']:.2f}", f"{clips['plain']:.2f} (plain)", f"{keep['times_plain']['recipe']:.2f}x"),
        row(
            "training, 2 processes: samples/s", f"{processes['2']:.1f}", f"{processes['1']:.1f} (1)", f"{scaling['times_one_process']:.2f}x"
        ),
        row("training: part of the time that is not spent waiting for data", f"{measured['waiting']['share_in_step']:.0%}"),
        row("", when(around)),
    ]


def samples() -> list[str]:
    """Return the rows of training data: what one loader worker makes."""
    around, measured = load("data")
    speeds = {name: each["samples_per_second"] for name, each in measured["per_worker"].items()}
    chosen = ("KeyframeClipDataset 128 px, cached", "KeyframeClipDataset 128 px, from videos", "VFHQDataset 8 x 512 px, from videos")
    seeking = measured["seeking"]
    return [
        *(row(f"{name}: samples/s and worker", f"{speeds[name]:.1f}") for name in chosen),
        row("reading a window near a video's end by seeking", "", "", f"{seeking['times_faster']:.0f}x"),
        row("", when(around)),
    ]


def quality() -> str:
    """Return the block that says what the shipped weights gain."""
    around, measured = load("quality")
    lines = [
        f"Videos of people the training has not seen, x264 at CRF {measured['crf']}, through the whole-frame pipeline, the output's own",
        "encoding included; compressed → restored. `python benchmarks/bench_quality.py --videos FOLDER` measures it on videos of yours.",
        "",
        "| video | frames | face PSNR [dB] | face SSIM | whole PSNR [dB] | whole SSIM |",
        "|---|---|---|---|---|---|",
        *(score_row(row["name"], row) for row in measured["videos"]),
        score_row("**all**", measured["total"]),
        "",
        f"({when(around)})",
    ]
    return "\n".join(lines) + "\n"


def benchmark() -> str:
    """Return the quick benchmark's block: some columns of its table, and its picture; docs/benchmark.md shows all of them."""
    around, measured = load("benchmark_quick")
    metrics = {key: measured["metrics"][key] for key in ("psnr", "ssim", "ids", "e_warp")}
    heads = [f"{one['label']} {'↑' if one['higher_is_better'] else '↓'}" for one in metrics.values()]
    lines = [
        f"`python benchmark.py -opt options/test/quick.yml`, inside the faces; gains over `{measured['baseline']}` in brackets,",
        "above zero is better. One still portrait that moves: it shows that everything works, not how methods do on real people.",
        "[docs/benchmark.md](docs/benchmark.md) has all columns and says what they mean.",
        "",
        f"| | method | {' | '.join(heads)} | frames/s | peak MB | GMAC/face |",
        "|---|---|" + "---:|" * (len(heads) + 3),
    ]
    for each in measured["rows"]:
        cells = [with_gain(each, key, one["decimals"]) for key, one in metrics.items()]
        costs = (("frames_per_second", 1), ("peak_mb", 0), ("gmac_per_face", 2))
        cells += ["" if each["values"].get(key) is None else f"{each['values'][key]:.{digits}f}" for key, digits in costs]
        lines.append(f"| {each['degradation']} | {each['method']} | {' | '.join(cells)} |")
    picture = "![Where input and result differ most in a frame at CRF 42, for every method](docs/images/benchmark_quick.webp)"
    return "\n".join([*lines, "", picture, "", f"({when(around)}{busy(around)})"]) + "\n"


def busy(around: dict[str, Any]) -> str:
    """Return a warning about the speeds when more was running than there are cores."""
    load = around["load_before"] or 0.0
    return f"; the machine was busy with other work, load {load:.1f}, so speeds are low and uneven" if load > around["cores"] else ""


def with_gain(each: dict[str, Any], key: str, decimals: int) -> str:
    """Return a value and, in brackets, its gain where there is one; nothing where the value is not known."""
    value, gain = each["values"].get(key), each["gains"].get(key)
    text = "" if value is None else f"{value:.{decimals}f}"
    return text if gain is None else f"{text} ({round(gain, decimals) + 0.0:+.{decimals}f})"


def score_row(name: str, row: dict[str, Any]) -> str:
    cells = []
    for region in ("face", "whole"):
        for metric, digits in (("psnr", 2), ("ssim", 4)):
            before, after, gain = (row[region][version][metric] for version in ("compressed", "restored", "gain"))
            cells.append(f"{before:.{digits}f} → {after:.{digits}f} ({gain:+.{digits}f})")
    return f"| {name} | {row['frames']} | {' | '.join(cells)} |"


def inserted(readme: str, name: str, block: str) -> str:
    """Return the README with the block between its markers."""
    begin, end = (mark.format(name) for mark in MARKS)
    before, rest = readme.split(begin)
    return before + begin + block + end + rest.split(end)[1]


def main() -> int:
    parser = argparse.ArgumentParser(description="Show the stored measurements as a Markdown table.")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    given = parser.parse_args()
    blocks = {"quality": quality(), "benchmark": benchmark(), "measurements": document()}
    sys.stdout.write("\n".join(blocks.values()))
    if given.write:
        text = README.read_text()
        for name, block in blocks.items():
            text = inserted(text, name, block)
        README.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
