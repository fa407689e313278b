"""Moving-least-squares warp of a reference picture to the landmarks of the frame it serves.

The deformation is the affine one of Schaefer, McPhail and Warren, "Image Deformation Using Moving Least Squares" (SIGGRAPH 2006), with
alpha = 1, computed backwards: for every pixel of the result, where to read in the source. Landmark i of the source ends up at landmark i
of the target. Mode `paper` equals Keyframes-GAN to the pixel (integer landmarks, every pixel, truncated coordinates); mode `fast`
evaluates the same deformation on a coarse grid, interpolates it and samples the picture bilinearly.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from keyframes_gan.types import Image, check_image

Float64 = npt.NDArray[np.float64]

MODES = ("fast", "paper")
EPSILON = 1e-8
FLAT = 1e-12
STEP_PX = 8
MIN_POINTS = 3


def warp(
    picture: Image, source_landmarks: npt.NDArray[Any], target_landmarks: npt.NDArray[Any], mode: str = "fast", *, step: int = STEP_PX
) -> Image:
    """Return `picture` deformed so that its landmarks come to lie on the target's.

    Args:
        picture: uint8 RGB (H, W, 3).
        source_landmarks: (N, 2), (x, y) in pixels of `picture`, N >= 3; they may lie outside it.
        target_landmarks: (N, 2), where they should go.
        mode: `fast` or `paper`.
        step: Distance of the coarse grid's nodes in pixels, mode `fast` only.

    Returns:
        uint8 RGB (H, W, 3); where the source has no pixel, its nearest border pixel is repeated.

    Raises:
        ValueError: An unknown mode, or landmarks of another shape.
    """
    check_image(picture, "warp picture")
    height, width = picture.shape[:2]
    grid = warp_grid((height, width), source_landmarks, target_landmarks, mode, step=step)
    if mode == "paper":
        return np.ascontiguousarray(picture[grid[0], grid[1]])
    warped = cv2.remap(picture, grid[1], grid[0], interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(warped, dtype=np.uint8)


def warp_grid(
    shape: tuple[int, int],
    source_landmarks: npt.NDArray[Any],
    target_landmarks: npt.NDArray[Any],
    mode: str = "fast",
    *,
    step: int = STEP_PX,
) -> npt.NDArray[Any]:
    """Return for every pixel of the result the (row, column) to read in the source.

    Args:
        shape: (height, width) of the result in pixels.
        source_landmarks: (N, 2), (x, y) in pixels.
        target_landmarks: (N, 2), (x, y) in pixels.
        mode: `fast` gives float32 (2, H, W); `paper` gives int16 (2, H, W), clamped to the picture and truncated.
        step: Distance of the coarse grid's nodes in pixels, mode `fast` only.

    Raises:
        ValueError: An unknown mode, a step below 1, or landmarks of another shape.
    """
    if mode not in MODES:
        msg = f"warp mode: expected one of {', '.join(MODES)}, got {mode!r}"
        raise ValueError(msg)
    if step < 1:
        msg = f"warp step: expected at least 1 px, got {step}"
        raise ValueError(msg)
    source, target = _checked(source_landmarks, "source"), _checked(target_landmarks, "target")
    if source.shape != target.shape:
        msg = f"warp: {len(source)} source landmarks and {len(target)} target landmarks; expected as many of both"
        raise ValueError(msg)
    if mode == "paper":
        return exact_grid(shape, source, target).astype(np.int16)
    return _fast_grid(shape, source, target, step)


def exact_grid(shape: tuple[int, int], source: npt.NDArray[Any], target: npt.NDArray[Any]) -> Float64:
    """Return the paper's grid before its truncation: float64 (2, H, W) as (row, column), clamped to the picture.

    Landmarks are truncated towards zero to whole pixels first, as the published method does.
    """
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float64)
    whole_source, whole_target = np.trunc(source.astype(np.float64)), np.trunc(target.astype(np.float64))
    moved = _deform(np.stack([columns.ravel(), rows.ravel()], axis=1), whole_source, whole_target)
    grid = moved[:, ::-1].T.reshape(2, *shape)
    limits = np.array([shape[0] - 1, shape[1] - 1], dtype=np.float64)
    clamped: Float64 = np.clip(grid, 0.0, limits[:, None, None])
    return clamped


def _checked(landmarks: npt.NDArray[Any], name: str) -> Float64:
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < MIN_POINTS:  # noqa: PLR2004
        msg = f"warp {name} landmarks: expected (N, 2) with N >= {MIN_POINTS}, got {points.shape}"
        raise ValueError(msg)
    if not np.isfinite(points).all():
        msg = f"warp {name} landmarks: expected finite numbers"
        raise ValueError(msg)
    return points


def _fast_grid(shape: tuple[int, int], source: Float64, target: Float64, step: int) -> npt.NDArray[np.float32]:
    """Evaluate the displacement at nodes `step` px apart and interpolate it between them: float32 (2, H, W)."""
    up_rows, row_nodes = _upsampling(shape[0], step)
    up_columns, column_nodes = _upsampling(shape[1], step)
    nodes = np.stack([grid.ravel() for grid in np.meshgrid(column_nodes, row_nodes)], axis=1)
    moved = (_deform(nodes, source, target) - nodes).astype(np.float32)
    coarse = moved[:, ::-1].T.reshape(2, len(row_nodes), len(column_nodes))
    grid = np.matmul(up_rows, np.matmul(coarse, up_columns.T))
    grid[0] += np.arange(shape[0], dtype=np.float32)[:, None]
    grid[1] += np.arange(shape[1], dtype=np.float32)[None, :]
    return np.ascontiguousarray(grid, dtype=np.float32)


@lru_cache(maxsize=32)
def _upsampling(length: int, step: int) -> tuple[npt.NDArray[np.float32], Float64]:
    """Return the Catmull-Rom interpolation matrix, float32 (length, nodes), and the nodes' positions in pixels.

    One node lies before the first pixel and at least one behind the last, so that every pixel has its four nodes.
    """
    last = (length - 1) // step
    nodes = np.arange(-1, last + 3, dtype=np.float64) * step
    position = np.arange(length) / step
    left = np.floor(position).astype(np.int64)
    t = position - left
    weights = np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3],
        axis=1,
    )
    matrix = np.zeros((length, len(nodes)), dtype=np.float32)
    for tap in range(4):
        matrix[np.arange(length), left + tap] = weights[:, tap] / 2
    return matrix, nodes


def _deform(points: Float64, source: Float64, target: Float64) -> Float64:
    """Map `points` (M, 2) of the target to the source: affine moving least squares, float64 (M, 2) as (x, y).

    Written with weighted sums over all landmarks (Schaefer et al., section 2.1), so that one matrix product does the work.
    Where the landmarks do not span a plane (all on one line, or in one place), the deformation is the weighted mean translation.
    """
    square = (points[:, 0, None] - target[None, :, 0]) ** 2 + (points[:, 1, None] - target[None, :, 1]) ** 2
    weights = 1.0 / (square + EPSILON)
    weights /= weights.sum(axis=1, keepdims=True)
    p_mean, q_mean = weights @ target, weights @ source
    px, py = (target[None, :, axis] - p_mean[:, axis, None] for axis in (0, 1))
    wx, wy = weights * px, weights * py
    xx, xy, yy = (np.einsum("mn,mn->m", a, b) for a, b in ((wx, px), (wx, py), (wy, py)))
    right_x = wx @ source - wx.sum(axis=1, keepdims=True) * q_mean
    right_y = wy @ source - wy.sum(axis=1, keepdims=True) * q_mean
    determinant = xx * yy - xy * xy
    flat = determinant <= FLAT * (xx + yy) ** 2
    safe = np.where(flat, 1.0, determinant)[:, None]
    offset = points - p_mean
    along_x = (yy[:, None] * right_x - xy[:, None] * right_y) / safe
    along_y = (xx[:, None] * right_y - xy[:, None] * right_x) / safe
    moved = offset[:, :1] * along_x + offset[:, 1:] * along_y
    return q_mean + np.where(flat[:, None], offset, moved)
