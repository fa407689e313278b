"""Closed-form rates equal BasicSR's schedulers where those work, and stay right where those do not."""

from __future__ import annotations

import importlib
import math
from typing import Any

import pytest
import torch

from keyframes_gan import registry
from keyframes_gan.models.schedule import rate_at

MULTI = {"type": "MultiStepLR", "milestones": [3, 5, 5], "gamma": 0.5}
COSINE = {"type": "CosineAnnealingRestartLR", "periods": [6, 4], "restart_weights": [1.0, 0.5], "eta_min": 0.01}


def basicsr_rates(schedule: dict[str, Any], count: int) -> list[float]:
    """Rates of iterations 1 to `count` from BasicSR's stateful schedulers, stepped as its loop does."""
    assert registry.basicsr_train
    module = importlib.import_module("basicsr.models.lr_scheduler")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
    name = {"MultiStepLR": "MultiStepRestartLR"}.get(schedule["type"], schedule["type"])
    scheduler = getattr(module, name)(optimizer, **{key: value for key, value in schedule.items() if key != "type"})
    rates = []
    for iteration in range(1, count + 1):
        if iteration > 1:
            optimizer.step()
            scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("schedule", [MULTI, COSINE], ids=["steps", "cosine"])
def test_equal_to_basicsr(schedule: dict[str, Any]) -> None:
    ours = [rate_at(0.8, iteration, schedule, total=11) for iteration in range(1, 12)]
    assert ours == pytest.approx(basicsr_rates(schedule, 11), rel=1e-12)


def test_warm_up_reaches_the_full_rate_and_loses_no_milestone() -> None:
    rates = [rate_at(0.8, iteration, MULTI, total=20, warmup=8) for iteration in range(1, 21)]
    assert rates[0] == pytest.approx(0.8 / 8)
    assert rates[7:] == [pytest.approx(0.8 * 0.5**3)] * 13


def test_past_the_last_period_the_rate_stays() -> None:
    assert rate_at(0.8, 50, COSINE, total=60) == pytest.approx(0.01)


def test_one_cosine_spans_the_run_whatever_its_length() -> None:
    for total in (1, 10, 1000):
        assert rate_at(0.8, 1, {"type": "CosineAnnealingLR", "eta_min": 0.1}, total=total) == pytest.approx(0.8)
    assert rate_at(0.8, 10, {"type": "CosineAnnealingLR", "eta_min": 0.1}, total=10) == pytest.approx(0.1)
    quarter = 0.1 + 0.7 * 0.5 * (1 + math.cos(math.pi / 4))
    assert rate_at(0.8, 26, {"type": "CosineAnnealingLR", "eta_min": 0.1}, total=101) == pytest.approx(quarter)


def test_unknown_type() -> None:
    with pytest.raises(ValueError, match="unknown type"):
        rate_at(1.0, 1, {"type": "Other"}, total=1)
