"""The device of a run, joining its other processes, and hearing SIGTERM in any of them."""

from __future__ import annotations

import contextlib
import datetime
import signal
from typing import TYPE_CHECKING

import torch

from keyframes_gan.errors import OptionsError
from keyframes_gan.models import launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from keyframes_gan import options as gate


def device_of(options: gate.Options, *, distributed: bool) -> str:
    """Return "cuda", "mps" or "cpu": what the options name, or for auto the quickest that is there.

    Raises:
        OptionsError: the named device is not there, or cannot be used by several processes.
    """
    if options.device == "cpu" or options.num_gpu == 0:
        return "cpu"
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if options.device == "auto":
        return "cuda" if present["cuda"] else "mps" if present["mps"] and not distributed else "cpu"
    if not present[options.device]:
        msg = f"device: expected a {options.device} device because the options name it, got none; set device: cpu or auto"
        raise OptionsError(msg)
    if options.device == "mps" and distributed:
        msg = "device: expected cpu or cuda with --launcher, got mps, which only one process can use; leave --launcher out"
        raise OptionsError(msg)
    return str(options.device)


@contextlib.contextmanager
def joined(options: gate.Options, launcher: str) -> Iterator[None]:
    """Join the other processes of the run, if there are any, and leave them at the end.

    Raises:
        OptionsError: the launcher did not start this process, or `num_gpu` asks for several devices in one process.
    """
    place = launch.find(launcher)
    if place is None:
        yield
        return
    gpu = device_of(options, distributed=True) == "cuda"
    if gpu:
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
    backend = options.dist_params.backend
    if backend == "auto":
        backend = "nccl" if gpu else "gloo"
    limit = datetime.timedelta(minutes=options.dist_params.timeout_minutes)
    torch.distributed.init_process_group(backend, init_method=place.meeting, rank=place.rank, world_size=place.world_size, timeout=limit)
    try:
        yield
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


class Stop:
    """Listens to SIGTERM while it is entered. Calling it tells whether any process of the run was asked to end.

    Every process must call it equally often, as they exchange what they heard.
    """

    def __init__(self, device: str, *, distributed: bool) -> None:
        self.device, self.distributed = device, distributed
        self.heard = False

    def __enter__(self) -> Stop:
        self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.heard = True

    def __call__(self) -> bool:
        """Return whether the run shall end."""
        if not self.distributed:
            return self.heard
        flag = torch.tensor(float(self.heard), device=self.device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag.item())  # `heard` may have changed meanwhile; that is for the next call
