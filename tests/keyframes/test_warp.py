"""The warp against the parity fixtures and against deformations whose result is known in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from keyframes_gan.keyframes.warp import exact_grid, warp, warp_grid

PAIRS = (0, 1, 2, 3)
IDENTITY_PAIR = 2


@pytest.fixture(scope="module")
def golden(parity_dir: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(parity_dir / "goldens" / "mls_warp.npz") as archive:
        return dict(archive)


@pytest.fixture
def landmarks() -> npt.NDArray[np.float32]:
    return np.random.default_rng(3).uniform(40, 210, (68, 2)).astype(np.float32)


@pytest.mark.parametrize("pair", PAIRS)
def test_grid_before_truncation_equals_the_public_one(golden: dict[str, npt.NDArray[Any]], pair: int) -> None:
    grid = exact_grid((256, 256), golden[f"pair{pair}_reference_landmarks"], golden[f"pair{pair}_target_landmarks"])
    np.testing.assert_allclose(grid[:, ::4, ::4], golden[f"pair{pair}_grid_before_truncation_stride4"], rtol=0, atol=5e-4)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair != IDENTITY_PAIR])
def test_paper_grid_equals_the_public_one(golden: dict[str, npt.NDArray[Any]], pair: int) -> None:
    grid = warp_grid((256, 256), golden[f"pair{pair}_reference_landmarks"], golden[f"pair{pair}_target_landmarks"], "paper")
    difference = np.abs(grid.astype(int) - golden[f"pair{pair}_grid_int16"].astype(int))
    assert grid.dtype == np.int16
    assert difference.max() <= 1
    assert difference.any(axis=0).mean() <= 0.002


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair != IDENTITY_PAIR])
def test_paper_picture_equals_the_public_one(golden: dict[str, npt.NDArray[Any]], pair: int) -> None:
    picture = np.ascontiguousarray(golden["picture_u8"])
    warped = warp(picture, golden[f"pair{pair}_reference_landmarks"], golden[f"pair{pair}_target_landmarks"], "paper")
    same = (warped[::2, ::2] == golden[f"pair{pair}_warped_stride2"]).all(axis=2)
    assert same.mean() > 0.997


@pytest.mark.parametrize("pair", PAIRS)
def test_fast_grid_is_the_same_deformation(golden: dict[str, npt.NDArray[Any]], pair: int) -> None:
    source, target = golden[f"pair{pair}_reference_landmarks"], golden[f"pair{pair}_target_landmarks"]
    fast = np.clip(warp_grid((256, 256), source, target), 0, 255)[:, ::4, ::4]
    off_px = np.abs(fast - golden[f"pair{pair}_grid_before_truncation_stride4"])
    assert off_px.mean() < 0.05
    assert np.quantile(off_px, 0.99) < 0.75


@pytest.mark.parametrize("shape", [(256, 256), (384, 384), (512, 512), (129, 77), (1, 9)])
def test_affine_maps_are_reproduced_at_every_size(shape: tuple[int, int], landmarks: npt.NDArray[np.float32]) -> None:
    matrix = np.array([[1.1, -0.2, 7.0], [0.15, 0.9, -4.0]])
    source = landmarks @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32)
    grid = warp_grid(shape, source, landmarks)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    expected = np.einsum("ij,jhw->ihw", matrix, np.stack([columns, rows, np.ones_like(rows)]).astype(float))[::-1]
    assert grid.shape == (2, *shape)
    np.testing.assert_allclose(grid, expected, atol=2e-3)


def test_step_one_is_exact(golden: dict[str, npt.NDArray[Any]]) -> None:
    source, target = golden["pair0_reference_landmarks"], golden["pair0_target_landmarks"]
    grid = np.clip(warp_grid((256, 256), source, target, step=1), 0, 255)
    np.testing.assert_allclose(grid[:, ::4, ::4], golden["pair0_grid_before_truncation_stride4"], rtol=0, atol=5e-4)


def test_equal_landmarks_leave_the_picture_alone(landmarks: npt.NDArray[np.float32]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(picture, landmarks, landmarks), picture)


def test_translation_moves_the_picture(landmarks: npt.NDArray[np.float32]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    warped = warp(picture, landmarks, landmarks + np.float32([5, -3]))
    np.testing.assert_array_equal(warped[:250, 10:], picture[3:253, 5:251])


@pytest.mark.parametrize("shape", ["line", "point"])
def test_landmarks_without_area_translate(shape: str) -> None:
    target = np.stack([np.linspace(20, 100, 68), np.linspace(30, 70, 68)], axis=1) if shape == "line" else np.full((68, 2), 50.0)
    grid = warp_grid((128, 128), target + np.array([4.0, 6.0]), target)
    rows, columns = np.mgrid[0:128, 0:128]
    np.testing.assert_allclose(grid, np.stack([rows + 6.0, columns + 4.0]), atol=1e-3)


def test_bad_arguments_are_named(landmarks: npt.NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="expected one of fast, paper, got 'quick'"):
        warp_grid((64, 64), landmarks, landmarks, "quick")
    with pytest.raises(ValueError, match="68 source landmarks and 5 target"):
        warp_grid((64, 64), landmarks, landmarks[:5])
    with pytest.raises(ValueError, match=r"expected \(N, 2\)"):
        warp_grid((64, 64), landmarks.T, landmarks.T)
    with pytest.raises(ValueError, match="finite"):
        warp_grid((64, 64), landmarks * np.nan, landmarks)
    with pytest.raises(ValueError, match="at least 1 px"):
        warp_grid((64, 64), landmarks, landmarks, step=0)
