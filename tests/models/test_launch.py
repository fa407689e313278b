"""Where a process stands in a distributed run, which device it takes, and that SIGTERM is heard and forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from keyframes_gan.errors import OptionsError
from keyframes_gan.models import launch
from keyframes_gan.models.processes import Stop, device_of

SLURM = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "41234", "SLURM_JOB_NODELIST": "node[3-4]"}


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_without_launcher_there_are_no_others() -> None:
    assert launch.find("none") is None


def test_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert launch.find("pytorch") == launch.Place(3, 4, 1, "env://")
    monkeypatch.delenv("RANK")
    with pytest.raises(OptionsError, match="expected to be started by torchrun"):
        launch.find("pytorch")


def test_slurm_meets_on_the_first_machine_of_its_list(slurm: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "scontrol"
    tool.write_text('#!/bin/sh\n[ "$1 $2 $3" = "show hostnames node[3-4]" ] && printf "node3\\nnode4\\n"\n')
    tool.chmod(0o755)
    slurm.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    # The port lies between 20000 and 40000 and is the same for all processes of a job.
    assert launch.find("slurm") == launch.Place(5, 8, 1, f"tcp://node3:{20000 + 41234 % 20000}")


def test_slurm_takes_an_address_that_is_given(slurm: pytest.MonkeyPatch) -> None:
    slurm.setenv("MASTER_ADDR", "head")
    slurm.setenv("MASTER_PORT", "1234")
    assert launch.find("slurm") == launch.Place(5, 8, 1, "tcp://head:1234")


def test_slurm_says_what_is_missing(slurm: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slurm.setenv("PATH", str(tmp_path))
    with pytest.raises(OptionsError, match=r"node\[3-4\].*set MASTER_ADDR"):
        launch.find("slurm")
    slurm.delenv("SLURM_PROCID")
    with pytest.raises(OptionsError, match="expected to be started by srun"):
        launch.find("slurm")


def test_launch_needs_no_torch(repo_root: Path) -> None:
    code = "import sys, keyframes_gan.models.launch; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=repo_root)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("asked", "cuda", "mps", "distributed", "got"),
    [
        ({"device": "auto"}, True, False, True, "cuda"),
        ({"device": "auto"}, False, True, False, "mps"),
        ({"device": "auto"}, False, True, True, "cpu"),
        ({"device": "auto"}, False, False, False, "cpu"),
        ({"device": "auto", "num_gpu": 0}, True, True, False, "cpu"),
        ({"device": "cpu"}, True, True, False, "cpu"),
        ({"device": "mps"}, True, True, False, "mps"),
        ({"device": "cuda"}, False, False, False, "expected a cuda device"),
        ({"device": "mps"}, False, False, False, "expected a mps device"),
        ({"device": "mps"}, False, True, True, "expected cpu or cuda with --launcher"),
    ],
)
def test_devices(monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], cuda: bool, mps: bool, distributed: bool, got: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    options: Any = SimpleNamespace(**{"num_gpu": "auto", **asked})
    if got in {"cpu", "cuda", "mps"}:
        assert device_of(options, distributed=distributed) == got
        return
    with pytest.raises(OptionsError, match=got):
        device_of(options, distributed=distributed)


def test_sigterm_is_heard_while_it_matters() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stop("cpu", distributed=False) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
    assert signal.getsignal(signal.SIGTERM) == before
