"""Random access: some frames of a video by their numbers, decoded from the key frame before them and not from the start."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np
import numpy.typing as npt

from keyframes_gan.errors import MediaError
from keyframes_gan.types import BoolArray, Image
from keyframes_gan.video import color
from keyframes_gan.video.packets import coded_pictures
from keyframes_gan.video.read import inspect, open_input, video_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from keyframes_gan.video.read import Source


class _Stamps(NamedTuple):
    """Per frame in order of presentation: its time stamp, and whether decoding can begin there."""

    pts: npt.NDArray[np.int64]
    is_key: BoolArray


class SeekingReader:
    """Reads single frames of a video, numbered as `keyframes_gan.video.read.VideoReader` numbers them.

    The first access walks the packets once, without decoding, to learn the time stamps; they are kept. The file is opened for every
    call, so that a reader can be sent to another process. One thread decodes.

    Args:
        path: a video file, not a folder of pictures.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def __len__(self) -> int:
        """Return the number of frames.

        Raises:
            MediaError: the file cannot be read, or its packets carry no time stamps.
        """
        return len(self._stamps.pts)

    @cached_property
    def _source(self) -> Source:
        return inspect(self.path)

    @cached_property
    def _stamps(self) -> _Stamps:
        found = [(one.pts, one.is_key) for one in coded_pictures(self.path) if one.shown]
        if not found or any(pts is None for pts, _ in found) or len(dict(found)) < len(found):
            msg = f"{self.path}: expected frames that each have a time stamp of their own; convert it to .mp4 or .mkv"
            raise MediaError(msg)
        pts, is_key = zip(*sorted(found), strict=True)
        return _Stamps(np.array(pts, np.int64), np.array(is_key, np.bool_))

    def read(self, indices: Sequence[int]) -> list[Image]:
        """Return the frames of these numbers, each uint8 RGB (H, W, 3), upright, in the order asked for.

        Raises:
            IndexError: a number below 0 or beyond the last frame.
            MediaError: the file cannot be read, or a frame does not decode.
        """
        if not len(indices):
            return []
        if min(indices) < 0 or max(indices) >= len(self):
            msg = f"{self.path}: expected frame numbers from 0 to {len(self) - 1}, got {min(indices)} to {max(indices)}"
            raise IndexError(msg)
        wanted = {int(self._stamps.pts[index]): index for index in indices}
        before = np.flatnonzero(self._stamps.is_key[: min(indices) + 1])
        start = int(self._stamps.pts[before[-1]]) if len(before) else None
        found = self._decode(wanted, start)
        if len(found) < len(wanted) and start is not None:
            found = self._decode(wanted, None)  # a container without an index may have landed too late
        if len(found) < len(wanted):
            msg = f"{self.path}: frame {min(set(indices) - set(found))} does not decode; the file is damaged, copy or encode it again"
            raise MediaError(msg)
        return [found[index] for index in indices]

    def _decode(self, wanted: dict[int, int], start: int | None) -> dict[int, Image]:
        """Return the frames, by number, of the time stamps `wanted` that decoding from `start` (None: from the beginning) meets."""
        converter, found, last = color.Converter(), {}, max(wanted)
        with open_input(self.path) as container:
            stream = video_stream(container, self.path)
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            try:
                if start is not None:
                    container.seek(start, stream=stream)
                for picture in takewhile(lambda one: one.pts is None or one.pts <= last, _pictures(container, stream)):
                    index = wanted.get(-1 if picture.pts is None else picture.pts)
                    if index is not None:
                        stored = converter.to_layout(picture, self._source.stored_size, self._source.info.pixel_format)
                        found[index] = self._source.upright.apply(converter.to_rgb(stored))
            except (av.FFmpegError, OSError) as error:
                msg = f"{self.path}: truncated or damaged ({error.strerror}); copy or encode it again"
                raise MediaError(msg) from error
        return found


def _pictures(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode from where the container stands."""
    for packet in container.demux(stream):
        yield from packet.decode()
