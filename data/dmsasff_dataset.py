"""Samples for reference-guided restoration: a compressed crop, its original, a warped key frame, a picture of the landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from data.clips import ClipRecord, CropCache, check_one_template, read_clips
from data.samples import evenly, sample_generator, sample_table, unit
from keyframes_gan.errors import UserError
from keyframes_gan.faces.align import landmark_image
from keyframes_gan.keyframes.warp import warp_grid
from keyframes_gan.types import Image

MULTIPLE = 16
GIB = 1 << 30


@dataclass(frozen=True)
class Materials:
    """What one sample is made of.

    Attributes:
        compressed: the patch of the compressed frame, uint8 RGB (size, size, 3).
        original: the same patch of the original frame.
        reference: the crop of the reference, or as much of it as the warp reads, uint8 RGB (H, W, 3), and its landmarks in that picture;
            None for no reference.
        name: what to call the sample.
    """

    compressed: Image
    original: Image
    reference: tuple[Image, npt.NDArray[np.float32]] | None
    name: str


class DMSASFFNetDataset(Dataset[dict[str, Any]]):
    """Compressed face crops with a reference from the same clip, as the key-frame memory would offer it.

    Index i is one frame of one clip at one CRF. The reference comes from the original video (probability `p_hq`: among
    `reference_candidates` frames drawn at random, at least `reference_gap` frames away, the one with the nearest landmarks; with
    `reference_offset`, the frame that many frames earlier, or where there is none, later), from the compressed stream's own key
    frames up to this one (`p_gop`: the nearest of the last `reference_candidates`), or is absent (`p_none`, and whenever the clip
    has no candidate). It is warped onto the frame's landmarks by moving least squares.

    In phase "train" all randomness is drawn from numpy's global generator (`data.position.Positioned` seeds it per position) and the
    sample is a random patch, flipped half of the time. In other phases the samples are `frames_per_clip` evenly spaced whole frames of
    each clip, and what is drawn depends on the index only.

    A sample: `lq`, `gt`, `reference` float32 (3, H, W) RGB in [0, 1] (reference zeros where absent); `landmark` float32
    (landmark_channels, H, W); `valid` float32 scalar, 1 or 0; `lq_path`.

    Args:
        opt: `dataroot` (list of clips_*.jsonl), `phase`, and optionally `exclude` (clip names), `patch_size`, `p_hq`, `p_gop`, `p_none`,
            `reference_candidates`, `reference_gap`, `reference_offset`, `landmark_channels`, `use_hflip`, `frames_per_clip`,
            `cache_gb`, `num_worker_per_gpu`, `seed`.

    Raises:
        UserError: a list of clips cannot be read, no clip is left, a clip's crops are smaller than the patch, or faces lie
            otherwise in some crops than in others.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.train = opt["phase"] == "train"
        self.patch = int(opt.get("patch_size", 128))
        self.candidates = int(opt.get("reference_candidates", 5))
        self.gap = int(opt.get("reference_gap", 10))
        self.offset = None if opt.get("reference_offset") is None else int(opt["reference_offset"])
        self.landmark_channels = int(opt.get("landmark_channels", 1))
        self.hflip = bool(opt.get("use_hflip", True))
        self.p_hq, self.p_gop = float(opt.get("p_hq", 0.4)), float(opt.get("p_gop", 0.4))
        excluded = set(opt.get("exclude", ()))
        self.clips = self._read(opt, excluded)
        if not self.clips:
            msg = f"{opt.get('name', 'data set')}: no clip is left after `exclude`; expected at least one"
            raise UserError(msg)
        check_one_template(self.clips)
        self._check_sizes()
        per_clip = int(opt.get("frames_per_clip", 8))
        self.frames = sample_table(range(len(clip)) if self.train else evenly(len(clip), per_clip) for clip in self.clips)
        share = max(1, int(opt.get("num_worker_per_gpu", 0))) if self.train else 1
        self.cache = CropCache(int(float(opt.get("cache_gb", 0.0)) * GIB / share))

    def _read(self, opt: dict[str, Any], excluded: set[str]) -> list[ClipRecord]:
        """Return the clips of the lists."""
        return [clip for path in opt["dataroot"] for clip in read_clips(Path(path)) if clip.name not in excluded]

    def _check_sizes(self) -> None:
        for clip in self.clips if self.train else ():
            if clip.size < self.patch:
                msg = (
                    f"{clip.folder}: crops of {clip.size} px are smaller than patch_size {self.patch}; lower patch_size or preprocess again"
                )
                raise UserError(msg)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, frame = self.frames[index].tolist()
        clip = self.clips[number]
        rng = sample_generator(self.opt, index)
        top, left, size = self._window(clip, rng)
        made = self._materials(clip, frame, (top, left, size), rng)
        reference, valid = np.zeros((size, size, 3), dtype=np.uint8), 0.0
        if made.reference is not None:
            target = clip.landmarks[frame] - np.array([left, top], dtype=np.float32)
            reference, valid = warp_patch(*made.reference, target, size), 1.0
        dots = landmark_image(clip.landmarks[frame], clip.size)[top : top + size, left : left + size]
        flip = self.train and self.hflip and rng.random() < 0.5  # noqa: PLR2004
        return {
            "lq": unit(made.compressed, flip=flip),
            "gt": unit(made.original, flip=flip),
            "reference": unit(reference, flip=flip),
            "landmark": unit(dots[..., None], flip=flip).expand(self.landmark_channels, -1, -1),
            "valid": torch.tensor(valid),
            "lq_path": made.name,
        }

    def _materials(self, clip: ClipRecord, frame: int, window: tuple[int, int, int], rng: np.random.Generator) -> Materials:
        """Return the pictures of one sample.

        Args:
            clip: the clip.
            frame: the number of the frame in it.
            window: top, left and side of the patch, in pixels of the crop.
            rng: where random numbers come from.
        """
        top, left, size = window
        source = self._reference(clip, frame, rng)
        patches = [
            self.cache.get(clip.path(stream, frame), clip.size)[top : top + size, left : left + size]
            for stream in ("compressed", "original")
        ]
        reference = None if source is None else (self.cache.get(clip.path(*source), clip.size), clip.landmarks[source[1]])
        return Materials(patches[0], patches[1], reference, f"{clip.name}_crf{clip.crf}_{frame:06d}.png")

    def _window(self, clip: ClipRecord, rng: np.random.Generator) -> tuple[int, int, int]:
        """Return top, left and side of the part of the crop to use."""
        if not self.train:
            size = clip.size - clip.size % MULTIPLE
            return 0, 0, size
        top, left = (int(place) for place in rng.integers(0, clip.size - self.patch + 1, size=2))
        return top, left, self.patch

    def _reference(self, clip: ClipRecord, frame: int, rng: np.random.Generator) -> tuple[str, int] | None:
        """Return the stream and frame the reference is taken from, or None."""
        lot = rng.random()
        if lot < self.p_hq:
            stream, candidates = "original", self._originals(clip, frame, rng)
        elif lot < self.p_hq + self.p_gop:
            stream, candidates = "compressed", np.flatnonzero(clip.is_key[: frame + 1])[-self.candidates :]
        else:
            return None
        if not len(candidates):
            return None
        distance = np.square(clip.landmarks[candidates] - clip.landmarks[frame]).sum(axis=(1, 2))
        return stream, int(candidates[int(np.argmin(distance))])

    def _originals(self, clip: ClipRecord, frame: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Return the frames of the original video that may be the reference."""
        if self.offset is not None:
            places = [place for place in (frame - self.offset, frame + self.offset) if 0 <= place < len(clip)]
            return np.array(places[:1], dtype=np.intp)
        far = np.flatnonzero(np.abs(np.arange(len(clip)) - frame) >= self.gap)
        return rng.permutation(far)[: self.candidates]


def warp_patch(picture: Image, source: npt.NDArray[np.float32], target: npt.NDArray[np.float32], size: int) -> Image:
    """Return the (size, size) patch of `picture` warped so that `source` landmarks come to lie on `target`.

    Args:
        picture: uint8 RGB (H, W, 3), the reference crop, or as much of it as is read.
        source: float32 (68, 2), its landmarks in its own pixels.
        target: float32 (68, 2), where they should go, in pixels of the patch.
        size: side of the patch in pixels.
    """
    rows, columns = warp_grid((size, size), source, target)
    return np.asarray(cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)
