"""Restores faces frame by frame with what flow moves over from key frames, the frame before and the frame after.

The network is `archs.keyframe_flow_arch.KeyframeFlowNet`; its guides are `keyframes_gan.keyframes.flow`. What a track carries from clip to
clip is one frame: the last compressed crop and what was made of it.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch

from archs.keyframe_flow_arch import KEY_CHANNELS, NEXT_CHANNELS, PAST_CHANNELS, past_guide
from keyframes_gan.keyframes.fit import fit
from keyframes_gan.keyframes.flow import FlowGuides, Key

if TYPE_CHECKING:
    import numpy.typing as npt

    from keyframes_gan.types import FaceClip, FloatArray, Image, Reference, RestorerSpec


@dataclass(frozen=True)
class Past:
    """The last frame that was restored: its crop, uint8 RGB (S, S, 3), and what became of it, float32 (1, 3, S, S) on the device."""

    crop: Image
    restored: torch.Tensor


@dataclass
class FlowState:
    """What a track carries on."""

    past: Past | None = None


@dataclass(frozen=True)
class _Guides:
    """What is known about one frame before the frame before it is restored; None where there is nothing to be had."""

    key: FloatArray | None
    following: FloatArray | None
    flow: FloatArray | None


class FlowGuided:
    """Runs a KeyframeFlowNet or a VividKeyframeFlowNet over the frames of a clip, one after the other.

    Flows depend on compressed pictures only. They are found ahead of the network, for several frames at a time, in threads.

    Args:
        network: in float32, on the CPU.
        spec: how to feed it; frames that are only shown (`FaceClip.ahead`) serve as the frames after.
        device: where the network runs.
        precision: float32, or bfloat16 for the convolutions.
    """

    def __init__(self, network: torch.nn.Module, spec: RestorerSpec, *, device: torch.device, precision: torch.dtype) -> None:
        self.spec = spec
        self._network = network.eval().to(device).to(memory_format=torch.channels_last)
        self._device = device
        self._precision = precision
        self._threads = threading.local()

    def start(self, track_id: int) -> FlowState:
        """Return the state of a track of which nothing has been seen."""
        return FlowState()

    def restore(self, clip: FaceClip, state: FlowState) -> npt.NDArray[np.uint8]:
        """Return the restored crops, uint8 (T, S, S, 3); frames of context and frames ahead as they are."""
        guides = self._all_guides(clip, state)
        restored: npt.NDArray[np.uint8] = clip.crops.copy()
        past = state.past
        with torch.inference_mode(), torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            for frame, guide in enumerate(guides, clip.context):
                made, shown = self._one(clip.crops[frame], guide, past)
                past = Past(clip.crops[frame], made)
                levels = shown[0].clamp(0.0, 1.0).mul(255.0).round_().to(torch.uint8)
                restored[frame] = levels.permute(1, 2, 0).cpu().numpy()
        state.past = past
        return restored

    def _one(self, crop: Image, guide: _Guides, past: Past | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a restored frame as later ones see it and as it is shown, both float32 (1, 3, S, S), not clamped."""
        compressed = self._tensor(crop) / 255
        known = None if guide.flow is None or past is None else self._past(compressed, past, guide.flow)
        nothing = [compressed.new_zeros(1, channels, *crop.shape[:2]) for channels in (KEY_CHANNELS, PAST_CHANNELS, NEXT_CHANNELS)]
        found = (self._tensor(guide.key), known, self._tensor(guide.following))
        given = [empty if one is None else one for one, empty in zip(found, nothing, strict=True)]
        made = self._network(compressed, *given)
        return made if isinstance(made, tuple) else (made, made)

    def _past(self, compressed: torch.Tensor, past: Past, flow: FloatArray) -> torch.Tensor:
        """Return what the frame before tells, (1, 7, S, S)."""
        before = self._tensor(past.crop) / 255
        return past_guide(past.restored, before, compressed, self._tensor(flow))

    @overload
    def _tensor(self, picture: npt.NDArray[Any]) -> torch.Tensor: ...
    @overload
    def _tensor(self, picture: None) -> None: ...
    def _tensor(self, picture: npt.NDArray[Any] | None) -> torch.Tensor | None:
        """Return (1, C, H, W) float32 on the device, channels last."""
        return None if picture is None else torch.from_numpy(picture).to(self._device)[None].permute(0, 3, 1, 2).to(torch.float32)

    def _all_guides(self, clip: FaceClip, state: FlowState) -> list[_Guides]:
        """Return the guides of every frame that is restored, in order."""
        size, frames = clip.crops.shape[1], range(clip.context, len(clip) - clip.ahead)
        past = None if state.past is None or len(state.past.crop) != size else state.past.crop
        work = [
            (
                clip.crops[frame],
                _key(clip.references[frame], size) if clip.references else None,
                clip.crops[frame - 1] if frame > frames.start else past,
                clip.crops[frame + 1] if frame + 1 < len(clip) else None,
            )
            for frame in frames
        ]
        with ThreadPoolExecutor(max_workers=max(torch.get_num_threads(), 1)) as pool:
            return list(pool.map(lambda one: self._guides(*one), work))

    def _guides(self, crop: Image, key: Key | None, before: Image | None, after: Image | None) -> _Guides:
        search = self._search()
        return _Guides(
            None if key is None else search.key(crop, key),
            None if after is None else search.following(crop, after),
            None if before is None else search.flow(crop, before),
        )

    def _search(self) -> FlowGuides:
        """Return this thread's own search."""
        if not hasattr(self._threads, "search"):
            self._threads.search = FlowGuides()
        found: FlowGuides = self._threads.search
        return found


def _key(reference: Reference | None, size: int) -> Key | None:
    """Return a reference as a key frame at the crops' size; None when it is no better than what the stream shows anyway."""
    if reference is None:
        return None
    fitted = fit(reference, size)
    if fitted.compressed is not None and np.array_equal(fitted.picture, fitted.compressed):
        return None
    return Key(fitted.picture, fitted.compressed)
