"""Cutting a key frame's crop out anew: moved by a matrix, or as a template wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyframes_gan.faces.align import CropSpec, crop, transform_points
from keyframes_gan.types import Reference

if TYPE_CHECKING:
    from keyframes_gan.types import Matrix


def moved(reference: Reference, to_crop: Matrix, size: int) -> Reference:
    """Return `reference` with its pictures moved by the (2, 3) matrix onto `size` pixels a side, its landmarks with them."""
    compressed = None if reference.compressed is None else crop(reference.compressed, to_crop, size)
    return Reference(crop(reference.picture, to_crop, size), compressed, transform_points(reference.landmarks, to_crop), reference.time)


def recut(reference: Reference, template: CropSpec) -> Reference:
    """Return `reference` cut by `template`; where that is a window of the picture by whole pixels, no pixel is resampled.

    Raises:
        FaceError: its landmarks have no extent.
    """
    return moved(reference, template.to_crop(reference.landmarks), template.size)
