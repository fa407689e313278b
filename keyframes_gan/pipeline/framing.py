"""Which part of a frame becomes the crop: the face by a template, or the whole frame when the input is aligned already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from keyframes_gan.errors import MediaError
from keyframes_gan.faces import align
from keyframes_gan.faces.landmarks import Landmarker
from keyframes_gan.faces.recut import recut
from keyframes_gan.faces.shots import CutFinder
from keyframes_gan.faces.smooth import SmoothFace, SmoothFrame
from keyframes_gan.keyframes.fit import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from keyframes_gan.types import Frame, Matrix, Reference, RestorerSpec, VideoInfo

FACE_IN_CROP = (0.165, 0.255, 0.835, 0.925)
"""Where dlib's detector would draw the box in an aligned crop of side 1; near enough for all templates."""


class Framing(Protocol):
    """Says how large the crops are and how they lie in the frame."""

    @property
    def whole(self) -> bool:
        """Whether the crop is the whole frame, so that no soft edge is wanted."""

    def size(self, points: npt.NDArray[np.float32]) -> int:
        """Return the side of the crops in pixels for landmarks (T, 68, 2) in frame pixels."""

    def to_crop(self, points: npt.NDArray[np.float32], size: int) -> Matrix:
        """Return the (2, 3) matrix from frame to crop pixels for one face, landmarks (68, 2), and crops of side `size`."""

    def fitted(self, reference: Reference, size: int) -> Reference:
        """Return a key frame as it serves crops of side `size`."""


@dataclass(frozen=True)
class FaceFraming:
    """Crops around the face, as large as the face needs."""

    spec: RestorerSpec
    whole: bool = False

    def size(self, points: npt.NDArray[np.float32]) -> int:
        """Return the smallest size the restorer accepts that loses no pixel of the face."""
        return align.native_size(points, self.spec.crop_sizes, template=self.spec.template, least_face=self.spec.least_face)

    def to_crop(self, points: npt.NDArray[np.float32], size: int) -> Matrix:
        """Return the matrix that the restorer's template gives."""
        return self._crops(size).to_crop(points)

    def fitted(self, reference: Reference, size: int) -> Reference:
        """Return the key frame cut by the restorer's template; itself when it has that size.

        A photo, whose scale has nothing to do with the video's, is resized: so all photos of a person stay comparable.
        """
        if reference.time is None or len(reference.picture) == size:
            return fit(reference, size)
        return recut(reference, self._crops(size))

    def _crops(self, size: int) -> align.CropSpec:
        return align.CropSpec(self.spec.template, size, self.spec.least_face)


@dataclass(frozen=True)
class WholeFraming:
    """The frame, square and `side` pixels large, is the crop."""

    spec: RestorerSpec
    side: int
    whole: bool = True

    @classmethod
    def of(cls, spec: RestorerSpec, info: VideoInfo) -> WholeFraming:
        """Return the framing for a video of aligned faces.

        Raises:
            MediaError: its pictures are not square.
        """
        if info.width != info.height:
            msg = f"--has_aligned: expected square pictures, got {info.width}x{info.height} in {info.path}; leave --has_aligned out"
            raise MediaError(msg)
        return cls(spec, info.width)

    def size(self, points: npt.NDArray[np.float32]) -> int:
        """Return the smallest size the restorer accepts that is not smaller than the frame, or the largest there is."""
        sizes = self.spec.crop_sizes
        return min((size for size in sizes if size >= self.side), default=max(sizes))

    def to_crop(self, points: npt.NDArray[np.float32], size: int) -> Matrix:
        """Return the matrix that resizes the frame."""
        return align.rescaled(np.eye(2, 3), crop=size / self.side)

    def fitted(self, reference: Reference, size: int) -> Reference:
        """Return the key frame resized."""
        return fit(reference, size)


class AlignedStream:
    """Stands in for `FaceStream` when every frame is an aligned face: one face a frame, at once, its landmarks not smoothed.

    A cut begins a new track.
    """

    def __init__(self) -> None:
        self._landmarker, self._shots = Landmarker(), CutFinder()
        self._track = 0

    def update(self, frame: Frame) -> list[SmoothFrame]:
        """Return the frame's one face."""
        side = frame.rgb.shape[0]
        points = self._landmarker.points(frame.rgb, np.array(FACE_IN_CROP, np.float32) * side, rounds=2)
        cut = self._shots.is_cut(frame.rgb)
        self._track += int(cut)
        return [SmoothFrame(frame.index, (SmoothFace(self._track, points, True, 1.0),), cut)]

    def flush(self) -> list[SmoothFrame]:
        """Nothing is held back."""
        return []


class CentreChooser:
    """Keeps one face of each frame: the one nearest to the picture's centre when it was chosen, for as long as it is there.

    Another is chosen when the face is gone, and after a cut.
    """

    def __init__(self) -> None:
        self._track: int | None = None

    def choose(self, found: SmoothFrame, shape: tuple[int, ...]) -> Sequence[SmoothFace]:
        """Return the chosen face of a frame with pictures of `shape` (H, W, 3), or nothing."""
        kept = [face for face in found.faces if face.track_id == self._track and not found.cut]
        if not kept and found.faces:
            centre = np.array([shape[1] - 1, shape[0] - 1]) / 2
            kept = [min(found.faces, key=lambda face: float(np.hypot(*(face.points.mean(axis=0) - centre))))]
            self._track = kept[0].track_id
        return kept
