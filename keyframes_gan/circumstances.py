"""Under which circumstances a figure was measured: processor, GPU, load, versions, date, commit. Imports neither torch nor OpenCV."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "numpy", "opencv-python-headless", "av", "dlib-bin")
CODE = ("keyframes_gan", "archs", "pybrisque")
PATIENCE_SECONDS = 30


def circumstances(threads: int | str, *, packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Return what a reader needs to judge a figure, as plain JSON values; None for what this machine does not tell.

    Args:
        threads: with how many threads it was measured.
        packages: installed distributions whose versions matter.
    """
    commit = _output("git", "rev-parse", "--short", "HEAD")
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "gpu": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
        "load_before": load,
        "python": platform.python_version(),
        **{package: _version(package) for package in packages},
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": commit,
        "changed_since_commit": None if commit is None else _output("git", "status", "--porcelain", *CODE) is not None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(program: str, *arguments: str) -> str | None:
    """Return what a program prints, in the repository's root; None when it is not there, fails, or prints nothing."""
    found = shutil.which(program)
    if found is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603  # fixed programs, no shell
            [found, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
