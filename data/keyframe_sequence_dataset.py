"""Samples for restoration that goes from frame to frame: consecutive compressed frames, a key frame, and the flow between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from archs.keyframe_flow_arch import AHEAD, KEY_CHANNELS, NEXT_CHANNELS
from data.clips import read_originals
from data.encoded_clips import EncodedClip, Pictures, StreamSettings, encode_all
from data.samples import evenly, sample_generator, sample_table
from keyframes_gan.errors import UserError
from keyframes_gan.keyframes.flow import FlowGuides, Key, Window
from keyframes_gan.types import FloatArray

MULTIPLE = 16
MARGIN = 24
"""Flow is found on so many pixels around a patch, too."""
HALF = 0.5
PARTS = {"lq": 3, "gt": 3, "key": KEY_CHANNELS, "following": NEXT_CHANNELS, "flow": 2}
KEY, NEXT = 6, 6 + KEY_CHANNELS
DIFFERENCES = (KEY, KEY + 3, *range(NEXT, NEXT + NEXT_CHANNELS, NEXT_CHANNELS // AHEAD))
"""Where in all of `PARTS` three channels of differences between pictures begin."""
CHANNELS = sum(PARTS.values())


class KeyframeSequenceDataset(Dataset[dict[str, Any]]):
    """Runs of frames of a face in a stream, as `archs.keyframe_flow_arch.KeyframeFlowNet` wants them.

    Index i is one frame of one clip in one stream, with which a run of `num_frame` frames begins. Of the clips of preprocessing.py's lists
    only the originals are used (a clip that is listed at several CRFs counts once); their streams are encoded when the data set is first
    made, and kept in `cache`. The run has a key frame with probability `p_hq`: an earlier picture of the original, at most `key_gap`
    frames back (near ones more often), and the same frame in the stream; with `p_photo` an original picture at least `photo_gap` frames
    away, of which the stream's version is not known; with `p_none` none.

    In phase "train" all randomness is drawn from numpy's global generator (`data.position.Positioned` seeds it per position) and the
    sample is a random patch, mirrored half of the time; with `use_rot` also upside down and transposed, half of the time each; with
    `recolour` (at most 1) in other light and colours. All that keeps a network from learning few faces by heart. In other phases the
    samples are `runs_per_clip` evenly spaced runs of whole pictures, the key frame is the one `key_gap` frames back, as far as there are
    so many, and what is drawn depends on the index only.

    A sample, of T frames: `lq`, `gt` float32 (T, 3, H, W) RGB in [0, 1]; `key` (T, 7, H, W) and `following` (T, 4 AHEAD, H, W) as the
    network takes them; `flow` (T, 2, H, W), from every frame to the one before it, zeros for the first; `lq_path`.

    Args:
        opt: `dataroot` (list of clips_*.jsonl), `streams` (list of `StreamSettings`), `cache`, `phase`, and optionally `exclude` (clip
            names), `most_frames`, `num_frame`, `patch_size`, `p_hq`, `p_photo`, `p_none`, `key_gap`, `photo_gap`, `towards_middle`
            (patches lie in the middle, where the face is, more often than at the rim), `use_hflip`, `use_rot`, `recolour`,
            `runs_per_clip`, `seed`.

    Raises:
        UserError: a list of clips cannot be read, no clip is left, a clip's video is missing, or a clip is shorter or smaller than a
            sample.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.train = opt["phase"] == "train"
        self.length = int(opt.get("num_frame", 5))
        self.patch = int(opt.get("patch_size", 112))
        self.p_hq, self.p_photo = float(opt.get("p_hq", 0.4)), float(opt.get("p_photo", 0.2))
        self.key_gap, self.photo_gap = int(opt.get("key_gap", 150)), int(opt.get("photo_gap", 20))
        self.towards_middle = bool(opt.get("towards_middle", False))
        self.hflip, self.rot = bool(opt.get("use_hflip", True)), bool(opt.get("use_rot", False))
        self.recolour = float(opt.get("recolour", 0.0))
        excluded = set(opt.get("exclude", ()))
        clips = read_originals(opt["dataroot"], excluded)
        if not clips:
            msg = f"{opt.get('name', 'data set')}: no clip is left after `exclude`; expected at least one"
            raise UserError(msg)
        streams = [StreamSettings(**settings) for settings in opt["streams"]]
        self.clips = encode_all(clips, streams, Path(opt["cache"]), int(opt.get("most_frames", 160)))
        self._check_sizes()
        per_clip = int(opt.get("runs_per_clip", 2))
        starts = [clip.count - self.length + 1 for clip in self.clips]
        self.frames = sample_table(range(count) if self.train else evenly(count, per_clip) for count in starts)
        self.guides = FlowGuides()

    def _check_sizes(self) -> None:
        for clip in self.clips:
            if clip.count < self.length or (self.train and clip.side < self.patch):
                wanted = f"num_frame {self.length} and patch_size {self.patch}"
                msg = f"{clip.name}: expected {wanted} at least, got {clip.count} frames of {clip.side} px; lower them, or exclude the clip"
                raise UserError(msg)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker process needs; OpenCV's search cannot be sent."""
        return {**self.__dict__, "guides": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, guides=FlowGuides())

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, first = self.frames[index].tolist()
        clip = self.clips[number]
        rng = sample_generator(self.opt, index)
        outer, inner = self._window(clip, rng)
        original, shown = (clip.pictures(which)[:, outer[0], outer[1]] for which in ("original", "shown"))
        key = self._key(original, shown, first, rng)
        turns = self._turns(rng)
        colours = self._colours(rng) if self.train and self.recolour > 0 else None
        run = np.zeros((self.length, *original[first][inner].shape[:2], CHANNELS), np.float32)
        for at in range(self.length):
            self._fill(run[at], original, shown, first + at, key, inner, first=at == 0)
        run = turned(run, *turns)
        if colours is not None:
            run = recoloured(run, *colours)
        tensors = torch.from_numpy(np.ascontiguousarray(run.transpose(0, 3, 1, 2))).split(tuple(PARTS.values()), dim=1)
        return {**dict(zip(PARTS, tensors, strict=True)), "lq_path": f"{clip.name}_{first:06d}.png"}

    def _window(self, clip: EncodedClip, rng: np.random.Generator) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return the rows and columns of the pictures to work on, and of these the ones that make the sample."""
        if not self.train:
            whole = slice(0, clip.side - clip.side % MULTIPLE)
            return (whole, whole), (whole, whole)
        draws = rng.integers(0, clip.side - self.patch + 1, size=(2, 2 if self.towards_middle else 1))
        starts = [int(start) for start in draws.mean(axis=1)]
        outer = tuple(slice(max(start - MARGIN, 0), min(start + self.patch + MARGIN, clip.side)) for start in starts)
        inner = tuple(slice(start - around.start, start - around.start + self.patch) for start, around in zip(starts, outer, strict=True))
        return (outer[0], outer[1]), (inner[0], inner[1])

    def _turns(self, rng: np.random.Generator) -> tuple[bool, bool, bool]:
        """Return whether a sample is mirrored, turned upside down, transposed."""
        if not self.train:
            return False, False, False
        mirrored = self.hflip and rng.random() < HALF
        upset, transposed = (bool(draw < HALF) for draw in rng.random(2)) if self.rot else (False, False)
        return mirrored, upset, transposed

    def _colours(self, rng: np.random.Generator) -> tuple[FloatArray, float]:
        """Return a matrix for RGB about mid-grey, and what is added after it."""
        contrast, saturation, light, turn = self.recolour * rng.uniform(-1, 1, size=4)
        grey = np.full((3, 3), 1 / 3)
        step = np.roll(np.eye(3), 1, axis=1) - np.roll(np.eye(3), -1, axis=1)  # the cross product with the grey axis, times root 3
        angle = turn * np.pi / 3
        hue = grey + np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) / np.sqrt(3) * step
        matrix = (1 + HALF * contrast) * (grey + (1 + saturation) * (hue - grey))
        return matrix.astype(np.float32), float(HALF * light)

    def _key(self, original: Pictures, shown: Pictures, first: int, rng: np.random.Generator) -> Key | None:
        """Return the key frame of a run that begins with frame `first`, or None."""
        lot = rng.random()
        if lot < self.p_hq:
            back = self.key_gap * rng.random() ** 2 if self.train else self.key_gap
            at = max(first - int(back), 0)
            return Key(np.ascontiguousarray(original[at]), np.ascontiguousarray(shown[at]))
        if lot < self.p_hq + self.p_photo:
            far = np.flatnonzero(np.abs(np.arange(len(original)) - first) >= self.photo_gap)
            at = int(rng.choice(far)) if len(far) else (len(original) - 1 if first < len(original) // 2 else 0)
            return Key(np.ascontiguousarray(original[at]), None)
        return None

    def _fill(
        self, made: FloatArray, original: Pictures, shown: Pictures, frame: int, key: Key | None, inner: Window, *, first: bool
    ) -> None:
        """Write everything about the inner part of one frame into `made`, zeros of (H, W, all of `PARTS`)."""
        here = np.ascontiguousarray(shown[frame])
        made[..., :3], made[..., 3:6] = here[inner], original[frame][inner]
        made[..., :6] /= 255
        if key is not None:
            made[..., KEY:NEXT] = self.guides.key(here, key, inner)
        after = [np.ascontiguousarray(one) for one in shown[frame + 1 : frame + 1 + AHEAD]]
        made[..., NEXT:-2] = self.guides.following(here, after, inner)
        if not first:
            made[..., -2:] = self.guides.flow(here, np.ascontiguousarray(shown[frame - 1]))[inner]


def turned(run: FloatArray, mirrored: bool, upset: bool, transposed: bool) -> FloatArray:
    """Return a run (T, H, W, all of `PARTS`) mirrored, upside down, and with rows for columns, flow included."""
    signs = np.array([-1 if mirrored else 1, -1 if upset else 1], np.float32)
    made = run[:, :: -1 if upset else 1, :: -1 if mirrored else 1].copy()
    made[..., -2:] *= signs
    if not transposed:
        return made
    made[..., -2:] = made[..., :-3:-1]
    return made.transpose(0, 2, 1, 3)


def recoloured(run: FloatArray, matrix: FloatArray, added: float) -> FloatArray:
    """Return a run (T, H, W, all of `PARTS`) whose pictures p are `matrix` (p - 1/2) + 1/2 + `added`; differences change alike."""
    mixed, lifted = np.eye(CHANNELS, dtype=np.float32), np.zeros(CHANNELS, np.float32)
    for start in (0, 3, *DIFFERENCES):
        mixed[start : start + 3, start : start + 3] = matrix.T
    lifted[:3] = lifted[3:6] = HALF + added - HALF * matrix.sum(axis=1)
    changed = run @ mixed
    changed += lifted
    return changed
