"""The list of networks is complete, cheap to import, and helpful when a name is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import archs
from keyframes_gan.errors import OptionsError


def test_every_arch_file_is_listed(repo_root: Path) -> None:
    listed = {module.removeprefix("archs.") for module in archs.ARCHS.values()}
    assert listed >= {path.stem for path in (repo_root / "archs").glob("*_arch.py")}


@pytest.mark.parametrize("name", sorted(archs.ARCHS))
def test_every_name_is_a_class_of_its_module(name: str) -> None:
    found = archs.find(name)
    assert found.__name__ == name
    assert found.__module__ == archs.ARCHS[name]


def test_a_wrong_name_is_answered_with_near_ones() -> None:
    with pytest.raises(OptionsError, match="DMSASFFNetLite"):
        archs.build("DMSASFFNetLit")


def test_build_passes_the_arguments() -> None:
    net = archs.build("DMSASFFNetLite", blocks=1)
    assert len(net.body) == 1  # type: ignore[arg-type]


def test_importing_the_list_leaves_torch_alone(repo_root: Path) -> None:
    code = "import archs, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repo_root, check=False).returncode == 0
