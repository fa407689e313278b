"""Steps whose numbers are not finite: found by all processes alike, named, and kept for a look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from keyframes_gan.errors import UserError
from keyframes_gan.models import checkpoints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

SHOWN_FILES = 8


class NonFiniteError(UserError):
    """A loss term or a gradient is NaN or infinite."""


def unsound(losses: Mapping[str, Tensor], norms: Sequence[Tensor], *, distributed: bool) -> tuple[bool, bool]:
    """Return whether a loss term and whether a gradient is not finite, in any process.

    Args:
        losses: terms of this process.
        norms: norms of the gradients, at least one; float32.
        distributed: whether there are other processes; all must call.
    """
    flags = torch.stack([_any_bad(list(losses.values()), like=norms[0]), _any_bad(norms, like=norms[0])])
    if distributed:
        torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
    loss, gradient = flags.tolist()
    return bool(loss), bool(gradient)


def _any_bad(values: Sequence[Tensor], *, like: Tensor) -> Tensor:
    if not values:
        return torch.zeros_like(like)
    return torch.stack([value.detach().float().sum() for value in values]).isfinite().all().logical_not().to(like)


def culprit(losses: Mapping[str, Tensor], networks: Mapping[str, nn.Module]) -> str:
    """Name the first loss term of this process, else the first gradient, that is not finite; "" when there is none."""
    for name, value in losses.items():
        if not value.isfinite().all():
            return f"loss term {name} is {value.detach().float().sum().item()}"
    for label, net in networks.items():
        for name, parameter in net.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                return f"the gradient of {name.removeprefix('module.')} in network_{label} is not finite"
    return ""


def listed(files: Sequence[str]) -> str:
    """Write a batch's file names, the first few of many."""
    more = f" and {len(files) - SHOWN_FILES} more" if len(files) > SHOWN_FILES else ""
    return (", ".join(files[:SHOWN_FILES]) or "files unknown") + more


def said_by_all(said: str, *, distributed: bool) -> str:
    """Return what the processes say, of several with their ranks; all must call."""
    if not distributed:
        return said
    heard: list[str | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(heard, said)
    return "; ".join(f"process {rank}: {text}" for rank, text in enumerate(heard) if text)


def keep(path: Path, iteration: int, term: str, files: Sequence[str], losses: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
    """Write a debug file, to be read with `torch.load`: iteration, term, files, losses and batch."""
    found = {"iteration": iteration, "term": term, "files": list(files)}
    tensors = {"losses": losses, "batch": batch}
    on_cpu = {part: {name: value.detach().cpu() for name, value in values.items()} for part, values in tensors.items()}
    checkpoints.save_torch({**found, **on_cpu}, path)
