"""What a video's picture stream costs, and where its key frames are, read from the packets without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from keyframes_gan.errors import MediaError
from keyframes_gan.video import pictures
from keyframes_gan.video.read import open_input, video_stream

BITS_PER_BYTE = 8


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
    with open_input(path) as container:
        stream = video_stream(container, path)
        try:
            found = [packet for packet in container.demux(stream) if packet.size]
        except (av.FFmpegError, OSError) as error:
            msg = f"{path}: truncated or damaged ({error.strerror})"
            raise MediaError(msg) from error
        shown = sorted(
            (packet for packet in found if not packet.is_discard), key=lambda packet: packet.pts if packet.pts is not None else -1
        )
        return StreamCost(
            bits=sum(packet.size for packet in found) * BITS_PER_BYTE,
            key_bits=sum(packet.size for packet in found if packet.is_keyframe) * BITS_PER_BYTE,
            frames=len(shown),
            key_frames=tuple(index for index, packet in enumerate(shown) if packet.is_keyframe),
        )
