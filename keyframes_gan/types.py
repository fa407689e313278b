"""The types that flow through the project. Numpy only: importing this module must not import torch, cv2 or av.

Convention (stated here once, valid everywhere):
    images   uint8 RGB, shape (H, W, 3), C-contiguous. BGR exists only inside one line of a cv2 call.
    points   float32, shape (N, 2) as (x, y); pixel centres on integers; origin at the top left.
    to_crop  float64, shape (2, 3); maps frame (x, y, 1) to crop (x, y). Its inverse maps back.
    time     `fractions.Fraction` seconds since the first frame of the container's time line; never a float, never fps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

IMAGE_RANK = 3
CLIP_RANK = 4
LANDMARK_COUNTS = (5, 68)
Template = Literal["paper", "eyes", "ffhq", "upright"]
"""How a face is placed in its crop; `keyframes_gan.faces.align` says what each of them means."""
References = Literal["none", "given", "stream"]
Blend = Literal["feather", "multiband", "poisson"]
"""How a restored face is blended into its frame; see `keyframes_gan.faces.blend`."""
CROP_SIZES = (256, 384, 512, 768, 1024)
"""Sides in pixels of the crops that fully convolutional restorers are fed; all are multiples of 64."""
Smoother = Literal["gaussian", "one-euro"]
"""How landmarks are smoothed in time; `keyframes_gan.faces.smooth` says what each of them means."""


def check_image(image: npt.NDArray[Any], name: str) -> None:
    """Raise `ValueError` unless `image` is uint8 (H, W, 3), C-contiguous and not empty."""
    if image.dtype != np.uint8 or image.ndim != IMAGE_RANK or image.shape[2] != 3 or image.size == 0:  # noqa: PLR2004
        msg = f"{name}: expected uint8 RGB (H, W, 3), got {image.dtype} {image.shape}"
        raise ValueError(msg)
    if not image.flags.c_contiguous:
        msg = f"{name}: expected a C-contiguous image, got strides {image.strides} for shape {image.shape}"
        raise ValueError(msg)


def check_shape(array: npt.NDArray[Any], dtype: npt.DTypeLike, shape: tuple[int | None, ...], name: str) -> None:
    """Raise `ValueError` unless `array` has `dtype` and `shape`; None in `shape` matches any length."""
    fits = array.ndim == len(shape) and all(want is None or want == got for want, got in zip(shape, array.shape, strict=True))
    if array.dtype != np.dtype(dtype) or not fits:
        wanted = tuple("any" if want is None else want for want in shape)
        msg = f"{name}: expected {np.dtype(dtype)} {wanted}, got {array.dtype} {array.shape}"
        raise ValueError(msg)


@dataclass(frozen=True)
class VideoInfo:
    """What a container says about its video stream, and what decoding will give.

    `width` and `height` are after `rotation` (degrees clockwise to show upright: 0, 90, 180, 270) has been applied.
    `rate` is the nominal frame rate in frames per second; `frames` and `duration` are the container's word and may be None.
    Colour fields carry FFmpeg's names ("bt709", "tv", ...), "unknown" where the stream does not say.
    `key_frames` is None until somebody has counted the stream's I-frames.
    """

    path: Path
    width: int
    height: int
    rotation: int
    time_base: Fraction
    rate: Fraction
    frames: int | None
    duration: Fraction | None
    codec: str
    pixel_format: str
    bit_depth: int
    color_space: str = "unknown"
    color_range: str = "unknown"
    color_primaries: str = "unknown"
    color_trc: str = "unknown"
    audio_streams: int = 0
    subtitle_streams: int = 0
    key_frames: int | None = None

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0 or self.rate <= 0 or self.rotation not in (0, 90, 180, 270):
            msg = f"VideoInfo: bad size {self.width}x{self.height}, rate {self.rate} or rotation {self.rotation}"
            raise ValueError(msg)


@dataclass(frozen=True)
class Frame:
    """One decoded picture, upright, in presentation order. `is_key` marks a real I-frame (key packet) of the stream."""

    index: int
    time: Fraction
    rgb: Image
    is_key: bool = False

    def __post_init__(self) -> None:
        check_image(self.rgb, "Frame.rgb")


@dataclass(frozen=True)
class Detection:
    """One face found in one frame: `box` float32 (4,) as x0, y0, x1, y1 in pixels; `points` (5 or 68, 2) or None."""

    box: npt.NDArray[np.float32]
    score: float
    points: Points | None = None

    def __post_init__(self) -> None:
        check_shape(self.box, np.float32, (4,), "Detection.box")


@dataclass(frozen=True)
class FaceTrack:
    """One person over consecutive frames `first .. first + N - 1`, never across a shot cut.

    `points` float32 (N, 5 or 68, 2) in frame pixels; `seen` bool (N,), False where the points were bridged;
    `score` float32 (N,); `identity` float32 (D,) unit-norm embedding, or None when it was not computed.
    """

    id: int
    first: int
    points: npt.NDArray[np.float32]
    seen: BoolArray
    score: FloatArray
    identity: FloatArray | None = None

    def __post_init__(self) -> None:
        count = len(self.points)
        check_shape(self.points, np.float32, (count, None, 2), "FaceTrack.points")
        check_shape(self.seen, np.bool_, (count,), "FaceTrack.seen")
        check_shape(self.score, np.float32, (count,), "FaceTrack.score")
        if self.points.shape[1] not in LANDMARK_COUNTS:
            msg = f"FaceTrack.points: expected 5 or 68 points, got {self.points.shape[1]}"
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Reference:
    """A key frame of the same person, aligned like the clip it serves.

    `picture` uint8 (S, S, 3), the best picture there is; `compressed` the same frame as the compressed stream showed it, or None
    when that is not known; `landmarks` float32 (68, 2) in crop pixels; `time` of the key frame, None for a photo.
    """

    picture: Image
    compressed: Image | None
    landmarks: Points
    time: Fraction | None

    def __post_init__(self) -> None:
        check_image(self.picture, "Reference.picture")
        if self.compressed is not None:
            check_image(self.compressed, "Reference.compressed")
            if self.compressed.shape != self.picture.shape:
                msg = f"Reference: picture {self.picture.shape} and compressed {self.compressed.shape} differ in shape"
                raise ValueError(msg)
        check_shape(self.landmarks, np.float32, (68, 2), "Reference.landmarks")


@dataclass(frozen=True)
class FaceClip:
    """Consecutive aligned crops of one track: what a restorer gets.

    `crops` uint8 (T, S, S, 3); `to_crop` float64 (T, 2, 3); `landmarks` float32 (T, 68, 2) in crop pixels;
    `references`: per frame the key frame chosen for it, with its own (unwarped) landmarks, or None.
    The first `context` frames were the last ones of the clip before, and the last `ahead` frames will be the first ones of the next clip
    (`RestorerSpec.overlap`): what is returned for them is not used.
    """

    track_id: int
    first: int
    crops: npt.NDArray[np.uint8]
    to_crop: npt.NDArray[np.float64]
    landmarks: npt.NDArray[np.float32]
    references: tuple[Reference | None, ...] = field(default=())
    context: int = 0
    ahead: int = 0

    def __post_init__(self) -> None:
        if self.crops.ndim != CLIP_RANK or self.crops.shape[1] != self.crops.shape[2] or len(self.crops) == 0:
            msg = f"FaceClip.crops: expected (T, S, S, 3) with T >= 1, got {self.crops.shape}"
            raise ValueError(msg)
        count, size = self.crops.shape[:2]
        check_shape(self.crops, np.uint8, (count, size, size, 3), "FaceClip.crops")
        check_shape(self.to_crop, np.float64, (count, 2, 3), "FaceClip.to_crop")
        check_shape(self.landmarks, np.float32, (count, 68, 2), "FaceClip.landmarks")
        if self.references and len(self.references) != count:
            msg = f"FaceClip.references: expected none or {count}, got {len(self.references)}"
            raise ValueError(msg)
        if min(self.context, self.ahead) < 0 or self.context + self.ahead >= count:
            msg = f"FaceClip: expected context and ahead from 0 on, together at most {count - 1}, got {self.context} and {self.ahead}"
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.crops)


@dataclass(frozen=True)
class Cutoffs:
    """Parameters of a 1-euro filter (Casiez, Roussel and Vogel, CHI 2012).

    `min_cutoff`: cut-off of what is at rest, in Hz. `beta`: by how much the cut-off grows with the speed, in Hz for a pixel a second.
    `d_cutoff`: cut-off of the speed, in Hz.
    """

    min_cutoff: float
    beta: float
    d_cutoff: float

    def __post_init__(self) -> None:
        if self.min_cutoff <= 0 or self.beta < 0 or self.d_cutoff <= 0:
            msg = f"Cutoffs: expected min_cutoff > 0, beta >= 0, d_cutoff > 0, got {self.min_cutoff}, {self.beta}, {self.d_cutoff}"
            raise ValueError(msg)


@dataclass(frozen=True)
class Tracking:
    """How faces are followed.

    `every`: the whole picture is searched for faces every so many frames. `max_gap`: the longest run of frames without the face over which
    it is followed on. `smoothing`: standard deviation of the landmark smoothing in frames; `smoother`: its kind. `region`: 1-euro
    filters of the face's centre and of its width; None: both are those of the smoothed landmarks. `min_face`: width in pixels of the
    smallest face that matters, and `max_pixels`: how large pictures are when they are searched; None: as the detector has it.
    """

    every: int = 10
    max_gap: int = 10
    smoothing: float = 1.5
    smoother: Smoother = "gaussian"
    region: tuple[Cutoffs, Cutoffs] | None = None
    min_face: int | None = None
    max_pixels: int | None = None


@dataclass(frozen=True)
class RestorerSpec:
    """What the pipeline must know of a restorer: how to feed it, and what to print when it is listed.

    `crop_sizes`: the crop sides in pixels it accepts, ascending. `clip_length` and `overlap` in frames: neighbouring clips share
    `overlap` frames. They are restored with the earlier clip and begin the later one as context (`FaceClip.context`); with `looks_ahead`
    it is the later clip that restores them, and the earlier one only looks at them (`FaceClip.ahead`).
    `residual`: what counts is the difference between restored and given crop; it is then the difference that is warped back and
    added to the frame, so that an unchanged crop leaves the frame bit-exact instead of blurred by two resamplings.
    `template`: how faces lie in the crops that it is given, a template of `keyframes_gan.faces.align`; with `any_template` others serve
    too, such as those that `preprocessing.py` cuts.
    `least_face`, with template "upright": faces with narrower boxes are enlarged to so many pixels; 0: none is.
    `references`: what it looks at: "none"; "given", photos and key frames that are sent; or "stream", the stream's own key frames too,
    where there are no better ones.
    `blend` and, for images, `photo_blend` (how faces are blended in), `tracking` and `min_identity` (how alike a restored face must be to
    its input, 0 to 1; 0 for no matter) hold where the user asks for nothing else.
    """

    name: str
    summary: str
    weights: str | None
    crop_sizes: tuple[int, ...]
    clip_length: int
    overlap: int
    licence: str
    residual: bool = False
    template: Template = "eyes"
    any_template: bool = False
    looks_ahead: bool = False
    least_face: float = 0.0
    references: References = "stream"
    blend: Blend = "feather"
    photo_blend: Blend = "feather"
    tracking: Tracking = field(default_factory=Tracking)
    min_identity: float = 0.0

    def __post_init__(self) -> None:
        if not self.crop_sizes or list(self.crop_sizes) != sorted(self.crop_sizes) or not 0 <= self.overlap < self.clip_length:
            msg = f"RestorerSpec {self.name}: crop_sizes {self.crop_sizes} ascending, 0 <= overlap {self.overlap} < clip {self.clip_length}"
            raise ValueError(msg)
        if self.template not in get_args(Template):
            msg = f"RestorerSpec {self.name}: expected a template of {get_args(Template)}, got {self.template!r}"
            raise ValueError(msg)


@runtime_checkable
class Restorer(Protocol):
    """Restores aligned crops clip by clip, carrying a state per track that only the restorer understands."""

    @property
    def spec(self) -> RestorerSpec:
        """How to feed this restorer."""

    def start(self, track_id: int) -> object:
        """Return the state with which a new track begins."""

    def restore(self, clip: FaceClip, state: Any) -> npt.NDArray[np.uint8]:  # noqa: ANN401
        """Return the restored crops, uint8 (T, S, S, 3), and update `state` in place; not when it fails, memory running out included.

        A restorer that enlarges may return (T, R, R, 3) with R > S: the same squares in more pixels.
        """


@runtime_checkable
class BatchRestorer(Restorer, Protocol):
    """A restorer that can restore clips of several tracks at a time, which keeps a large device busy."""

    def restore_many(self, clips: Sequence[FaceClip], states: Sequence[Any]) -> list[npt.NDArray[np.uint8]]:
        """Return what `restore` would for each clip with its state. Clips may differ in length and size."""


@dataclass(frozen=True)
class Decision:
    """What a restorer that chooses did with one face in one frame, and why.

    `width_px` of the face in the frame; `sharpness` as variance of the Laplacian and `noise` as standard deviation, in levels of 255;
    `expert` by its name in the options, "none" when the face was left as it is; `seconds`: this face's share of the expert's time.
    """

    width_px: float
    sharpness: float
    noise: float
    expert: str
    reason: str
    seconds: float = 0.0

    @property
    def left(self) -> bool:
        """Whether the face was left as it is."""
        return self.expert == "none"

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        measured = {"w": round(self.width_px, 1), "q": round(self.sharpness, 1), "noise": round(self.noise, 2)}
        return {**measured, "expert": self.expert, "reason": self.reason, "ms": round(1000 * self.seconds, 1)}

    def __str__(self) -> str:
        return f"{self.expert} w {self.width_px:.0f} q {self.sharpness:.0f} n {self.noise:.1f}"


@runtime_checkable
class DecidingRestorer(Restorer, Protocol):
    """A restorer that decides for every face what to do with it, and can say so."""

    def decision(self, state: Any, index: int) -> Decision | None:  # noqa: ANN401
        """Return what was decided for the track with that state in the frame `index`, if that was a short while ago."""


@dataclass(frozen=True)
class WeightsEntry:
    """One row of pretrained_models/manifest.yml."""

    name: str
    file: str
    url: str | None
    sha256: str
    arch: str
    kwargs: dict[str, Any]
    param_key: str | None
    licence: str
    provenance: str

    @property
    def restricted(self) -> bool:
        """Whether the licence is not a free one: not for commercial use, or not stated at all."""
        return any(word in self.licence.lower() for word in ("non-commercial", "noncommercial", "none stated"))
