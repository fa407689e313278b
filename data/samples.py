"""What all data sets make their samples with: random numbers, evenly spaced frames, tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def sample_generator(opt: dict[str, Any], index: int) -> np.random.Generator:
    """Return what a sample's random numbers come from.

    In phase "train" it is seeded from numpy's global generator, which `Positioned` sets; in other phases from the seed and the index.
    """
    if opt["phase"] == "train":
        return np.random.default_rng(np.random.randint(0, 2**32, size=4, dtype=np.uint32))
    return np.random.default_rng([int(opt.get("seed", 0)), index])


def evenly(count: int, wanted: int) -> list[int]:
    """Return at most `wanted` numbers from 0 to `count` - 1, the first and the last among them, evenly spaced and ascending."""
    return [int(number) for number in np.unique(np.linspace(0, count - 1, min(wanted, count)).round())]


def sample_table(picks: Iterable[Sequence[int]]) -> npt.NDArray[np.int32]:
    """Return int32 (N, 2): clip and frame of every sample, for the frames picked of each clip in turn.

    An array, and not a list, so that millions of samples take little memory, which loader workers share.
    """
    rows = [np.stack([np.full(len(frames), clip), np.asarray(frames)], axis=1) for clip, frames in enumerate(picks)]
    return np.concatenate(rows).astype(np.int32)


def unit(image: npt.NDArray[np.uint8], *, flip: bool) -> Tensor:
    """Turn uint8 (H, W, C) into float32 (C, H, W) in [0, 1], mirrored left to right on request."""
    turned = image[:, ::-1] if flip else image
    # In NumPy: PyTorch would wake its threads for it, and on a busy machine that takes a hundred times as long.
    values = np.ascontiguousarray(turned.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(np.divide(values, np.float32(255.0), out=values))
