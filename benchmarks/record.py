"""Where the figures of all benchmarks are kept, together with the circumstances under which they were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keyframes_gan.circumstances import circumstances

__all__ = ["circumstances", "write"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def write(name: str, around: dict[str, Any], measured: object) -> Path:
    """Write benchmarks/results/NAME.json and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"circumstances": around, "measured": measured}, indent=2) + "\n")
    return path
