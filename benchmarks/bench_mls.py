"""Time of one reference warp against a plain NumPy moving-least-squares at every pixel, in one run.

    python benchmarks/bench_mls.py [--size 256] [--write]

The plain version below is the textbook formula written directly with arrays over (landmarks, rows, columns) and sampled by truncation; it
is written for this benchmark. The ratio is the fastest of several rounds of each, taken alternately.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

from benchmarks.record import circumstances, write  # noqa: E402
from keyframes_gan.keyframes.warp import warp, warp_grid  # noqa: E402

Array = npt.NDArray[np.float64]
GOAL = 20.0


def plain_grid(size: int, source: Array, target: Array) -> Array:
    """Affine MLS at every pixel, straight from the formula: float64 (2, size, size) as (row, column)."""
    rows, columns = np.mgrid[0:size, 0:size].astype(float)
    v = np.stack([columns, rows])  # (2, h, w)
    p, q = target[:, :, None, None], source[:, :, None, None]  # (n, 2, 1, 1)
    w = 1.0 / (np.sum((p - v) ** 2, axis=1) + 1e-8)  # (n, h, w)
    p_star = np.sum(w[:, None] * p, axis=0) / np.sum(w, axis=0)  # (2, h, w)
    q_star = np.sum(w[:, None] * q, axis=0) / np.sum(w, axis=0)
    p_hat, q_hat = p - p_star, q - q_star  # (n, 2, h, w)
    left = np.sum(w[:, None, None] * p_hat[:, :, None] * p_hat[:, None], axis=0)  # (2, 2, h, w)
    right = np.sum(w[:, None, None] * p_hat[:, :, None] * q_hat[:, None], axis=0)
    matrix = np.linalg.inv(left.transpose(2, 3, 0, 1)) @ right.transpose(2, 3, 0, 1)  # (h, w, 2, 2)
    moved = ((v - p_star).transpose(1, 2, 0)[:, :, None] @ matrix)[:, :, 0] + q_star.transpose(1, 2, 0)
    return np.clip(moved[:, :, ::-1].transpose(2, 0, 1), 0, size - 1)


def plain_warp(picture: npt.NDArray[np.uint8], source: Array, target: Array) -> npt.NDArray[np.uint8]:
    rows, columns = plain_grid(picture.shape[0], source, target).astype(np.int16)
    return picture[rows, columns]


def face(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """Return made landmarks of two frames of one face: (68, 2) each."""
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    radius = size * (0.12 + 0.22 * ((np.arange(68) % 4) / 3))
    source = np.stack([size / 2 + radius * np.cos(angle), size / 2 + radius * np.sin(angle)], axis=1)
    turn = np.array([[0.98, -0.08], [0.08, 0.98]])
    target = (source - size / 2) @ turn.T + size / 2 + [size * 0.02, -size * 0.01] + rng.normal(0, size / 256, (68, 2))
    return np.rint(source), np.rint(target)


def fastest(job: Callable[[], object], rounds: int) -> float:
    """Return the fastest of `rounds` runs in seconds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        job()
        best = min(best, time.perf_counter() - start)
    return best


def measure(size: int) -> dict[str, float | int]:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    source, target = face(rng, size)
    seconds = {"plain": float("inf"), "paper": float("inf"), "fast": float("inf")}
    for _ in range(3):
        seconds["plain"] = min(seconds["plain"], fastest(lambda: plain_warp(picture, source, target), 1))
        seconds["paper"] = min(seconds["paper"], fastest(lambda: warp(picture, source, target, "paper"), 1))
        seconds["fast"] = min(seconds["fast"], fastest(lambda: warp(picture, source, target), 10))
    off_px = np.abs(np.clip(warp_grid((size, size), source, target), 0, size - 1) - plain_grid(size, source, target))
    return {
        "size_px": size,
        **{f"{name}_ms": round(1000 * value, 3) for name, value in seconds.items()},
        "ratio_fast_to_plain": round(seconds["plain"] / seconds["fast"], 1),
        "fast_mean_difference_px": round(float(off_px.mean()), 4),
        "fast_p99_difference_px": round(float(np.quantile(off_px, 0.99)), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Time the reference warp against plain NumPy moving least squares.")
    parser.add_argument("--size", type=int, action="append", help="side of the crop in pixels; may be repeated (default: 256 and 384)")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/mls.json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    around = circumstances(1)
    rows = [measure(size) for size in arguments.size or (256, 384)]
    for row in rows:
        print(
            f"{row['size_px']} px: plain {row['plain_ms']} ms, paper {row['paper_ms']} ms, fast {row['fast_ms']} ms: "
            f"fast is {row['ratio_fast_to_plain']} times faster than plain (goal {GOAL:g}); "
            f"differs by {row['fast_mean_difference_px']} px on average, {row['fast_p99_difference_px']} px at the 99th percentile"
        )
    if arguments.write:
        write("mls", around, rows)
    return 0 if all(float(row["ratio_fast_to_plain"]) >= GOAL for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
