"""The lists name every part there is, and BasicSR's registries then know them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from keyframes_gan import registry

FOLDERS = [
    ("archs", "ARCHS", "*_arch.py"),
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
