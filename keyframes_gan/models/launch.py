"""Which process of a run this one is, by what torchrun or Slurm put into the environment. Imports no torch: the options gate asks, too."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from keyframes_gan.errors import OptionsError

LAUNCHERS = ("none", "pytorch", "slurm")
FIRST_PORT, PORTS = 20_000, 20_000


@dataclass(frozen=True)
class Place:
    """A process among those of a run.

    Attributes:
        rank: number among all, from 0.
        world_size: how many there are.
        local_rank: number among those of this machine.
        meeting: where they meet, as torch's `init_method`.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    meeting: str = "env://"


def find(launcher: str) -> Place | None:
    """Return this process's place in a distributed run; None without launcher.

    Raises:
        OptionsError: the launcher did not start this process.
    """
    if launcher == "none":
        return None
    return _from_torchrun() if launcher == "pytorch" else _from_slurm()


def _from_torchrun() -> Place:
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        msg = "--launcher pytorch: expected to be started by torchrun; start torchrun --nproc_per_node=N train.py --launcher pytorch ..."
        raise OptionsError(msg)
    return Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))


def _from_slurm() -> Place:
    """Read srun's variables; the processes meet on the job's first machine, at a port that follows from the job's number."""
    names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    if any(name not in os.environ for name in names):
        msg = "--launcher slurm: expected to be started by srun; start srun --ntasks-per-node=N python train.py --launcher slurm ..."
        raise OptionsError(msg)
    rank, world_size, local_rank = (int(os.environ[name]) for name in names)
    address = os.environ.get("MASTER_ADDR") or _first_machine()
    port = os.environ.get("MASTER_PORT") or FIRST_PORT + int(os.environ.get("SLURM_JOB_ID", "0")) % PORTS
    return Place(rank, world_size, local_rank, f"tcp://{address}:{port}")


def _first_machine() -> str:
    """Return the name of the job's first machine; Slurm's own tool knows how to read its list."""
    machines, scontrol = os.environ.get("SLURM_JOB_NODELIST", ""), shutil.which("scontrol")
    if scontrol is not None and machines:
        done = subprocess.run([scontrol, "show", "hostnames", machines], check=False, capture_output=True, text=True)  # noqa: S603
        if done.returncode == 0 and done.stdout.split():
            return done.stdout.split()[0]
    msg = f"--launcher slurm: cannot tell the job's first machine from SLURM_JOB_NODELIST {machines!r}; set MASTER_ADDR to its name"
    raise OptionsError(msg)
