"""What KEEP knows of frames, and what it carries along a track from clip to clip.

Convention: tensors are on the network's device; nothing here computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Looked:
    """What looking at single frames gave: the part of the work that needs no other frame. All have the same leading axes.

    Attributes:
        features: the encoder's result, (..., C, h, w).
        taps: {side in pixels: the encoder's features at that resolution, (..., C', side, side)}.
        motion: what the flow network made of each frame.
    """

    features: Tensor
    taps: dict[int, Tensor]
    motion: Tensor

    def __getitem__(self, index: int | slice | tuple[int | slice, ...]) -> Looked:
        """Return the part at `index` of the leading axes, as views."""
        return Looked(self.features[index], {side: tap[index] for side, tap in self.taps.items()}, self.motion[index])

    def rows(self, index: list[int]) -> Looked:
        """Return a copy of some rows of the first axis."""
        return Looked(self.features[index], {side: tap[index] for side, tap in self.taps.items()}, self.motion[index])

    def __len__(self) -> int:
        return len(self.features)

    def laid_out(self) -> Looked:
        """Return a copy of frames (N, ...) in channels-last memory, whatever they were cut from."""
        return Looked(_channels_last(self.features), {side: _channels_last(tap) for side, tap in self.taps.items()}, self.motion)

    def copy(self) -> Looked:
        """Return a copy that keeps no larger tensor alive."""
        return Looked(self.features.clone(), {side: tap.clone() for side, tap in self.taps.items()}, self.motion.clone())

    @staticmethod
    def joined(parts: Sequence[Looked]) -> Looked:
        """Put `parts` one after the other along their first axis."""
        return Looked._merged(parts, torch.cat)

    @staticmethod
    def stacked(parts: Sequence[Looked]) -> Looked:
        """Put `parts`, all of one length, along a new first axis."""
        return Looked._merged(parts, torch.stack)

    @staticmethod
    def _merged(parts: Sequence[Looked], merge: object) -> Looked:
        sides = parts[0].taps
        return Looked(
            merge([part.features for part in parts]),  # type: ignore[operator]
            {side: merge([part.taps[side] for part in parts]) for side in sides},  # type: ignore[operator]
            merge([part.motion for part in parts]),  # type: ignore[operator]
        )


@dataclass(frozen=True)
class Before:
    """What the next frame needs of the one before it, for a batch of tracks.

    Attributes:
        output: the restored frame, (B, 3, H, W), not clamped.
        crossed: {side in pixels: the generator's features after cross-frame attention, (B, C, side, side)}.
    """

    output: Tensor
    crossed: dict[int, Tensor]

    def laid_out(self) -> Before:
        """Return a copy in channels-last memory."""
        return Before(_channels_last(self.output), {side: _channels_last(made) for side, made in self.crossed.items()})


@dataclass(frozen=True)
class TrackState:
    """What one track carries from one clip to the next. Fixed in size, whatever the length of the track; no batch axis.

    Attributes:
        output: the last restored frame, (3, H, W), not clamped: it is warped onto the next one.
        crossed: {side: the generator's features of that frame, (C, side, side)}: the next one attends to them.
        motion: what the flow network made of that frame's input.
        history: the encoder's features of the last restored frames, (n, C, h, w), n <= KEEP.gain_history: the past that the Kalman
            gain looks at.
        ahead: frames that have been looked at and not yet restored, or None: the next clip begins with them.
    """

    output: Tensor
    crossed: dict[int, Tensor]
    motion: Tensor
    history: Tensor
    ahead: Looked | None = None

    @property
    def pending(self) -> int:
        """How many frames at the start of the next clip have been looked at already."""
        return 0 if self.ahead is None else len(self.ahead)

    @property
    def nbytes(self) -> int:
        """The memory it holds, in bytes."""
        return _nbytes(self)


@dataclass(frozen=True)
class Insides:
    """What training looks at beside the pictures.

    Attributes:
        logits: scores of the codes, (B, T, h * w, codebook_size).
        features: the encoder's features, before any mixing, (B, T, C, h, w).
        gains: (B, T, 1, h, w) in 0..1; the first frame of a track has one too, which is not used.
        mixed: the features after mixing, by which the codes are chosen, (B, T, C, h, w).
        crossed: {side in pixels: the generator's features after cross-frame attention, (B, T, C', side, side)}.
    """

    logits: Tensor
    features: Tensor
    gains: Tensor
    mixed: Tensor
    crossed: dict[int, Tensor]


def _channels_last(features: Tensor) -> Tensor:
    return features.clone(memory_format=torch.channels_last)


def _nbytes(thing: object) -> int:
    if isinstance(thing, Tensor):
        return thing.nbytes
    if isinstance(thing, dict):
        return sum(map(_nbytes, thing.values()))
    if isinstance(thing, (Looked, TrackState)):
        return sum(_nbytes(getattr(thing, field.name)) for field in fields(thing))
    return 0
