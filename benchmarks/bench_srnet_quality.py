"""PSNR and identity of SRNet's shipped weights on small faces, against bicubic interpolation, in one run.

    python benchmarks/bench_srnet_quality.py CLIPS [--weights srnet_t srnet_f] [--write]

CLIPS is a folder of videos with one face each, of people that training did not see. A few frames of each are scaled so that the face is
as wide as `SIZES` says, made bad and small, and made large again: faces of 50 to 100 pixels by 4, as the network does; those of 100 to 150
by 2, what a video gets with `--upscale 2` (SRNet's result is halved), as hardly any footage has faces of 600 pixels. `KINDS` says how bad.

PSNR is that of the face's box. Identity is the cosine similarity of dlib's vectors of result and original, both taken at the original's
landmarks. "against bicubic" is the mean difference frame by frame; what is no larger than twice its standard error, or than `FINEST`, which
is what the shown digits resolve, is called equal. Frames of one clip are not independent, so "better" says little where `clips` is small.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.record import circumstances, write  # noqa: E402
from data.degradation import Degradation  # noqa: E402
from data.samples import evenly  # noqa: E402
from keyframes_gan import restorers  # noqa: E402
from keyframes_gan.faces import align, detectors  # noqa: E402
from keyframes_gan.faces.identity import embed, similarity  # noqa: E402
from keyframes_gan.faces.landmarks import Landmarker, box_of  # noqa: E402
from keyframes_gan.metrics.fidelity import psnr  # noqa: E402
from keyframes_gan.types import FaceClip, FloatArray, Image, Points, Restorer  # noqa: E402
from keyframes_gan.video.packets import count_frames  # noqa: E402
from keyframes_gan.video.read import VideoReader  # noqa: E402

SIZES = ((50, 4), (75, 4), (100, 4), (100, 2), (125, 2), (150, 2))
"""Width of the small face in pixels, and how many times as large the original is."""
SCALE = 4
KINDS: dict[str, dict[str, Any]] = {
    "soft": {"blur_sigma": (0.2, 4.0), "noise_range": (0.0, 6.0), "crf_range": (15, 35)},
    "sharp": {"blur_sigma": (0.2, 2.0), "noise_range": (0.0, 3.0), "crf_range": (10, 28)},
    "clean": {"blur_sigma": (0.2, 0.2), "noise_range": (0.0, 0.0), "crf_range": (0, 0)},
}
"""Ranges of `data.degradation.Degradation`; blur in fourths of a pixel of the small picture."""
FINEST = {"psnr_db": 0.01, "identity": 0.0001}


class Case(NamedTuple):
    """One face: what is to come out, its landmarks, and which clip it is from."""

    truth: Image
    points: Points
    clip: str


def faces(path: Path, count: int) -> list[Case]:
    """Return a few frames of a clip with the landmarks of their face."""
    wanted, found = set(evenly(count_frames(path), count)), []
    detector, landmarker = detectors.find("dlib-hog")(), Landmarker()
    with VideoReader(path) as reader:
        for frame in reader:
            boxes = detector.detect(frame.rgb) if frame.index in wanted else []
            if boxes:
                found.append(Case(frame.rgb, landmarker.points(frame.rgb, boxes[0].box, rounds=2), path.stem))
    return found


def square(case: Case, width: int, scale: int) -> Case | None:
    """Return the face's surroundings at `scale` times `width`, its side a multiple of 32, and its landmarks; None if it is not as large."""
    box = box_of(case.points)
    if float(box[2] - box[0]) < scale * width:
        return None
    side = scale * 32 * round(1.5 * width / 32)
    factor = scale * width / float(box[2] - box[0])
    centre = (box[:2] + box[2:]).astype(np.float64) / 2
    matrix = np.column_stack([factor * np.eye(2), (side - 1) / 2 - factor * centre])
    return Case(align.crop(case.truth, matrix, side), align.transform_points(case.points, matrix), case.clip)


