"""Optical flow between neighbouring pictures, and which pixels have a counterpart in the picture before.

Flow is found by one of two estimators:

dis    OpenCV's dense inverse search (Kroeger et al., ECCV 2016), medium preset, on grey pictures
raft   RAFT (Teed and Deng, ECCV 2020), torchvision's large network, 12 updates; the weights `raft_large`

Occlusion by forward-backward consistency, and motion boundaries: Ruder, Dosovitskiy and Brox, "Artistic style transfer for videos",
GCPR 2016, as Lai et al. (ECCV 2018) use them for the warping error.

Convention: a flow is float32 (H, W, 2), displacement in pixels, x to the right, y down, on the grid of the picture it starts from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from keyframes_gan.metrics.clips import Frames, Strip
from keyframes_gan.metrics.kinds import Picture

Flow = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

RAFT = "raft_large"
MINIMUM_PX = 24
"""Smaller pictures have no flow: the search works on blocks of 8 pixels at three scales at least."""
CONSISTENCY_SHARE, CONSISTENCY_PX2 = 0.01, 0.5
BOUNDARY_SHARE, BOUNDARY_PX2 = 0.01, 0.002


@dataclass(frozen=True)
class Estimator:
    """A way to find flow: its name, and what maps pairs of pictures RGB (H, W, 3), all of one size, to the flows from first to second."""

    name: str
    between: Callable[[Sequence[tuple[Picture, Picture]]], list[Flow]]

    def to_before(self, strip: Strip) -> list[Flow | None]:
        """Return per picture the flow to the picture before it; None for the first of a clip, and for pictures that are too small."""
        return strip.once((self.name, "to before"), lambda: self._all([(picture, before) for before, picture in strip.steps()]))

    def from_before(self, strip: Strip) -> list[Flow | None]:
        """Return per picture the flow from the picture before it to it; None as for `to_before`."""
        return strip.once((self.name, "from before"), lambda: self._all([(before, picture) for before, picture in strip.steps()]))

    def visible(self, frames: Frames, index: int) -> Mask | None:
        """Return which pixels of the original's frame `index` show something that the frame before shows too, bool (H, W).

        None where the frame does not continue the one before, or is too small for a flow.
        """
        backward = self.to_before(frames.original)[index]
        if backward is None or not frames.continues(index):
            return None
        forward = self.from_before(frames.original)[index]
        if forward is None:
            return None
        return frames.original.once((self.name, "visible", index), lambda: consistent(backward, forward))

    def _all(self, pairs: Sequence[tuple[Picture | None, Picture | None]]) -> list[Flow | None]:
        whole = [(one, two) for one, two in pairs if one is not None and two is not None and min(one.shape[:2]) >= MINIMUM_PX]
        found = self.between(whole) if whole else []
        return [None] * (len(pairs) - len(found)) + found


def estimator(name: Literal["dis", "raft"] = "dis", device: str = "auto") -> Estimator:
    """Return the estimator `name`.

    Raises:
        WeightsError: RAFT's weights are not here and cannot be fetched, or are altered.
    """
    return Estimator("dis", _dis) if name == "dis" else Estimator("raft", _raft(device))


def _dis(pairs: Sequence[tuple[Picture, Picture]]) -> list[Flow]:
    """Return flows by dense inverse search."""
    grey = [tuple(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pair) for pair in pairs]
    return [_search().calc(start, end, None) for start, end in grey]


@cache
def _search() -> Any:  # noqa: ANN401  # OpenCV has no type information
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


@lru_cache(maxsize=1)
def _raft(device: str) -> Callable[[Sequence[tuple[Picture, Picture]]], list[Flow]]:
    """Return what finds flows by RAFT; the network is loaded once."""
    import torch  # noqa: PLC0415

    from archs.flow import flow_field  # noqa: PLC0415
    from keyframes_gan import weights  # noqa: PLC0415
    from keyframes_gan.devices import choose_device  # noqa: PLC0415
    from keyframes_gan.metrics.perceptual import to_batch  # noqa: PLC0415

    network = flow_field(RAFT).eval()
    weights.load_into(network.model, weights.load_state(RAFT), name=RAFT)
    place = choose_device(device)
    network.to(place)

    def between(pairs: Sequence[tuple[Picture, Picture]]) -> list[Flow]:
        first, second = (to_batch(side).to(place).float() / 127.5 - 1 for side in zip(*pairs, strict=True))
        with torch.inference_mode():
            return list(network(first, second).permute(0, 2, 3, 1).float().cpu().numpy())

    return between


def consistent(backward: Flow, forward: Flow) -> Mask:
    """Return where both flows agree, away from motion boundaries and from what lies outside the picture before, bool (H, W).

    Args:
        backward: from a picture to the one before it.
        forward: from the one before to the picture.
    """
    returned, inside = fetched(forward, backward)
    error = np.square(backward + returned).sum(axis=2)
    length = np.square(backward).sum(axis=2)
    agree = error <= CONSISTENCY_SHARE * (length + np.square(returned).sum(axis=2)) + CONSISTENCY_PX2
    slopes = sum(np.square(slope) for part in (0, 1) for slope in np.gradient(backward[..., part]))
    mask: Mask = inside & agree & (slopes <= BOUNDARY_SHARE * length + BOUNDARY_PX2)
    return mask


def fetched(source: npt.NDArray[Any], backward: Flow) -> tuple[npt.NDArray[np.float32], Mask]:
    """Return `source` (H, W, C), sampled (bilinear) where `backward` points to, as float32, and which pixels lie inside it."""
    height, width = backward.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = columns + backward[..., 0], rows + backward[..., 1]
    taken: npt.NDArray[np.float32] = cv2.remap(source.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return taken, (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
