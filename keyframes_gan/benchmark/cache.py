"""What makes a result stale: the contents of the files that went in, the options, and the code that made it.

Beside every product stands a record, NAME.json, with the fingerprint of what went in. A product whose record says the same is left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from keyframes_gan import report, weights
from keyframes_gan.circumstances import ROOT
from keyframes_gan.video import pictures

VIDEO_CODE = ("keyframes_gan/video", "keyframes_gan/benchmark/produce.py")
RESTORING_CODE = (
    *VIDEO_CODE,
    "archs",
    "keyframes_gan/benchmark/apart.py",
    "keyframes_gan/faces",
    "keyframes_gan/keyframes",
    "keyframes_gan/pipeline",
    "keyframes_gan/restorers",
    "keyframes_gan/upscale.py",
    "pretrained_models/manifest.yml",
)
MEASURING_CODE = ("keyframes_gan/measure", "keyframes_gan/metrics", "keyframes_gan/faces", "keyframes_gan/video", "pybrisque")


def content(path: Path) -> str:
    """Return the SHA-256 of a file, or of all images of a folder with their names."""
    if path.is_file():
        return _digest(path, path.stat().st_size, path.stat().st_mtime_ns)
    return fingerprint({one.name: weights.digest(one) for one in pictures.picture_paths(path)})


@cache
def _digest(path: Path, _size: int, _changed: int) -> str:
    """Return the SHA-256 of a file, read once as long as it has the same size and time."""
    return weights.digest(path)


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@cache
def code(places: tuple[str, ...]) -> str:
    """Return the SHA-256 of the sources under some places of the repository."""
    files = [one for place in places for one in ([ROOT / place] if (ROOT / place).is_file() else sorted((ROOT / place).rglob("*.py")))]
    return fingerprint({one.relative_to(ROOT).as_posix(): weights.digest(one) for one in files})


def record_of(product: Path) -> Path:
    """Return the record that stands beside a product."""
    return product.with_name(f"{product.name}.json")


def known(product: Path, wanted: str) -> dict[str, Any] | None:
    """Return what the record of a product tells, None unless product and record are there and made from what is `wanted`."""
    noted = read(record_of(product))
    if noted is None or not product.is_file() or noted.get("fingerprint") != wanted or noted.get("bytes") != product.stat().st_size:
        return None
    told: dict[str, Any] = noted["told"]
    return told


def note(product: Path, made_from: str, told: Mapping[str, Any]) -> None:
    """Write the record of a finished product."""
    report.write_json(record_of(product), {"fingerprint": made_from, "bytes": product.stat().st_size, "told": told})


def read(path: Path) -> dict[str, Any] | None:
    """Return a record; None when there is none that can be read."""
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return noted if isinstance(noted, dict) else None