def made_small(case: Case, kind: str, scale: int, seed: list[int]) -> Image:
    settings = KINDS[kind]
    sigmas = tuple(sigma * scale / SCALE for sigma in settings["blur_sigma"])
    far, rng = Degradation.of({**settings, "blur_sigma": sigmas, "scale": scale}), np.random.default_rng(seed)
    return far.apply([case.truth], far.draw(rng), rng)[0]


def enlarged(restorer: Restorer, small: Image, case: Case) -> Image:
    points = ((case.points + 0.5) * len(small) / len(case.truth) - 0.5).astype(np.float32)
    made: Image = restorer.restore(FaceClip(0, 0, small[None], np.eye(2, 3)[None], points[None]), restorer.start(0))[0]
    return made if made.shape == case.truth.shape else cv2.resize(made, case.truth.shape[1::-1], interpolation=cv2.INTER_AREA)


def scores(picture: Image, case: Case, identity: FloatArray) -> tuple[float, float]:
    left, top, right, bottom = (int(value) for value in np.rint(box_of(case.points)).clip(0, len(case.truth)))
    inside = slice(top, bottom), slice(left, right)
    alike = similarity(embed(picture, case.points), identity)
    return psnr(np.ascontiguousarray(case.truth[inside]), np.ascontiguousarray(picture[inside])), alike


def compared(values: list[tuple[float, float]], plain: list[tuple[float, float]]) -> dict[str, Any]:
    """Return means of PSNR and identity, and how they differ from those of interpolation, frame by frame."""
    row: dict[str, Any] = {}
    for number, (name, finest) in enumerate(FINEST.items()):
        own, other = (np.array([pair[number] for pair in pairs]) for pairs in (values, plain))
        difference = own - other
        mean, error = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else np.inf
        digits = round(-np.log10(finest)) + 1
        word = "equal" if abs(mean) <= max(finest, 2 * error) else "better" if mean > 0 else "worse"
        row |= {name: round(float(own.mean()), digits), f"{name}_gain": round(mean, digits), f"{name}_against_bicubic": word}
    return row


def measured(cases: list[Case], size: tuple[int, int], known: dict[str, Restorer]) -> Iterator[dict[str, Any]]:
    """Yield a row for each kind of bad faces and each way to enlarge them."""
    width, scale = size
    squares = [(number, case) for number, whole in enumerate(cases) if (case := square(whole, width, scale)) is not None]
    identities = [embed(case.truth, case.points) for _, case in squares]
    about = {"width_px": width, "larger_by": scale, "count": len(squares), "clips": len({case.clip for _, case in squares})}
    for kind in KINDS:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("bicubic", *known)}
        for (number, case), identity in zip(squares, identities, strict=True):
            small = made_small(case, kind, scale, [number, width])
            plain: Image = cv2.resize(small, case.truth.shape[1::-1], interpolation=cv2.INTER_CUBIC)
            found["bicubic"].append(scores(plain, case, identity))
            for name, restorer in known.items():
                found[name].append(scores(enlarged(restorer, small, case), case, identity))
        yield from ({"faces": kind, **about, "way": name, **compared(values, found["bicubic"])} for name, values in found.items() if values)


def main() -> int:
    parser = argparse.ArgumentParser(description="PSNR and identity of SRNet on small faces, against bicubic interpolation.")
    parser.add_argument("clips", type=Path, help="folder of videos with one face each")
    parser.add_argument("--weights", nargs="+", default=["srnet_t", "srnet_f"], help="names or files (default: srnet_t srnet_f)")
    parser.add_argument("--frames", type=int, default=4, help="of each clip (default: 4)")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/srnet_quality.json")
    given = parser.parse_args()
    around = circumstances(1)
    known = {Path(name).stem: restorers.find("srnet", device="cpu", weights=name) for name in given.weights}
    cases = [case for path in sorted(given.clips.glob("*.mp4")) for case in faces(path, given.frames)]
    rows = []
    for row in (row for size in SIZES for row in measured(cases, size, known)):
        rows.append(row)
        print(json.dumps(row), flush=True)
    if given.write:
        print(f"written: {write('srnet_quality', around, rows)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
