"""What `--profile` tells: where the time of a pass went, and whether it keeps up with the video."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keyframes_gan.pipeline.clock import Durations, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction

LOADING, WAITING, REST = "load", "wait", "other"
"""Stages: before the first frame; waiting for a camera's next frame; and what no other stage counts."""
IDLE = (LOADING, WAITING)
WHOLE = ""
"""Unit of the stages that are not done again for every frame or face."""
P95 = 0.95


@dataclass(frozen=True)
class Profile:
    """Where the time of a pass went.

    Args:
        clock: that counted the stages.
        frames: written.
        video_seconds: of the input; 0 when it has none, as images have.
    """

    clock: Stopwatch = field(default_factory=Stopwatch)
    frames: int = 0
    video_seconds: float = 0.0

    @classmethod
    def of(cls, clock: Stopwatch, frames: int, last: Fraction) -> Profile:
        """Return the profile of a pass whose first frame was shown at 0 seconds and whose last one at `last`."""
        return cls(clock, frames, float(last) * frames / (frames - 1) if frames > 1 else 0.0)

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(self.clock.seconds.values())

    @property
    def work_seconds(self) -> float:
        """Of all stages but loading and waiting for a camera."""
        return sum(value for stage, value in self.clock.seconds.items() if stage not in IDLE)

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of video for each second of work: from 1 on the pass keeps up with the video; None for what has no duration."""
        return self.video_seconds / self.work_seconds if self.video_seconds and self.work_seconds else None

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values. `share`: of the seconds of all stages, 0 to 1."""
        factor, work = self.real_time_factor, self.work_seconds
        return {
            "video_seconds": round(self.video_seconds, 3),
            "work_seconds": round(work, 3),
            "real_time_factor": None if factor is None else round(factor, 4),
            "frames_per_second": round(self.frames / work, 3) if work else None,
            "stages": {name: self._row(one) for name, one in self.clock.stages.items()},
            "experts": {name: self._row(one) for name, one in self.clock.experts.items()},
        }

    def _row(self, one: Durations) -> dict[str, Any]:
        spread: dict[str, float | None] = {"median_ms": None, "p95_ms": None}
        if one.unit != WHOLE and one.count:
            spread = {"median_ms": round(1000 * one.quantile(0.5), 3), "p95_ms": round(1000 * one.quantile(P95), 3)}
        whole = self.seconds
        return {
            "unit": one.unit,
            "count": one.count,
            **spread,
            "seconds": round(one.seconds, 3),
            "share": round(one.seconds / whole, 4) if whole else 0.0,
        }

    def __str__(self) -> str:
        """Return two tables, stages and experts, below a line on the whole."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        told = self.as_json()
        rate = f"{self.frames} frames in {told['work_seconds']:.2f} s of work"
        if told["frames_per_second"] is not None:
            rate += f", {told['frames_per_second']:.2f} frames/s"
        factor = told["real_time_factor"]
        yield (
            f"profile: {rate}"
            if factor is None
            else f"profile: {rate}; real-time factor {factor:.3f} ({told['video_seconds']:.2f} s of video)"
        )
        for kind in ("stages", "experts"):
            yield f"  {kind.removesuffix('s'):<14}{'of a':>8}{'count':>8}{'median ms':>12}{'p95 ms':>12}{'seconds':>10}{'share':>8}"
            for name, row in told[kind].items():
                spread = ["" if row[key] is None else f"{row[key]:.2f}" for key in ("median_ms", "p95_ms")]
                count = row["count"] if row["unit"] else ""
                shown = f"{spread[0]:>12}{spread[1]:>12}{row['seconds']:>10.2f}{row['share']:>8.1%}"
                yield f"  {name:<14}{row['unit']:>8}{count:>8}{shown}"
