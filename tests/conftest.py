"""Fixtures shared by all tests: where the external test material lies, and made checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
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


@pytest.fixture(scope="session")
def synthetic_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a `clips_42.jsonl` in preprocessing.py's layout: 2 clips of 24 crops of 96 px, every 10th a key frame.

    Pixel values tell where a crop comes from: red is the frame's number, green the clip's, blue 10 in the originals and 200 in the
    compressed twins, but for a smooth texture of +-8 levels in all channels. Landmarks drift by half a pixel per frame.
    """
    base = tmp_path_factory.mktemp("clips")
    rows, size, count = [], 96, 24
    for number, name in enumerate(("first", "second")):
        folder = base / "processed_42" / name
        rng = np.random.default_rng(number)
        texture = cv2.resize(rng.integers(0, 17, (12, 12, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR) - 8
        for stream, blue in (("original", 10), ("compressed", 200)):
            (folder / stream).mkdir(parents=True)
            for frame in range(count):
                rgb = np.clip(texture + np.float32([10 * frame + 8, 100 * number + 50, blue]), 0, 255).round().astype(np.uint8)
                cv2.imwrite(str(folder / stream / f"{frame:06d}.png"), rgb[:, :, ::-1])
        points = rng.uniform(10, size - 30, (68, 2))
        np.save(folder / "landmarks.npy", np.stack([points + 0.5 * frame for frame in range(count)]).astype(np.float32))
        flags = [frame % 10 == 0 for frame in range(count)]
        rows.append({"name": name, "crf": 42, "size": size, "count": count, "folder": f"processed_42/{name}", "is_key": flags})
    target = base / "clips_42.jsonl"
    target.write_text("".join(json.dumps({"version": 1, **row}) + "\n" for row in rows))
    return target
