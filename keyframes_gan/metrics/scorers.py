"""The metrics without weights of their own, as `Scorer`s: full frame, or inside boxes.

PSNR and SSIM are taken over the union of the boxes; the blind metrics per box crop, averaged by area.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from keyframes_gan.metrics import Box, Picture, Scorer
from keyframes_gan.metrics.fidelity import WINDOW, psnr, ssim
from keyframes_gan.metrics.regions import large_enough, mask_of, mean_over_crops

PSNR_CAP_DB = 100.0
BRISQUE_MINIMUM_PX = 32
NIQE_MINIMUM_PX = 192


def load_psnr() -> Scorer:
    """Return PSNR in dB; equal pictures, whose PSNR is infinite, count as 100 dB, so that means stay finite."""

    def score(original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        if boxes is None:
            return min(psnr(picture, original), PSNR_CAP_DB)
        return min(psnr(picture, original, region=mask_of(boxes, picture.shape)), PSNR_CAP_DB) if boxes else None

    return score


def load_ssim() -> Scorer:
    """Return SSIM; boxes that are smaller than twice its window are left out."""

    def score(original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        if boxes is None:
            return ssim(picture, original)
        chosen = large_enough(boxes, 2 * WINDOW)
        return ssim(picture, original, region=mask_of(chosen, picture.shape)) if chosen else None

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


def load_niqe() -> Scorer:
    """Return NIQE on luma, by BasicSR's implementation; it needs two blocks of 96 px in each direction.

    It halves and rounds as MATLAB does; figures of implementations that halve bilinearly and do not round differ by up to 1.1.
    """
    from keyframes_gan.registry import calculate_metric  # noqa: PLC0415  # takes seconds to import

    def measure(_: Picture, picture: Picture) -> float:
        return float(calculate_metric({"img": picture[..., ::-1]}, {"type": "calculate_niqe", "crop_border": 0}))

    def score(original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        return mean_over_crops(measure, original, picture, boxes, NIQE_MINIMUM_PX)

    return score
