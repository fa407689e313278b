"""Learning rates in closed form: what the rate is at an iteration depends on the options and that iteration only.

BasicSR's schedulers carry state, lose milestones that fall into the warm-up and fail past the last cosine period. Here nothing has to be
stored, so a resumed run has the rates of an uninterrupted one.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import Any


def rate_at(base: float, iteration: int, schedule: dict[str, Any], *, total: int, warmup: int = -1) -> float:
    """Return the learning rate for an iteration.

    Args:
        base: the optimiser's rate.
        iteration: from 1 to `total`.
        schedule: `type` (MultiStepLR, MultiStepRestartLR, CosineAnnealingRestartLR or CosineAnnealingLR) and its values. Like BasicSR's,
            schedules count the steps made: iteration i is step i - 1.
        total: iterations of the whole run.
        warmup: the rate rises linearly over so many iterations; below 1: no warm-up.

    Raises:
        ValueError: an unknown type.
    """
    step, kind = iteration - 1, schedule["type"]
    if kind in {"MultiStepLR", "MultiStepRestartLR"}:
        rate = base * float(schedule.get("gamma", 0.1)) ** bisect_right(sorted(schedule["milestones"]), step)
    elif kind == "CosineAnnealingRestartLR":
        rate = _cosine_restart(base, step, schedule)
    elif kind == "CosineAnnealingLR":
        rate = _cosine(base, float(schedule.get("eta_min", 0.0)), step / max(1, total - 1))
    else:
        msg = f"schedule: unknown type {kind!r}"
        raise ValueError(msg)
    return rate * iteration / warmup if iteration < warmup else rate


def _cosine(start: float, end: float, part: float) -> float:
    """Half a cosine from `start` (part 0) to `end` (part 1 and beyond)."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))


def _cosine_restart(base: float, step: int, schedule: dict[str, Any]) -> float:
    """BasicSR's rule: eta_min + weight / 2 * (base - eta_min) * (1 + cos); past the last period it stays at the end."""
    ends = list(accumulate(schedule["periods"]))
    index = min(bisect_left(ends, step), len(ends) - 1)
    begin = ends[index - 1] if index else 0
    low = float(schedule.get("eta_min", 0.0))
    weight = float(schedule.get("restart_weights", [1.0])[index])
    return low + weight * (_cosine(base, low, (step - begin) / schedule["periods"][index]) - low)
