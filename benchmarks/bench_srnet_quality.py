"""PSNR and identity of SRNet's shipped weights on small faces, against bicubic interpolation, in one run.

    python benchmarks/bench_srnet_quality.py CLIPS [--weights srnet_t srnet_f] [--write]

CLIPS is a folder of videos with one face each, of people that training did not see. A few frames of each are scaled so that the face has
four times one of `WIDTHS`, made bad and a fourth as large, as `options/train/srnet_t.yml` ("soft") and `srnet_f.yml` ("sharp") say, or only
a fourth as large ("clean"), and made large again. PSNR is that of the face's box; identity the cosine similarity of dlib's vectors to the
frame's own.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

from benchmarks.record import circumstances, write  # noqa: E402
from data.degradation import Degradation  # noqa: E402
from data.samples import evenly  # noqa: E402
from keyframes_gan import options, restorers  # noqa: E402
from keyframes_gan.faces import align, detectors  # noqa: E402
from keyframes_gan.faces.identity import embed, similarity  # noqa: E402
from keyframes_gan.faces.landmarks import Landmarker, box_of  # noqa: E402
from keyframes_gan.metrics.fidelity import psnr  # noqa: E402
from keyframes_gan.types import FaceClip, Image, Restorer  # noqa: E402
from keyframes_gan.video.read import VideoReader, count_frames  # noqa: E402

WIDTHS = (50, 75, 100)
SCALE = 4
KINDS = {"soft": "srnet_t.yml", "sharp": "srnet_f.yml", "clean": ""}
CLEAN = {"blur_sigma": [0.2, 0.2], "noise_range": [0.0, 0.0], "crf_range": [0, 0]}


def faces(path: Path, count: int) -> list[tuple[Image, npt.NDArray[np.float32]]]:
    """Return a few frames of a clip with the landmarks of their face."""
    wanted, found = set(evenly(count_frames(path), count)), []
    detector, landmarker = detectors.find("dlib-hog")(), Landmarker()
    with VideoReader(path) as reader:
        for frame in reader:
            boxes = detector.detect(frame.rgb) if frame.index in wanted else []
            if boxes:
                found.append((frame.rgb, landmarker.points(frame.rgb, boxes[0].box, rounds=2)))
    return found


def square(rgb: Image, points: npt.NDArray[np.float32], width: int) -> tuple[Image, npt.NDArray[np.float32]] | None:
    """Return the face's surroundings at `SCALE` times `width`, its side a multiple of 32, and its landmarks; None if it is not as large."""
    box = box_of(points)
    if float(box[2] - box[0]) < SCALE * width:
        return None
    side = SCALE * 32 * round(1.5 * width / 32)
    factor = SCALE * width / float(box[2] - box[0])
    centre = (box[:2] + box[2:]).astype(np.float64) / 2
    matrix = np.column_stack([factor * np.eye(2), (side - 1) / 2 - factor * centre])
    return align.crop(rgb, matrix, side), align.transform_points(points, matrix)


def scores(picture: Image, truth: Image, points: npt.NDArray[np.float32]) -> tuple[float, float]:
    left, top, right, bottom = (int(value) for value in np.rint(box_of(points)).clip(0, len(truth)))
    inside = slice(top, bottom), slice(left, right)
    alike = similarity(embed(picture, points), embed(truth, points))
    return psnr(np.ascontiguousarray(truth[inside]), np.ascontiguousarray(picture[inside])), alike


def enlarged(restorer: Restorer, small: Image, points: npt.NDArray[np.float32]) -> Image:
    clip = FaceClip(0, 0, small[None], np.eye(2, 3)[None], ((points + 0.5) / SCALE - 0.5).astype(np.float32)[None])
    made: Image = restorer.restore(clip, restorer.start(0))[0]
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description="PSNR and identity of SRNet on small faces, against bicubic interpolation.")
    parser.add_argument("clips", type=Path, help="folder of videos with one face each")
    parser.add_argument("--weights", nargs="+", default=["srnet_t", "srnet_f"], help="names or files (default: srnet_t srnet_f)")
    parser.add_argument("--frames", type=int, default=4, help="of each clip (default: 4)")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/srnet_quality.json")
    given = parser.parse_args()
    around = circumstances(1)
    known = {Path(name).stem: restorers.find("srnet", device="cpu", weights=name) for name in given.weights}
    everything = [one for path in sorted(given.clips.glob("*.mp4")) for one in faces(path, given.frames)]
    rows = []
    for kind, recipe in KINDS.items():
        settings = options.plain(options.load(ROOT / "options" / "train" / recipe, check_paths=False))["degradation"] if recipe else CLEAN
        far = Degradation.of({**settings, "scale": SCALE})
        for width in WIDTHS:
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("bicubic", *known)}
            for number, (rgb, points) in enumerate(everything):
                made = square(rgb, points, width)
                if made is None:
                    continue
                rng = np.random.default_rng([number, width])
                small = far.apply([made[0]], far.draw(rng), rng)[0]
                found["bicubic"].append(scores(cv2.resize(small, made[0].shape[1::-1], interpolation=cv2.INTER_CUBIC), *made))
                for name, restorer in known.items():
                    found[name].append(scores(enlarged(restorer, small, made[1]), *made))
            for name, values in found.items():
                if values:
                    quality, alike = np.mean(values, axis=0)
                    rows.append({"faces": kind, "width_px": width, "count": len(values), "way": name})
                    rows[-1] |= {"psnr_db": round(float(quality), 3), "identity": round(float(alike), 4)}
                    print(json.dumps(rows[-1]))
    if given.write:
        print(f"written: {write('srnet_quality', around, rows)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
