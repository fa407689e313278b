"""Alignment and pasting against the public numbers and against closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from keyframes_gan.errors import FaceError
from keyframes_gan.faces import align


@pytest.fixture(scope="module")
def aligned(parity_dir: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(parity_dir / "goldens" / "face_align.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def pasted(parity_dir: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(parity_dir / "goldens" / "paste_back.npz") as file:
        return dict(file)


@pytest.fixture
def texture() -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8)
    return np.ascontiguousarray(cv2.GaussianBlur(noise, (0, 0), 2.5))


def a_face(*, distance: float = 60.0, angle: float = 0.2, middle: tuple[float, float] = (160.3, 110.7)) -> npt.NDArray[np.float32]:
    """68 points whose eyes have the given distance and roll; the mouth lies straight below them."""
    local = np.zeros((68, 2))
    local[align.LEFT_EYE] = (-distance / 2, 0)
    local[align.RIGHT_EYE] = (distance / 2, 0)
    local[align.MOUTH] = (0, 66)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (local @ turn.T + middle).astype(np.float32)


@pytest.mark.parametrize("case", range(4))
def test_paper_template_equals_the_public_rule(aligned: dict[str, npt.NDArray[Any]], case: int) -> None:
    points = aligned[f"case{case}_landmarks"]
    matrix = align.CropSpec("paper", 256).to_crop(points)
    np.testing.assert_allclose(matrix, aligned[f"case{case}_matrix"], atol=1e-9)
    moved = align.transform_points(points, matrix)
    np.testing.assert_array_equal(np.rint(moved).astype(np.int32), aligned[f"case{case}_landmarks_out"])
    picture = align.crop(aligned["frame_u8"], matrix, 256, antialias=False, border="black")
    difference = np.abs(picture[::4, ::4].astype(int) - aligned[f"case{case}_crop_stride4"])
    assert difference.mean() < 0.1
    assert difference.max() <= 2
    dots = np.argwhere(align.landmark_image(moved, 256) == 255)
    np.testing.assert_array_equal(dots, aligned[f"case{case}_landmark_image_on_pixels"])


def test_landmark_image_equals_the_public_one(parity_dir: Path) -> None:
    with np.load(parity_dir / "goldens" / "landmark_image.npz") as file:
        np.testing.assert_array_equal(align.landmark_image(file["landmarks"], 256), file["written"])


def test_landmark_image_leaves_out_dots_outside() -> None:
    image = align.landmark_image(np.array([[-1.0, 3.0], [3.4, 2.6], [8.0, 0.0], [0.0, 7.6]]), 8)
    assert np.argwhere(image).tolist() == [[3, 3]]


@pytest.mark.parametrize("case", range(2))
def test_paste_paper_equals_the_public_script(pasted: dict[str, npt.NDArray[Any]], case: int) -> None:
    frame, restored, matrix = pasted["frame_u8"], pasted["crop_u8"], pasted[f"case{case}_matrix"]
    np.testing.assert_allclose(align.invert(matrix), pasted[f"case{case}_inverse"], atol=1e-9)
    soft, hard, edge = align.paper_mask(matrix, 256, frame.shape)
    assert abs(float(hard.sum()) - float(pasted[f"case{case}_area"])) <= 1
    assert edge == int(pasted[f"case{case}_edge"])
    np.testing.assert_allclose(soft[::4, ::4], pasted[f"case{case}_soft_mask_stride4"], atol=1e-3)
    difference = np.abs(align.paste_paper(frame, restored, matrix)[::4, ::4].astype(float) - pasted[f"case{case}_written_u8_stride4"])
    assert difference.mean() < 0.05
    assert difference.max() <= 1.01


@pytest.mark.parametrize("template", ["eyes", "paper"])
def test_eyes_land_on_the_template(template: align.Template) -> None:
    size = 384
    points = a_face()
    moved = align.transform_points(points, align.CropSpec(template, size).to_crop(points))
    tolerance = 0.01 if template == "eyes" else 1.6 * align.EYE_SPAN * size / 60
    np.testing.assert_allclose(moved[align.LEFT_EYE].mean(0), (0.38 * size, 0.45 * size), atol=tolerance)
    np.testing.assert_allclose(moved[align.RIGHT_EYE].mean(0), (0.62 * size, 0.45 * size), atol=tolerance)


@pytest.mark.parametrize("size", [512, 256])
def test_ffhq_template_is_undone_exactly_for_a_face_that_is_the_template(size: int) -> None:
    angle, scale, shift = 0.3, 0.37, np.array([81.5, -12.25])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    template = np.array(align.FFHQ_POINTS)
    points = np.zeros((68, 2))
    points[[*range(36, 42)]], points[[*range(42, 48)]] = template[0], template[1]
    points[30], points[48], points[54] = template[2:]
    matrix = align.CropSpec("ffhq", size).to_crop(points @ turn.T + shift)
    np.testing.assert_allclose(align.scale_of(matrix), size / 512 / scale, rtol=1e-9)
    moved = align.transform_points(align.five_points(points @ turn.T + shift), matrix)
    np.testing.assert_allclose(moved, template * size / 512, atol=1e-3)


def test_ffhq_template_is_the_least_squares_similarity() -> None:
    points = np.random.default_rng(5).normal(200, 60, (68, 2))
    points[36:48, 1] -= 100
    matrix = align.CropSpec("ffhq", 512).to_crop(points)
    five, target = align.five_points(points), np.array(align.FFHQ_POINTS)
    design = np.zeros((10, 4))
    design[0::2] = np.stack([five[:, 0], five[:, 1], np.ones(5), np.zeros(5)], axis=1)
    design[1::2] = np.stack([five[:, 1], -five[:, 0], np.zeros(5), np.ones(5)], axis=1)
    (a, b, x, y), *_ = np.linalg.lstsq(design, target.reshape(-1), rcond=None)
    np.testing.assert_allclose(matrix, [[a, b, x], [-b, a, y]], rtol=1e-9)


def test_eyes_template_moves_as_smoothly_as_the_face() -> None:
    spec = align.CropSpec("eyes", 256)
    centre = np.array([160.0, 110.0])
    matrices = [spec.to_crop(a_face(middle=(160 + step, 110.0))) for step in np.arange(0, 1, 0.1)]
    x = [float(align.transform_points(centre, matrix)[0]) for matrix in matrices]
    steps = np.diff(x)
    assert steps.std() < 0.02
    assert steps.max() < 0


def test_a_face_in_profile_is_not_magnified_without_limit() -> None:
    frontal, profile = a_face(distance=60), a_face(distance=2)
    ratio = align.scale_of(align.CropSpec().to_crop(profile)) / align.scale_of(align.CropSpec().to_crop(frontal))
    assert ratio == pytest.approx(60 / (0.6 * 66), rel=1e-3)


def test_landmarks_on_one_spot_are_refused_in_one_line() -> None:
    for template, words in (("eyes", "both eyes on one spot"), ("paper", "both eyes on one spot"), ("ffhq", "all on one spot")):
        with pytest.raises(FaceError, match=words):
            align.CropSpec(template).to_crop(np.full((68, 2), 5.0))  # type: ignore[arg-type]


def test_wrong_shapes_and_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(68, 2\), got \(5, 2\)"):
        align.CropSpec().to_crop(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="template"):
        align.CropSpec("other", 256)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mask"):
        picture = np.zeros((8, 8, 3), np.uint8)
        align.paste(picture, picture, np.eye(2, 3), mask=np.ones((4, 4), np.float32))


def test_native_size_throws_no_pixel_away() -> None:
    assert align.native_size(a_face(distance=61), (256, 384, 512)) == 256
    assert align.native_size(a_face(distance=62), (512, 384, 256)) == 384
    assert align.native_size(a_face(distance=500), (256, 384)) == 384
    track = np.stack([a_face(distance=40), a_face(distance=100)])
    assert align.native_size(track, (256, 384, 512)) == 512


def test_rescaled_follows_pictures_that_were_resized() -> None:
    matrix = align.CropSpec("eyes", 128).to_crop(a_face())
    double = align.rescaled(matrix, frame=2.0, crop=4.0)
    point = np.array([37.0, 81.0])
    expected = 4 * (align.transform_points(point, matrix) + 0.5) - 0.5
    np.testing.assert_allclose(align.transform_points(2 * (point + 0.5) - 0.5, double), expected, rtol=1e-5)


def test_crop_is_antialiased_when_the_face_is_larger_than_the_crop() -> None:
    checker = np.indices((256, 256)).sum(0) % 2 * 255
    frame = np.repeat(checker[..., None], 3, axis=2).astype(np.uint8)
    quarter = np.array([[0.25, 0, 0], [0, 0.25, 0]])
    np.testing.assert_allclose(align.crop(frame, quarter, 64), 127.5, atol=8)
    assert abs(align.crop(frame, quarter, 64, antialias=False).mean() - 127.5) > 100


def test_identity_crop_gives_the_frame() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    picture = align.crop(frame, np.eye(2, 3), 32)
    np.testing.assert_array_equal(picture, frame)
    assert picture.flags.c_contiguous


@pytest.mark.parametrize("distance", [30.0, 55.0, 90.0])
def test_pasting_an_untouched_crop_changes_next_to_nothing(texture: npt.NDArray[np.uint8], distance: float) -> None:
    matrix = align.CropSpec("eyes", 256).to_crop(a_face(distance=distance))
    picture = align.crop(texture, matrix, 256)
    back = align.paste(texture, picture, matrix)
    assert np.abs(back.astype(int) - texture).mean() < 1.5
    np.testing.assert_array_equal(align.paste(texture, picture, matrix, original=picture), texture)


@pytest.mark.parametrize("with_original", [False, True])
def test_a_constant_change_arrives_in_the_middle_and_fades_out(texture: npt.NDArray[np.uint8], with_original: bool) -> None:
    frame = np.clip(texture, 40, 200)
    points = a_face(distance=40)
    matrix = align.CropSpec("eyes", 256).to_crop(points)
    picture = align.crop(frame, matrix, 256)
    back = align.paste(frame, picture + 20, matrix, original=picture if with_original else None)
    change = back.astype(int) - frame
    eyes = points[[36, 42]].mean(0).astype(int)
    assert abs(change[eyes[1] - 3 : eyes[1] + 4, eyes[0] - 3 : eyes[0] + 4].mean() - 20) < 1
    assert np.abs(np.diff(change[eyes[1]].mean(1))).max() < 12
    assert (change[:, :5] == 0).all()


def test_paste_in_place_and_copy(texture: npt.NDArray[np.uint8]) -> None:
    matrix = align.CropSpec("eyes", 128).to_crop(a_face())
    white = np.full((128, 128, 3), 255, np.uint8)
    before = texture.copy()
    copied = align.paste(texture, white, matrix)
    np.testing.assert_array_equal(texture, before)
    assert align.paste(texture, white, matrix, in_place=True) is texture
    np.testing.assert_array_equal(texture, copied)


def test_paste_outside_the_frame_changes_nothing(texture: npt.NDArray[np.uint8]) -> None:
    matrix = align.CropSpec("eyes", 64).to_crop(a_face(middle=(5000.0, -3000.0)))
    picture = align.crop(texture, matrix, 64)
    np.testing.assert_array_equal(align.paste(texture, picture, matrix), texture)


def test_a_mask_limits_the_paste(texture: npt.NDArray[np.uint8]) -> None:
    matrix = align.CropSpec("eyes", 128).to_crop(a_face())
    white = np.full((128, 128, 3), 255, np.uint8)
    nothing = np.zeros((128, 128), np.float32)
    np.testing.assert_array_equal(align.paste(texture, white, matrix, mask=nothing), texture)


def test_feather_is_one_inside_and_fades_to_the_border() -> None:
    mask = align.feather(200, 0.1)
    assert mask[100, 100] == 1
    assert (mask[20:-20, 20:-20] == 1).all()
    assert mask[0].max() < 0.01
    np.testing.assert_allclose(mask, mask.T)
    with pytest.raises(ValueError, match="read-only"):
        mask[0, 0] = 1


def upright_face(width: float, x: float, y: float) -> npt.NDArray[np.float64]:
    """Landmarks whose box is `width` pixels wide, its centre at (x, y)."""
    raw = np.random.default_rng(4).uniform(0, 1, (68, 2))
    box = align.box_of(raw)
    placed: npt.NDArray[np.float64] = (raw - (box[:2] + box[2:]) / 2) * (width / (box[2] - box[0])) + [x, y]
    return placed


def test_upright_crops_are_windows_of_the_frame() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    for x, y in ((150.0, 100.0), (150.4, 99.7), (120.49, 80.51)):
        face = upright_face(60, x, y)
        matrix = align.CropSpec("upright", 96).to_crop(face)
        np.testing.assert_array_equal(matrix[:, :2], np.eye(2))
        np.testing.assert_array_equal(matrix[:, 2], np.rint(matrix[:, 2]))
        left, top = (-matrix[:, 2]).astype(int)
        np.testing.assert_array_equal(align.crop(frame, matrix, 96), frame[top : top + 96, left : left + 96])
        assert abs(left + 47.5 - x) <= 0.5
        assert abs(top + 47.5 - y) <= 0.5


def test_upright_crops_are_as_large_as_the_face_needs_and_never_enlarged() -> None:
    sizes = (64, 96, 128)
    for width, size in ((20, 64), (42, 64), (43, 96), (64, 96), (65, 128), (200, 128)):
        assert align.native_size(upright_face(width, 0, 0), sizes, template="upright") == size
    assert align.scale_of(align.CropSpec("upright", 128).to_crop(upright_face(20, 0, 0))) == 1
    assert align.scale_of(align.CropSpec("upright", 120).to_crop(upright_face(160, 0, 0))) == pytest.approx(0.5, rel=1e-4)
    with pytest.raises(FaceError, match="all on one spot"):
        align.CropSpec("upright", 64).to_crop(np.ones((68, 2)))


def test_upright_crops_enlarge_small_faces_where_asked() -> None:
    for width, scale in ((15, 4), (30, 2), (60, 1), (75, 1), (128, 2 / 3)):
        assert align.scale_of(align.CropSpec("upright", 128, least_face=60).to_crop(upright_face(width, 0, 0))) == pytest.approx(
            scale, rel=1e-4
        )
    small = align.CropSpec("upright", 64, least_face=60)
    face = upright_face(30, 50.3, 40.6)
    assert align.scale_of(small.to_crop(face)) == pytest.approx(64 / 45, rel=1e-4)
    placed = align.box_of(align.transform_points(face, small.to_crop(face)))
    np.testing.assert_allclose((placed[:2] + placed[2:]) / 2, [31.5, 31.5], atol=1e-3)
    for width, size in ((20, 96), (64, 96), (65, 128)):
        assert align.native_size(upright_face(width, 0, 0), (64, 96, 128), template="upright", least_face=60) == size


def test_joined_matrices_do_one_after_the_other() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 2, 3))
    points = rng.normal(size=(5, 2)).astype(np.float32)
    one_by_one = align.transform_points(align.transform_points(points, first), second)
    np.testing.assert_allclose(align.transform_points(points, align.joined(first, second)), one_by_one, atol=1e-4)
