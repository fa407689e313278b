"""Restores faces frame by frame with what flow moves over from key frames, the frame before and the frames after.

The network is `archs.keyframe_flow_arch.KeyframeFlowNet`; its guides are `keyframes_gan.keyframes.flow`. What a track carries from clip to
clip is one frame: the last compressed crop and what was made of it, its features included.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from archs.keyframe_flow_arch import AHEAD, Made, carried
from keyframes_gan.faces.align import similarity_between, transform_points
from keyframes_gan.faces.recut import moved
from keyframes_gan.keyframes.flow import FlowGuides, Key

if TYPE_CHECKING:
    import numpy.typing as npt

    from keyframes_gan.types import FaceClip, FloatArray, Image, Matrix, Points, Reference, RestorerSpec

FAR = 1 / 16
"""A key frame's face that lies further from the face it serves than this part of the crop's side, at any landmark, is turned, scaled and
moved onto it, so that the flow need not find that; one that is near keeps its pixels as they are."""


@dataclass(frozen=True)
class Past:
    """The last frame that was restored: its crop, uint8 RGB (S, S, 3), and what was made of it."""

    crop: Image
    made: Made


@dataclass
class FlowState:
    """What a track carries on."""

    past: Past | None = None


@dataclass(frozen=True)
class _Guides:
    """What is known about one frame before the frame before it is restored; None where there is nothing to be had."""

    key: FloatArray | None
    following: FloatArray
    flow: FloatArray | None


class FlowGuided:
    """Runs a KeyframeFlowNet or a VividKeyframeFlowNet over the frames of a clip, one after the other.

    Flows depend on compressed pictures only. They are found ahead of the network, for several frames at a time, in threads.

    Args:
        network: in float32, on the CPU.
        spec: how to feed it; frames that are only shown (`FaceClip.ahead`) serve as the frames after.
        device: where the network runs.
        precision: of the network's weights, float32 or bfloat16; pictures, and what is moved by flow, stay in float32.
    """

    def __init__(self, network: torch.nn.Module, spec: RestorerSpec, *, device: torch.device, precision: torch.dtype) -> None:
        self.spec = spec
        self._network = network.eval().to(device, precision).to(memory_format=torch.channels_last)
        self._device = device
        self._threads = threading.local()

    def start(self, track_id: int) -> FlowState:
        """Return the state of a track of which nothing has been seen."""
        return FlowState()

    def restore(self, clip: FaceClip, state: FlowState) -> npt.NDArray[np.uint8]:
        """Return the restored crops, uint8 (T, S, S, 3); frames of context and frames ahead as they are."""
        guides = self._all_guides(clip, state)
        restored: npt.NDArray[np.uint8] = clip.crops.copy()
        past = state.past
        with torch.inference_mode():
            for frame, guide in enumerate(guides, clip.context):
                made = self._one(clip.crops[frame], guide, past)
                past = Past(clip.crops[frame], made)
                levels = made.shown[0].clamp(0.0, 1.0).mul(255.0).round_().to(torch.uint8)
                restored[frame] = levels.permute(1, 2, 0).cpu().numpy()
        state.past = past
        return restored

    def _one(self, crop: Image, guide: _Guides, past: Past | None) -> Made:
        """Return what is made of a frame, (1, C, S, S)."""
        compressed = self._tensor(crop) / 255
        key = None if guide.key is None else self._tensor(guide.key)
        known = None
        if guide.flow is not None and past is not None:
            known = carried(past.made, self._tensor(past.crop) / 255, compressed, self._tensor(guide.flow))
        made: Made = self._network(compressed, key, known, self._tensor(guide.following))
        return made

    def _tensor(self, picture: npt.NDArray[Any]) -> torch.Tensor:
        """Return (1, C, H, W) float32 on the device, channels last."""
        return torch.from_numpy(picture).to(self._device)[None].permute(0, 3, 1, 2).to(torch.float32)

    def _all_guides(self, clip: FaceClip, state: FlowState) -> list[_Guides]:
        """Return the guides of every frame that is restored, in order."""
        size, frames = clip.crops.shape[1], range(clip.context, len(clip) - clip.ahead)
        past = None if state.past is None or len(state.past.crop) != size else state.past.crop
        work = [
            (
                clip.crops[frame],
                _key(clip.references[frame], clip.landmarks[frame], size) if clip.references else None,
                clip.crops[frame - 1] if frame > frames.start else past,
                clip.crops[frame + 1 : frame + 1 + AHEAD],
            )
            for frame in frames
        ]
        with ThreadPoolExecutor(max_workers=max(torch.get_num_threads(), 1)) as pool:
            return list(pool.map(lambda one: self._guides(*one), work))

    def _guides(self, crop: Image, key: Key | None, before: Image | None, after: npt.NDArray[np.uint8]) -> _Guides:
        search = self._search()
        return _Guides(
            None if key is None else search.key(crop, key),
            search.following(crop, list(after)),
            None if before is None else search.flow(crop, before),
        )

    def _search(self) -> FlowGuides:
        """Return this thread's own search."""
        if not hasattr(self._threads, "search"):
            self._threads.search = FlowGuides()
        found: FlowGuides = self._threads.search
        return found


def _key(reference: Reference | None, landmarks: Points, size: int) -> Key | None:
    """Return a reference as a key frame for a face with these landmarks; None when it is no better than what the stream shows anyway."""
    if reference is None:
        return None
    if reference.compressed is not None and np.array_equal(reference.picture, reference.compressed):
        return None
    matrix = similarity_between(reference.landmarks, landmarks)
    if len(reference.picture) == size and _furthest(reference.landmarks, matrix) <= FAR * size:
        return Key(reference.picture, reference.compressed)
    near = moved(reference, matrix, size)
    return Key(near.picture, near.compressed)


def _furthest(points: Points, matrix: Matrix) -> float:
    """Return how far the matrix moves the point that it moves most."""
    return float(np.linalg.norm(transform_points(points, matrix) - points, axis=1).max())
