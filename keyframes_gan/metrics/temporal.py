"""Steadiness over time: warping error, motion, flicker, seams. Every frame is compared with the one before; never across a shot cut.

E_warp      Lai et al., "Learning blind video temporal consistency", ECCV 2018: squared difference between a frame and the one before,
            moved along the flow, over the pixels that both show; pictures in [0, 1], mean over pixels and channels. The flow and the
            occlusions are those of the original, the same for every version. (Many tables show 1000 times this.)
tOF         Chu et al., "Learning temporal coherence via self-supervision" (TecoGAN), SIGGRAPH 2020: sum of the absolute differences
            of the flow's two components, restored against original, mean over pixels, in px. (Its tables show 10 times this.)
flicker     How much the restored frame changes where the original stands still: mean absolute difference between both changes, in
            levels of 255, over the pixels whose 3x3 neighbourhoods in the original change by at most 2 levels in every channel.
seam ratio  Mean warping error of the frames that begin a separately restored clip over that of all other frames; 1 without seams.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from keyframes_gan.metrics.clips import Begin, ClipScore, FrameByFrame, Frames, Value, mean
from keyframes_gan.metrics.flow import Estimator, Mask, estimator, fetched
from keyframes_gan.metrics.regions import mask_of

STILL_LEVELS = 2.0
STILL_SIDE = 3
PEAK = 255.0


def load_e_warp(device: str = "auto", *, argument: Literal["dis", "raft"] = "dis") -> Begin:
    """Return the warping error along the original's flow, found by the estimator `argument`.

    Raises:
        WeightsError: RAFT's weights are not here and cannot be fetched, or are altered.
    """
    flow = estimator(argument, device)
    return lambda: FrameByFrame(lambda frames: warping_errors(frames, flow))


def load_tof(device: str = "auto", *, argument: Literal["dis", "raft"] = "dis") -> Begin:
    """Return the difference between the flow of the restored and of the original frames, in pixels; errors as for `load_e_warp`."""
    flow = estimator(argument, device)
    return lambda: FrameByFrame(lambda frames: _flow_differences(frames, flow))


def load_flicker() -> Begin:
    """Return the flicker of regions that are static in the original, in levels of 255."""
    return lambda: FrameByFrame(_flickers)


def load_seam_ratio(device: str = "auto", *, argument: Literal["dis", "raft"] = "dis") -> Begin:
    """Return the warping error at the borders of clips, relative to that inside; errors as for `load_e_warp`."""
    flow = estimator(argument, device)
    return lambda: SeamRatio(flow)


def warping_errors(frames: Frames, flow: Estimator) -> list[Value]:
    """Return the warping error of every frame; None for the first, at cuts, and where no pixel counts."""
    return [_warping_error(frames, index, flow) for index in range(len(frames))]


def _warping_error(frames: Frames, index: int, flow: Estimator) -> Value:
    seen, backward = flow.visible(frames, index), flow.to_before(frames.original)[index]
    if seen is None or backward is None:
        return None

    def squares() -> npt.NDArray[np.float32]:
        before, picture = list(frames.judged.steps())[index]
        if before is None:
            msg = "Frames: the version has no picture before its first one, but the original has"
            raise ValueError(msg)
        moved, _ = fetched(before, backward)
        found: npt.NDArray[np.float32] = np.square((picture - moved) / PEAK).mean(axis=2)
        return found

    return _mean_inside(frames.judged.once((flow.name, "squares", index), squares), seen, frames, index)


def _flow_differences(frames: Frames, flow: Estimator) -> list[Value]:
    pairs = zip(flow.to_before(frames.original), flow.to_before(frames.judged), strict=True)
    return [
        None
        if one is None or two is None or not frames.continues(index)
        else _mean_inside(np.abs(two - one).sum(axis=2), None, frames, index)
        for index, (one, two) in enumerate(pairs)
    ]


def _flickers(frames: Frames) -> list[Value]:
    values: list[Value] = []
    changes = zip(_changes(frames, original=True), _changes(frames, original=False), strict=True)
    for index, (wanted, got) in enumerate(changes):
        if wanted is None or got is None or not frames.continues(index):
            values.append(None)
            continue
        still = cv2.dilate(np.abs(wanted).max(axis=2), np.ones((STILL_SIDE, STILL_SIDE), np.uint8)) <= STILL_LEVELS
        values.append(_mean_inside(np.abs(got - wanted).mean(axis=2), still, frames, index))
    return values


def _changes(frames: Frames, *, original: bool) -> list[npt.NDArray[np.float32] | None]:
    """Return what every picture changes from the one before it, float32 (H, W, 3) in levels."""
    strip = frames.original if original else frames.judged
    return [None if before is None else picture.astype(np.float32) - before for before, picture in strip.steps()]


def _mean_inside(amount: npt.NDArray[np.float32], mask: Mask | None, frames: Frames, index: int) -> Value:
    """Return the mean of `amount` (H, W) over the mask's pixels inside the frame's boxes, None where there is none."""
    boxes = frames.inside(index)
    if boxes is not None:
        chosen = mask_of(boxes, amount.shape)
        mask = chosen if mask is None else mask & chosen
    if mask is None:
        return float(amount.mean(dtype=np.float64))
    return float(amount[mask].mean(dtype=np.float64)) if mask.any() else None


@dataclass
class SeamRatio:
    """The `ClipScorer` of the seam ratio; a frame's value is its warping error. None without seams, or where nothing moves at all."""

    flow: Estimator
    values: list[Value] = field(default_factory=list)
    seams: list[bool] = field(default_factory=list)

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        self.values += warping_errors(frames, self.flow)
        self.seams += frames.seams or [False] * len(frames)

    def finish(self) -> ClipScore:
        """Return the frames' warping errors and the ratio."""
        marked = list(zip(self.values, self.seams, strict=True))
        border, inner = (mean([value for value, seam in marked if seam is chosen]) for chosen in (True, False))
        return ClipScore(tuple(self.values), border / inner if border is not None and inner else None)
