"""Reading: videos, folders of images and single images become upright RGB frames with true timestamps."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import numpy as np

from keyframes_gan.errors import MediaError
from keyframes_gan.types import Frame, Image, VideoInfo
from keyframes_gan.video import color, pictures
from keyframes_gan.video.truncation import is_cut_short

if TYPE_CHECKING:
    from types import TracebackType

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

DEFAULT_RATE = Fraction(25)

_ATTACHED_PICTURE = 0x400
_MICROSECONDS = 1_000_000
# Demuxers of self-contained media files. Others may follow references (playlists), wait for the network, or draw plain text.
_DEMUXERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,ogg,asf,gif,apng,ivf,obu,av1,h264,hevc,m4v,mjpeg,mxf,nut,"
    "dv,rm,wtv,gxf,yuv4mpegpipe,vc1,wav,mp3,aac,flac,amr,aiff,caf"
)
_SAFE = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}  # noqa: PLR2004
"""PyAV 19 reads titles that are no UTF-8 by itself; before, it had to be told to."""


@dataclass(frozen=True)
class Upright:
    """How stored pixels become upright ones: transpose first, then flip left-right, then flip top-bottom.

    From the container's display matrix (ISO/IEC 14496-12, tkhd): stored (p, q) is shown at (a p + c q, b p + d q).
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False
    rotation: int = 0

    @classmethod
    def of(cls, picture: VideoFrame) -> Upright:
        """Read the display matrix of a decoded picture; the identity when it has none. Angles go to the nearest 90."""
        data: Any = picture.side_data.get("DISPLAYMATRIX")
        if data is None:
            return cls()
        a, b, _, c, d = (int(value) for value in np.frombuffer(memoryview(data), np.int32)[:5])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0, 180 if a < 0 else 0)
        return cls(True, c < 0, b < 0, 90 if b > 0 else 270)

    @property
    def is_identity(self) -> bool:
        """Whether stored pixels are upright already."""
        return not (self.transpose or self.flip_x or self.flip_y)

    def apply(self, rgb: Image) -> Image:
        """Return the upright picture, C-contiguous."""
        if self.is_identity:
            return rgb
        turned = rgb.transpose(1, 0, 2) if self.transpose else rgb
        return np.ascontiguousarray(turned[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])


@dataclass(frozen=True)
class Source:
    """What probing found: the public facts, and what a faithful copy needs besides.

    `start` is the container time of the first frame in seconds; `aspect` the sample aspect ratio of upright pixels.
    """

    info: VideoInfo
    start: Fraction
    upright: Upright
    aspect: Fraction | None

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of the pictures before they are turned upright."""
        width, height = self.info.width, self.info.height
        return (height, width) if self.upright.transpose else (width, height)


@contextlib.contextmanager
def open_input(path: Path) -> Iterator[InputContainer]:
    """Open a local media file for reading, never anything it may refer to elsewhere.

    Raises:
        MediaError: missing, a folder, empty, or not media.
    """
    if not path.exists():
        msg = f"{path}: no such file; expected a video"
        raise MediaError(msg)
    if path.is_file() and path.stat().st_size == 0:
        msg = f"{path}: the file is empty; expected a video"
        raise MediaError(msg)
    try:
        container = av.open(f"file:{path}", options=_SAFE, **_METADATA)
    except (av.FFmpegError, OSError) as error:
        msg = f"{path}: cannot be read as a video ({error.strerror or type(error).__name__}); it may be damaged, or not a video at all"
        raise MediaError(msg) from error
    with container:
        yield container


def _is_attached_picture(stream: VideoStream) -> bool:
    """Tell whether a stream is cover art; PyAV says so as an int-like flag, a plain flag, or (before 15) not at all."""
    disposition: Any = getattr(stream, "disposition", 0)
    return bool(int(getattr(disposition, "value", disposition)) & _ATTACHED_PICTURE)


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the largest moving video stream, set to decode with all threads; raise `MediaError` when there is none."""
    moving = [stream for stream in container.streams.video if not _is_attached_picture(stream)]
    moving = [stream for stream in moving if stream.codec_context is not None]
    if not moving:
        msg = f"{path}: has no video stream; expected a video"
        raise MediaError(msg)
    stream = max(moving, key=lambda one: one.codec_context.width * one.codec_context.height)
    stream.thread_type = "AUTO"
    return stream


