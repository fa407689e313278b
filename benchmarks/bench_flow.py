"""How well, and how fast, flow between compressed pictures moves a key frame's coding residual to where it belongs.

    python benchmarks/bench_flow.py VIDEOS [--frames 120] [--write]

Every video of the folder goes through x264 at CRF 42, preset medium. One frame a second is a key frame, of which the original is known.
Half of its coding residual (original minus compressed), moved by the flow from the compressed frame to the compressed key frame, is
added to every 11th frame; no network takes part. The gain in PSNR is that of the middle half of the picture, in both directions.
"none" moves nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.record import circumstances, write  # noqa: E402
from keyframes_gan.keyframes.flow import moved  # noqa: E402
from keyframes_gan.video.read import VideoReader  # noqa: E402
from keyframes_gan.video.roundtrip import Codec, roundtrip  # noqa: E402

SHARE, STEP, LEVELS = 0.5, 11, 255.0
PRESETS = {
    "medium": (cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, 1),
    "fast": (cv2.DISOPTICAL_FLOW_PRESET_FAST, 1),
    "medium, half size": (cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, 2),
    "fast, half size": (cv2.DISOPTICAL_FLOW_PRESET_FAST, 2),
}


def psnr_db(picture: np.ndarray, truth: np.ndarray) -> float:
    height, width = truth.shape[:2]
    middle = slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)
    return float(10 * np.log10(LEVELS**2 / np.mean((picture[middle].astype(np.float32) - truth[middle]) ** 2)))


def find(preset: int, shrink: int, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    search = cv2.DISOpticalFlow.create(preset)
    if shrink == 1:
        return search.calc(here, there, None)
    small = [cv2.resize(one, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA) for one in (here, there)]
    return cv2.resize(search.calc(*small, None) * shrink, here.shape[::-1])


def measure(path: Path, count: int) -> dict[str, dict[str, float]]:
    with VideoReader(path) as reader:
        rate = reader.info.rate
        frames = [frame.rgb for _, frame in zip(range(count), reader, strict=False)]
    shown = roundtrip(frames, Codec("libx264", crf=42, preset="medium", rate=rate)).frames
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in shown]
    gains: dict[str, list[float]] = {name: [] for name in ("none", *PRESETS)}
    seconds = dict.fromkeys(PRESETS, 0.0)
    for index in range(STEP // 2, len(frames), STEP):
        key = int(index // rate * rate)
        residual = frames[key].astype(np.float32) - shown[key]
        before = psnr_db(shown[index], frames[index])
        gains["none"].append(psnr_db(np.clip(shown[index] + SHARE * residual, 0, LEVELS), frames[index]) - before)
        for name, (preset, shrink) in PRESETS.items():
            start = time.process_time()
            field = find(preset, shrink, grey[index], grey[key])
            seconds[name] += time.process_time() - start
            gains[name].append(psnr_db(np.clip(shown[index] + SHARE * moved(residual, field), 0, LEVELS), frames[index]) - before)
    return {name: {"gain_db": float(np.mean(found)), "cpu_ms": 1000 * seconds.get(name, 0.0) / len(found)} for name, found in gains.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="folder of videos of talking people")
    parser.add_argument("--frames", type=int, default=120, help="so many frames of each (default: 120)")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/flow.json")
    given = parser.parse_args()
    around = circumstances(threads=1)
    cv2.setNumThreads(1)
    rows = {path.stem: measure(path, given.frames) for path in sorted(given.videos.glob("*.mp4"))}
    for name in ("none", *PRESETS):
        each = [row[name] for row in rows.values()]
        gains = " ".join(f"{row['gain_db']:+.2f}" for row in each)
        print(
            f"{name:18} {np.mean([row['gain_db'] for row in each]):+.2f} dB ({gains})  {np.mean([row['cpu_ms'] for row in each]):5.1f} ms"
        )
    if given.write:
        print(write("flow", around, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
