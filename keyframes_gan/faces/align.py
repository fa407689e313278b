"""Aligned square crops of faces, and pasting them back.

Two templates share the geometry of Keyframes-GAN (IEEE TMM 2023): both eye centres on one horizontal line at 0.45 of the
crop's height, the eye on the left of the picture at 0.38 of its width, the other at 0.62.

    paper   exactly the public rule, with its integer truncations (whole-pixel eye centres, floored mid-point): jumps by up to a pixel
    eyes    the same rule in floating point, steady from frame to frame; a face turned so far that its eyes come together is not
            magnified without limit (see `EYES_FLOOR`)

The third is the one that most restorers of still faces were trained on:

    ffhq    eye centres, nose tip and mouth corners as near as a similarity brings them (least squares; Umeyama, PAMI 1991) to where
            they lie on average in FFHQ (Karras et al., CVPR 2019), as published for crops of 512 pixels (`FFHQ_POINTS`)

The fourth leaves pixels as they are, for networks that enlarge and for measurements:

    upright  a window around the face's box (`box_of`), moved by whole pixels; scaled down if box and margin do not fit in; scaled up only
             if asked to (`CropSpec.least_face`)

Convention: see `keyframes_gan.types`. `to_crop` maps frame (x, y) to crop (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from keyframes_gan.errors import FaceError
from keyframes_gan.types import IMAGE_RANK, Template, check_image, check_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyframes_gan.types import FloatArray, Image, Matrix, Points

Border = Literal["reflect", "black"]

LEFT_EYE = slice(36, 42)
RIGHT_EYE = slice(42, 48)
MOUTH = slice(48, 68)
NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT = 30, 48, 54
EYE_X = 0.38
EYE_Y = 0.45
EYE_SPAN = 1 - 2 * EYE_X
EYES_FLOOR = 0.6
"""Template "eyes": the distance of the eyes counts as at least this part of the distance eyes-mouth (0.9 in a frontal face)."""

FFHQ_POINTS = ((192.98138, 239.94708), (318.90277, 240.1936), (256.63416, 314.01935), (201.26117, 371.41043), (313.08905, 371.15118))
"""Template "ffhq": eye centres, nose tip and mouth corners (left of the picture first) in a crop of `FFHQ_SIZE` pixels."""
FFHQ_SIZE = 512

BOX_WIDTH, BOX_RISE = 2.86, 0.12
"""dlib's HOG box in units of the landmarks' spread: its width, and how far its centre lies above their mean (medians of 150 faces)."""
BOX_MARGIN = 1.5
"""Template "upright": side of the least crop in units of that box."""

ONE_SPOT = "expected landmarks of a face, got all on one spot; use another detector or leave this frame out"
DOT = 255
MINIFY_SIGMA = 0.4
"""Standard deviation of the low-pass before minifying by f, in source pixels, is this times sqrt(f^2 - 1)."""
SMALLEST_SIGMA = 0.25
BORDERS: dict[str, int] = {"reflect": cv2.BORDER_REFLECT_101, "black": cv2.BORDER_CONSTANT}


@dataclass(frozen=True)
class CropSpec:
    """How a face is cut out: the `template` ("paper", "eyes", "ffhq" or "upright") and the side of the square crop in pixels.

    `least_face`, for "upright" alone: a face whose box is narrower is enlarged to so many pixels, as far as the crop has room; 0: none is.
    """

    template: Template = "eyes"
    size: int = 256
    least_face: float = 0.0

    def __post_init__(self) -> None:
        if self.template not in get_args(Template) or self.size <= 0:
            msg = f"CropSpec: expected a template of {get_args(Template)} and a positive size, got {self.template!r}, {self.size}"
            raise ValueError(msg)

    def to_crop(self, points: npt.NDArray[Any]) -> Matrix:
        """Return the float64 (2, 3) matrix from frame to crop pixels for one face.

        Args:
            points: (68, 2) landmarks in frame pixels, any number type.

        Raises:
            FaceError: the landmarks have no extent, so that they define no crop.
        """
        _check_68(points)
        if self.template == "paper":
            return self._paper(points)
        if self.template == "ffhq":
            return self._ffhq(np.asarray(points, np.float64))
        if self.template == "upright":
            return self._upright(np.asarray(points, np.float64))
        return self._eyes(np.asarray(points, np.float64))

    def _paper(self, points: npt.NDArray[Any]) -> Matrix:
        left = np.trunc(np.asarray(points[LEFT_EYE], np.float64).mean(axis=0))
        right = np.trunc(np.asarray(points[RIGHT_EYE], np.float64).mean(axis=0))
        return self._similarity(right - left, np.floor((left + right) / 2), float(np.hypot(*(right - left))))

    def _eyes(self, points: npt.NDArray[np.float64]) -> Matrix:
        left, right = points[LEFT_EYE].mean(axis=0), points[RIGHT_EYE].mean(axis=0)
        middle = (left + right) / 2
        distance = max(float(np.hypot(*(right - left))), EYES_FLOOR * float(np.hypot(*(points[MOUTH].mean(axis=0) - middle))))
        return self._similarity(right - left, middle, distance)

    def _ffhq(self, points: npt.NDArray[np.float64]) -> Matrix:
        return similarity_between(five_points(points), np.array(FFHQ_POINTS, np.float64) * (self.size / FFHQ_SIZE))

    def _upright(self, points: npt.NDArray[np.float64]) -> Matrix:
        low, high = np.split(box_of(points).astype(np.float64), 2)
        if high[0] <= low[0]:
            raise FaceError(ONE_SPOT)
        width = high[0] - low[0]
        scale = min(self.size / (BOX_MARGIN * width), max(self.least_face / width, 1.0))
        shift = (self.size - 1) / 2 - scale * (low + high) / 2
        return np.column_stack([scale * np.eye(2), np.rint(shift) if scale == 1 else shift])

    def _similarity(self, direction: npt.NDArray[np.float64], middle: npt.NDArray[np.float64], distance: float) -> Matrix:
        if distance <= 0:
            msg = "expected landmarks of a face, got both eyes on one spot; use another detector or leave this frame out"
            raise FaceError(msg)
        scale = EYE_SPAN * self.size / distance
        angle = np.arctan2(direction[1], direction[0])
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.array([[cosine, sine], [-sine, cosine]], np.float64)
        target = np.array([0.5 * self.size, EYE_Y * self.size])
        return np.column_stack([linear, target - linear @ middle])


def _check_68(points: npt.NDArray[Any]) -> None:
    if points.shape != (68, 2):
        msg = f"landmarks: expected (68, 2), got {points.shape}"
        raise ValueError(msg)


def five_points(points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return eye centres, nose tip and mouth corners, float64 (5, 2), left of the picture first, of 68 landmarks (68, 2)."""
    _check_68(points)
    given = np.asarray(points, np.float64)
    eyes = (given[LEFT_EYE].mean(axis=0), given[RIGHT_EYE].mean(axis=0))
    return np.stack([*eyes, given[NOSE_TIP], given[MOUTH_LEFT], given[MOUTH_RIGHT]])


