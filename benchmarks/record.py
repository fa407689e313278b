"""What every benchmark shares: under which circumstances it ran, and where its figures are kept."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("torch", "numpy", "opencv-python-headless", "av", "dlib-bin")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip()


def circumstances(threads: int | str) -> dict[str, Any]:
    """Return what a reader needs to judge the figures: processor, load, versions, date, commit."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": git("rev-parse", "--short", "HEAD") or None,
        "changed_since_commit": bool(git("status", "--porcelain", "keyframes_gan", "archs")),
    }


def write(name: str, around: dict[str, Any], measured: object) -> Path:
    """Write benchmarks/results/NAME.json and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"circumstances": around, "measured": measured}, indent=2) + "\n")
    return path
