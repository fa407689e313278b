"""The kinds of metrics, and what a table must know of one. Imports neither torch nor OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from keyframes_gan.errors import UserError

Picture = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]


class UnavailableError(UserError):
    """A metric cannot be taken here; the message says what is missing and where to get it."""


class Scorer(Protocol):
    """Scores one picture against its original."""

    def __call__(self, original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        """Return the score, inside `boxes` (x0, y0, x1, y1; ends excluded) when given; None where nothing could be measured."""


@runtime_checkable
class BatchScorer(Scorer, Protocol):
    """A `Scorer` that takes several pairs of pictures at a time, which keeps a large device busy."""

    def many(self, originals: Sequence[Picture], pictures: Sequence[Picture]) -> list[float | None]:
        """Return the scores of whole pictures, all of one size."""


@dataclass(frozen=True)
class Metric:
    """What a table must know of a metric.

    `loader` is `module:function`, the module in this package. With `of` "picture" the function returns a `Scorer`, with "clip" it returns
    a `keyframes_gan.metrics.clips.Begin`; it takes `argument` when there is one, and `device` when it is `on_device`. `total`: the total of
    several clips is the mean over all their frames, over the clips, or is taken from all clips together. `weights`: names in
    pretrained_models/manifest.yml.
    """

    name: str
    label: str
    unit: str
    better: Literal["higher", "lower", "unknown"]
    decimals: int
    loader: str
    summary: str
    of: Literal["picture", "clip"] = "picture"
    total: Literal["frames", "clips", "set"] = "frames"
    uses_original: bool = True
    uses_faces: bool = False
    weights: tuple[str, ...] = ()
    argument: str = ""
    on_device: bool = False

    @property
    def higher_is_better(self) -> bool:
        """Whether high values are good."""
        return self.better == "higher"
