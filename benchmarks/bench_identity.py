"""How alike faces stay to themselves: restored by single experts, reduced, from frame to frame, and against other people.

What `min_identity` in options/infer/routed.yml rests on. Cosine similarities of dlib's identities, of faces of 50 to 150 pixels in the
frames of a video of several people (every 16th) and in pictures.

    python benchmarks/bench_identity.py VIDEO PICTURE ... [--write]
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.record import circumstances, write  # noqa: E402
from keyframes_gan import restorers  # noqa: E402
from keyframes_gan.faces import align, detectors  # noqa: E402
from keyframes_gan.faces.identity import embed, similarity  # noqa: E402
from keyframes_gan.faces.landmarks import Landmarker  # noqa: E402
from keyframes_gan.types import FaceClip, FloatArray, Image, Points, Restorer  # noqa: E402
from keyframes_gan.video.read import VideoReader  # noqa: E402

EVERY = 16
EXPERTS = (("srnet", "srnet_t"), ("srnet", "srnet_f"), ("keyframes_lite", None))
REDUCED_PX = (60, 40, 30, 20, 14)
LEAST_PX, MOST_PX = 50, 150


@dataclass(frozen=True)
class Face:
    """One face in one picture; in a video, `person` counts the faces from left to right."""

    rgb: Image
    points: Points
    person: int
    filmed: bool

    @property
    def width(self) -> float:
        left, _, right, _ = align.box_of(self.points)
        return float(right - left)


def faces(path: Path) -> Iterator[Face]:
    detector, landmarker = detectors.find("dlib-hog")(), Landmarker()
    with VideoReader(path) as reader:
        for frame in itertools.islice(reader, 0, None, EVERY):
            boxes = sorted((one.box for one in detector.detect(frame.rgb, thorough=True)), key=lambda box: float(box[0]))
            for person, box in enumerate(boxes):
                face = Face(frame.rgb, landmarker.points(frame.rgb, box, rounds=2), person, not reader.is_pictures)
                if LEAST_PX <= face.width < MOST_PX:
                    yield face


def after_restoring(face: Face, restorer: Restorer) -> float:
    spec = restorer.spec
    size = align.native_size(face.points, spec.crop_sizes, template=spec.template)
    matrix = align.CropSpec(spec.template, size).to_crop(face.points)
    points = align.transform_points(face.points, matrix)
    given = align.crop(face.rgb, matrix, size)
    clip = FaceClip(0, 0, given[None], matrix[None], points[None], references=(None,))
    (restored,) = restorer.restore(clip, restorer.start(0))
    scale = len(restored) / size
    enlarged = ((points + 0.5) * scale - 0.5).astype(np.float32)
    return similarity(embed(align.enlarged(given, len(restored)), enlarged), embed(restored, enlarged))


def after_reducing(face: Face, width: float) -> float:
    part = width / face.width
    small = cv2.resize(face.rgb, None, fx=part, fy=part, interpolation=cv2.INTER_AREA)
    back = cv2.resize(small, face.rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return similarity(embed(face.rgb, face.points), embed(back, face.points))


def pairs(found: Sequence[Face]) -> dict[str, list[float]]:
    """Similarities of faces of the video: of one person in different frames, and of different people."""
    known: list[tuple[int, FloatArray]] = [(face.person, embed(face.rgb, face.points)) for face in found if face.filmed]
    values: dict[str, list[float]] = {"one person, another frame": [], "another person": []}
    for (person, one), (other, two) in itertools.combinations(known, 2):
        values["one person, another frame" if person == other else "another person"].append(similarity(one, two))
    return values


def row(name: str, values: Sequence[float]) -> dict[str, object]:
    found = {"what": name, "compared": len(values)}
    told = {**found, **{part: round(float(of(values)), 4) for part, of in (("min", min), ("median", np.median), ("max", max))}}
    print(told, flush=True)
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description="How alike faces stay to themselves.")
    parser.add_argument("sources", type=Path, nargs="+", help="a video of several people who keep their places, and pictures")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/identity.json")
    given = parser.parse_args()
    around = circumstances(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads()))
    found = [face for path in given.sources for face in faces(path)]
    rows = [row(name, values) for name, values in pairs(found).items() if values]
    rows += [row(f"reduced to {px} pixels", [after_reducing(face, px) for face in found if face.width > px]) for px in REDUCED_PX]
    for name, weights in EXPERTS:
        restorer = restorers.find(name, device="cpu", weights=weights)
        rows.append(row(f"restored by {weights or name}", [after_restoring(face, restorer) for face in found]))
    if given.write:
        print(f"written: {write('identity', around, {'every': EVERY, 'rows': rows})}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
