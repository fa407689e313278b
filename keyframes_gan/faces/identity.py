"""Who a face belongs to: dlib's residual network (King 2017), 128 numbers per face, here scaled to unit length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keyframes_gan.faces.dlib_models import IDENTITY, shared
from keyframes_gan.types import check_image, check_shape

if TYPE_CHECKING:
    from keyframes_gan.types import FloatArray, Image, Points

SAME_PERSON = 0.94
"""Similarity above which two faces are one person (speakers of the test clips: at least 0.966 alike, at most 0.922 unlike)."""


def embed(rgb: Image, points: Points) -> FloatArray:
    """Return the unit-length float32 (128,) identity of one face. The model is loaded with the first call.

    Args:
        rgb: the frame, uint8 (H, W, 3).
        points: float32 (68, 2), the face's landmarks in the frame.
    """
    return embed_chip(face_chip(rgb, points))


def face_chip(rgb: Image, points: Points) -> Image:
    """Return all that `embed` looks at: the face upright and of one size, uint8 (150, 150, 3). Arguments as for `embed`."""
    check_image(rgb, "face_chip: rgb")
    check_shape(points, np.float32, (68, 2), "face_chip: points")
    import dlib  # noqa: PLC0415 - only when the first face comes

    corners = np.concatenate([points.min(axis=0), points.max(axis=0)])
    parts = [dlib.point(int(x), int(y)) for x, y in np.rint(points)]
    shape = dlib.full_object_detection(dlib.rectangle(*(int(value) for value in np.rint(corners))), parts)
    chip: Image = dlib.get_face_chip(rgb, shape)
    return chip


def embed_chip(chip: Image) -> FloatArray:
    """Return the identity, as `embed`, of a face of `face_chip`."""
    vector: FloatArray = np.array(shared("face_recognition_model_v1", IDENTITY).compute_face_descriptor(chip), np.float32)
    unit: FloatArray = vector / np.linalg.norm(vector)
    return unit


def similarity(a: FloatArray, b: FloatArray) -> float:
    """Return the cosine similarity of two identities, -1 to 1."""
    return float(a @ b)
