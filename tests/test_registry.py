"""The lists name every part there is, and BasicSR's registries then know them."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keyframes_gan import metrics, registry

FOLDERS = [
    ("data", "DATASETS", "*_dataset.py"),
    ("losses", "LOSSES", "*_loss.py"),
    ("keyframes_gan.models", "MODELS", "*_model.py"),
]


@pytest.mark.parametrize(("package", "listing", "pattern"), FOLDERS)
def test_no_file_is_missing_from_its_list(repo_root: Path, package: str, listing: str, pattern: str) -> None:
    files = (repo_root / package.replace(".", "/")).glob(pattern)
    modules = {f"{package}.{path.stem}" for path in files}
    listed = set(getattr(importlib.import_module(package), listing).values())
    assert modules - listed == set()
    assert len(modules) > 0


def test_every_listed_part_is_registered_under_its_name() -> None:
    registry.register_all()
    registry.register_all()
    for package, listing, known in registry.SOURCES:
        for name, module in getattr(importlib.import_module(package), listing).items():
            part = known.get(name)
            assert part.__name__ == name
            assert part.__module__ == module


def test_own_metrics_score_bgr_pictures_against_the_original() -> None:
    registry.register_all()
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    picture = np.clip(original.astype(int) + rng.integers(-9, 10, original.shape), 0, 255).astype(np.uint8)
    expected = 10 * math.log10(255**2 / np.mean((original.astype(float) - picture.astype(float)) ** 2))
    pair = {"img": picture[:, :, ::-1], "img2": original[:, :, ::-1]}
    assert registry.calculate_metric(pair, {"type": "psnr"}) == pytest.approx(expected, abs=1e-6)
    assert {name for name, metric in metrics.METRICS.items() if metric.of == "picture"} <= set(registry.METRIC_REGISTRY.keys())


def test_basicsr_is_imported_with_its_own_parts() -> None:
    assert "SRModel" in registry.MODEL_REGISTRY
    assert "CharbonnierLoss" in registry.LOSS_REGISTRY
    assert registry.basicsr_train.train_pipeline is not None


def test_lists_and_gate_need_neither_torch_nor_basicsr(repo_root: Path) -> None:
    code = (
        "import sys, archs, data, losses, keyframes_gan.models, keyframes_gan.options;"
        "print(*{'torch', 'basicsr', 'cv2', 'av'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=repo_root)
    assert done.stdout.split() == []


@pytest.mark.parametrize(("first", "second", "expected"), [("0.26.1+cpu", "0.9.0", True), ("0.8.9", "0.9.0", False), ("1.0", "1.0", True)])
def test_stand_in_for_loose_version_compares_numbers(first: str, second: str, expected: bool) -> None:
    assert (registry._LooseVersion(first) >= registry._LooseVersion(second)) is expected
