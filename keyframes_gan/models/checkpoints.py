"""Checkpoints that are whole or not there: written beside their name, synced, renamed; read without running anything in them.

A run's folder holds `models/net_g_N.pth` ({"params", "params_ema"}, BasicSR's layout), `training_states/N.state` (written last, so that
a state is only there when its networks are) and, for the best and the last iteration, `models/net_g_*.safetensors` with metadata.
"""

from __future__ import annotations

import pickle
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from keyframes_gan import weights
from keyframes_gan.atomic import atomic_write
from keyframes_gan.errors import UserError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

STATE_FORMAT = 1


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, sync it, and give it its name.

    Raises:
        UserError: the file cannot be written (disk full, no permission); nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_write(path) as part:
            write(part)
    except RuntimeError as error:  # so torch.save reports a full disk
        reason = " ".join(str(error).split())[:200]
        msg = f"{path}: cannot write the checkpoint ({reason}); free some space or change path.experiments_dir"
        raise UserError(msg) from error


def save_torch(value: Any, path: Path) -> None:  # noqa: ANN401
    """`torch.save`, atomically."""
    write_atomically(path, lambda part: torch.save(value, part))


def load_torch(path: Path) -> Any:  # noqa: ANN401
    """`torch.load` to the CPU, of plain data and tensors only.

    Raises:
        WeightsError: missing, truncated, or holding anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        msg = f"{path}: cannot be read as a checkpoint ({first[:200]}); give another with path.resume_state or path.pretrain_network_g"
        raise WeightsError(msg) from error


def export(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write weights as safetensors, atomically, with `metadata` in the header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    content = safetensors_bytes(tensors, dict(metadata))
    write_atomically(path, lambda part: part.write_bytes(content))


def cpu_state(net: nn.Module) -> dict[str, Tensor]:
    """Return a network's state on the CPU, under plain names and in plain memory order."""
    return {name.removeprefix("module."): tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}


def load_into(net: nn.Module, state: Mapping[str, Tensor], source: str, *, strict: bool = True) -> None:
    """Load `state` into `net`; with `strict` false, what does not fit is left as it is.

    Raises:
        WeightsError: with `strict`, keys or shapes differ.
    """
    if strict:
        weights.load_into(net, state, name=source)
        return
    own = net.state_dict()
    net.load_state_dict({key: value for key, value in state.items() if key in own and own[key].shape == value.shape}, strict=False)


def newest_state(states: Path, models: Path) -> dict[str, Any] | None:
    """Return the newest state that can be read and whose networks are there; None when there is none."""
    numbered = sorted((int(path.stem), path) for path in states.glob("*.state") if path.stem.isdigit())
    for _, path in reversed(numbered):
        try:
            state = load_state(path)
        except WeightsError:
            continue
        if all((models / name).is_file() for name in state["networks"].values()):
            return state
    return None


def load_state(path: Path) -> dict[str, Any]:
    """Read a training state.

    Raises:
        WeightsError: it cannot be read, or it is not one of ours.
    """
    state = load_torch(path)
    if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
        msg = f"{path}: expected a training state that train.py wrote (format {STATE_FORMAT}); give another with path.resume_state"
        raise WeightsError(msg)
    return state


def prune(states: Path, models: Path, keep: int) -> None:
    """Remove all numbered states and networks but the `keep` newest; 0 keeps all."""
    if keep < 1:
        return
    numbers = sorted(int(path.stem) for path in states.glob("*.state") if path.stem.isdigit())
    for number in numbers[:-keep]:
        (states / f"{number}.state").unlink(missing_ok=True)
        for path in models.glob(f"net_*_{number}.pth"):
            path.unlink(missing_ok=True)


def commit(root: Path) -> str:
    """Return the checkout's commit, with "+changes" when tracked files differ from it; "unknown" without git."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    answers = [
        subprocess.run([git, "-C", str(root), *words], check=False, capture_output=True, text=True)  # noqa: S603
        for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    if answers[0].returncode:
        return "unknown"
    return answers[0].stdout.strip() + ("+changes" if answers[1].stdout.strip() else "")
