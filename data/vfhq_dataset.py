"""Aligned faces of good footage: clips with a degraded twin for KEEP, single pictures for its VQGAN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from data.degradation import Degradation
from data.footage import Footage, aligned, alignment, find_footage
from data.samples import evenly, sample_generator, sample_table, unit
from keyframes_gan.errors import UserError
from keyframes_gan.types import Image, Matrix, Template

HALF = 0.5


class VFHQDataset(Dataset[dict[str, Any]]):
    """Clips of `num_frame` frames and their degraded twins, both aligned to squares of `gt_size` pixels.

    What is degraded is the whole frame (`data.degradation`); both twins are then cut out by the same landmarks. Footage comes in any form
    of `data.footage`. In phase "train" index i is one frame of one clip, at which the sample begins if enough frames follow; every
    `interval`-th frame is taken, the interval drawn of those in `interval_list` that fit into the clip; half of the samples run backwards
    (`random_reverse`), half are mirrored (`use_hflip`). In other phases each clip gives `windows_per_clip` evenly spaced samples at the
    first interval that fits, and what is drawn depends on the index only.

    A sample: `lq`, `gt` float32 (num_frame, 3, gt_size, gt_size) RGB in [0, 1]; `key` and `lq_path` "clip/first+interval".

    Args:
        opt: `dataroot` and/or `dataroot_gt`, `phase`, and optionally `meta_info_file`, `exclude`, `num_frame`, `interval_list`,
            `random_reverse`, `use_hflip`, `gt_size`, `template`, `windows_per_clip`, `seed`, the keys of `data.degradation.Degradation`,
            and `legacy`: the faults of the published recipe, that is, channels swapped on the way to the encoder, and faces aligned by
            the landmarks of the clip's first frames whatever frames are shown.

    Raises:
        UserError: no footage, a clip of it has too few frames, or landmarks do not fit.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.train = opt["phase"] == "train"
        self.count = int(opt.get("num_frame", 8))
        self.intervals = [int(interval) for interval in opt.get("interval_list", (1, 2, 3, 4, 5, 6))]
        self.reverse, self.hflip = bool(opt.get("random_reverse", True)), bool(opt.get("use_hflip", True))
        self.size, self.template = int(opt.get("gt_size", 512)), _template(opt)
        self.legacy = bool(opt.get("legacy", False))
        self.degradation = Degradation.of(opt)
        self.clips = find_footage(opt)
        for clip in self.clips:
            if not self._fitting(clip):
                shortest = (self.count - 1) * min(self.intervals) + 1
                msg = (
                    f"{clip.name}: expected at least {shortest} frames for num_frame {self.count}, got {len(clip)}; "
                    "lower num_frame, or put the clip's name under exclude"
                )
                raise UserError(msg)
        windows = int(opt.get("windows_per_clip", 1))
        self.starts = sample_table(self._starts(clip, windows) for clip in self.clips)

    def _fitting(self, clip: Footage) -> list[int]:
        """Return the intervals at which the clip is long enough."""
        return [interval for interval in self.intervals if (self.count - 1) * interval < len(clip)]

    def _starts(self, clip: Footage, windows: int) -> Sequence[int]:
        """Return the first frames of a clip's samples."""
        return range(len(clip)) if self.train else evenly(len(clip) - (self.count - 1) * self._fitting(clip)[0], windows)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, first = self.starts[index].tolist()
        clip, rng = self.clips[number], sample_generator(self.opt, index)
        numbers = self._window(clip, first, rng)
        frames = clip.read(numbers)
        owners = range(self.count) if self.legacy else numbers
        matrices = [alignment(clip, owner, frame.shape, self.template, self.size) for owner, frame in zip(owners, frames, strict=True)]
        worse = self.degradation.apply(frames, self.degradation.draw(rng), rng)
        flip = self.train and self.hflip and rng.random() < HALF
        key = f"{clip.name}/{numbers[0]:06d}{numbers[1] - numbers[0] if self.count > 1 else 1:+d}"
        return {
            "lq": self._stack(worse, matrices, self.degradation.scale, flip=flip),
            "gt": self._stack(frames, matrices, 1, flip=flip),
            "key": key,
            "lq_path": key,
        }

    def _window(self, clip: Footage, first: int, rng: np.random.Generator) -> list[int]:
        """Return the numbers of the frames to show, in order."""
        fitting = self._fitting(clip)
        interval = int(rng.choice(fitting)) if self.train else fitting[0]
        last = len(clip) - 1 - (self.count - 1) * interval
        if first > last:
            first = int(rng.integers(0, last + 1))
        numbers = [first + step * interval for step in range(self.count)]
        backwards = self.train and self.reverse and rng.random() < HALF
        return numbers[::-1] if backwards else numbers

    def _stack(self, frames: list[Image], matrices: list[Matrix], reduced: int, *, flip: bool) -> torch.Tensor:
        """Align, and return float32 (T, 3, S, S)."""
        return torch.stack([unit(crop, flip=flip) for crop in aligned(frames, matrices, self.size, reduced=reduced)])


class SingleVFHQDataset(Dataset[dict[str, Any]]):
    """Single aligned faces, which a VQGAN learns to encode.

    In phase "train" index i is one frame of one clip, mirrored half of the time (`use_hflip`); in other phases each clip gives
    `frames_per_clip` evenly spaced frames. Footage comes in any form of `data.footage`; a folder of pictures will do.

    A sample: `gt` float32 (3, gt_size, gt_size) RGB in [0, 1]; `gt_path` "clip/frame".

    Args:
        opt: `dataroot` and/or `dataroot_gt`, `phase`, and optionally `meta_info_file`, `exclude`, `gt_size`, `template`, `use_hflip`,
            `frames_per_clip`, `seed`.

    Raises:
        UserError: no footage, or landmarks do not fit.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.train = opt["phase"] == "train"
        self.size, self.template = int(opt.get("gt_size", 512)), _template(opt)
        self.hflip = bool(opt.get("use_hflip", True))
        self.clips = find_footage(opt)
        per_clip = int(opt.get("frames_per_clip", 8))
        self.frames = sample_table(range(len(clip)) if self.train else evenly(len(clip), per_clip) for clip in self.clips)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, frame = self.frames[index].tolist()
        clip, rng = self.clips[number], sample_generator(self.opt, index)
        picture = clip.read([frame])
        crop = aligned(picture, [alignment(clip, frame, picture[0].shape, self.template, self.size)], self.size)[0]
        flip = self.train and self.hflip and rng.random() < HALF
        return {"gt": unit(crop, flip=flip), "gt_path": f"{clip.name}/{frame:06d}"}


def _template(opt: dict[str, Any]) -> Template:
    """Return how faces are to lie in their squares; KEEP's own way by default."""
    chosen: Template = opt.get("template", "ffhq")
    return chosen
