"""What is told of the machine, the versions and the commit."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from keyframes_gan import circumstances as told
from keyframes_gan.circumstances import circumstances


def test_tells_versions_date_and_threads() -> None:
    around = circumstances(2, packages=("numpy", "no-such-package"))
    assert around["threads"] == 2
    assert around["python"] == platform.python_version()
    assert around["numpy"] == importlib.metadata.version("numpy")
    assert around["no-such-package"] is None
    assert datetime.date.fromisoformat(around["date"])
    assert around["cores"] >= 1


def test_commit_is_that_of_the_checkout(repo_root: Path) -> None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repo_root, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    assert done.stdout.startswith(circumstances(1)["commit"])


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told.shutil, "which", lambda name: None)
    around = circumstances(1)
    assert around["commit"] is None
    assert around["gpu"] is None
    assert around["changed_since_commit"] is None


def test_imports_no_torch() -> None:
    code = "import sys, keyframes_gan.circumstances; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
