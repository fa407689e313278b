"""Fixtures shared by all tests: where the external test material lies, and made checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    folder = SHARED / "parity"
    if not folder.is_dir():
        pytest.skip("the parity fixtures are not beside the checkout (../shared/parity)")
    return folder


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    folder = SHARED / "data" / "clips"
    if not folder.is_dir():
        pytest.skip("the face clips are not beside the checkout (../shared/data/clips)")
    return folder


@pytest.fixture(scope="session")
def made_checkpoint(parity_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give `made(name, seed=0)`: a checkpoint file with a public model's key names, written once per session."""
    folder = tmp_path_factory.mktemp("checkpoints")
    made: dict[tuple[str, int], Path] = {}

    def make(name: str, seed: int = 0) -> Path:
        if (name, seed) not in made:
            target = folder / f"{name}_{seed}.pth"
            command = [sys.executable, str(parity_dir / "make_checkpoint.py"), name, str(target), "--seed", str(seed)]
            subprocess.run(command, check=True, capture_output=True)
            made[name, seed] = target
        return made[name, seed]

    return make
