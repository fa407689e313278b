"""Metrics: one file per family, listed in `METRICS`. Importing this package imports neither torch nor OpenCV.

    scorer = metrics.load("ssim")              # may raise WeightsError: needs weights that are not here
    value = scorer(original, restored)         # uint8 RGB (H, W, 3)
    value = scorer(original, restored, boxes)  # inside the boxes only; None where no box is large enough

Adding a metric: write a module with a function that returns a `Scorer`, and name it in `METRICS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from keyframes_gan.errors import UserError

Picture = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]


class Scorer(Protocol):
    """Scores one picture against its original."""

    def __call__(self, original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        """Return the score, inside `boxes` (x0, y0, x1, y1; ends excluded) when given; None where nothing could be measured."""


@dataclass(frozen=True)
class Metric:
    """What a table must know of a metric.

    `loader` is `module:function`, the module in this package; the function takes nothing and returns a `Scorer`.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    decimals: int
    uses_original: bool
    loader: str
    summary: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR", "dB", True, 2, True, "scorers:load_psnr", "peak signal-to-noise ratio, RGB, at most 100 dB"),
        Metric("ssim", "SSIM", "", True, 4, True, "scorers:load_ssim", "structural similarity (Wang et al. 2004), RGB"),
        Metric("lpips", "LPIPS", "", False, 4, True, "lpips:load", "perceptual distance (Zhang et al. 2018), AlexNet"),
        Metric("brisque", "BRISQUE", "", False, 2, False, "scorers:load_brisque", "blind quality, antialiased halving"),
        Metric("brisque_paper", "BRISQUE/paper", "", False, 2, False, "scorers:load_brisque_paper", "blind quality, nearest halving"),
        Metric("niqe", "NIQE", "", False, 3, False, "scorers:load_niqe", "blind quality (Mittal et al. 2013), on luma"),
    )
}
DEFAULT = ("psnr", "ssim", "lpips", "brisque")


def find(name: str) -> Metric:
    """Return the metric `name`.

    Raises:
        UserError: no such metric; the message lists the names there are.
    """
    if name not in METRICS:
        msg = f"--metrics: expected some of {', '.join(METRICS)}, got {name!r}"
        raise UserError(msg)
    return METRICS[name]


def load(name: str) -> Scorer:
    """Return the scorer of the metric `name`, with its model loaded.

    Raises:
        UserError: no such metric.
        WeightsError: it needs weights that are not here and could not be fetched; the message names the file and its place.
    """
    module, function = find(name).loader.split(":")
    scorer: Scorer = getattr(importlib.import_module(f"{__name__}.{module}"), function)()
    return scorer
