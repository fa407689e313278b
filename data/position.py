"""A training stream that depends on the seed and the position in it, and on nothing else.

BasicSR's sampler orders by epoch and its workers replay their random numbers. Here sample number `position` of a run is the same
picture with the same augmentation for any number of loader workers, any number of processes, and after any restart.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator, Sized
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

Key = tuple[int, int]


class PositionSampler(Sampler[Key]):
    """Yields (index, position) for one process of a run, exactly `batches` batches of `batch_size`.

    Position p belongs to pass p // length; every pass is a permutation of all indices, drawn from (seed, pass). Global batch b holds
    positions start + b * batch_size * world_size and on; process `rank` takes the rank-th part of it.

    Args:
        length: number of samples in the data set, at least 1.
        seed: the run's seed.
        start: first position, that is the number of samples that earlier runs have used.
        batches: batches to yield.
        batch_size: samples of a batch in this process.
        rank: this process.
        world_size: number of processes.

    Raises:
        ValueError: an empty data set.
    """

    def __init__(
        self, length: int, *, seed: int, start: int = 0, batches: int, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        if length < 1:
            msg = "PositionSampler: expected at least 1 sample, got an empty data set"
            raise ValueError(msg)
        self.length, self.seed, self.start = length, seed, start
        self.batches, self.batch_size = batches, batch_size
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[Key]:
        order, drawn = np.empty(0, dtype=np.int64), -1
        for batch in range(self.batches):
            first = self.start + (batch * self.world_size + self.rank) * self.batch_size
            for position in range(first, first + self.batch_size):
                run, place = divmod(position, self.length)
                if run != drawn:
                    order, drawn = np.random.default_rng([self.seed, run]).permutation(self.length), run
                yield int(order[place]), position

    def set_epoch(self, epoch: int) -> None:
        """BasicSR's loop calls this; the whole run is one epoch here."""


class _Indexed(Protocol):
    def __getitem__(self, key: Any) -> Any: ...  # noqa: ANN401


class Positioned(Dataset[Any]):
    """Seeds every source of random numbers from (seed, position), then asks the data set for the index.

    A data set that draws from `random`, `numpy.random` or torch's default generator thereby gives the same sample for the same position.
    """

    def __init__(self, dataset: _Indexed, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset) if isinstance(self.dataset, Sized) else 0

    def __getitem__(self, key: Key) -> Any:  # noqa: ANN401
        index, position = key
        words = np.random.SeedSequence([self.seed, position]).generate_state(3)
        random.seed(int(words[0]))
        np.random.seed(int(words[1]))
        torch.default_generator.manual_seed(int(words[2]))
        return self.dataset[index]


def _start_worker(_worker: int) -> None:
    """One thread per worker, as OpenCV would start as many as there are cores in each; and SIGTERM from the training process only.

    A SIGTERM for the whole group of processes is the training's to answer: it still needs its workers to finish the step.
    """
    cv2.setNumThreads(0)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_the_parent, daemon=True).start()


def _obey_the_parent() -> None:
    """End this process when its parent sends SIGTERM, and at nobody else's."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def train_loader(dataset: _Indexed, sampler: PositionSampler, *, workers: int, pin_memory: bool) -> DataLoader[Any]:
    """Return the loader of a training run, its data set seeded per position with the sampler's seed."""
    return DataLoader(
        Positioned(dataset, sampler.seed),
        batch_size=sampler.batch_size,
        sampler=sampler,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
    )
