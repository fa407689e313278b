"""What to measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keyframes_gan import metrics
from keyframes_gan.errors import UserError
from keyframes_gan.faces import detectors
from keyframes_gan.measure.pairs import Paths
from keyframes_gan.measure.spaces import CROP, FACE, WHOLE

REGIONS = (WHOLE, FACE, CROP)


@dataclass(frozen=True)
class Settings:
    """What to measure.

    `gt_path`, `inference_path` and `compressed_path` are each a video, a folder of pictures, or a tree of those; `output` is the folder
    for metrics.csv and metrics.json, None for that of the results. `regions`: some of "whole", "face", "crop". `clip_length`: frames that
    were restored together, for the seam ratio. `jobs`: videos at a time, each in a process of one thread. `flags`: what messages call the
    three paths.
    """

    gt_path: Path
    inference_path: Path
    compressed_path: Path | None = None
    output: Path | None = None
    metrics: tuple[str, ...] = metrics.DEFAULT
    regions: tuple[str, ...] = (WHOLE,)
    detector: str = "dlib-hog"
    crop_border: int = 0
    every: int = 1
    clip_length: int | None = None
    jobs: int = 1
    device: str = "auto"
    flags: tuple[str, str, str] = ("--gt_path", "--inference_path", "--compressed_path")

    @property
    def folder(self) -> Path:
        """Where the results are written."""
        if self.output is not None:
            return self.output
        return self.inference_path if self.inference_path.is_dir() else self.inference_path.parent

    @property
    def paths(self) -> Paths:
        """What to pair."""
        return Paths(self.gt_path, self.inference_path, self.compressed_path, self.flags)

    def check(self) -> None:
        """Raise `UserError` for what cannot be measured at all."""
        for name in self.metrics:
            metrics.find(name)
        detectors.find(self.detector)
        self.paths.check()
        if not self.metrics or self.every < 1 or self.crop_border < 0 or self.jobs < 1:
            got = f"{self.metrics}, {self.every}, {self.crop_border}, {self.jobs}"
            msg = f"expected at least one of --metrics, --every of at least 1, --crop_border of at least 0, --jobs of at least 1, got {got}"
            raise UserError(msg)
        if self.clip_length is not None and self.clip_length < 1:
            msg = f"--clip_length: expected at least 1 frame, got {self.clip_length}"
            raise UserError(msg)
        if not self.regions or any(name not in REGIONS for name in self.regions):
            msg = f"--region: expected some of full, face, crop, got {', '.join(self.regions) or 'none'}"
            raise UserError(msg)
