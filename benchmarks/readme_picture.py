"""The picture at the README's beginning: one moment of what `make demo` has left, compressed, restored and as it was.

python -m keyframes_gan.demo --output demo
python benchmarks/readme_picture.py [demo]

`make readme-assets` does both. The portrait is scikit-image's `astronaut()`, a NASA photograph in the public domain.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from keyframes_gan import report  # noqa: E402
from keyframes_gan.demo import CRF  # noqa: E402
from keyframes_gan.types import Image  # noqa: E402
from keyframes_gan.video.packets import count_frames  # noqa: E402
from keyframes_gan.video.read import VideoReader  # noqa: E402

PICTURE = ROOT / "docs" / "images" / "portrait.webp"
VERSIONS = {"compressed": f"compressed, CRF {CRF}", "restored": "restored", "original": "original"}
MOMENT = 0.25
"""Of the video's length; there the face is largest."""
SIDE_PX = 272
GAP_PX = 4
QUALITY = 92


def picture(folder: Path) -> Image:
    """Return the middles of one frame of every version side by side, labelled, pixel by pixel."""
    parts = []
    for name in VERSIONS:
        path = folder / f"{name}.mp4"
        with VideoReader(path) as reader:
            frame = next(islice(reader, int(MOMENT * count_frames(path)), None)).rgb
        top, left = ((length - SIDE_PX) // 2 for length in frame.shape[:2])
        parts.append(np.ascontiguousarray(frame[top : top + SIDE_PX, left : left + SIDE_PX]))
    return report.side_by_side(parts, list(VERSIONS.values()), gap_px=GAP_PX)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the README's picture of what `make demo` has left.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "demo")
    made = picture(parser.parse_args().folder)
    cv2.imwrite(str(PICTURE), made[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    print(f"written: {PICTURE}, {PICTURE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
