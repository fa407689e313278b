"""KEEP (Feng et al., ECCV 2024): whole clips at 512 px, each frame helped by the one before, clip after clip.

What is carried along a track is `archs.keep_state.TrackState`; `KEEP.restore_clip` says what a clip's border changes.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from archs.keep_arch import KEEP, rename_v0
from keyframes_gan import weights as weights_store
from keyframes_gan.devices import choose_device, choose_precision
from keyframes_gan.types import RestorerSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from torch import Tensor

    from archs.keep_state import TrackState
    from keyframes_gan.types import FaceClip

WEIGHTS = "keep_v1"
MOST_TOGETHER = 8
"""So many tracks are restored in one batch; more would only take more memory."""
MOST_LOOKED_AT = 16
"""So many frames are encoded together on a GPU with memory to spare."""
LOOKED_AT_BYTES = 1 << 30
"""What a frame that is encoded with others may take: three times the float32 features of 512 px that live at a time."""
COMPILE_AFTER = 1000
"""Frames after which compiling, which takes a minute or two, begins to pay."""
COMPILERS = ("cc", "gcc", "clang")
OLDEST_COMPUTE = (7, 0)
"""What Triton needs of a GPU."""

SPEC = RestorerSpec(
    name="keep",
    summary="KEEP (ECCV 2024): steady video faces at 512 px",
    weights=WEIGHTS,
    crop_sizes=(512,),
    clip_length=20,
    overlap=4,
    licence="S-Lab License 1.0 (non-commercial)",
    template="ffhq",
    looks_ahead=True,
    references="none",
)


@dataclass
class KeepState:
    """The state of a track between clips: None before the first."""

    track: TrackState | None = None


class Keep:
    """Runs a KEEP network over clips.

    Args:
        network: the network.
        spec: how it is fed.
        device: where to run.
        compile_after: the network is compiled when so many frames have been restored; None: never.
    """

    def __init__(self, network: KEEP, spec: RestorerSpec, *, device: torch.device, compile_after: int | None = None) -> None:
        self.spec = spec
        self._network = network.eval().requires_grad_(requires_grad=False).to(device)
        self._device = device
        self._compile_after = compile_after
        self._frames, self._compiled = 0, False

    def start(self, track_id: int) -> KeepState:
        """Return the state of a track that begins; `track_id` does not matter."""
        return KeepState()

    def restore(self, clip: FaceClip, state: KeepState) -> npt.NDArray[np.uint8]:
        """Return the restored crops, uint8 (T, S, S, 3), those of the frames ahead as they were, and carry `state` on."""
        return self.restore_many([clip], [state])[0]

    def restore_many(self, clips: Sequence[FaceClip], states: Sequence[KeepState]) -> list[npt.NDArray[np.uint8]]:
        """Restore clips of several tracks; those of one length share a batch. States go on only when all has gone well."""
        restored: dict[int, npt.NDArray[np.uint8]] = {}
        after: dict[int, TrackState] = {}
        with torch.inference_mode():
            for rows in _batches(clips):
                frames = torch.from_numpy(np.stack([clips[row].crops for row in rows])).to(self._device)
                frames = frames.permute(0, 1, 4, 2, 3).float().div_(127.5).sub_(1.0)
                before = [_fitting(states[row].track, frames.shape[1]) for row in rows]
                output, tracks = self._run(frames, before, clips[rows[0]].ahead)
                pictures = output.clamp_(-1.0, 1.0).add_(1.0).mul_(127.5).round_().to(torch.uint8).permute(0, 1, 3, 4, 2).cpu().numpy()
                for row, made in zip(rows, pictures, strict=True):
                    restored[row] = np.concatenate([made, clips[row].crops[len(made) :]])
                after |= dict(zip(rows, tracks, strict=True))
        for row, track in after.items():
            states[row].track = track
        return [restored[row] for row in range(len(clips))]

    def _run(self, frames: Tensor, before: list[TrackState | None], ahead: int) -> tuple[Tensor, list[TrackState]]:
        """Call the network, compiled when that pays; where compiling fails, warn and go on without."""
        if self._compile_after is not None and self._frames >= self._compile_after:
            self._network.compile_parts()
            self._compile_after, self._compiled = None, True
        self._frames += frames.shape[0] * (frames.shape[1] - ahead)
        if not self._compiled:
            return self._network.restore_clip(frames, before, ahead=ahead)
        from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415  (takes a second, and only who compiles needs it)

        try:
            return self._network.restore_clip(frames, before, ahead=ahead)
        except TorchDynamoException as error:
            reason = " ".join(str(error).split("\n\n", 1)[0].split())
            warnings.warn(f"KEEP could not be compiled and runs slower from here on: {reason}", RuntimeWarning, stacklevel=2)
        torch.compiler.set_stance("force_eager")
        return self._network.restore_clip(frames, before, ahead=ahead)


def _fitting(track: TrackState | None, count: int) -> TrackState | None:
    """Return the state for a clip of `count` frames: what was seen ahead is forgotten if the clip, cut for want of memory, is shorter."""
    return replace(track, ahead=None) if track is not None and track.pending > count else track


def _batches(clips: Sequence[FaceClip]) -> Iterator[list[int]]:
    """Give positions of clips of one shape that look equally far ahead, at most `MOST_TOGETHER` at a time."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, clip in enumerate(clips):
        alike = (*clip.crops.shape, clip.ahead)
        groups[alike].append(row)
    for rows in groups.values():
        for start in range(0, len(rows), MOST_TOGETHER):
            yield rows[start : start + MOST_TOGETHER]


def frames_together(free_bytes: int) -> int:
    """Return how many frames to encode together on a GPU with so much memory free."""
    return min(max(free_bytes // LOOKED_AT_BYTES, KEEP.frames_at_once), MOST_LOOKED_AT)


def can_compile(device: torch.device) -> bool:
    """Tell whether `torch.compile` finds what it needs for `device`: a GPU that Triton knows, Triton, and a C compiler."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, COMPILERS)), None)
    return compiler is not None and torch.cuda.get_device_capability(device) >= OLDEST_COMPUTE


def create(*, device: str = "auto", precision: str = "fp32", weights: str | None = None) -> Keep:
    """Build the restorer.

    Args:
        device: "auto", "cpu", "cuda", ...
        precision: "fp32" or "bf16"; motion is found in fp32 either way.
        weights: a manifest name or a safetensors file of train.py, which say what kind of KEEP it is, or a file of release v1.0.0 or
            v0.1.0; default: v1.0.0.

    Raises:
        UserError: no such device or precision.
        WeightsError: the weights are missing, altered or of another network.
    """
    chosen_device, dtype = choose_device(device), choose_precision(precision)
    source = weights or WEIGHTS
    state = weights_store.load_state(source)
    network = KEEP(**weights_store.kwargs_of(source, "KEEP"))
    weights_store.load_into(network, state, name=source, rename=rename_v0)
    del state
    network.fold()
    if dtype != torch.float32:
        network.reduce_precision(dtype)
    spec = replace(SPEC, crop_sizes=(network.img_size,))
    restorer = Keep(network, spec, device=chosen_device, compile_after=COMPILE_AFTER if can_compile(chosen_device) else None)
    if chosen_device.type == "cuda":
        network.frames_at_once = frames_together(torch.cuda.mem_get_info(chosen_device)[0])
    return restorer
