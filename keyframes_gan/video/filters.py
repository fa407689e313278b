"""FFmpeg's own picture filters, by the text that `ffmpeg -vf` takes: what classical restoration is compared with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

import av
import av.filter
import numpy as np
from av.video.frame import VideoFrame

from keyframes_gan.errors import UserError
from keyframes_gan.types import Frame, Image
from keyframes_gan.video import color
from keyframes_gan.video.read import StoredPicture, VideoReader

PLANAR_RGB = "gbrp"
"""What pictures from image files become: the filters know no packed RGB."""


def filtered(path: Path | str, description: str) -> Iterator[Frame]:
    """Yield the upright frames of a video after a chain of filters that gives one picture for each.

    The filters see the pictures as they are stored (4:2:0, say), as with `ffmpeg -vf`; those of image files as planar RGB.

    Args:
        path: a video, a folder of images or an image.
        description: as for `ffmpeg -vf`, such as "deblock=filter=strong:block=8".

    Raises:
        UserError: FFmpeg does not know such a filter or option, or the chain swallows or adds pictures.
        MediaError: the video cannot be read to its end.
    """
    with VideoReader(path) as reader:
        graph: av.filter.Graph | None = None
        converter = color.Converter()
        waiting: deque[tuple[int, Fraction, bool]] = deque()
        for index, (time, picture, is_key) in enumerate(_stored(reader)):
            if graph is None:
                graph = _graph(description, picture)
            waiting.append((index, time, is_key))
            picture.pts, picture.time_base = index, Fraction(1, 25)
            graph.push(picture)
            yield from _ready(description, graph, waiting, reader, converter)
        if graph is not None:
            graph.push(None)
            yield from _ready(description, graph, waiting, reader, converter)
    if waiting:
        _refuse(description)


def _stored(reader: VideoReader) -> Iterator[StoredPicture]:
    """Yield the pictures as FFmpeg's filters take them, with their times."""
    if not reader.is_pictures:
        yield from reader.stored_pictures()
        return
    for frame in reader:
        yield StoredPicture(frame.time, VideoFrame.from_ndarray(frame.rgb, format="rgb24").reformat(format=PLANAR_RGB), frame.is_key)


def _upright(picture: VideoFrame, reader: VideoReader, converter: color.Converter) -> Image:
    if reader.is_pictures:
        return np.ascontiguousarray(picture.to_ndarray(format="rgb24"), np.uint8)
    return reader.source.upright.apply(converter.to_rgb(picture))


def _graph(description: str, like: VideoFrame) -> av.filter.Graph:
    """Return a chain from a buffer to a sink for pictures like the one given."""
    graph = av.filter.Graph()
    try:
        last = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=Fraction(1, 25))
        for part in description.split(","):
            name, _, options = part.strip().partition("=")
            after = graph.add(name, options or None)
            last.link_to(after)
            last = after
        last.link_to(graph.add("buffersink"))
        graph.configure()
    except (av.FFmpegError, ValueError) as error:
        msg = f"filter {description!r}: expected what ffmpeg -vf takes, got {' '.join(str(error).split())}"
        raise UserError(msg) from error
    return graph


def _ready(
    description: str,
    graph: av.filter.Graph,
    waiting: deque[tuple[int, Fraction, bool]],
    reader: VideoReader,
    converter: color.Converter,
) -> Iterator[Frame]:
    """Yield what the sink holds, each picture with the number and time of the one it was made from."""
    while True:
        try:
            picture = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        if not waiting:
            _refuse(description)
        if isinstance(picture, VideoFrame):
            index, time, is_key = waiting.popleft()
            yield Frame(index, time, _upright(picture, reader, converter), is_key)


def _refuse(description: str) -> NoReturn:
    msg = f"filter {description!r}: expected one picture for each, got more or fewer; use filters that keep every picture"
    raise UserError(msg)
