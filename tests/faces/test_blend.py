"""Blending and colour matching against the public numbers and against closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from keyframes_gan.faces import align, blend

IDENTITY_40_30 = np.array([[1.0, 0, -40], [0, 1, -30]])


@pytest.fixture(scope="module")
def goldens(parity_dir: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(parity_dir / "goldens" / "experts_blend.npz") as file:
        return dict(file)


def texture(height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return np.ascontiguousarray(cv2.GaussianBlur(noise, (0, 0), 2.0))


@pytest.mark.parametrize("case", range(5))
def test_the_ellipse_equals_the_public_one(goldens: dict[str, npt.NDArray[Any]], case: int) -> None:
    height, width, inner = goldens[f"mask{case}_hwf"]
    np.testing.assert_allclose(blend.cosine_ellipse(int(height), int(width), float(inner)), goldens[f"mask{case}"], atol=1e-6)


@pytest.mark.parametrize("case", range(3))
def test_multiband_equals_the_public_one(goldens: dict[str, npt.NDArray[Any]], case: int) -> None:
    base, patch = goldens[f"b{case}_base"], goldens[f"b{case}_patch"]
    inner, levels, keep, gain = goldens[f"b{case}_params"]
    mask = blend.cosine_ellipse(*base.shape[:2], float(inner))
    matched = blend.match_luma(patch, base)
    np.testing.assert_array_equal(matched, goldens[f"b{case}_ymatch"])
    for given, name in ((patch, "blend"), (matched, "ymatch_blend")):
        got = blend.multiband(base, given, mask, levels=int(levels), keep=int(keep), gain=float(gain))
        difference = np.abs(got.astype(int) - goldens[f"b{case}_{name}"])
        assert difference.max() <= 1
        assert difference.mean() < 0.1


def test_multiband_of_a_picture_with_itself_is_the_picture() -> None:
    base = texture(61, 50, 1)
    assert np.abs(blend.multiband(base, base, blend.cosine_ellipse(61, 50)).astype(int) - base).max() <= 2


def test_poisson_takes_the_gradients_and_leaves_the_level() -> None:
    base = texture(90, 80, 2) // 2 + 40
    brighter = base + 30
    cloned = blend.poisson(base, brighter, blend.cosine_ellipse(90, 80, 0.7))
    assert cloned is not None
    assert np.abs(cloned.astype(int) - base).max() <= 2


def test_poisson_puts_the_patch_where_it_belongs() -> None:
    base = np.full((90, 80, 3), 128, np.uint8)
    patch = base.copy()
    patch[40:43, 30:37] = 250
    cloned = blend.poisson(base, patch, blend.cosine_ellipse(90, 80, 0.7))
    assert cloned is not None
    rows, columns = np.nonzero(cloned[..., 0] > 190)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 42, 30, 36)


def test_poisson_declines_at_the_border_and_for_nothing() -> None:
    base = texture(60, 60, 3)
    touching = np.zeros((60, 60), np.float32)
    touching[:30, :30] = 1
    assert blend.poisson(base, base, touching) is None
    assert blend.poisson(base, base, np.zeros((60, 60), np.float32)) is None


@pytest.mark.parametrize("seed", [4, 5])
def test_colours_are_matched_exactly_after_an_affine_change(seed: int) -> None:
    given = texture(64, 64, seed) // 2 + 60
    changed = np.clip(np.rint((given - 100.0) * [0.8, 1.2, 1.0] + [110, 95, 120]), 0, 255).astype(np.uint8)
    matched = blend.match_color(changed, given)
    assert np.abs(matched.astype(int) - given).max() <= 1


def test_colour_matching_does_not_blow_up_flat_faces() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    flat[0, 0] = 91
    assert blend.match_color(flat, texture(64, 64, 6)).std() < 3
    with pytest.raises(ValueError, match="given"):
        blend.match_color(flat, texture(32, 32, 6))


@pytest.mark.parametrize("kind", get_args(blend.Blend))
def test_nothing_changes_outside_the_mask_and_nothing_at_strength_0(kind: blend.Blend) -> None:
    frame, restored = texture(120, 160, 7), texture(64, 64, 8)
    untouched = frame.copy()
    blend.paste(untouched, restored, IDENTITY_40_30, kind, strength=0.0)
    np.testing.assert_array_equal(untouched, frame)
    pasted = frame.copy()
    blend.paste(pasted, restored, IDENTITY_40_30, kind)
    outside = np.ones(frame.shape[:2], bool)
    outside[30:94, 40:104] = False
    np.testing.assert_array_equal(pasted[outside], frame[outside])
    assert np.abs(pasted.astype(int) - frame)[~outside].mean() > 3
    half = frame.copy()
    blend.paste(half, restored, IDENTITY_40_30, kind, strength=0.5)
    assert np.abs(half - (frame.astype(float) + pasted) / 2).max() <= 1.5


@pytest.mark.parametrize("kind", get_args(blend.Blend))
@pytest.mark.parametrize("shift", [(-30, -20), (140, 100), (-300, 0)])
def test_faces_at_the_border_and_beyond_it(kind: blend.Blend, shift: tuple[int, int]) -> None:
    frame = texture(120, 160, 9)
    before = frame.copy()
    blend.paste(frame, texture(64, 64, 10), np.array([[1.0, 0, -shift[0]], [0, 1, -shift[1]]]), kind)
    assert (frame != before).any() == (shift[0] > -64)


def test_poisson_at_the_border_is_a_feather() -> None:
    frame, restored, matrix = texture(120, 160, 11), texture(64, 64, 12), np.array([[1.0, 0, 20], [0, 1, 10]])
    feathered = align.paste(frame, restored, matrix)
    blend.paste(frame, restored, matrix, "poisson")
    np.testing.assert_array_equal(frame, feathered)


def test_multiband_keeps_the_colour_of_the_frame() -> None:
    frame = np.full((120, 160, 3), (150, 110, 90), np.uint8)
    before = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(int)
    blend.paste(frame, texture(64, 64, 13), IDENTITY_40_30, "multiband")
    assert np.abs(cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(int) - before).max() <= 1
