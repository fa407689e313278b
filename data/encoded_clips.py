"""Clips of faces as several streams show them, whole streams with their real key frames and prediction, made once and kept as arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from data.clips import ClipRecord
from keyframes_gan.atomic import atomic_write
from keyframes_gan.errors import UserError
from keyframes_gan.faces.align import crop
from keyframes_gan.types import Image, Matrix
from keyframes_gan.video.roundtrip import Codec, roundtrip
from keyframes_gan.video.seek import SeekingReader

Pictures = npt.NDArray[np.uint8]
INNER_SHARE = 0.75
INNER_MULTIPLE = 64
INNER_MOST = 512
"""What is kept of a crop is its middle: this share of its side, up to the next multiple, at most so many pixels."""
OPEN_FILES = 512


@dataclass(frozen=True)
class StreamSettings:
    """How a clip is encoded: `codec`, `preset`, `gop` as in `keyframes_gan.video.roundtrip.Codec`; one of `crf` and `bits_per_pixel`.

    Attributes:
        bits_per_pixel: bits per pixel and frame that a rate is kept at.
        scale: to how much of its size the video is brought first, more than 0 and at most 1: smaller faces, with more in every pixel.
    """

    codec: str = "libx264"
    crf: float | None = None
    bits_per_pixel: float | None = None
    preset: str = "medium"
    gop: int = 250
    scale: float = 1.0

    def encoder(self, clip: ClipRecord, pixels: int) -> Codec:
        """Return the encoder of pictures of so many pixels."""
        codec = Codec(self.codec, preset=self.preset, gop=self.gop, rate=clip.rate)
        if self.bits_per_pixel is not None:
            return replace(codec, bitrate=max(1, round(self.bits_per_pixel * pixels * clip.rate)))
        return replace(codec, crf=codec.crf if self.crf is None else self.crf)

    def __str__(self) -> str:
        kept = f"crf{self.crf:g}" if self.bits_per_pixel is None else f"bpp{self.bits_per_pixel:g}"
        return f"{self.codec}_{kept}_{self.preset}_gop{self.gop}{self.size}"

    @property
    def size(self) -> str:
        """What tells this size from the full one in names."""
        return "" if self.scale == 1 else f"_x{self.scale:g}"


@dataclass(frozen=True)
class EncodedClip:
    """One clip in one stream. The arrays are files, opened by every process for itself.

    Attributes:
        name: of the clip and the stream.
        count: frames.
        side: of the pictures in pixels.
        original: file of the original pictures, uint8 RGB (count, side, side, 3).
        shown: file of the same as the stream shows them.
    """

    name: str
    count: int
    side: int
    original: Path
    shown: Path

    def pictures(self, which: str) -> Pictures:
        """Return all pictures of "original" or "shown", read from the disk where they are touched."""
        return _opened(self.original if which == "original" else self.shown)


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path) -> Pictures:
    pictures: Pictures = np.load(path, mmap_mode="r", allow_pickle=False)
    return pictures


def encode_all(clips: Sequence[ClipRecord], streams: Sequence[StreamSettings], folder: Path, most_frames: int) -> list[EncodedClip]:
    """Return every clip in every stream; what is not in `folder` yet is made, with a progress bar.

    The originals are encoded whole, before the faces are cut out of them, as preprocessing.py does it. All streams of a clip share the
    places of its crops, those of the clip's list.

    Args:
        clips: of preprocessing.py; their videos and matrices must be there.
        streams: how to encode.
        folder: where arrays are kept, under names that change with everything they depend on.
        most_frames: so many frames of each clip at most, the first ones.

    Raises:
        UserError: a clip's video or its matrices are missing, the video is too short, or a codec refuses it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with tqdm(total=len(clips) * len(streams), unit="stream", desc="encoding", disable=None) as bar:
        for clip in clips:
            recording = _Recording(clip, folder, min(len(clip), most_frames))
            for stream in streams:
                files = recording.original(stream), recording.shown(stream)
                made.append(EncodedClip(f"{clip.name}_{stream}", recording.count, recording.side(stream.scale), *files))
                bar.update()
    return made


class _Recording:
    """One clip, decoded when something of it is missing."""

    def __init__(self, clip: ClipRecord, folder: Path, count: int) -> None:
        self.clip, self.folder, self.count = clip, folder, count
        self.video, self.matrices = clip.recording("to encode it anew")
        self._frames: list[Image] = []

    def side(self, scale: float) -> int:
        """Return how many pixels of the side of a crop are kept in a video so much smaller."""
        return inner_side(round(scale * self.clip.size))

    def original(self, stream: StreamSettings) -> Path:
        """Return the file of the originals, of the size that they have in a stream."""
        return self._file(f"original{stream.size}", stream.scale, lambda frames: frames)

    def shown(self, stream: StreamSettings) -> Path:
        """Return the file of what the stream shows."""

        def encoded(frames: list[Image]) -> list[Image]:
            height, width = frames[0].shape[:2]
            return roundtrip(frames, stream.encoder(self.clip, height * width)).frames

        return self._file(str(stream), stream.scale, encoded)

    def _file(self, label: str, scale: float, change: Callable[[list[Image]], Sequence[Image]]) -> Path:
        known = [[path.stat().st_size, path.stat().st_mtime_ns] for path in (self.video, self.matrices)]
        all_of_it = json.dumps([known, self.clip.first, self.count, self.clip.size, self.side(scale), str(self.clip.rate), label])
        path = self.folder / f"{self.clip.name}_{label}_{hashlib.sha256(all_of_it.encode()).hexdigest()[:10]}.npy"
        if not path.is_file():
            pictures = self._cut(change([_smaller(frame, scale) for frame in self._decoded()]), scale)
            with atomic_write(path) as part:
                np.save(part, pictures)
        return path

    def _decoded(self) -> list[Image]:
        """Return the frames of the video that the crops are of."""
        if not self._frames:
            reader, first = SeekingReader(self.video), self.clip.first
            if first + self.count > len(reader):
                wanted = f"frames {first} to {first + self.count - 1}"
                msg = f"{self.video}: expected {wanted}, got {len(reader)} frames; run preprocessing.py again"
                raise UserError(msg)
            self._frames = reader.read(range(first, first + self.count))
        return self._frames

    def _cut(self, frames: Sequence[Image], scale: float) -> Pictures:
        """Return the middles of the crops."""
        matrices: npt.NDArray[np.float64] = np.load(self.matrices, allow_pickle=False)
        side = self.side(scale)
        edge = (round(scale * self.clip.size) - side) // 2
        moved: list[Matrix] = matrices[: self.count].copy()
        for matrix in moved:
            place = matrix[:, 2] if scale == 1 else np.round(matrix[:, 2] * scale)  # whole pixels stay whole
            matrix[:, 2] = place - edge
        return np.stack([crop(frame, matrix, side) for frame, matrix in zip(frames, moved, strict=True)])


def _smaller(frame: Image, scale: float) -> Image:
    """Return `frame` at so much of its size, of even sides."""
    if scale == 1:
        return frame
    height, width = (max(2, 2 * round(scale * side / 2)) for side in frame.shape[:2])
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def inner_side(size: int) -> int:
    """Return how many pixels of a crop's side are kept."""
    return min(INNER_MOST, size, -(-int(size * INNER_SHARE) // INNER_MULTIPLE) * INNER_MULTIPLE)