def roll_of(points: npt.NDArray[np.floating]) -> float:
    """Return the roll of a face, radians, clockwise positive, from the line through its eyes."""
    right = points[RIGHT_EYE].mean(axis=0) - points[LEFT_EYE].mean(axis=0)
    return float(np.arctan2(right[1], right[0]))


def box_of(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return the float32 (4,) box that dlib's HOG detector would draw around these landmarks, free of its 20 % steps."""
    mean = points.mean(axis=0)
    spread = float(np.sqrt(((points - mean) ** 2).sum(axis=1).mean()))
    angle = roll_of(points)
    centre = mean + BOX_RISE * spread * np.array([np.sin(angle), -np.cos(angle)])
    half = 0.5 * BOX_WIDTH * spread
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def similarity_between(source: npt.NDArray[np.floating], target: npt.NDArray[np.floating]) -> Matrix:
    """Return the float64 (2, 3) matrix that turns, scales and moves the points `source` as near to `target` as can be, both (N, 2).

    Raises:
        FaceError: the points of one are all on one spot.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    source_middle, target_middle = source.mean(axis=0), target.mean(axis=0)
    (x, y), (u, v) = (source - source_middle).T, (target - target_middle).T
    along, across = float((x * u + y * v).sum()), float((y * u - x * v).sum())
    if along == across == 0:
        raise FaceError(ONE_SPOT)
    linear = np.array([[along, across], [-across, along]], np.float64) / float((x * x + y * y).sum())
    return np.column_stack([linear, target_middle - linear @ source_middle])


def native_size(points: npt.NDArray[Any], sizes: Sequence[int], *, template: Template = "eyes", least_face: float = 0.0) -> int:
    """Return the smallest of `sizes` whose crop is not smaller than the face in the frame, or the largest there is.

    Args:
        points: (68, 2), or (N, 68, 2) for a whole track: then the size fits the largest face of the track.
        sizes: crop sides in pixels that are allowed, in any order.
        template: the crop's template.
        least_face: as in `CropSpec`.
    """
    faces = points.reshape(-1, *points.shape[-2:])
    smallest_scale = min(scale_of(CropSpec(template, 1).to_crop(face)) for face in faces)
    needed = max(1 / smallest_scale, BOX_MARGIN * least_face)
    return min((size for size in sizes if size >= needed), default=max(sizes))


def scale_of(to_crop: Matrix) -> float:
    """Return how many crop pixels one frame pixel becomes."""
    return float(np.sqrt(abs(np.linalg.det(to_crop[:, :2]))))


def rescaled(to_crop: Matrix, *, frame: float = 1.0, crop: float = 1.0) -> Matrix:
    """Return the matrix for the same face when the frame and the crop have been resized by these factors.

    Pixel centres are on integers, so a picture resized by f has its pixel x at f * (x + 0.5) - 0.5.
    """
    linear = to_crop[:, :2] * (crop / frame)
    back = (0.5 / frame - 0.5) * np.ones(2)
    shift = crop * (to_crop[:, :2] @ back + to_crop[:, 2] + 0.5) - 0.5
    return np.column_stack([linear, shift])


def shifted(to_crop: Matrix, left: int, top: int) -> Matrix:
    """Return the matrix for the part of the frame whose top left pixel is (`left`, `top`)."""
    return np.column_stack([to_crop[:, :2], to_crop[:, 2] + to_crop[:, :2] @ np.array([left, top], np.float64)])


def joined(first: Matrix, second: Matrix) -> Matrix:
    """Return the (2, 3) matrix that does what `first` does and then what `second` does."""
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def transform_points(points: npt.NDArray[Any], matrix: Matrix) -> Points:
    """Return `points` (..., 2) after the (2, 3) `matrix`, computed in float64, as float32."""
    moved: Points = (np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return moved


def invert(to_crop: Matrix) -> Matrix:
    """Return the (2, 3) matrix from crop to frame pixels."""
    inverse = np.linalg.inv(to_crop[:, :2])
    return np.column_stack([inverse, -inverse @ to_crop[:, 2]])


def crop(
    rgb: Image,
    to_crop: Matrix,
    size: int,
    *,
    interpolation: int = cv2.INTER_CUBIC,
    antialias: bool = True,
    border: Border = "reflect",
) -> Image:
    """Cut the aligned square out of a frame.

    Args:
        rgb: the frame, uint8 (H, W, 3).
        to_crop: (2, 3), frame to crop pixels.
        size: side of the crop in pixels.
        interpolation: an OpenCV interpolation flag; bicubic by default.
        antialias: low-pass the frame first when the crop is smaller than the face. The public script does not.
        border: what lies outside the frame: its mirror image, or black as in the public script.

    Returns:
        uint8 (size, size, 3), C-contiguous.
    """
    check_image(rgb, "crop: rgb")
    source, matrix = _prefiltered(rgb, to_crop, size) if antialias else (rgb, to_crop)
    done: Image = cv2.warpAffine(source, matrix, (size, size), flags=interpolation, borderMode=BORDERS[border])
    return np.ascontiguousarray(done)


def _minify_sigma(factor: float) -> float:
    return MINIFY_SIGMA * float(np.sqrt(max(factor * factor - 1.0, 0.0)))


def _prefiltered(rgb: Image, to_crop: Matrix, size: int) -> tuple[Image, Matrix]:
    """Return the low-passed part of the frame that the crop shows, and the matrix from that part; the frame itself if not minified."""
    sigma = _minify_sigma(1 / scale_of(to_crop))
    if sigma < SMALLEST_SIGMA:
        return rgb, to_crop
    left, top, right, bottom = bounds(to_crop, size, rgb.shape, margin=int(np.ceil(3 * sigma)) + 2)
    if right <= left or bottom <= top:
        return rgb, to_crop
    matrix = shifted(to_crop, left, top)
    return cv2.GaussianBlur(rgb[top:bottom, left:right], (0, 0), sigma), matrix


def enlarged(picture: Image, side: int) -> Image:
    """Return a square picture enlarged to `side` pixels (bicubic), or itself."""
    done: Image = picture if len(picture) == side else cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    return done


def bounds(to_crop: Matrix, size: int, shape: tuple[int, ...], *, margin: int = 0) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom (the last two exclusive) of the crop's square within a frame of `shape`."""
    low, high = -0.5, size - 0.5
    corners = transform_points(np.array([[low, low], [high, low], [low, high], [high, high]]), invert(to_crop))
    left, top = np.floor(corners.min(axis=0)).astype(int) - margin
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 1 + margin
    return max(int(left), 0), max(int(top), 0), min(int(right), shape[1]), min(int(bottom), shape[0])


def landmark_image(landmarks: npt.NDArray[Any], size: int) -> npt.NDArray[np.uint8]:
    """Return uint8 (size, size): 255 on the one pixel nearest to each landmark (in crop pixels), 0 elsewhere; dots outside are left out."""
    image = np.zeros((size, size), np.uint8)
    columns, rows = np.rint(np.asarray(landmarks, np.float64)).astype(np.int64).T
    inside = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    image[rows[inside], columns[inside]] = DOT
    return image


def paper_mask(to_crop: Matrix, size: int, shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray, int]:
    """Return the public script's soft mask over the whole frame, its hard mask, and the width of its edge in pixels.

    The crop's square is warped back, eroded by 2 pixels, and eroded and blurred again by twice the edge width, which is a twentieth
    of the root of the area.
    """
    square = np.ones((size, size), np.float32)
    hard = cv2.warpAffine(square, cv2.invertAffineTransform(to_crop), (shape[1], shape[0]))
    hard = cv2.erode(hard, np.ones((2, 2), np.uint8))
    edge = int(np.sqrt(hard.sum())) // 20
    inner = cv2.erode(hard, np.ones((2 * edge, 2 * edge), np.uint8)) if edge else hard
    return cv2.GaussianBlur(inner, (2 * edge + 1, 2 * edge + 1), 0), hard, edge


def paste_paper(frame: Image, restored: Image, to_crop: Matrix) -> Image:
    """Paste a crop back as the public script does: over the whole frame, bilinear, not antialiased. Slow; `paste` is the default."""
    soft, hard, _ = paper_mask(to_crop, len(restored), frame.shape)
    back = cv2.warpAffine(restored, cv2.invertAffineTransform(to_crop), (frame.shape[1], frame.shape[0]))
    mixed = soft[..., None] * (back * hard[..., None]) + (1 - soft[..., None]) * frame
    pasted: Image = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return pasted


@lru_cache(maxsize=16)
def feather(size: int, width: float = 0.1) -> FloatArray:
    """Return the soft mask of a crop, float32 (size, size) in [0, 1], read-only: 1 inside, a raised cosine down to 0 at the border.

    Args:
        size: side of the crop in pixels.
        width: width of the ramp as a part of `size`.
    """
    ramp = max(width * size, 1.0)
    depth = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
    profile = 0.5 - 0.5 * np.cos(np.pi * np.clip(depth / ramp, 0, 1))
    mask: FloatArray = np.outer(profile, profile).astype(np.float32)
    mask.flags.writeable = False
    return mask


def paste(
    frame: Image,
    restored: Image,
    to_crop: Matrix,
    *,
    mask: FloatArray | None = None,
    original: Image | None = None,
    in_place: bool = False,
) -> Image:
    """Paste a restored crop onto its frame, working only inside the face's bounding box.

    Args:
        frame: uint8 (H, W, 3).
        restored: uint8 (S, S, 3).
        to_crop: (2, 3), frame to crop pixels, for a crop of side S.
        mask: float32 (S, S) in [0, 1], how much of the crop to show; `feather(S)` by default.
        original: the crop as it was cut out. When given, the warped-back *difference* restored - original is added to the frame, so
            that whatever the restorer left alone stays exactly as it was, free of resampling blur.
        in_place: write into `frame` instead of a copy.

    Returns:
        uint8 (H, W, 3): a new picture, or `frame` itself.
    """
    check_image(frame, "paste: frame")
    check_image(restored, "paste: restored")
    size = len(restored)
    weights = feather(size) if mask is None else mask
    check_shape(weights, np.float32, (size, size), "paste: mask")
    target = frame if in_place else frame.copy()
    left, top, right, bottom = bounds(to_crop, size, frame.shape)
    if right <= left or bottom <= top:
        return target
    region = target[top:bottom, left:right]
    matrix = shifted(to_crop, left, top)
    if original is None:
        region[...] = _blended(region, restored, weights, matrix)
    else:
        check_image(original, "paste: original")
        region[...] = _difference_added(region, restored, original, weights, matrix)
    return target


def from_crop(picture: npt.NDArray[Any], to_crop: Matrix, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return a crop, or a float32 mask over it, as it lies in a frame of `shape` (H, W, ...), low-passed first where it becomes smaller.

    Beyond the crop's border a picture (S, S, 3) repeats its border and a mask (S, S) is 0.
    """
    if picture.ndim < IMAGE_RANK:
        flags, border, source = cv2.INTER_LINEAR, cv2.BORDER_CONSTANT, picture
    else:
        sigma = _minify_sigma(scale_of(to_crop))
        source = picture if sigma < SMALLEST_SIGMA else cv2.GaussianBlur(picture, (0, 0), sigma)
        flags, border = cv2.INTER_CUBIC, cv2.BORDER_REPLICATE
    warped: npt.NDArray[Any] = cv2.warpAffine(source, to_crop, (shape[1], shape[0]), flags=flags | cv2.WARP_INVERSE_MAP, borderMode=border)
    return warped


def _blended(region: Image, restored: Image, weights: FloatArray, matrix: Matrix) -> Image:
    alpha = from_crop(weights, matrix, region.shape)
    mixed: Image = cv2.blendLinear(from_crop(restored, matrix, region.shape), region, alpha, 1 - alpha)
    return mixed


def _difference_added(region: Image, restored: Image, original: Image, weights: FloatArray, matrix: Matrix) -> Image:
    change = cv2.subtract(restored, original, dtype=cv2.CV_32F)
    change *= weights[..., None]
    sigma = _minify_sigma(scale_of(matrix))
    if sigma >= SMALLEST_SIGMA:
        change = cv2.GaussianBlur(change, (0, 0), sigma)
    back = cv2.warpAffine(change, matrix, (region.shape[1], region.shape[0]), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    added: Image = cv2.add(region, back, dtype=cv2.CV_8U)
    return added