def _decoded(container: InputContainer, stream: VideoStream, path: Path) -> Generator[VideoFrame, None, None]:
    """Give every picture that decodes; then raise `MediaError` if the file is cut short or damaged."""
    count, failure = 0, ""
    packets = container.demux(stream)
    while not failure:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            if packet.is_corrupt and packet.size:
                failure = "incomplete data"
                break
            decoded = packet.decode()
        except (av.FFmpegError, OSError) as error:
            if count == 0 and isinstance(error, av.InvalidDataError) and packet is not None:
                continue
            failure = error.strerror or type(error).__name__
            break
        for picture in decoded:
            count += 1
            yield picture
    if failure:
        for picture in _drained(stream):
            count += 1
            yield picture
    if failure or is_cut_short(path, container, stream):
        expected = f" of {stream.frames}" if stream.frames else ""
        msg = f"{path}: truncated or damaged, only {count}{expected} frames could be decoded ({failure or 'the file ends early'})"
        raise MediaError(msg)


def _drained(stream: VideoStream) -> list[VideoFrame]:
    """Return the pictures that the decoder still holds after the data went bad."""
    try:
        return list(stream.codec_context.decode(None))
    except (av.FFmpegError, OSError):
        return []


def _inspect(path: Path) -> Source:
    """Open `path`, decode its first picture and collect the facts."""
    with open_input(path) as container:
        stream = video_stream(container, path)
        pictures_ = _decoded(container, stream, path)
        first = next(pictures_, None)
        if first is None:
            msg = f"{path}: has a video stream without frames"
            raise MediaError(msg)
        pictures_.close()
        aspect = Fraction(stream.sample_aspect_ratio) if stream.sample_aspect_ratio else None  # PyAV 19 has a type of its own
        upright = Upright.of(first)
        if aspect is not None and upright.transpose:
            aspect = 1 / aspect
        info = described(path, container, stream, first)
        return Source(info, (first.pts or 0) * info.time_base, upright, aspect)


def described(path: Path, container: InputContainer, stream: VideoStream, first: VideoFrame) -> VideoInfo:
    """Return the public facts of a stream whose first picture is `first`."""
    time_base = Fraction(stream.time_base or Fraction(1, _MICROSECONDS))
    upright = Upright.of(first)
    width, height = (first.height, first.width) if upright.transpose else (first.width, first.height)
    duration = None
    if stream.duration is not None:
        duration = stream.duration * time_base
    elif container.duration is not None:
        duration = Fraction(container.duration, _MICROSECONDS)
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        rotation=upright.rotation,
        time_base=time_base,
        rate=Fraction(stream.average_rate or stream.guessed_rate or stream.base_rate or DEFAULT_RATE),
        frames=stream.frames or None,
        duration=duration,
        codec=stream.codec_context.name,
        pixel_format=first.format.name,
        bit_depth=max(component.bits for component in first.format.components),
        color_space=color.name(color.SPACES, first.colorspace),
        color_range=color.name(color.RANGES, first.color_range),
        color_primaries=color.name(color.PRIMARIES, stream.codec_context.color_primaries),
        color_trc=color.name(color.TRANSFERS, stream.codec_context.color_trc),
        audio_streams=len(container.streams.audio),
        subtitle_streams=len(container.streams.subtitles),
    )


def inspect(path: Path | str) -> Source:
    """Return what `probe` returns, plus the start time, the orientation and the sample aspect ratio.

    Raises:
        MediaError: as `probe`.
    """
    return _inspect(Path(path))


