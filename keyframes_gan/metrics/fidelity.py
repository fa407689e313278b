"""How near a picture is to its original: PSNR, SSIM and MS-SSIM.

Convention: pictures are uint8, (H, W) or (H, W, 3). The channel order only matters for `luma=True`, which expects RGB.
All arithmetic is float64. `region` is a bool mask (H, W), True where pixels count; None counts all of them.

SSIM follows Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity",
IEEE TIP 13(4), 2004: 11x11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, population statistics, only windows that lie
inside the picture, mean over positions and then over channels.
MS-SSIM follows Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment", Asilomar 2003: the product
of contrast and structure over five scales, each half the one before (means of 2x2 pixels), and of luminance at the coarsest, with the
paper's exponents; per channel, then the mean. A negative mean of contrast and structure counts as 0.
Luma is ITU-R BT.601, studio swing (16..235), not rounded.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from keyframes_gan.errors import UserError

PEAK = 255.0
WINDOW = 11
SIGMA = 1.5
C1 = (0.01 * PEAK) ** 2
C2 = (0.03 * PEAK) ** 2
LUMA_RGB = (65.481, 128.553, 24.966)
LUMA_OFFSET = 16.0
GREY_RANK, COLOR_RANK = 2, 3
MS_SSIM_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MINIMUM_PX = WINDOW * 2 ** (len(MS_SSIM_EXPONENTS) - 1)

Floats = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def to_luma(rgb: npt.NDArray[Any]) -> Floats:
    """Return the BT.601 luma (16..235, float64, not rounded) of an RGB picture (H, W, 3) with values 0..255."""
    luma: Floats = rgb.astype(np.float64) @ (np.asarray(LUMA_RGB) / PEAK) + LUMA_OFFSET
    return luma


def psnr(first: Picture, second: Picture, *, crop_border: int = 0, luma: bool = False, region: Mask | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB over all channels; infinite for equal pictures.

    Args:
        first: uint8 (H, W) or (H, W, 3).
        second: same shape and type.
        crop_border: rows and columns left out on every side.
        luma: compare the BT.601 luma instead of the three channels.
        region: bool (H, W), the pixels that count.

    Raises:
        UserError: sizes differ, or nothing is left to compare.
        ValueError: a picture is not uint8 of two or three dimensions.
    """
    one, two, mask = _prepare(first, second, crop_border, luma, region)
    squares = np.square(one - two)
    error = float(squares.mean() if mask is None else squares[mask].mean())
    return float("inf") if error == 0 else float(10.0 * np.log10(PEAK**2 / error))


def ssim(first: Picture, second: Picture, *, crop_border: int = 0, luma: bool = False, region: Mask | None = None) -> float:
    """Return the structural similarity, 1 for equal pictures; arguments and errors as for `psnr`.

    With `region`, the mean is taken over window centres inside the region.

    Raises:
        UserError: also when the picture is smaller than the 11x11 window.
    """
    one, two, mask = _prepare(first, second, crop_border, luma, region)
    similarity = ssim_map(one, two)
    if mask is None:
        return float(similarity.mean())
    half = WINDOW // 2
    inner = mask[half:-half, half:-half]
    if not inner.any():
        msg = f"SSIM: the region has no pixel at least {half} px inside the {one.shape[1]}x{one.shape[0]} picture"
        raise UserError(msg)
    return float(similarity[inner].mean())


def ms_ssim(first: Picture, second: Picture) -> float:
    """Return the structural similarity over five scales, 1 for equal pictures, 0 at least.

    Args:
        first: uint8 (H, W) or (H, W, 3), H and W at least 176.
        second: same shape and type.

    Raises:
        UserError: sizes differ, or the pictures are smaller than 176 pixels.
    """
    one, two, _ = _prepare(first, second, 0, luma=False, region=None)
    if min(one.shape[:2]) < MS_SSIM_MINIMUM_PX:
        msg = f"MS-SSIM: expected pictures of at least {MS_SSIM_MINIMUM_PX}x{MS_SSIM_MINIMUM_PX} px, got {one.shape[1]}x{one.shape[0]}"
        raise UserError(msg)
    product = np.ones(one.shape[2:])
    for scale, exponent in enumerate(MS_SSIM_EXPONENTS, start=1):
        luminance, contrast = _ssim_parts(one, two)
        similarity = contrast if scale < len(MS_SSIM_EXPONENTS) else luminance * contrast
        product = product * np.maximum(similarity.mean(axis=(0, 1)), 0.0) ** exponent
        one, two = _halved(one), _halved(two)
    return float(product.mean())


