"""Counting the seconds of each stage, and keeping how they are spread, in memory that does not grow with the video."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from typing import TYPE_CHECKING

from keyframes_gan.faces.landmarks import Landmarker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import numpy.typing as npt

    from keyframes_gan.faces.detectors import Detector
    from keyframes_gan.types import Detection, Image, Points

ACCURACY = 0.01
"""Relative error of `Durations.quantile` at most."""
BASE = (1 + ACCURACY) / (1 - ACCURACY)
SHORTEST, LONGEST = 1e-9, 1e9
"""In seconds; what lies beyond counts as that. So there are never more than about 2100 classes."""


class Durations:
    """Many durations: their number, their sum, and quantiles to within `ACCURACY`.

    Durations are counted in classes whose limits grow by a constant factor (DDSketch: Masson, Rim and Lee, VLDB 2019).

    Args:
        unit: what one duration is of, such as "frame" or "face".
    """

    def __init__(self, unit: str = "frame") -> None:
        self.unit = unit
        self.count = 0
        self.seconds = 0.0
        self._classes: Counter[int] = Counter()

    def add(self, seconds: float, parts: int = 1) -> None:
        """Take `seconds` that passed for `parts` things alike, in equal shares; 0 parts add to the sum alone."""
        self.seconds += seconds
        if parts:
            self.count += parts
            share = min(max(seconds / parts, SHORTEST), LONGEST)
            self._classes[math.ceil(math.log(share, BASE))] += parts

    def quantile(self, part: float) -> float:
        """Return the shortest duration in seconds that at least `part` (0 to 1) of all do not exceed; 0 when there is none."""
        below = 0
        for number in sorted(self._classes):
            below += self._classes[number]
            if below >= part * self.count:
                return float(2 * BASE**number / (BASE + 1))
        return 0.0


class Stopwatch:
    """Wall-clock time per stage. Time in a stage inside another counts for the inner one only, so all stages together are the whole.

    Args:
        now: the clock, in seconds.

    Attributes:
        stages: by name, in the order in which they first ended.
        experts: what restoring a face took, by the restorer's name, or the expert's where the restorer chooses.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.stages: dict[str, Durations] = {}
        self.experts: dict[str, Durations] = {}
        self._now = now
        self._inside: list[float] = []

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of every stage."""
        return {name: one.seconds for name, one in self.stages.items()}

    @contextlib.contextmanager
    def __call__(self, stage: str, parts: int = 1, unit: str = "frame") -> Iterator[None]:
        """Count the time spent inside for `stage`, in equal shares for `parts` frames (or whatever `unit` says)."""
        start = self._now()
        self._inside.append(0.0)
        try:
            yield
        finally:
            whole = self._now() - start
            own = whole - self._inside.pop()
            if self._inside:
                self._inside[-1] += whole
            self.add(stage, own, parts, unit)

    def add(self, stage: str, seconds: float, parts: int = 1, unit: str = "frame") -> None:
        """Count seconds that were measured elsewhere."""
        self.stages.setdefault(stage, Durations(unit)).add(seconds, parts)

    def restored(self, expert: str, seconds: float, faces: int = 1) -> None:
        """Take note that `expert` restored so many faces in so many seconds."""
        self.experts.setdefault(expert, Durations("face")).add(seconds, faces)


class TimedDetector:
    """A detector whose searches are counted: "detect" over the whole picture, "detect_near" around a face that was lost.

    Args:
        detector: does the work.
        clock: counts it.
    """

    def __init__(self, detector: Detector, clock: Stopwatch) -> None:
        self._detector, self._clock = detector, clock

    def detect(self, rgb: Image, *, thorough: bool = False) -> list[Detection]:
        """Search the whole picture."""
        with self._clock("detect", unit="search"):
            return self._detector.detect(rgb, thorough=thorough)

    def detect_near(self, rgb: Image, box: npt.NDArray[np.float32]) -> list[Detection]:
        """Search near `box`."""
        with self._clock("detect_near", unit="search"):
            return self._detector.detect_near(rgb, box)


class TimedLandmarker(Landmarker):
    """A landmarker whose work is counted as "landmarks".

    Args:
        clock: counts it.
    """

    def __init__(self, clock: Stopwatch) -> None:
        super().__init__()
        self._clock = clock

    def points(self, rgb: Image, box: npt.NDArray[np.float32], *, angle: float = 0.0, rounds: int = 1) -> Points:
        """Return the landmarks of one face."""
        with self._clock("landmarks", unit="face"):
            return super().points(rgb, box, angle=angle, rounds=rounds)
