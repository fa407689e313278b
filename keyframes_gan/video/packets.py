"""What the packets of a video's picture stream say, without decoding: its frames, their cost, and where the key frames are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av

from keyframes_gan.errors import MediaError
from keyframes_gan.video import pictures
from keyframes_gan.video.read import open_input, video_stream

BITS_PER_BYTE = 8


class CodedPicture(NamedTuple):
    """One packet: time stamp in ticks, bytes, whether decoding can begin there, and whether a picture of it is shown."""

    pts: int | None
    size: int
    is_key: bool
    shown: bool


def coded_pictures(path: Path) -> list[CodedPicture]:
    """Return the packets of a video file in order of decoding.

    Not shown are those that an edit list cuts away, and at the beginning those that no decoder can do anything with: before the first
    key frame, or after it but to be seen earlier, in a recording that begins in between.

    Raises:
        MediaError: missing, not a video, or data that ends early.
    """
    with open_input(path) as container:
        stream = video_stream(container, path)
        try:
            found = [(one.pts, one.size, one.is_keyframe, one.is_discard) for one in container.demux(stream) if one.size]
        except (av.FFmpegError, OSError) as error:
            msg = f"{path}: truncated or damaged ({error.strerror}); copy or encode it again"
            raise MediaError(msg) from error
    first = next((at for at, (_, _, is_key, _) in enumerate(found) if is_key), 0)
    earliest = found[first][0] if found else None

    def is_lost(at: int, pts: int | None) -> bool:
        return at < first or (pts is not None and earliest is not None and pts < earliest)

    return [
        CodedPicture(pts, size, is_key, not is_discard and not is_lost(at, pts)) for at, (pts, size, is_key, is_discard) in enumerate(found)
    ]


def count_frames(path: Path | str) -> int:
    """Count the frames of a video, without decoding; for a folder of images, the images.

    Raises:
        MediaError: as `probe`, and for data that ends early.
    """
    path = Path(path)
    if pictures.is_picture_source(path):
        return len(pictures.picture_paths(path))
    return sum(one.shown for one in coded_pictures(path))


@dataclass(frozen=True)
class StreamCost:
    """The bits of a picture stream; sound, subtitles and the container's own bytes are not in them.

    `key_bits` are those of the key frames and part of `bits`; `key_frames` are their indices in presentation order.
    """

    bits: int
    key_bits: int
    frames: int
    key_frames: tuple[int, ...]


def stream_cost(path: Path | str) -> StreamCost:
    """Return what the pictures of a video cost; for a folder of images, the bits of the files, none of which is a key frame of anything.

    Raises:
        MediaError: missing, not a video, or data that ends early.
    """
    path = Path(path)
    if pictures.is_picture_source(path):
        bits = sum(one.stat().st_size for one in pictures.picture_paths(path)) * BITS_PER_BYTE
        return StreamCost(bits, 0, len(pictures.picture_paths(path)), ())
    found = coded_pictures(path)
    shown = sorted((one for one in found if one.shown), key=lambda one: -1 if one.pts is None else one.pts)
    return StreamCost(
        bits=sum(one.size for one in found) * BITS_PER_BYTE,
        key_bits=sum(one.size for one in found if one.is_key) * BITS_PER_BYTE,
        frames=len(shown),
        key_frames=tuple(index for index, one in enumerate(shown) if one.is_key),
    )
