"""Blending a restored face into its frame over several frequency bands or by Poisson's equation, and matching its colours.

    multiband   Laplacian pyramids (Burt and Adelson, ACM ToG 1983) of the luma alone: the coarsest bands and all colour stay the frame's,
                finer bands come from the restored face, their difference amplified
    poisson     the restored face's gradients with the frame's values around it (Perez et al., SIGGRAPH 2003)

Convention: see `keyframes_gan.types`. Luma is Y of full-range BT.601, as OpenCV computes it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from keyframes_gan.faces import align
from keyframes_gan.types import check_image, check_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from keyframes_gan.types import Blend, FloatArray, Image, Matrix

INNER = 0.88
RIM = 0.2
"""The ellipse's mask falls from 1 to 0 while the squared, normalised distance from the centre grows from 1 to 1 plus this."""
ELLIPSE_BLUR = 0.02
LEVELS, KEEP, GAIN = 5, 2, 1.25
POISSON_MASK = 0.5
POISSON_ERODE = 3
GREATEST_GAIN = 2.0
FLAT = 1e-6
GREY = 2
"""Levels by which R, G and B differ at most in a picture without colour: rounding and lossy coding leave so much."""
REACH = 0.25
"""Where crops overlap, each counts by a Gaussian around its middle with this standard deviation, as a part of its side."""


@lru_cache(maxsize=16)
def cosine_ellipse(height: int, width: int, inner: float = INNER) -> FloatArray:
    """Return a soft elliptic mask, float32 (height, width) in [0, 1], read-only: a cosine ramp outside an ellipse, slightly blurred.

    Args:
        height: in pixels.
        width: in pixels.
        inner: axes of the ellipse in which the mask is 1, as a part of `height` and `width`.
    """
    rows = (np.arange(height) - (height - 1) / 2) / (height * inner / 2)
    columns = (np.arange(width) - (width - 1) / 2) / (width * inner / 2)
    beyond = np.clip((rows[:, None] ** 2 + columns[None, :] ** 2 - 1) / RIM, 0, 1)
    sharp = (0.5 * (1 + np.cos(np.pi * beyond))).astype(np.float32)
    mask: FloatArray = cv2.GaussianBlur(sharp, (0, 0), ELLIPSE_BLUR * min(height, width))
    mask.flags.writeable = False
    return mask


def default_mask(blend: Blend, size: int) -> FloatArray:
    """Return how much of a crop of side `size` is shown when nothing else is asked for, float32 (size, size), read-only."""
    return align.feather(size) if blend == "feather" else cosine_ellipse(size, size)


@lru_cache(maxsize=16)
def _nearness(size: int) -> FloatArray:
    profile = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / (REACH * size)) ** 2)
    return np.outer(profile, profile).astype(np.float32)


def divided(masks: Sequence[FloatArray], to_crops: Sequence[Matrix]) -> list[FloatArray]:
    """Divide what crops that overlap add to one frame among them, so that nothing is added twice.

    A pixel that several crops show belongs to each in proportion to its mask and to how near the pixel is to the crop's middle. That
    depends on no order, so it is steady in time.

    Args:
        masks: each float32 (S, S) in [0, 1], how much of the crop is shown.
        to_crops: each (2, 3), frame to crop pixels.

    Returns:
        The masks, each times its share; those of crops that overlap no other as they are.
    """
    weights = [mask * _nearness(len(mask)) for mask in masks]
    middles = [
        align.transform_points(np.full((1, 2), (len(mask) - 1) / 2), align.invert(one)) for mask, one in zip(masks, to_crops, strict=True)
    ]
    radii = [len(mask) / align.scale_of(one) / np.sqrt(2) for mask, one in zip(masks, to_crops, strict=True)]
    shares = list(masks)
    for at, (mask, to_crop) in enumerate(zip(masks, to_crops, strict=True)):
        total = weights[at].copy()
        for other, to_other in enumerate(to_crops):
            if other != at and np.hypot(*(middles[at] - middles[other])[0]) < radii[at] + radii[other]:
                total += cv2.warpAffine(weights[other], align.joined(align.invert(to_other), to_crop), mask.shape, flags=cv2.INTER_LINEAR)
        if (total > weights[at]).any():
            shares[at] = mask * weights[at] / np.maximum(total, np.finfo(np.float32).tiny)
    return shares


