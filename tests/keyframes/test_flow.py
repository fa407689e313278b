"""Flow and what is moved by it: known translations, closed forms, and what a key frame may tell."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from archs.keyframe_flow_arch import AHEAD
from keyframes_gan.keyframes.flow import FlowGuides, Key, moved, trust
from keyframes_gan.types import FloatArray, Image

SIZE = 96
MIDDLE = slice(24, -24), slice(24, -24)


def scene(seed: int = 0) -> FloatArray:
    """A texture without repetition, float32 (192, 192, 3) in 0..255."""
    noise = np.random.default_rng(seed).normal(size=(192, 192, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2) + 2 * cv2.GaussianBlur(noise, (0, 0), 6)
    return np.asarray(np.clip(128 + 50 * soft / soft.std(), 0, 255), np.float32)


def view(x: float, y: float, seed: int = 0) -> Image:
    """What of the scene lies at (x, y) and on, cubic in between."""
    matrix = np.array([[1.0, 0.0, -x - 48], [0.0, 1.0, -y - 48]])
    return np.asarray(cv2.warpAffine(scene(seed), matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC).round().clip(0, 255), np.uint8)


def even(x: float, y: float) -> FloatArray:
    """The field of a translation."""
    return np.full((SIZE, SIZE, 2), (x, y), np.float32)


@pytest.fixture(scope="module")
def guides() -> FlowGuides:
    return FlowGuides()


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (2.0, -1.0), (-3.5, 2.25)])
def test_a_translation_is_found(guides: FlowGuides, x: float, y: float) -> None:
    """What lies at p in the first picture lies at p + (x, y) in the other."""
    field = guides.flow(view(x, y), view(0, 0))
    assert field.shape == (SIZE, SIZE, 2)
    assert field.dtype == np.float32
    np.testing.assert_allclose(field[MIDDLE].mean(axis=(0, 1)), (x, y), atol=0.1)
    assert np.abs(field[MIDDLE] - (x, y)).mean() < 0.2


def test_the_search_remembers_nothing(guides: FlowGuides) -> None:
    pair = view(2, 1), view(0, 0)
    fresh = FlowGuides().flow(*pair)
    guides.flow(view(0, 0, seed=1), view(-4, 3, seed=1))
    np.testing.assert_array_equal(guides.flow(*pair), fresh)


def test_moved_fetches_from_where_the_field_points() -> None:
    columns, rows = np.meshgrid(np.arange(SIZE, dtype=np.float32), np.arange(SIZE, dtype=np.float32))
    ramp = np.stack((2 * columns + rows, columns - 3 * rows), axis=2)
    field = np.stack((0.25 * np.sin(rows), 0.5 * np.cos(columns)), axis=2) + np.float32((3.0, -2.0))
    fetched = moved(ramp, field)
    x, y = columns + field[..., 0], rows + field[..., 1]
    np.testing.assert_allclose(fetched[MIDDLE], np.stack((2 * x + y, x - 3 * y), axis=2)[MIDDLE], atol=0.12)  # OpenCV has 1/32 px
    picture = view(0, 0)
    np.testing.assert_array_equal(moved(picture, even(5, -3))[8:, :-8], np.roll(picture, (3, -5), axis=(0, 1))[8:, :-8])
    np.testing.assert_array_equal(moved(picture, even(-2 * SIZE, 0)), np.repeat(picture[:, :1], SIZE, axis=1))


def test_trust_is_in_going_there_and_back() -> None:
    np.testing.assert_array_equal(trust(even(4, -3), even(-4, 3)), np.ones((SIZE, SIZE), np.float32))
    np.testing.assert_allclose(trust(even(4, -3), even(-3, 4)), np.exp(-1), rtol=1e-6)  # a pixel off each way, 2 squared
    assert trust(even(4, -3), even(4, -3)).max() < 1e-6
    # It is the flow back from where one has gone to that counts.
    there = even(8, 0)
    back = even(-8, 0)
    back[:, : SIZE // 2] = 0
    np.testing.assert_array_equal(trust(there, back)[:, SIZE // 2 - 8 :], 1)
    assert trust(there, back)[:, : SIZE // 2 - 8].max() < 1e-6


def test_a_key_frame_tells_its_residual_where_it_belongs(guides: FlowGuides) -> None:
    """The residual is moved by the flow between compressed pictures, whatever the good picture looks like."""
    shown, residual = view(0, 0), np.zeros((SIZE, SIZE, 3), np.int16)
    residual[40:56, 40:56] = (24, -16, 8)
    good = np.clip(shown + residual, 0, 255).astype(np.uint8)
    residual = good.astype(np.int16) - shown
    crop = view(6, -4)
    guide = guides.key(crop, Key(good, shown))
    assert guide.shape == (SIZE, SIZE, 7)
    assert guide.dtype == np.float32
    field = guides.flow(crop, shown)
    np.testing.assert_allclose(guide[..., :3], moved(residual.astype(np.float32), field) / 255, atol=1e-6)
    inside = guide[47:57, 37:47, :3] * 255  # 6 to the left and 4 below
    assert np.abs(inside - (24, -16, 8)).mean() < 2
    np.testing.assert_allclose(guide[..., 3:6], (moved(good, field).astype(np.float32) - crop) / 255, atol=1e-6)
    assert guide[..., 6][MIDDLE].min() > 0.9


def test_a_photo_has_no_residual(guides: FlowGuides) -> None:
    photo, crop = view(0, 0), view(3, 2)
    guide = guides.key(crop, Key(photo, None))
    assert not guide[..., :3].any()
    assert np.abs(guide[..., 3:6][MIDDLE]).mean() * 255 < 3
    assert guide[..., 6][MIDDLE].min() > 0.9


def test_another_picture_is_not_trusted(guides: FlowGuides) -> None:
    guide = guides.key(view(0, 0), Key(view(0, 0, seed=1), view(0, 0, seed=1)))
    assert guide[..., 6][MIDDLE].mean() < 0.5
    assert not guide[..., :3].any()


def test_the_next_frames_are_brought_here(guides: FlowGuides) -> None:
    crop, following = view(0, 0), [view(2 * step, -step) for step in range(1, AHEAD + 2)]
    guide = guides.following(crop, following)
    assert guide.shape == (SIZE, SIZE, 4 * AHEAD)
    assert guide.dtype == np.float32
    for number, (frame, part) in enumerate(zip(following, np.split(guide, AHEAD, axis=2), strict=False)):
        assert (part[..., 3] == 1).all()
        error = np.abs(part[..., :3][MIDDLE]).mean() * 255
        assert error < 3
        assert error < 0.2 * np.abs(frame.astype(np.float32) - crop)[MIDDLE].mean()
        alone = guides.following(crop, [frame])
        np.testing.assert_array_equal(alone[..., :4], part)
        assert not alone[..., 4:].any(), number
    assert not guides.following(crop, []).any()


def test_a_window_is_that_part_of_the_whole(guides: FlowGuides) -> None:
    crop, key = view(0, 0), Key(view(3, 1), view(3, 1, seed=1))
    window = slice(5, 40), slice(8, 61)
    np.testing.assert_array_equal(guides.key(crop, key, window), guides.key(crop, key)[window])
    following = [view(1, 0), view(2, 1)]
    np.testing.assert_array_equal(guides.following(crop, following, window), guides.following(crop, following)[window])


def test_large_noncontiguous_views_are_fine(guides: FlowGuides) -> None:
    wide = np.concatenate([view(1, 0), view(1, 0)], axis=1)
    np.testing.assert_array_equal(guides.flow(wide[:, :SIZE], view(0, 0)), guides.flow(view(1, 0), view(0, 0)))
