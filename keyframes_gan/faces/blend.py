"""Blending a restored face into its frame over several frequency bands or by Poisson's equation, and matching its colours.

    multiband   Laplacian pyramids (Burt and Adelson, ACM ToG 1983) of the luma alone: the coarsest bands and all colour stay the frame's,
                finer bands come from the restored face, their difference amplified
    poisson     the restored face's gradients with the frame's values around it (Perez et al., SIGGRAPH 2003)

Convention: see `keyframes_gan.types`. Luma is Y of full-range BT.601, as OpenCV computes it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from keyframes_gan.faces import align
from keyframes_gan.types import check_image, check_shape

if TYPE_CHECKING:
    from keyframes_gan.types import FloatArray, Image, Matrix

Blend = Literal["feather", "multiband", "poisson"]

INNER = 0.88
RIM = 0.2
"""The ellipse's mask falls from 1 to 0 while the squared, normalised distance from the centre grows from 1 to 1 plus this."""
ELLIPSE_BLUR = 0.02
LEVELS, KEEP, GAIN = 5, 2, 1.25
POISSON_MASK = 0.5
POISSON_ERODE = 3
GREATEST_GAIN = 2.0
FLAT = 1e-6


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


def match_luma(patch: Image, base: Image) -> Image:
    """Return `patch` with the mean and standard deviation of `base`'s luma; its colour differences stay."""
    wanted = cv2.cvtColor(base, cv2.COLOR_RGB2YCrCb)[..., 0].astype(np.float32)
    planes = cv2.cvtColor(patch, cv2.COLOR_RGB2YCrCb)
    luma = planes[..., 0].astype(np.float32)
    matched = (luma - luma.mean()) / (luma.std() + FLAT) * wanted.std() + wanted.mean()
    planes[..., 0] = np.clip(matched, 0, 255).astype(np.uint8)
    done: Image = cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB)
    return done


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


def multiband(base: Image, patch: Image, mask: FloatArray, *, levels: int = LEVELS, keep: int = KEEP, gain: float = GAIN) -> Image:
    """Return `base` with the luma detail of `patch` where `mask` is 1.

    Args:
        base: uint8 (H, W, 3).
        patch: uint8 (H, W, 3), in place.
        mask: float32 (H, W) in [0, 1].
        levels: bands of the pyramid, the coarsest included.
        keep: how many of the coarsest bands stay those of `base`.
        gain: by how much the difference of the other bands is amplified.
    """
    planes = cv2.cvtColor(base, cv2.COLOR_RGB2YCrCb)
    luma = cv2.cvtColor(patch, cv2.COLOR_RGB2YCrCb)[..., 0].astype(np.float32)
    # The pyramid is linear: that of the difference is the difference of the pyramids.
    differences = _halved(luma - planes[..., 0].astype(np.float32), levels)
    weights = _halved(mask, levels)
    change = np.zeros_like(differences[-1])
    for level in range(levels - 1, -1, -1):
        difference = differences[level]
        if level < levels - 1:
            change = _doubled(change, difference)
            difference = difference - _doubled(differences[level + 1], difference)
        if level < levels - keep:
            change = change + gain * weights[level] * difference
    planes[..., 0] = np.clip(planes[..., 0].astype(np.float32) + change, 0, 255).astype(np.uint8)
    done: Image = cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB)
    return done


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
    done: Image = cv2.seamlessClone(patch, base, inside * 255, centre, cv2.NORMAL_CLONE)
    return done


def paste(frame: Image, restored: Image, to_crop: Matrix, blend: Blend, *, mask: FloatArray | None = None, strength: float = 1.0) -> None:
    """Paste a restored crop into `frame`, in place, inside the face's bounding box; outside of the mask no pixel changes.

    Args:
        frame: uint8 (H, W, 3).
        restored: uint8 (S, S, 3).
        to_crop: (2, 3), frame to crop pixels, for a crop of side S.
        blend: "feather" (`align.paste`), "multiband" (its luma matched to the frame's first), or "poisson", which falls back to
            "feather" where the face reaches the border of the frame.
        mask: float32 (S, S) in [0, 1], how much of the crop to show; by default `align.feather` for "feather", else an ellipse.
        strength: 0 leaves the frame as it is, 1 shows the restored face fully.
    """
    size = len(restored)
    left, top, right, bottom = align.bounds(to_crop, size, frame.shape)
    if right <= left or bottom <= top:
        return
    region = frame[top:bottom, left:right]
    matrix = align.shifted(to_crop, left, top)
    alpha = align.from_crop(cosine_ellipse(size, size) if mask is None else mask, matrix, region.shape)
    base = np.ascontiguousarray(region)
    mixed: Image | None = None
    if blend != "feather":
        patch = align.from_crop(restored, matrix, region.shape)
        mixed = multiband(base, match_luma(patch, base), alpha) if blend == "multiband" else poisson(base, patch, alpha)
    if mixed is None:
        shown = align.feather(size) if mask is None else mask
        align.paste(frame, restored, to_crop, mask=shown * np.float32(strength), in_place=True)
        return
    if strength < 1:
        mixed = cv2.addWeighted(mixed, strength, base, 1 - strength, 0)
    np.copyto(region, mixed, where=(alpha > 0)[..., None])
