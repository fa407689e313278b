"""RetinaFace (Deng et al., CVPR 2020; `archs.retinaface_arch`): turned, small and hidden faces too, with five points."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from keyframes_gan.faces.detectors.network import Guesses, NetworkDetector

if TYPE_CHECKING:
    import numpy.typing as npt

BGR_MEAN = np.array([104, 117, 123], np.float32)
SIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
"""By stride: the sides in pixels of the two square anchors at every position."""
CENTRE_UNIT = 0.1
SIZE_UNIT = 0.2
"""What the network's numbers count in: tenths of the anchor's side; fifths of the natural logarithm of the size's ratio."""


class RetinaFaceDetector(NetworkDetector):
    """Base of the two sizes of RetinaFace."""

    def _guess(self, image: npt.NDArray[np.uint8], threshold: float) -> Guesses:
        bgr = np.ascontiguousarray(image[..., ::-1], np.float32) - BGR_MEAN
        output = self._output(bgr)
        boxes, scores, points = (part[0].float().cpu().numpy() for part in output)
        return decode(boxes, scores[:, 1], points, image.shape[:2], threshold)


class RetinaFaceResNet50(RetinaFaceDetector):
    """The large size: the most faces, 54 GMACs per half megapixel; for a GPU, or for key frames."""

    weights_name = "retinaface_resnet50"


class RetinaFaceMobile(RetinaFaceDetector):
    """The small size, on MobileNet x 0.25: 1.2 GMACs per half megapixel."""

    weights_name = "retinaface_mobile0.25"


@lru_cache(maxsize=8)
def anchors(height: int, width: int) -> npt.NDArray[np.float32]:
    """Return the anchors of a picture of this size as x, y (centre), side: float32 (R, 3), in the network's order, read-only."""
    parts = []
    for stride, sides in SIDES.items():
        y, x, side = np.meshgrid(
            (np.arange(-(-height // stride)) + 0.5) * stride, (np.arange(-(-width // stride)) + 0.5) * stride, sides, indexing="ij"
        )
        parts.append(np.stack([x, y, side], axis=-1).reshape(-1, 3))
    made = np.concatenate(parts).astype(np.float32)
    made.flags.writeable = False
    return made


def decode(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    points: npt.NDArray[np.float32],
    shape: tuple[int, ...],
    threshold: float,
) -> Guesses:
    """Turn the network's rows into pixels.

    Args:
        boxes: (R, 4), offsets of the centre and of the size.
        scores: (R,), probability of a face.
        points: (R, 10), offsets of five points.
        shape: height and width of the picture.
        threshold: rows with a lower score are left out.
    """
    likely = np.flatnonzero(scores >= threshold)
    anchor = anchors(int(shape[0]), int(shape[1]))[likely]
    place, side = anchor[:, :2], anchor[:, 2:]
    centre = place + boxes[likely, :2] * CENTRE_UNIT * side
    half = 0.5 * side * np.exp(boxes[likely, 2:] * SIZE_UNIT)
    marks = place[:, None] + points[likely].reshape(-1, 5, 2) * CENTRE_UNIT * side[:, None]
    return np.concatenate([centre - half, centre + half], axis=1), scores[likely], marks
