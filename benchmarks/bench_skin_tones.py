"""How light or dark the skin in lists of clips is, as far as pictures can tell: the individual typology angle of the cheeks.

    python benchmarks/bench_skin_tones.py datasets/train/clips_42.jsonl datasets/val/clips_42.jsonl [--write]

The angle is atan((L* - 50) / b*) in degrees, of CIE Lab values under D65 (Chardon et al., 1991), the median over both cheeks in nine
original frames of a clip. Above 55: very light, 41 light, 28 intermediate, 10 tan, -30 brown, below that dark. Light and camera change it
as much as the person does; it is a description of pictures, not of people.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.record import circumstances, write  # noqa: E402
from data.clips import ClipRecord, read_clips, read_crop  # noqa: E402
from data.samples import evenly  # noqa: E402

FRAMES = 9
CHEEKS = ((1, 2, 3, 31, 40, 41), (13, 14, 15, 35, 46, 47))
"""Landmarks around each cheek: jaw, wing of the nose, lower eyelid."""
GROUPS = ((55.0, "very light"), (41.0, "light"), (28.0, "intermediate"), (10.0, "tan"), (-30.0, "brown"))


def angle(clip: ClipRecord) -> float:
    """Return the angle of a clip in degrees."""
    found = []
    for frame in evenly(len(clip), FRAMES):
        crop = read_crop(clip.path("original", frame), clip.size)
        lab = cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        for cheek in CHEEKS:
            points = clip.landmarks[frame][list(cheek)]
            inner = points.mean(axis=0) + 0.5 * (points - points.mean(axis=0))
            mask = cv2.fillConvexPoly(np.zeros(crop.shape[:2], np.uint8), cv2.convexHull(inner.round().astype(np.int32)), 1)
            light, _, yellow = np.median(lab[mask > 0], axis=0)
            found.append(np.degrees(np.arctan2(light - 50, yellow)))
    return float(np.median(found))


def group(degrees: float) -> str:
    """Return the name of the group."""
    return next((name for least, name in GROUPS if degrees > least), "dark")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, nargs="+", help="clips_*.jsonl that preprocessing.py wrote")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/skin_tones.json")
    given = parser.parse_args()
    rows = {}
    for path in given.lists:
        for clip in read_clips(path):
            degrees = angle(clip)
            rows[clip.name] = {"list": path.parent.name, "degrees": round(degrees, 1), "group": group(degrees)}
            print(f"{path.parent.name:6} {clip.name:8} {degrees:6.1f}  {group(degrees)}", flush=True)
    if given.write:
        print(write("skin_tones", circumstances(threads=1), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
