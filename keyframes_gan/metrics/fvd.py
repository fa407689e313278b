"""FVD: FID of short clips, by a network that sees motion (Unterthiner et al., "FVD: a new metric for video generation", 2019).

The network is I3D, trained on Kinetics-400, as the TorchScript file that most recent papers use (by StyleGAN-V; `i3d_fvd` in the manifest).
Runs of 16 consecutive frames, not across shot cuts, are resized to 224 px (bilinear, not antialiased, as there) and described by the 400
numbers before the softmax. Only the total has a value. Its figures have not been compared with published ones: the file was not to be had.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from keyframes_gan import weights
from keyframes_gan.devices import choose_device
from keyframes_gan.errors import WeightsError
from keyframes_gan.metrics.clips import Begin, ClipScore, Frames, Strip
from keyframes_gan.metrics.distribution import Floats, Moments, Pool
from keyframes_gan.metrics.perceptual import to_batch

WEIGHTS = "i3d_fvd"
LENGTH, SIDE, FEATURES = 16, 224, 400
Describe = Callable[[Tensor], Floats]
"""Maps clips float32 (N, 3, 16, 224, 224) in [-1, 1] to features (N, 400)."""


def load_fvd(device: str = "auto") -> Begin:
    """Return FVD.

    Raises:
        WeightsError: the weights `i3d_fvd` are not here, or are not that TorchScript file.
    """
    describe = i3d(device)
    return lambda: VideoScorer(describe)


def i3d(device: str = "auto") -> Describe:
    """Return what maps clips to I3D's features.

    Raises:
        WeightsError: as for `load_fvd`.
    """
    path, place = weights.locate(WEIGHTS), choose_device(device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is on its way out, but the file exists in no other form
            network: Any = torch.jit.load(str(path), map_location=place).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        msg = f"{path}: expected a TorchScript file, got something else: {str(error).splitlines()[0]}"
        raise WeightsError(msg) from error

    def describe(clips: Tensor) -> Floats:
        with torch.inference_mode():
            features = network(clips.to(place), rescale=False, resize=False, return_features=True)
        found: Floats = features.double().cpu().numpy()
        return found

    return describe


@dataclass
class VideoScorer:
    """The `ClipScorer` of FVD. Remembers the resized frames of a run that is not complete."""

    describe: Describe
    frames: int = 0
    pool: Pool | None = None
    runs: dict[str, list[Tensor]] = field(default_factory=lambda: {"original": [], "judged": []})

    def add(self, frames: Frames) -> None:
        """Take the next frames; boxes are not measured."""
        self.frames += len(frames)
        if frames.boxes is not None:
            return
        pairs = zip(_resized(frames.original), _resized(frames.judged), strict=True)
        for index, pair in enumerate(pairs):
            if not frames.continues(index):
                self.runs = {"original": [], "judged": []}
            for run, picture in zip(self.runs.values(), pair, strict=True):
                run.append(picture)
            if len(self.runs["original"]) == LENGTH:
                self._describe()

    def finish(self) -> ClipScore:
        """Return the moments; an incomplete run is left out."""
        return ClipScore((None,) * self.frames, None, self.pool)

    def _describe(self) -> None:
        """Add the complete runs to the moments."""
        found = [Moments.of(self.describe(torch.stack(run, dim=1)[None])) for run in self.runs.values()]
        both = Pool(*found)
        self.pool = both if self.pool is None else self.pool + both
        self.runs = {"original": [], "judged": []}


def _resized(strip: Strip) -> list[Tensor]:
    """Return the pictures float32 (3, 224, 224) in [-1, 1]."""

    def resize() -> list[Tensor]:
        batch = to_batch(strip.pictures).float() / np.float32(127.5) - 1
        return list(F.interpolate(batch, (SIDE, SIDE), mode="bilinear", align_corners=False))

    return strip.once("fvd frames", resize)