def match_luma(luma: FloatArray, wanted: FloatArray) -> FloatArray:
    """Return `luma` with the mean and standard deviation of `wanted`; float32 planes of levels, 0 to 255."""
    matched: FloatArray = (luma - luma.mean()) / (luma.std() + FLAT) * wanted.std() + wanted.mean()
    return np.clip(matched, 0, 255)


def match_color(restored: Image, given: Image) -> Image:
    """Return `restored` with the mean and standard deviation of `given` in each of R, G and B, both within the face's ellipse.

    Both are uint8 (S, S, 3). The contrast is changed by a factor of `GREATEST_GAIN` at most.
    """
    check_image(restored, "match_color: restored")
    check_shape(given, np.uint8, restored.shape, "match_color: given")
    inside = cosine_ellipse(*restored.shape[:2]) > POISSON_MASK
    source, target = restored[inside].astype(np.float32), given[inside].astype(np.float32)
    gain = np.clip(target.std(axis=0) / np.maximum(source.std(axis=0), FLAT), 1 / GREATEST_GAIN, GREATEST_GAIN)
    matched = (restored - source.mean(axis=0)) * gain + target.mean(axis=0)
    done: Image = np.clip(np.rint(matched), 0, 255).astype(np.uint8)
    return done


def without_colour(restored: npt.NDArray[np.uint8], given: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return restored crops that have no colour when those given have none; else `restored` itself.

    Networks that were trained on colour tint grey faces. Of what they change, only the luma is then kept.

    Args:
        restored: uint8 (T, S, S, 3).
        given: uint8 (T, S, S, 3), the same crops before; all of them must be grey.
    """
    for part in (given[:, ::8, ::8], given):  # coloured ones are told at once
        if int(np.ptp(part, axis=-1).max()) > GREY:
            return restored
    grey = []
    for after, before in zip(restored, given, strict=True):
        change = cv2.subtract(cv2.cvtColor(after, cv2.COLOR_RGB2GRAY), cv2.cvtColor(before, cv2.COLOR_RGB2GRAY), dtype=cv2.CV_16S)
        grey.append(cv2.add(before, cv2.merge([change] * 3), dtype=cv2.CV_8U))
    return np.stack(grey)


def multiband(base: Image, patch: Image, mask: FloatArray) -> Image:
    """Return `base` with the luma detail of `patch`, its luma matched to that of `base` first, where `mask` is 1.

    The change is added to R, G and B alike, which leaves the colour differences as they are, and unchanged pixels bit for bit.

    Args:
        base: uint8 (H, W, 3).
        patch: uint8 (H, W, 3), in place.
        mask: float32 (H, W) in [0, 1].
    """
    luma, restored = (cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)[..., 0].astype(np.float32) for picture in (base, patch))
    change = luma_change(luma, match_luma(restored, luma), mask)
    done: Image = cv2.add(base, cv2.merge([change] * 3), dtype=cv2.CV_8U)
    return done


def luma_change(
    luma: FloatArray, restored: FloatArray, mask: FloatArray, *, levels: int = LEVELS, keep: int = KEEP, gain: float = GAIN
) -> FloatArray:
    """Return what to add to `luma` so that it gets the detail of `restored` where `mask` is 1, float32 (H, W).

    Args:
        luma: float32 (H, W), levels of 255.
        restored: float32 (H, W), likewise.
        mask: float32 (H, W) in [0, 1].
        levels: bands of the pyramid, the coarsest included.
        keep: how many of the coarsest bands stay those of `luma`.
        gain: by how much the difference of the other bands is amplified.
    """
    # The pyramid is linear: that of the difference is the difference of the pyramids.
    differences, weights = _halved(restored - luma, levels), _halved(mask, levels)
    change = np.zeros_like(differences[-1])
    for level in range(levels - 1, -1, -1):
        difference = differences[level]
        if level < levels - 1:
            change = _doubled(change, difference)
            difference = difference - _doubled(differences[level + 1], difference)
        if level < levels - keep:
            change = change + gain * weights[level] * difference
    return change


def _halved(plane: FloatArray, levels: int) -> list[FloatArray]:
    pyramid = [plane]
    for _ in range(levels - 1):
        pyramid.append(cv2.pyrDown(pyramid[-1]))
    return pyramid


def _doubled(plane: FloatArray, like: FloatArray) -> FloatArray:
    larger: FloatArray = cv2.pyrUp(plane, dstsize=(like.shape[1], like.shape[0]))
    return larger


def poisson(base: Image, patch: Image, mask: FloatArray) -> Image | None:
    """Return `base` with the gradients of `patch` inside `mask`, or None when the mask is empty or reaches the picture's border.

    OpenCV solves within the mask's bounding rectangle, so the result differs from `base` there outside of the mask too. It also rounds
    down: by nearly one level, in a picture cloned into itself too. What that changes is taken off again.

    Args:
        base: uint8 (H, W, 3).
        patch: uint8 (H, W, 3), in place.
        mask: float32 (H, W) in [0, 1]; what counts is where it exceeds a half, less a few pixels.
    """
    inside = (mask > POISSON_MASK).astype(np.uint8)
    touches = inside[0].any() or inside[-1].any() or inside[:, 0].any() or inside[:, -1].any()
    inside = cv2.erode(inside, np.ones((2 * POISSON_ERODE + 1, 2 * POISSON_ERODE + 1), np.uint8))
    if touches or not inside.any():
        return None
    left, top, width, height = cv2.boundingRect(inside)
    centre = (left + width // 2, top + height // 2)
    cloned, itself = (cv2.seamlessClone(source, base, inside * 255, centre, cv2.NORMAL_CLONE) for source in (patch, base))
    done: Image = cv2.add(base, cv2.subtract(cloned, itself, dtype=cv2.CV_16S), dtype=cv2.CV_8U)
    return done


def paste(
    frame: Image,
    restored: Image,
    to_crop: Matrix,
    blend: Blend,
    *,
    mask: FloatArray | None = None,
    original: Image | None = None,
    strength: float = 1.0,
) -> None:
    """Paste a restored crop into `frame`, in place, inside the face's bounding box; where the mask is 0 no pixel changes.

    Args:
        frame: uint8 (H, W, 3).
        restored: uint8 (S, S, 3).
        to_crop: (2, 3), frame to crop pixels, for a crop of side S.
        blend: "feather" (`align.paste`), "multiband", or "poisson", in place of which "feather" is used where the face reaches the border
            of the frame. Whatever they make of the face is faded out with the mask.
        mask: float32 (S, S) in [0, 1], how much of the crop to show; by default `align.feather` for "feather", else an ellipse.
        original: the crop as it was cut out. When given, what is blended in is the frame with the *difference* restored - original added,
            so that whatever the restorer left alone is the frame's own, free of resampling blur.
        strength: 0 leaves the frame as it is, 1 shows the restored face fully.
    """
    size = len(restored)
    left, top, right, bottom = align.bounds(to_crop, size, frame.shape)
    if right <= left or bottom <= top:
        return
    mixed: Image | None = None
    if blend != "feather":
        region = frame[top:bottom, left:right]
        matrix = align.shifted(to_crop, left, top)
        alpha = align.from_crop(default_mask(blend, size) if mask is None else mask, matrix, region.shape)
        base = np.ascontiguousarray(region)
        patch = align.from_crop(restored, matrix, region.shape)
        if original is not None:
            patch = align.paste(base, restored, matrix, mask=np.ones((size, size), np.float32), original=original)
        mixed = multiband(base, patch, alpha) if blend == "multiband" else poisson(base, patch, alpha)
    if mixed is None:
        shown = align.feather(size) if mask is None else mask
        align.paste(frame, restored, to_crop, mask=shown * np.float32(strength), original=original, in_place=True)
        return
    alpha *= np.float32(strength)
    region[...] = cv2.blendLinear(mixed, base, alpha, 1 - alpha)
