"""Training as processes: stopped, killed and continued exactly; several of them as one; all of them refused or stopped alike."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from keyframes_gan import options
from keyframes_gan.models import engine
from tests.experiments import GAN, TEXT, UNLIMITED, Run, assert_equal, best, final, state


@pytest.fixture
def file(tmp_path: Path, synthetic_clips: Path) -> Path:
    path = tmp_path / "tiny.yml"
    path.write_text(TEXT.format(clips=synthetic_clips, experiments=tmp_path / "experiments"))
    return path


@pytest.fixture
def run(file: Path, tmp_path: Path) -> Run:
    def go(*overrides: str, auto_resume: bool = False) -> Path:
        checked = options.load(file, overrides)
        assert engine.run(checked, source=file, auto_resume=auto_resume) == 0
        return tmp_path / "experiments" / checked.name

    return go


def command(processes: int, file: Path, arguments: Sequence[str]) -> list[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes else []
    return [sys.executable, *launch, "train.py", "-opt", str(file), *(["--launcher", "pytorch"] if processes else []), *arguments]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def torchrun(processes: int, file: Path, root: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    line = command(processes, file, arguments)
    return subprocess.run(line, check=False, capture_output=True, text=True, cwd=root, env=ENVIRONMENT, timeout=300)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def interrupt(line: list[str], root: Path, experiment: Path, *, after: int, by: signal.Signals) -> tuple[int, str]:
    """Start a run; once it has saved iteration `after`, send the signal: alone, to its whole group; of several processes, to one.

    Return its exit status and its log.
    """
    run = subprocess.Popen(line, cwd=root, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    state, deadline = experiment / "training_states" / f"{after}.state", time.monotonic() + 240
    while not state.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert state.exists(), run.communicate()[1]
    if "torch.distributed.run" in line:
        os.kill(children(run.pid)[-1], by)
    else:
        os.killpg(run.pid, by)
    log = run.communicate(timeout=240)[1]
    return run.returncode, log


def newest(experiment: Path) -> int:
    return max(int(path.stem) for path in (experiment / "training_states").glob("*.state"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("processes", [0, 2], ids=["alone", "two"])
def test_a_run_that_is_stopped_and_killed_ends_as_if_it_had_not_been(
    processes: int, run: Run, file: Path, repo_root: Path, tmp_path: Path
) -> None:
    folder, total = tmp_path / "experiments", 30
    overrides = [f"train:total_iter={total}", "val:val_freq=10", "datasets:train:num_worker_per_gpu=1"]
    overrides += ["datasets:train:batch_size_per_gpu=2", "datasets:train:patch_size=16"]
    if processes:
        done = torchrun(processes, file, repo_root, ["--force_yml", "name=straight", *overrides])
        assert done.returncode == 0, done.stderr
    else:
        run("name=straight", *overrides)
    broken = command(processes, file, ["--auto_resume", "--force_yml", "name=broken", "logger:save_checkpoint_freq=1", *overrides])

    status, log = interrupt(broken, repo_root, folder / "broken", after=3, by=signal.SIGTERM)
    assert status == 0, log
    assert "SIGTERM: saving, and stopping here" in log
    stopped = newest(folder / "broken")
    assert 3 <= stopped < total
    assert state(folder / "broken", stopped)["samples"] == stopped * 2 * max(1, processes)

    status, log = interrupt(broken, repo_root, folder / "broken", after=stopped + 4, by=signal.SIGKILL)
    assert status != 0
    assert f"iterations {stopped + 1} to {total}" in log
    assert stopped + 4 <= newest(folder / "broken") < total

    done = subprocess.run(broken, check=False, capture_output=True, text=True, cwd=repo_root, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert_equal(folder / "straight", folder / "broken")
    assert_equal(folder / "straight", folder / "broken", "best")
    assert best(folder / "straight") == best(folder / "broken")
    assert (folder / "straight" / "validation.jsonl").read_text() == (folder / "broken" / "validation.jsonl").read_text()


def test_two_processes_have_the_gradient_of_one_with_twice_the_batch(run: Run, file: Path, repo_root: Path, tmp_path: Path) -> None:
    # One step of SGD at rate 1 without averages: the weights move by just the gradient.
    plain = ["train:total_iter=1", "train:optim_g={type: SGD, lr: 1}", "train:ema_decay=0", *UNLIMITED]
    one = run("name=one", *plain)
    begun = run("name=begun", *plain, "train:optim_g={type: SGD, lr: 1e-30}")
    done = torchrun(2, file, repo_root, ["--force_yml", "name=two", *plain, "datasets:train:batch_size_per_gpu=2"])
    assert done.returncode == 0, done.stderr
    reached = state(tmp_path / "experiments" / "two", 1)
    assert (reached["samples"], reached["world_size"]) == (4, 2)
    for name, start in final(begun)["params"].items():
        ours, theirs = (start - final(folder)["params"][name] for folder in (tmp_path / "experiments" / "two", one))
        # Each is a mean over n = 4 * 32 * 32 pixels, summed in another order: sqrt(n) roundings of 2^-24, relative to the largest, with
        # a factor of 16 for what happens on the way back through the layers; and the rounding of the weights themselves.
        bound = 16 * (4 * 32 * 32) ** 0.5 * 2**-24 * float(theirs.abs().max()) + 2**-23 * float(start.abs().max())
        torch.testing.assert_close(ours, theirs, atol=bound, rtol=0, msg=name)
        assert float(theirs.abs().max()) > 100 * bound or not theirs.any(), name


def test_two_processes_train_a_gan(file: Path, repo_root: Path, tmp_path: Path) -> None:
    chunks = ["train:accumulate=2", "train:precision=bf16", "train:total_iter=2"]
    done = torchrun(2, file, repo_root, ["--force_yml", *chunks, *GAN])
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "experiments" / "run" / "models").glob("*_2.pth")} == {"net_g_2.pth", "net_d_2.pth"}


def test_a_loss_that_is_not_finite_stops_all_processes(file: Path, repo_root: Path, tmp_path: Path) -> None:
    done = torchrun(2, file, repo_root, ["--force_yml", "train:optim_g={type: SGD, lr: 1e30}", *UNLIMITED])
    assert done.returncode != 0
    assert re.search(r"error: iteration \d: process 0: loss term l_pix is .*\); process 1: loss term l_pix is", done.stderr)
    assert {path.name[-12:] for path in (tmp_path / "experiments" / "run").glob("nonfinite_*.pt")} == {"_process0.pt", "_process1.pt"}


def test_processes_of_slurm_train_together(file: Path, repo_root: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "SLURM_NTASKS": "2"}
    line = [*command(0, file, ["--launcher", "slurm", "--force_yml", "train:total_iter=2", "num_gpu=2"])]
    ranks = [{"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in ("0", "1")]
    tasks = [subprocess.Popen(line, cwd=repo_root, env={**ENVIRONMENT, **meeting, **rank}) for rank in ranks]
    assert [task.wait(timeout=240) for task in tasks] == [0, 0]
    assert (state(tmp_path / "experiments" / "run", 2)["samples"], state(tmp_path / "experiments" / "run", 2)["world_size"]) == (16, 2)


def test_wrong_options_stop_all_processes(file: Path, repo_root: Path) -> None:
    done = torchrun(1, file, repo_root, ["--force_yml", "train:total_itr=3"])
    assert done.returncode != 0
    assert "did you mean total_iter?" in done.stderr
