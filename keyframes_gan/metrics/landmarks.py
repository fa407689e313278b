"""How far facial landmarks lie from those of the original, and how unsteadily.

Both pictures' 68 points (iBUG 300-W order) are placed by dlib's shape predictor (`keyframes_gan.faces.landmarks`), started from the
face's box and roll in the original, then again from its own answer. So no face has to be detected in the restored picture, and none is
left out where restoration has failed. All values are in pixels of the measured pictures; compare only at one face size (`--region crop`).

AKD        Average keypoint distance (Siarohin et al., "First order motion model", NeurIPS 2019): mean Euclidean distance of the points.
sigma-AKD  Its standard deviation over the frames of one person, as KEEP (Feng et al., ECCV 2024) reports it.
LMD        Landmark distance (Chen et al., "Lip movements generation at a glance", ECCV 2018), here of all 68 points: as AKD, after the
           mean points of both faces have been brought together. What is left is the difference in shape and expression.
TLME       Temporal landmark motion error (Wang et al., "Analysis and benchmarking of extending blind face image restoration to
           videos", 2024): mean Euclidean length of the difference between the points' motion since the frame before, restored
           against original. Jitter shows here, a constant displacement does not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from keyframes_gan.faces.landmarks import Landmarker, box_of, roll_of
from keyframes_gan.metrics.clips import Begin, Frames, Strip
from keyframes_gan.metrics.people import ByPerson, Spread, between
from keyframes_gan.types import Points

ROUNDS = 2


@cache
def _landmarker() -> Landmarker:
    return Landmarker()


def placed(frames: Frames, strip: Strip) -> list[dict[int, Points]]:
    """Return per frame and person the landmarks in the pictures of `strip`, which is one of the two of `frames`."""

    def place() -> list[dict[int, Points]]:
        return [
            {
                person: _landmarker().points(picture, box_of(points), angle=roll_of(points), rounds=ROUNDS)
                for person, points in frames.people(index).items()
            }
            for index, picture in enumerate(strip.pictures)
        ]

    return strip.once("landmarks", place)


def distance(one: npt.NDArray[np.float32], two: npt.NDArray[np.float32]) -> float:
    """Return the mean Euclidean distance of points (N, 2) and (N, 2)."""
    return float(np.linalg.norm(one.astype(np.float64) - two, axis=1).mean())


def distance_centred(one: npt.NDArray[np.float32], two: npt.NDArray[np.float32]) -> float:
    """Return the mean Euclidean distance of points after their means have been brought together."""
    return distance(one - one.mean(axis=0), two - two.mean(axis=0))


def _distances(of: Callable[[Points, Points], float]) -> Callable[[Frames], list[dict[int, float]]]:
    """Return what gives every frame's distances by person."""

    def measure(frames: Frames) -> list[dict[int, float]]:
        return [{person: of(*points) for person, points in people.items()} for people in _both(frames)]

    return measure


def load_akd() -> Begin:
    """Return the average keypoint distance."""
    return lambda: ByPerson(_distances(distance))


def load_sigma_akd() -> Begin:
    """Return the standard deviation over time of the average keypoint distance."""
    return lambda: Spread(_distances(distance))


def load_lmd() -> Begin:
    """Return the landmark distance without displacement."""
    return lambda: ByPerson(_distances(distance_centred))


def load_tlme() -> Begin:
    """Return the temporal landmark motion error."""
    return lambda: ByPerson(between(_both, _motion_error))


def _both(frames: Frames) -> list[dict[int, tuple[Points, Points]]]:
    """Return per frame and person the landmarks in both pictures."""
    pairs = zip(placed(frames, frames.original), placed(frames, frames.judged), strict=True)
    return [{person: (original[person], judged[person]) for person in original} for original, judged in pairs]


def _motion_error(now: tuple[Points, Points], before: tuple[Points, Points]) -> float:
    """Return how far the points moved otherwise in the judged picture than in the original."""
    return distance(now[1] - before[1], now[0] - before[0])
