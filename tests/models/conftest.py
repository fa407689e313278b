"""Models of the VQGAN's and KEEP's recipes without an options file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

TRAIN: dict[str, Any] = {
    "total_iter": 100,
    "ema_decay": 0.5,
    "optim_g": {"type": "Adam", "lr": 1e-3},
    "scheduler": {"type": "MultiStepLR", "milestones": [1000]},
    "pixel_opt": {"type": "L1Loss"},
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Any]:
    """Give `make(model_type, network_g, train_options={}, path={}, **options)`: a model; what is given goes before what is there."""
    from keyframes_gan import registry  # noqa: PLC0415  # slow to import

    def build(kind: str, network: dict[str, Any], **sections: Any) -> Any:
        registry.register_all()
        opt: dict[str, Any] = {"name": "t", "model_type": kind, "is_train": True, "manual_seed": 0, "num_gpu": 0, "device": "cpu"}
        opt |= {"dist": False, "rank": 0, "world_size": 1, "options_sha256": "", "commit": "", "network_g": network}
        opt |= {"datasets": {"train": {"batch_size_per_gpu": 2}}, "logger": {}, "val": {"metrics": {}}}
        opt["train"] = {**TRAIN, **sections.pop("train_options", {})}
        opt["path"] = {"models": str(tmp_path), "training_states": str(tmp_path), "log": str(tmp_path), **sections.pop("path", {})}
        torch.manual_seed(0)
        return registry.build_model({**opt, **sections})

    logging.getLogger("basicsr").setLevel(logging.ERROR)
    return build


@pytest.fixture
def step() -> Callable[..., dict[str, float]]:
    """Give `step(model, data, iteration)`: makes one iteration and returns what is logged."""

    def go(model: Any, data: dict[str, Any], iteration: int = 1) -> dict[str, float]:
        model.update_learning_rate(iteration)
        model.feed_data(data)
        model.optimize_parameters(iteration)
        logged: dict[str, float] = model.get_current_log()
        return logged

    return go
