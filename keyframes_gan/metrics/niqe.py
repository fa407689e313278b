"""NIQE: how far a picture's natural scene statistics are from those of pristine pictures; no original needed.

Source: Mittal, Soundararajan and Bovik, "Making a 'completely blind' image quality analyzer", IEEE SPL 20(3), 2013: 18 features of
normalised luma at two scales in blocks of 96 pixels; the distance of two Gaussians, the picture's and the pristine one. Those parameters
are the authors', from the file that BasicSR brings. Luma is BT.601, studio swing. Two ways are in use:

niqe        as the authors' MATLAB program: luma rounded, halved by antialiased bicubic interpolation; equal to BasicSR 1.4.2
niqe_paper  as the public scripts of Keyframes-GAN: luma not rounded, halved bilinearly; to compare with its tables

Both work in single precision, as those programs do: where a picture is flat, the sign of rounding errors decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve
from scipy.special import gamma

from keyframes_gan.metrics.fidelity import to_luma
from keyframes_gan.metrics.kinds import Box, Picture, Scorer, UnavailableError
from keyframes_gan.metrics.regions import mean_over_crops

Floats = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
Way = Literal["matlab", "paper"]
PEAK = np.float32(255)
BLOCK = 96
FEWEST = 2
MINIMUM_PX = 2 * BLOCK
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
SHAPES: Floats = np.arange(0.2, 10.001, 0.001)
PARAMETERS = "metrics/niqe_pris_params.npz"


def load(*, argument: Way = "matlab") -> Scorer:
    """Return NIQE; pictures and boxes of less than 192 pixels a side are left out.

    Raises:
        UnavailableError: BasicSR, which brings the parameters, is not installed.
    """
    _pristine()

    def measure(_: Picture, picture: Picture) -> float:
        return niqe(picture, argument)

    def score(original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        value = mean_over_crops(measure, original, picture, boxes, MINIMUM_PX)
        return None if value is None or np.isnan(value) else value

    return score


def niqe(picture: Picture, way: Way = "matlab") -> float:
    """Return NIQE of a picture uint8 RGB (H, W, 3), H and W at least 192; what exceeds a multiple of 96 is left out.

    NaN where fewer than two blocks show any texture.
    """
    luma = to_luma(picture).astype(np.float32)
    plane = luma.round() if way == "matlab" else luma
    rows, columns = (side // BLOCK for side in plane.shape)
    plane = plane[: rows * BLOCK, : columns * BLOCK]
    half = _halved(plane, way)
    scales = [(_normalised(plane), BLOCK), (_normalised(half), BLOCK // 2)]
    found = [
        [value for field, side in scales for value in _features(field[row * side : (row + 1) * side, column * side : (column + 1) * side])]
        for column in range(columns)
        for row in range(rows)
    ]
    features = np.array(found)
    textured = features[~np.isnan(features).any(axis=1)]
    if len(textured) < FEWEST:
        return float("nan")
    mean, covariance, _ = _pristine()
    shift = mean - np.nanmean(features, axis=0)
    spread = np.cov(textured, rowvar=False)
    return float(np.sqrt(shift @ np.linalg.pinv((covariance + spread) / 2) @ shift))


@lru_cache(maxsize=1)
def _pristine() -> tuple[Floats, Floats, Floats]:
    """Return mean (36,) and covariance (36, 36) of pristine pictures, and the Gaussian window (7, 7)."""
    spec = find_spec("basicsr")
    path = Path(spec.origin).parent / PARAMETERS if spec is not None and spec.origin is not None else None
    if path is None or not path.is_file():
        msg = "NIQE needs the parameters that BasicSR brings; run: pip install --no-deps --no-build-isolation -r requirements-basicsr.txt"
        raise UnavailableError(msg)
    with np.load(path) as stored:
        return stored["mu_pris_param"][0], stored["cov_pris_param"], stored["gaussian_window"]


def _halved(plane: Plane, way: Way) -> Plane:
    """Return a plane of even sides at half size; as the programs do it, on values of 0 to 1."""
    if way == "matlab":
        import pybrisque  # noqa: PLC0415  # its halving is MATLAB's

        antialiased: Plane = (pybrisque.halve(plane.astype(np.float64) / PEAK, "antialias") * PEAK).astype(np.float32)
        return antialiased
    size = (plane.shape[1] // 2, plane.shape[0] // 2)
    smaller: Plane = cv2.resize(plane / PEAK, size, interpolation=cv2.INTER_LINEAR) * PEAK
    return smaller


def _normalised(plane: Plane) -> Plane:
    """Return the mean-subtracted, contrast-normalised coefficients of a plane (H, W) with values 0 to 255."""
    window = _pristine()[2]
    mean = convolve(plane, window, mode="nearest")
    deviation = np.sqrt(np.abs(convolve(np.square(plane), window, mode="nearest") - np.square(mean)))
    result: Plane = (plane - mean) / (deviation + 1)
    return result


def _features(block: Plane) -> list[float]:
    """Return the 18 features of one block at one scale."""
    shape, left, right = _fit(block)
    found = [shape, (left + right) / 2]
    for shift in SHIFTS:
        shape, left, right = _fit(block * np.roll(block, shift, axis=(0, 1)))
        found += [shape, (right - left) * float(gamma(2 / shape) / gamma(1 / shape)), left, right]
    return found


def _fit(block: Plane) -> tuple[float, float, float]:
    """Fit an asymmetric generalised Gaussian by moments: its shape, and its scale on either side; NaN where a side is empty."""
    values = block.ravel()
    negative, positive = values[values < 0], values[values > 0]
    if not negative.size or not positive.size:
        return float("nan"), float("nan"), float("nan")
    left, right = (np.sqrt(np.mean(np.square(side))) for side in (negative, positive))
    ratio = left / right
    moment = np.mean(np.abs(values)) ** 2 / np.mean(np.square(values))
    wanted = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = float(SHAPES[np.argmin(np.square(_moments() - wanted))])
    scale = float(np.sqrt(gamma(1 / shape) / gamma(3 / shape)))
    return shape, float(left) * scale, float(right) * scale


@lru_cache(maxsize=1)
def _moments() -> Floats:
    """Return for every shape the square of the mean magnitude over the mean square."""
    found: Floats = np.square(gamma(2 / SHAPES)) / (gamma(1 / SHAPES) * gamma(3 / SHAPES))
    return found
