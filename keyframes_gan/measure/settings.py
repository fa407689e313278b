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
        checks = (
            (bool(self.metrics), "--metrics: expected at least one, got none; see --help for their names"),
            (self.every >= 1, f"--every: expected 1 (every frame) or more, got {self.every}"),
            (self.crop_border >= 0, f"--crop_border: expected 0 or more pixels, got {self.crop_border}"),
            (self.jobs >= 1, f"--jobs: expected at least 1 video at a time, got {self.jobs}"),
            (self.clip_length is None or self.clip_length >= 1, f"--clip_length: expected at least 1 frame, got {self.clip_length}"),
            (
                bool(self.regions) and all(name in REGIONS for name in self.regions),
                f"--region: expected some of full, face, crop, got {', '.join(self.regions) or 'none'}",
            ),
        )
        for passed, message in checks:
            if not passed:
                raise UserError(message)
