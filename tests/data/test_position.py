"""The training stream depends on seed and position only."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess

import numpy as np
import pytest
import torch

from data.position import Positioned, PositionSampler, train_loader


class Draws:
    """Shows what every generator gives for an index."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        return index, random.random(), float(np.random.random()), float(torch.rand(()))


def stream(**settings: int) -> list[tuple[int, int]]:
    return list(PositionSampler(7, **{"seed": 3, "batches": 6, "batch_size": 4, **settings}))


def test_exactly_the_batches_asked_for_and_every_pass_is_a_permutation() -> None:
    keys = stream()
    assert len(keys) == 24
    assert [position for _, position in keys] == list(range(24))
    for first in (0, 7, 14):
        assert sorted(index for index, _ in keys[first : first + 7]) == list(range(7))
    assert [index for index, _ in keys[:7]] != [index for index, _ in keys[7:14]]


def test_seed_changes_the_order() -> None:
    assert stream(seed=4) != stream()


def test_a_restart_continues_the_stream() -> None:
    assert stream(start=12, batches=3) == stream()[12:]


def test_two_processes_share_the_stream_of_one() -> None:
    ranks = [stream(batch_size=2, rank=rank, world_size=2) for rank in (0, 1)]
    merged = [key for batch in range(6) for rank in ranks for key in rank[2 * batch : 2 * batch + 2]]
    assert merged == stream()


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 sample"):
        PositionSampler(0, seed=0, batches=1, batch_size=1)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_change_the_samples(workers: int) -> None:
    def collect(count: int) -> list[list[float]]:
        sampler = PositionSampler(7, seed=3, batches=5, batch_size=4)
        return [torch.stack(batch).tolist() for batch in train_loader(Draws(), sampler, workers=count, pin_memory=False)]

    assert collect(workers) == collect(0)


def test_the_same_index_at_another_position_draws_anew() -> None:
    samples = Positioned(Draws(), seed=0)
    assert samples[2, 5] == samples[2, 5]
    assert samples[2, 5][1:] != samples[2, 12][1:]
    assert samples[2, 5][1:] != Positioned(Draws(), seed=1)[2, 5][1:]
    assert len(samples) == 7


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="workers tell who sends SIGTERM by sigwaitinfo, which this system lacks")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_take_sigterm_from_the_training_process_only() -> None:
    batches = iter(train_loader(Draws(), PositionSampler(7, seed=3, batches=9, batch_size=4), workers=1, pin_memory=False))
    next(batches)
    worker = batches._workers[0]
    subprocess.run(["/bin/kill", "-TERM", str(worker.pid)], check=True)
    assert len(list(itertools.islice(batches, 6))) == 6
    assert worker.is_alive()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0