def _halved(picture: Floats) -> Floats:
    """Return the means of 2x2 pixels; an odd last row or column is left out."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    result: Floats = picture[: 2 * height, : 2 * width].reshape(height, 2, width, 2, *picture.shape[2:]).mean(axis=(1, 3))
    return result


def ssim_map(one: Floats, two: Floats) -> Floats:
    """Return SSIM per window: float64 (H-10, W-10) or (H-10, W-10, C) for pictures (H, W) or (H, W, C) with values 0..255."""
    luminance, contrast = _ssim_parts(one, two)
    return luminance * contrast


def _ssim_parts(one: Floats, two: Floats) -> tuple[Floats, Floats]:
    """Return the two factors of SSIM per window: luminance, and contrast with structure."""
    if min(one.shape[:2]) < WINDOW:
        msg = f"SSIM: expected pictures of at least {WINDOW}x{WINDOW} px, got {one.shape[1]}x{one.shape[0]}; use a smaller --crop_border"
        raise UserError(msg)
    mean_one, mean_two = _window_means(one), _window_means(two)
    product = mean_one * mean_two
    squares = np.square(mean_one) + np.square(mean_two)
    # Only the sum of both variances is needed, so four filterings do instead of five.
    variances = _window_means(np.square(one) + np.square(two)) - squares
    covariance = _window_means(one * two) - product
    return (2 * product + C1) / (squares + C1), (2 * covariance + C2) / (variances + C2)


def _window_means(picture: Floats) -> Floats:
    """Return the Gaussian mean of every 11x11 window inside the picture."""
    kernel = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_64F)
    half = WINDOW // 2
    means: Floats = cv2.sepFilter2D(picture, cv2.CV_64F, kernel, kernel)[half:-half, half:-half]
    return means


def _prepare(first: Picture, second: Picture, border: int, luma: bool, region: Mask | None) -> tuple[Floats, Floats, Mask | None]:
    """Check both pictures and return them cropped, as float64, with the cropped mask."""
    for picture in (first, second):
        if picture.dtype != np.uint8 or picture.ndim not in (GREY_RANK, COLOR_RANK):
            msg = f"expected uint8 (H, W) or (H, W, 3), got {picture.dtype} {picture.shape}"
            raise ValueError(msg)
    if first.shape != second.shape:
        msg = f"pictures to compare must have one size, got {_size(first)} and {_size(second)}"
        raise UserError(msg)
    if border < 0 or 2 * border >= min(first.shape[:2]):
        msg = f"--crop_border: expected 0 to {(min(first.shape[:2]) - 1) // 2} for a {_size(first)} picture, got {border}"
        raise UserError(msg)
    rows, columns = (slice(border, length - border) for length in first.shape[:2])
    one, two = first[rows, columns], second[rows, columns]
    mask = None if region is None else region[rows, columns]
    if mask is not None and not mask.any():
        msg = f"the region to compare has no pixel in the {_size(first)} picture after cropping {border} px"
        raise UserError(msg)
    if luma and first.ndim == COLOR_RANK:
        return to_luma(one), to_luma(two), mask
    return one.astype(np.float64), two.astype(np.float64), mask


def _size(picture: npt.NDArray[Any]) -> str:
    """Return a picture's size in words, channels only where they are not three."""
    channels = "" if picture.ndim == COLOR_RANK else " grey"
    return f"{picture.shape[1]}x{picture.shape[0]}{channels}"
