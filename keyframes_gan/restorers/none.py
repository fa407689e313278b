"""The restorer that restores nothing: the crops come back as they went in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyframes_gan.types import CROP_SIZES, FaceClip, RestorerSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Unchanged:
    """Gives every crop back unchanged. What the output then differs by is the pipeline's own doing."""

    spec = RestorerSpec(
        name="none",
        summary="gives the crops back unchanged",
        weights=None,
        crop_sizes=CROP_SIZES,
        clip_length=8,
        overlap=0,
        licence="Apache-2.0",
        residual=True,
        any_template=True,
    )

    def start(self, track_id: int) -> object:
        """No state is needed for track `track_id`."""
        return track_id

    def restore(self, clip: FaceClip, state: object) -> npt.NDArray[np.uint8]:
        """Return the crops themselves, uint8 (T, S, S, 3)."""
        return clip.crops


def create(**settings: object) -> Unchanged:
    """Build it; device, precision and weights mean nothing to it."""
    return Unchanged()
