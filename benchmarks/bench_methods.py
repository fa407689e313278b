"""The quick benchmark's table, kept: what `benchmark.py -opt options/test/quick.yml` found: a record, docs/benchmark.md and README.md.

python benchmark.py -opt options/test/quick.yml
python benchmarks/bench_methods.py [experiments/benchmark/quick]
python benchmarks/table.py --write
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402

from benchmarks.record import RESULTS, write  # noqa: E402
from benchmarks.table import busy  # noqa: E402
from keyframes_gan.report.grid import Column  # noqa: E402

NAME = "benchmark_quick"
PAGE = ROOT / "docs" / "benchmark.md"
PICTURE = ROOT / "docs" / "images" / f"{NAME}.webp"
MARKS = ("<!-- table: begin -->\n", "<!-- table: end -->\n")
ARROWS = {True: " ↑", False: " ↓"}
COSTS = (
    Column("frames_per_second", "frames/s", decimals=1),
    Column("peak_mb", "peak MB", decimals=0),
    Column("gmac_per_face", "GMAC/face"),
)


def table(stored: dict[str, Any]) -> str:
    """Return the page's block: values with gains by degradation and method, BD-rates, and under which circumstances."""
    around, measured = stored["circumstances"], stored["measured"]
    metrics = {key: one for key, one in measured["metrics"].items() if one["unavailable"] is None}
    heads = [*(f"{one['label']}{ARROWS[one['higher_is_better']]}" for one in metrics.values()), *(one.label for one in COSTS)]
    lines = [f"| degradation | method | kbit/s | {' | '.join(heads)} |", "|---|---|---:|" + "---:|" * len(heads)]
    for row in measured["rows"]:
        cells = [cell(row, key, one["decimals"]) for key, one in metrics.items()]
        cells += [one.text(row["values"].get(one.key)) for one in COSTS]
        lines.append(f"| {row['degradation']} | {row['method']} | {row['values']['kbit_per_second']:.1f} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Bits for the same quality as `{measured['baseline']}`, in % (BD-rate, below zero is better; blank: none, see above):",
        "",
    ]
    lines += [f"| method | {' | '.join(one['label'] for one in metrics.values())} |", "|---|" + "---:|" * len(metrics)]
    for row in measured["bd_rate"]:
        cells = ["" if row["percent"].get(key) is None else f"{row['percent'][key]:+.1f}" for key in metrics]
        lines.append(f"| {row['method']} | {' | '.join(cells)} |")
    missing = [one["label"] for one in measured["metrics"].values() if one["unavailable"] is not None]
    if missing:
        lines += ["", f"Unavailable where this was measured, without their weights: {', '.join(missing)}."]
    told = f"{around['processor']}, {around['cores']} cores, {around['date']}, commit {around['commit']}{busy(around)}"
    return "\n".join([*lines, "", f"({told}; gains over `{measured['baseline']}` in brackets, above zero is better)"]) + "\n"


def cell(row: dict[str, Any], key: str, decimals: int) -> str:
    """Return a value with its gain, nothing where it is not known."""
    column, gain = Column(key, key, decimals=decimals), row["gains"].get(key)
    text = column.text(row["values"].get(key))
    return f"{text} ({column.signed(gain)})" if text and gain is not None else text


def main() -> int:
    parser = argparse.ArgumentParser(description="Keep the quick benchmark's results, and show them in docs/benchmark.md.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "experiments" / "benchmark" / "quick")
    folder = parser.parse_args().folder
    found = json.loads((folder / "results.json").read_text())
    kept = {key: found[key] for key in ("baseline", "bd_rate")}
    kept["metrics"] = {key: {**one, "reason": None, "unavailable": one["unavailable"] and True} for key, one in found["metrics"].items()}
    kept["rows"] = [{key: row[key] for key in ("degradation", "method", "values", "gains")} for row in found["rows"]]
    write(NAME, found["protocol"], kept)
    PICTURE.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(PICTURE), cv2.imread(str(folder / "close_ups_1.png")), [cv2.IMWRITE_WEBP_QUALITY, 90])
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    block = table(json.loads((RESULTS / f"{NAME}.json").read_text()))
    PAGE.write_text(before + MARKS[0] + block + MARKS[1] + rest.split(MARKS[1])[1], encoding="utf-8")
    print(f"written: {RESULTS / NAME}.json, {PAGE}, {PICTURE}; now run python benchmarks/table.py --write")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
