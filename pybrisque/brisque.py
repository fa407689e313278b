"""The 36 features of BRISQUE and its score.

Steps of the paper, at full size and at half size:
    1. luminance, normalised by the mean and deviation of a 7x7 Gaussian window of sigma 7/6 (equations 1 to 3);
    2. a generalised Gaussian fitted by moments to the normalised luminance (equation 4): shape, variance (2 features);
    3. products of neighbours in four directions (equations 7 to 10), each fitted by an asymmetric generalised Gaussian
       (equations 11 to 14): shape, mean, left and right variance (16 features).
The shape is searched on the grid 0.2, 0.201, ... 10, as LIVE's release does; features therefore have steps of 0.001 there.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .model import Model, load_live_model

Halving = Literal["antialias", "paper"]
Floats = npt.NDArray[np.float64]

HALVINGS: tuple[Halving, ...] = ("antialias", "paper")
MINIMUM_PX = 16
# exp(-x^2 / (2 sigma^2)) for sigma = 7/6 and x = 0, 1, 2, 3, divided by its sum over the 7 positions. Written out, because exp()
# differs in the last bit between systems, and in flat areas the last bit is seen (see `_blur`).
WEIGHTS = (0.34263151546524945, 0.23729607711717063, 0.07882796468173002, 0.012560200468474612)
LUMA_RGB, LUMA_BITS = (9798, 19235, 3735), 15
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (-1, 1))
SHAPES = (200, 10_000)
GREY_RANK, COLOR_RANK = 2, 3


def score(picture: npt.NDArray[Any], *, halving: Halving = "antialias", model: Model | None = None) -> float:
    """Return the BRISQUE score of one picture: about 0 natural, about 100 badly distorted, not clipped. Lower is better.

    Args:
        picture: uint8, (H, W, 3) RGB or (H, W) grey.
        halving: how the half-size picture of the second scale is made. "antialias" reduces by antialiased bicubic interpolation;
            "paper" takes every second pixel, which reproduces scores published with nearest-neighbour halving.
        model: None for LIVE's.

    Raises:
        ValueError: the picture is smaller than 16x16, not uint8, or of another shape, or `halving` is unknown.
    """
    regression = load_live_model() if model is None else model
    return float(regression.predict(features(picture, halving=halving)[None])[0])


def features(picture: npt.NDArray[Any], *, halving: Halving = "antialias") -> Floats:
    """Return the 36 features, float64 (36,): 18 at full size, then 18 at half size. Arguments and errors as for `score`."""
    luminance = _luminance(picture)
    return np.concatenate([_scale_features(luminance), _scale_features(halve(luminance, halving))])


def halve(plane: Floats, halving: Halving) -> Floats:
    """Return a plane (H, W) at half size, (ceil(H / 2), ceil(W / 2)).

    Raises:
        ValueError: `halving` is neither "antialias" nor "paper".
    """
    if halving == "paper":
        return plane[::2, ::2]
    if halving == "antialias":
        smaller: Floats = _halve_rows(_halve_rows(plane).T).T
        return smaller
    msg = f"halving: expected one of {', '.join(HALVINGS)}, got {halving!r}"
    raise ValueError(msg)


def normalise(plane: Floats) -> Floats:
    """Return the mean-subtracted, contrast-normalised coefficients of a plane (H, W) with values 0..255."""
    mean = _blur(plane)
    deviation = np.sqrt(np.abs(_blur(np.square(plane)) - np.square(mean)))
    return (plane - mean) / (deviation + 1.0)


def _luminance(picture: npt.NDArray[Any]) -> Floats:
    """Check a picture and return its BT.601 luminance in whole levels 0..255, by 15-bit fixed point as 8-bit converters do."""
    rank_fits = picture.ndim == GREY_RANK or (picture.ndim == COLOR_RANK and picture.shape[2] == len(LUMA_RGB))
    if picture.dtype != np.uint8 or not rank_fits:
        msg = f"expected uint8 (H, W, 3) RGB or (H, W) grey, got {picture.dtype} {picture.shape}"
        raise ValueError(msg)
    if min(picture.shape[:2]) < MINIMUM_PX:
        msg = f"expected a picture of at least {MINIMUM_PX}x{MINIMUM_PX} px, got {picture.shape[1]}x{picture.shape[0]}"
        raise ValueError(msg)
    if picture.ndim == GREY_RANK:
        return picture.astype(np.float64)
    red, green, blue = (picture[..., channel].astype(np.int32) * weight for channel, weight in enumerate(LUMA_RGB))
    return ((red + green + blue + (1 << (LUMA_BITS - 1))) >> LUMA_BITS).astype(np.float64)


def _scale_features(plane: Floats) -> Floats:
    """Return the 18 features of one scale."""
    field = normalise(plane)
    found = list(_fit_symmetric(field))
    for down, along in DIRECTIONS:
        shape, left, right = _fit(field * np.roll(field, (down, along), axis=(0, 1)))
        found += [shape, _mean_of_fit(shape, left, right), left, right]
    return np.asarray(found)


def _fit_symmetric(values: Floats) -> tuple[float, float]:
    """Fit a generalised Gaussian of zero mean by moments: (shape, variance)."""
    power = float(np.mean(np.square(values)))
    if power == 0:
        return SHAPES[1] / 1000.0, power
    shapes, moments = _shape_table()
    # The table is searched by its inverse, power / moment, so that ties fall as in the release.
    wanted = power / float(np.mean(np.abs(values))) ** 2
    return float(shapes[::-1][_nearest(1.0 / moments[::-1], wanted)]), power


def _fit(values: Floats) -> tuple[float, float, float]:
    """Fit an asymmetric generalised Gaussian by moments: (shape, left variance, right variance)."""
    negative, positive = values[values < 0], values[values > 0]
    left = float(negative @ negative) / max(negative.size, 1)
    right = float(positive @ positive) / max(positive.size, 1)
    power = float(np.mean(np.square(values)))
    if left == 0 or right == 0 or power == 0:
        return SHAPES[1] / 1000.0, left, right  # a flat picture: no spread to fit, the lightest tails of the grid
    ratio = np.sqrt(left / right)
    moment = float(np.mean(np.abs(values))) ** 2 / power
    wanted = moment * (ratio**3 + 1.0) * (ratio + 1.0) / (ratio**2 + 1.0) ** 2
    shapes, moments = _shape_table()
    return float(shapes[_nearest(moments, wanted)]), left, right


def _mean_of_fit(shape: float, left: float, right: float) -> float:
    """Return the mean of an asymmetric generalised Gaussian (equation 14) from its shape and variances."""
    gamma = _gamma(np.asarray([1.0, 2.0, 3.0]) / shape)
    return float((np.sqrt(right) - np.sqrt(left)) * gamma[1] / gamma[0] * np.sqrt(gamma[0] / gamma[2]))


def _nearest(rising: Floats, wanted: float) -> int:
    """Return the index of the value nearest to `wanted` in a rising table."""
    right = int(np.clip(np.searchsorted(rising, wanted), 1, rising.size - 1))
    return right - 1 if wanted - rising[right - 1] <= rising[right] - wanted else right


@lru_cache(maxsize=1)
def _shape_table() -> tuple[Floats, Floats]:
    """Return the grid of shapes and, for each, Gamma(2/s)^2 / (Gamma(1/s) Gamma(3/s)), which rises with s."""
    shapes = np.arange(SHAPES[0], SHAPES[1] + 1) / 1000.0
    return shapes, np.square(_gamma(2.0 / shapes)) / (_gamma(1.0 / shapes) * _gamma(3.0 / shapes))


def _gamma(values: Floats) -> Floats:
    """Return the gamma function of positive values (NumPy has none; the standard library's is exact to the last digits)."""
    return np.asarray([math.gamma(value) for value in values])


def _blur(plane: Floats) -> Floats:
    """Return the Gaussian mean around every pixel; outside the picture counts as zero, as in the release.

    The order of the additions is part of the result: where a compressed picture is perfectly flat, the sign of the rounding error
    decides on which side of zero a pixel counts, and the score moves by up to 0.3 with another order. This order was chosen from
    several because it agrees with the reference scores at hand within 0.01; it uses no fused operation.
    """
    half = len(WEIGHTS) - 1
    rows, columns = plane.shape
    padded = np.pad(plane, ((half, half), (0, 0)))
    down = WEIGHTS[0] * plane
    for offset in range(1, half + 1):
        down += WEIGHTS[offset] * (padded[half + offset :][:rows] + padded[half - offset :][:rows])
    padded = np.pad(down, ((0, 0), (half, half)))
    along = WEIGHTS[half] * padded[:, :columns]
    for offset in range(1, 2 * half + 1):
        along += WEIGHTS[abs(offset - half)] * padded[:, offset : offset + columns]
    return along


def _halve_rows(plane: Floats) -> Floats:
    """Halve the number of rows by antialiased bicubic interpolation (a = -0.5, support stretched to 8 rows, mirrored borders)."""
    rows = plane.shape[0]
    count = (rows + 1) // 2
    distance = np.abs(np.arange(-3, 5) - 0.5) / 2.0
    inner = 1.5 * distance**3 - 2.5 * distance**2 + 1.0
    outer = -0.5 * distance**3 + 2.5 * distance**2 - 4.0 * distance + 2.0
    weights = np.where(distance <= 1.0, inner, outer)
    weights /= weights.sum()
    padded = np.pad(plane, ((3, 5), (0, 0)), mode="symmetric")
    result: Floats = np.zeros((count, plane.shape[1]))
    for offset, weight in enumerate(weights):
        result += weight * padded[offset : offset + 2 * count : 2]
    return result
