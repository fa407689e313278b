"""What the key-frame restorers share: warping the chosen key frame onto each crop, and running the network over a clip.

Keyframes-GAN (IEEE TMM 2023): the compressed crop, a high-quality key frame of the same person moved onto the crop's landmarks by
moving least squares, and a picture of the landmarks go into one network, frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from keyframes_gan.faces import align
from keyframes_gan.keyframes.fit import fit
from keyframes_gan.keyframes.warp import warp
from keyframes_gan.types import FaceClip, RestorerSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt


@dataclass(frozen=True)
class ClipTensors:
    """A clip as the networks take it, all float32 in [0, 1], on the device.

    `compressed`, `reference` (T, 3, S, S) RGB, the reference already warped; `landmark` (T, 1, S, S); `valid` (T, 1, 1, 1) is 1 where
    there is a reference and 0 where `reference` is only zeros.
    """

    compressed: torch.Tensor
    reference: torch.Tensor
    landmark: torch.Tensor
    valid: torch.Tensor


def warped_references(clip: FaceClip) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Move every frame's reference onto that frame's landmarks.

    Returns:
        uint8 (T, S, S, 3), zeros where a frame has no reference, and bool (T,) saying which frames have one.
    """
    warped = np.zeros_like(clip.crops)
    valid = np.zeros(len(clip), dtype=np.bool_)
    for index, reference in enumerate(clip.references):
        if reference is not None:
            fitted = fit(reference, clip.crops.shape[1])
            warped[index] = warp(fitted.picture, fitted.landmarks, clip.landmarks[index])
            valid[index] = True
    return warped, valid


def unit_tensor(images: npt.NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Turn uint8 (T, H, W, C) into float32 (T, C, H, W) in [0, 1], in channels-last memory."""
    moved = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    return moved.to(torch.float32).div_(255.0).contiguous(memory_format=torch.channels_last)


class ReferenceGuided:
    """Runs a network over the frames of a clip, each with its warped key frame. Frames do not influence one another.

    `forward` says how `network` takes a `ClipTensors`; it returns (T, 3, S, S) in [0, 1], clamped here.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        forward: Callable[[torch.nn.Module, ClipTensors], torch.Tensor],
        spec: RestorerSpec,
        *,
        device: torch.device,
        precision: torch.dtype,
        batch: int = 1,
    ) -> None:
        self.spec = spec
        self._network = network.eval().to(device).to(memory_format=torch.channels_last)
        self._forward = forward
        self._device = device
        self._precision = precision
        self._batch = batch if device.type == "cpu" else spec.clip_length

    def start(self, track_id: int) -> object:
        """Tracks have no state here: the key frames a clip carries are all the memory there is."""
        return track_id

    def restore(self, clip: FaceClip, state: object) -> npt.NDArray[np.uint8]:
        """Return the restored crops, uint8 (T, S, S, 3)."""
        size = clip.crops.shape[1]
        warped, valid = warped_references(clip)
        dots = np.stack([align.landmark_image(points, size) for points in clip.landmarks])[..., None]
        restored = np.empty_like(clip.crops)
        with torch.inference_mode(), torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            for first in range(0, len(clip), self._batch):
                part = slice(first, first + self._batch)
                mask = torch.from_numpy(valid[part].astype(np.float32)).reshape(-1, 1, 1, 1).to(self._device)
                compressed, reference, landmark = (unit_tensor(images[part], self._device) for images in (clip.crops, warped, dots))
                tensors = ClipTensors(compressed, reference, landmark, mask)
                output = self._forward(self._network, tensors).float().clamp_(0.0, 1.0)
                restored[part] = output.mul_(255.0).round_().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return restored
