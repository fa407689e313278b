"""Whole clips to validate a clip restorer on: the bad one and the good one, frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from data.clips import read_clips
from data.footage import CropFootage, Footage, aligned, alignment, folder_footage
from data.samples import unit
from keyframes_gan.errors import UserError
from keyframes_gan.types import Image, Matrix, Template

ALL = -1


class VideoRecurrentTestDataset(Dataset[dict[str, Any]]):
    """Pairs of clips, one a sample, both aligned to squares of `gt_size` pixels by the landmarks of the good one.

    Either `dataroot`, lists of preprocessing.py: the bad clips are the crops of the compressed videos. Or `dataroot_lq` and `dataroot_gt`,
    two folders in the form of `data.footage`, paired by name; landmarks belong beside the good clips, and the bad ones may be smaller.

    A sample: `lq`, `gt` float32 (T, 3, gt_size, gt_size) RGB in [0, 1]; `folder` and `lq_path`, the clip's name (with its CRF, if known).

    Args:
        opt: `dataroot`, or `dataroot_lq` and `dataroot_gt`; optionally `meta_info_file`, `exclude`, `num_frame` (at most so many frames of
            each clip, -1 for all), `gt_size`, `template`, `cache_data` (keep the decoded clips in memory).

    Raises:
        UserError: no pair, a clip without its twin, or twins of different length.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.limit = int(opt.get("num_frame", ALL))
        self.size = int(opt.get("gt_size", 512))
        self.template: Template = opt.get("template", "ffhq")
        self.pairs = [pair for pair in _pairs(opt) if pair[2].name not in set(opt.get("exclude", ()))]
        if not self.pairs:
            msg = f"{opt.get('name', 'data set')}: no clip is left after `exclude`; expected at least one"
            raise UserError(msg)
        self.kept: dict[int, tuple[list[Image], list[Image]]] | None = {} if opt.get("cache_data", False) else None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        kept = None if self.kept is None else self.kept.get(index)
        bad, good = self._read(index) if kept is None else kept
        if self.kept is not None:
            self.kept[index] = (bad, good)
        name = self.pairs[index][0]
        stacks = [torch.stack([unit(picture, flip=False) for picture in clip]) for clip in (bad, good)]
        return {"lq": stacks[0], "gt": stacks[1], "folder": name, "lq_path": name}

    def _read(self, index: int) -> tuple[list[Image], list[Image]]:
        """Return the aligned twins."""
        name, bad, good = self.pairs[index]
        if len(bad) != len(good):
            msg = f"{name}: expected as many bad frames as good ones, got {len(bad)} and {len(good)}; correct dataroot_lq or dataroot_gt"
            raise UserError(msg)
        numbers = range(len(good) if self.limit == ALL else min(self.limit, len(good)))
        frames, worse = good.read(numbers), bad.read(numbers)
        matrices: list[Matrix] = [
            alignment(good, number, frame.shape, self.template, self.size) for number, frame in zip(numbers, frames, strict=True)
        ]
        reduced = frames[0].shape[1] / worse[0].shape[1]
        return aligned(worse, matrices, self.size, reduced=reduced), aligned(frames, matrices, self.size)


def _pairs(opt: dict[str, Any]) -> list[tuple[str, Footage, Footage]]:
    """Return (name, bad clip, good clip) of all pairs, in order."""
    pairs: list[tuple[str, Footage, Footage]] = []
    for path in opt.get("dataroot", ()):
        for clip in read_clips(Path(path)):
            pairs.append((f"{clip.name}_crf{clip.crf}", CropFootage(clip, "compressed"), CropFootage(clip)))
    if "dataroot_gt" not in opt:
        return pairs
    good = folder_footage(Path(opt["dataroot_gt"]), opt.get("meta_info_file"))
    bad = {clip.name: clip for clip in folder_footage(Path(opt["dataroot_lq"]), opt.get("meta_info_file"))}
    missing = [clip.name for clip in good if clip.name not in bad]
    if missing:
        msg = f"{opt['dataroot_lq']}: expected a bad clip called {missing[0]}, as in dataroot_gt, got none; names must be the same"
        raise UserError(msg)
    return pairs + [(clip.name, bad[clip.name], clip) for clip in good]