def probe(path: Path | str) -> VideoInfo:
    """Return what the container says about its video; a folder of images or an image is a video of 25 frames per second.

    Raises:
        MediaError: missing, not a video, no video stream, or no frame that decodes.
    """
    return VideoReader(path).info


class StoredPicture(NamedTuple):
    """A picture as the stream stores it, not turned upright: when it is shown, in seconds since the first, and whether it is an I-frame."""

    time: Fraction
    picture: VideoFrame
    is_key: bool


class VideoReader:
    """Decodes a video, a folder of images (natural order) or one image into upright RGB `Frame`s, one at a time.

    Frames come in presentation order. `Frame.time` is the container's exact time since the first frame; where a
    container repeats or lacks a timestamp, the frame is put one tick (or one nominal interval) after its predecessor.
    A truncated or damaged file gives its good frames and then raises `MediaError` saying how many there were.
    Each iteration starts again from the first frame.

    Attributes:
        info: the facts of `probe`.
        source: the same plus start time, orientation and sample aspect ratio.
        notes: what was found while reading, for the user: that the pictures change their size, say.
    """

    def __init__(self, path: Path | str, *, rate: Fraction | int = DEFAULT_RATE, any_size: bool = False) -> None:
        """Probe `path`; `rate` (frames per second) and `any_size` (they need not all be as large as the first) are for images only.

        Raises:
            MediaError: as `probe`.
        """
        self.path, self._any_size = Path(path), any_size
        self.notes: list[str] = []
        self._open: list[Generator[StoredPicture, None, None]] = []
        self.is_pictures = pictures.is_picture_source(self.path)
        if self.is_pictures:
            info = pictures.picture_info(self.path, Fraction(rate))
            self.source = Source(info, Fraction(0), Upright(), None)
        else:
            self.source = _inspect(self.path)
        self.info = self.source.info

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def companions_from(self) -> Path | None:
        """The file with sound and subtitles; images have none."""
        return None if self.is_pictures else self.path

    def close(self) -> None:
        """Close every file that an unfinished iteration holds open."""
        for generator in self._open:
            generator.close()
        self._open.clear()

    def __iter__(self) -> Iterator[Frame]:
        if self.is_pictures:
            yield from pictures.picture_frames(self.path, self.info, any_size=self._any_size)
            return
        converter = color.Converter()
        for index, (time, picture, is_key) in enumerate(self.stored_pictures()):
            yield Frame(index, time, self.source.upright.apply(converter.to_rgb(picture)), is_key)

    def stored_pictures(self) -> Iterator[StoredPicture]:
        """Give the pictures as the stream stores them, those of another size or pixel format brought to the first one's. Not for images.

        Raises:
            MediaError: truncated or damaged, after the good pictures.
        """
        generator = self._stored_pictures()
        self._open.append(generator)
        return generator

    def _stored_pictures(self) -> Generator[StoredPicture, None, None]:
        with open_input(self.path) as container:
            stream = video_stream(container, self.path)
            tick, converter = self.info.time_base, color.Converter()
            interval = max(1, round(1 / (self.info.rate * tick)))
            size = self.source.stored_size
            first: int | None = None
            latest = 0
            for picture in _decoded(container, stream, self.path):
                stamp = picture.pts
                if first is None:
                    first = latest = stamp or 0
                else:
                    latest = latest + interval if stamp is None else max(stamp, latest + 1)
                time = (latest - first) * tick
                if (picture.width, picture.height) != size and not self.notes:
                    self.notes.append(
                        f"pictures change from {size[0]}x{size[1]} to {picture.width}x{picture.height} at {float(time):.3f} s; "
                        f"from there on they are scaled to the first size"
                    )
                yield StoredPicture(time, converter.to_layout(picture, size, self.info.pixel_format), bool(picture.key_frame))
