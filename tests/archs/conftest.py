"""The deterministic pictures that the public outputs were made from."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def made_clip(parity_dir: Path) -> Callable[..., torch.Tensor]:
    """Give `clip(seed, frames, size, sha256)`: float32 RGB (T, 3, H, W), 0..255, checked against the digest stored with the outputs."""
    spec = importlib.util.spec_from_file_location("parity_make_input", parity_dir / "make_input.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def clip(seed: int, frames: int, size: int, sha256: str) -> torch.Tensor:
        made = module.make_clip(seed, frames, size)
        assert module.digest(made) == sha256
        return torch.from_numpy(np.ascontiguousarray(made.transpose(0, 3, 1, 2))).float()

    return clip


@pytest.fixture(scope="session")
def assert_parity() -> Callable[..., None]:
    """Give `check(got, wanted, noise)`: the tolerance for public outputs, from their spread and from what threads made of them."""

    def check(got: torch.Tensor | np.ndarray, wanted: np.ndarray, noise: float = 0.0) -> None:
        assert tuple(got.shape) == wanted.shape
        error = np.asarray(got, np.float64) - wanted
        spread = float(wanted.std())
        assert np.abs(error).max() <= max(1e-3 * spread, 10 * noise), f"largest error {np.abs(error).max() / spread:.2e} of the spread"
        rms = float(np.sqrt((error**2).mean()))
        assert rms <= 3e-4 * spread, f"rms error {rms / spread:.2e} of the spread"

    return check
