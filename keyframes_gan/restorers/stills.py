"""What the restorers of still faces share: networks of other projects that take one FFHQ crop of 512 pixels at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from keyframes_gan.types import FaceClip, RestorerSpec

SIZE = 512


class Stills:
    """Runs a network over the frames of a clip, each by itself: nothing is remembered, so nothing keeps the result steady but the input.

    Args:
        network: the network.
        forward: says how `network` takes crops, float32 (T, 3, 512, 512) RGB in [-1, 1]; it returns the same.
        spec: of the restorer.
        device: where to run.
        precision: of the network's inside.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        forward: Callable[[torch.nn.Module, torch.Tensor], torch.Tensor],
        spec: RestorerSpec,
        *,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.spec = spec
        self._network = network.eval().requires_grad_(requires_grad=False).to(device)
        self._forward = forward
        self._device, self._precision = device, precision
        self._batch = 1 if device.type == "cpu" else spec.clip_length

    def start(self, track_id: int) -> object:
        """Tracks have no state here."""
        return track_id

    def restore(self, clip: FaceClip, state: object) -> npt.NDArray[np.uint8]:
        """Return the restored crops, uint8 (T, S, S, 3)."""
        restored = np.empty_like(clip.crops)
        with torch.inference_mode(), torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            for first in range(0, len(clip), self._batch):
                part = slice(first, first + self._batch)
                # Contiguous, because GFPGAN's views fail on channels-last memory.
                crops = torch.from_numpy(clip.crops[part]).to(self._device).permute(0, 3, 1, 2).contiguous()
                crops = crops.float().div_(127.5).sub_(1.0)
                output = self._forward(self._network, crops).float().clamp_(-1.0, 1.0)
                restored[part] = output.add_(1.0).mul_(127.5).round_().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return restored
