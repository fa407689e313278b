"""What a dry run says; what it does is in tests/test_train.py."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from keyframes_gan.models.rehearsal import Measured, report


@pytest.mark.parametrize(
    ("caches", "kept"),
    [
        ({}, "nothing was kept"),
        ({"train": "a/s"}, "nothing was kept but the encoded streams in a/s"),
        ({"train": "a/s", "val_one": "b/s", "val_two": "b/s"}, "nothing was kept but the encoded streams in a/s and b/s"),
    ],
)
def test_streams_that_stay_are_named(caches: dict[str, str], kept: str) -> None:
    data: dict[str, dict[str, Any]] = {phase: {"cache": cache} for phase, cache in caches.items()}
    data["train"] = {"batch_size_per_gpu": 2, **data.get("train", {})}
    opt = {"name": "n", "world_size": 1, "datasets": data, "logger": {"save_checkpoint_freq": 5}}
    opt["train"] = {"total_iter": 10, "precision": "fp32"}
    model = SimpleNamespace(networks={}, device=torch.device("cpu"))
    told = report(opt, model, Measured(step=1.0), datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc))
    assert told.splitlines()[0] == f"n: everything works; {kept}"
