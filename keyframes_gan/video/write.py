"""Writing: RGB frames with exact times become a video that keeps its source's colours, sound and time line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
from av.video.frame import VideoFrame

from keyframes_gan.atomic import atomic_write, unwritable
from keyframes_gan.errors import MediaError, UserError
from keyframes_gan.types import Image, VideoInfo, check_image
from keyframes_gan.video import color
from keyframes_gan.video.companions import KINDS, Companions
from keyframes_gan.video.read import Source, inspect, open_input

if TYPE_CHECKING:
    from types import TracebackType

    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}

AUTO = "auto"
_ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9", "ffv1": "ffv1"}
_MAX_CRF = {"h264": 51.0, "hevc": 51.0, "av1": 63.0, "vp9": 63.0, "ffv1": 51.0}
_VP9_SPEED = "2"
"""libvpx's `cpu-used`: slow, good pictures."""
_SVT_PRESETS = {
    "ultrafast": "12",
    "superfast": "11",
    "veryfast": "10",
    "faster": "9",
    "fast": "8",
    "medium": "7",
    "slow": "5",
    "slower": "4",
    "veryslow": "3",
}
_METADATA_OF_THE_CONTAINER = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})


@dataclass(frozen=True)
class Encoding:
    """How the picture is encoded.

    Attributes:
        codec: "h264" (x264), "hevc" (x265), "av1" (SVT-AV1), "vp9" (libvpx) or "ffv1" (lossless but for the pixel format);
            or "auto": h264, but av1 in .webm, which holds no h264.
        crf: constant rate factor, 0 to 51 (av1, vp9: 0 to 63); lower is better; ffv1 has none.
        preset: x264's name of the trade between time and size, "ultrafast" to "veryslow"; vp9 has none.
        pixel_format: FFmpeg's; "yuv420p" plays everywhere. Pictures of odd width or height are written by h264 and hevc
            with full chroma ("yuv444p") instead, because 4:2:0 cannot express their size.
        threads: encoder threads, 0 for as many as there are cores.
        steady: the same bits on every machine: x264 leaves out what it does with AVX-512 in an order of chance, x265 keeps to one thread.
        gop: most frames from one key frame to the next, 0 for the encoder's own choice (x264 and x265: 250).
        bitrate: bits per second on average, for a connection that carries no more, instead of `crf`; h264, hevc and vp9. 0: none.
    """

    codec: str = "h264"
    crf: float = 17.0
    preset: str = "medium"
    pixel_format: str = "yuv420p"
    threads: int = 0
    steady: bool = False
    gop: int = 0
    bitrate: int = 0

    def __post_init__(self) -> None:
        if self.codec not in (AUTO, *_ENCODERS):
            msg = f"codec: expected one of {', '.join(_ENCODERS)}, got {self.codec!r}"
            raise UserError(msg)
        most = _MAX_CRF.get(self.codec, _MAX_CRF["h264"])
        if not 0 <= self.crf <= most:
            msg = f"crf: expected 0 (best) to {most:.0f} (smallest) for {self.codec}, got {self.crf}"
            raise UserError(msg)
        if self.preset not in _SVT_PRESETS:
            msg = f"preset: expected one of {', '.join(_SVT_PRESETS)}, got {self.preset!r}"
            raise UserError(msg)
        if self.gop < 0:
            msg = f"gop: expected 0 (the encoder's own choice) or more frames, got {self.gop}"
            raise UserError(msg)
        if self.bitrate < 0 or (self.bitrate and self.codec not in ("h264", "hevc", "vp9")):
            msg = f"bitrate: expected 0 (none) or bits per second, with h264, hevc or vp9, got {self.bitrate} with {self.codec}"
            raise UserError(msg)

    def chosen_for(self, path: Path) -> Encoding:
        """Return the encoding of the file `path`: with the codec that "auto" stands for there."""
        if self.codec != AUTO:
            return self
        return replace(self, codec="av1" if CONTAINERS.get(path.suffix.lower()) == "webm" else "h264")

    @property
    def encoder(self) -> str:
        """FFmpeg's name of the encoder."""
        return _ENCODERS[self.codec]

    def options(self) -> dict[str, str]:
        """Return the encoder's options."""
        distance = {"g": f"{self.gop}"} if self.gop else {}
        if self.codec == "ffv1":
            return {"level": "3", "slicecrc": "1", **distance}
        if self.codec == "av1":
            return {"crf": f"{self.crf:g}", "preset": _SVT_PRESETS[self.preset], **distance}
        if self.codec == "vp9":  # libvpx takes whole numbers, and a rate of 0 as constant quality
            constant = {} if self.bitrate else {"crf": f"{round(self.crf)}", "b": "0"}
            return {"deadline": "good", "cpu-used": _VP9_SPEED, **constant, **self._limit(), **distance}
        common = {**({} if self.bitrate else {"crf": f"{self.crf:g}"}), "preset": self.preset, **self._limit(), **distance}
        if self.codec == "h264":
            return {**common, "x264-params": "cpu-independent=1"} if self.steady else common
        return {**common, "x265-params": "log-level=none" + (":pools=none:frame-threads=1" if self.steady else "")}

    def _limit(self) -> dict[str, str]:
        """Return the options of a limited rate: a buffer of one second that is filled no faster than the rate."""
        bits = str(self.bitrate)
        return {"b": bits, "maxrate": bits, "bufsize": bits} if self.bitrate else {}

    def fitting(self, size: tuple[int, int]) -> str:
        """Return the pixel format for pictures of (width, height): `pixel_format`, or one without chroma subsampling."""
        layout = av.VideoFormat(self.pixel_format, *size)
        odd_width = size[0] % 2 and layout.chroma_width(2) == 1
        odd_height = size[1] % 2 and layout.chroma_height(2) == 1
        if self.codec == "ffv1" or not (odd_width or odd_height):
            return self.pixel_format
        if self.codec == "av1":
            msg = f"a picture of {size[0]}x{size[1]} cannot be written as av1 (even width and height only); use codec h264, in .mp4 or .mkv"
            raise MediaError(msg)
        return self.pixel_format.replace("420", "444").replace("422", "444")


def _stored_lines(info: VideoInfo) -> int:
    """Return the coded height of a video: its height before rotation."""
    return info.width if info.rotation in (90, 270) else info.height


def _tags(like: VideoInfo | None, lines: int) -> dict[str, int]:
    """Return the colour tags (H.273 codes) of an output of `lines` lines, as codec context attributes.

    The tags of `like` are kept, also when it has none. An untagged matrix is spelled out only where a reader would
    otherwise assume another one: when the output crosses 720 lines, or when there is nothing to be like.
    """
    if like is None:
        return {"colorspace": color.assumed_space(lines), "color_range": color.TV}
    found = {
        "colorspace": color.code(color.SPACES, like.color_space),
        "color_range": color.code(color.RANGES, like.color_range),
        "color_primaries": color.code(color.PRIMARIES, like.color_primaries),
        "color_trc": color.code(color.TRANSFERS, like.color_trc),
    }
    if found["colorspace"] == 0:
        found["colorspace"] = color.assumed_space(lines)
    if like.pixel_format.startswith("yuvj"):
        found["color_range"] = color.PC
    elif color.is_rgb(like.pixel_format) or color.is_grey(like.pixel_format):
        found["color_range"] = color.TV
    if found["colorspace"] is None and color.assumed_space(_stored_lines(like)) != color.assumed_space(lines):
        found["colorspace"] = color.assumed_space(_stored_lines(like))
    return {key: value for key, value in found.items() if value is not None}


class VideoWriter:
    """Encodes frames one by one; a context manager. The file appears under its name only after a clean exit.

    Times are kept exactly: the stream's time base is the one given, and with `streams_from` the first frame gets the
    container time that the source's first frame had, so that picture and sound keep their distance. (Matroska and WebM
    count in milliseconds and round.) Sound and subtitle packets are pumped in step with the pictures.

    Attributes:
        reencoded: one line for each sound or subtitle stream that the container refused to take as it is.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        size: tuple[int, int],
        time_base: Fraction,
        rate: Fraction,
        like: VideoInfo | None = None,
        streams_from: Path | str | None = None,
        aspect: Fraction | None = None,
        kinds: Collection[str] = KINDS,
        encoding: Encoding | None = None,
    ) -> None:
        """Set up; files are opened on entry.

        Args:
            path: the output, ending in .mp4, .m4v, .mov, .mkv or .webm.
            size: (width, height) in pixels of every frame.
            time_base: seconds per tick; times are rounded to whole ticks.
            rate: nominal frames per second; sets the length of the last frame and helps the rate control.
            like: whose colour tags to keep; None writes BT.709 or BT.601 by height, limited range.
            streams_from: the video whose sound and subtitles to carry over.
            aspect: how many times as wide as high pixels are shown; None: as in `streams_from`, square without it.
            kinds: which of "audio" and "subtitle" to carry over.
            encoding: see `Encoding`.

        Raises:
            MediaError: a suffix that is no container, or a size the codec cannot store.
        """
        self.path = Path(path)
        if self.path.suffix.lower() not in CONTAINERS:
            got = "a folder" if self.path.is_dir() else repr(self.path.suffix) if self.path.suffix else "no suffix"
            msg = f"{self.path}: expected an output name ending in {', '.join(CONTAINERS)}, got {got}"
            raise MediaError(msg)
        self.encoding = (encoding or Encoding()).chosen_for(self.path)
        self.reencoded: list[str] = []
        self._size, self._tick, self._rate = size, time_base, rate
        self._aspect = aspect
        self._streams_from = None if streams_from is None else Path(streams_from)
        self._kinds = kinds
        self._color = _tags(like, size[1])
        space = self._color.get("colorspace", color.assumed_space(size[1]))
        self._coding = color.Coding(self.encoding.fitting(size), space, self._color.get("color_range", color.TV))
        self._converter = color.Converter()
        self._start = Fraction(0)
        self._latest: int | None = None

    def __enter__(self) -> VideoWriter:
        with contextlib.ExitStack() as stack:
            part = stack.enter_context(atomic_write(self.path))
            stack.enter_context(self._as_media_error())
            self._output = av.open(f"file:{part}", "w", format=CONTAINERS[self.path.suffix.lower()], container_options=self._movflags())
            stack.push(self._close_output)
            self._stream = self._add_video(self._output)
            self._companions = self._add_companions(self._output, stack) if self._streams_from is not None else None
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            with self._stack:
                self._finish()
        else:
            self._stack.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def _as_media_error(self) -> Iterator[None]:
        """Turn what FFmpeg says about the output into one line."""
        try:
            yield
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise unwritable(self.path, error) from error
            msg = f"{self.path}: cannot write {self.encoding.codec} in this container ({error.strerror}); choose another codec or .mkv"
            raise MediaError(msg) from error

    def _movflags(self) -> dict[str, str]:
        return {"movflags": "+faststart"} if CONTAINERS[self.path.suffix.lower()] in ("mp4", "mov") else {}

    def _close_output(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        """Write the trailer after a clean pass; after a failure only let go of the file."""
        if kind is None:
            self._output.close()
        else:
            with contextlib.suppress(av.FFmpegError, OSError):
                self._output.close()
        return False

    def _add_video(self, output: OutputContainer) -> VideoStream:
        if self.encoding.codec == "av1":
            os.environ.setdefault("SVT_LOG", "1")
        try:
            stream = cast("VideoStream", output.add_stream(self.encoding.encoder, rate=self._rate, options=self.encoding.options()))
        except ValueError as error:
            msg = f"{self.path}: a {self.path.suffix} file cannot hold {self.encoding.codec}; choose another codec or .mkv"
            raise MediaError(msg) from error
        context = stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt = self._coding.pixel_format
        context.time_base = self._tick
        if self._aspect is not None:
            context.sample_aspect_ratio = self._aspect
        context.framerate = self._rate
        context.thread_count = self.encoding.threads
        if self.encoding.codec == "hevc" and self._movflags():
            context.codec_tag = "hvc1"
        for attribute, value in self._color.items():
            setattr(context, attribute, value)
        return stream

    def _add_companions(self, output: OutputContainer, stack: contextlib.ExitStack) -> Companions:
        path = self._streams_from or self.path
        source: Source = inspect(path)
        self._start = source.start
        if source.aspect is not None and self._aspect is None:
            self._stream.codec_context.sample_aspect_ratio = source.aspect
        container = stack.enter_context(open_input(path))
        for key, value in container.metadata.items():
            if key not in _METADATA_OF_THE_CONTAINER:
                output.metadata[key] = value
        companions = Companions(path, container, output, self.path, self._kinds)
        self.reencoded = companions.reencoded
        return companions

    def write(self, rgb: Image, time: Fraction) -> None:
        """Encode one picture.

        Args:
            rgb: uint8 (H, W, 3) RGB, C-contiguous, of the writer's size.
            time: seconds since the first frame; must grow by at least one tick from frame to frame.

        Raises:
            MediaError: the disk is full, or the encoder refuses.
            ValueError: a picture of another size, or a time that does not grow.
        """
        check_image(rgb, "VideoWriter.write")
        self.write_picture(VideoFrame.from_ndarray(rgb, format="rgb24"), time)

    def write_picture(self, picture: VideoFrame, time: Fraction) -> None:
        """Encode one picture in any pixel format, upright; as `write`, but converted at most once."""
        if (picture.width, picture.height) != self._size:
            msg = f"VideoWriter: expected pictures of {self._size[0]}x{self._size[1]}, got {picture.width}x{picture.height}"
            raise ValueError(msg)
        stamp = round((self._start + time) / self._tick)
        if self._latest is not None and stamp <= self._latest:
            msg = (
                f"VideoWriter: time {time} s does not come after the frame before (tick {stamp} after {self._latest}, {self._tick} s each)"
            )
            raise ValueError(msg)
        self._latest = stamp
        coded = self._converter.to_coding(picture, self._coding)
        coded.pts, coded.time_base = stamp, self._tick
        coded.pict_type = 0
        with self._as_media_error():
            self._mux(self._stream.encode(coded))

    def _mux(self, packets: list[Packet[Any]]) -> None:
        interval = max(1, round(1 / (self._rate * self._tick)))
        for packet in packets:
            if self._companions is not None and packet.dts is not None:
                self._companions.pump(packet.dts * packet.time_base)
            packet.duration = interval
            self._output.mux(packet)

    def _finish(self) -> None:
        """Flush the encoder and write what is left of the sound."""
        if self._latest is None:
            msg = f"{self.path}: not written, there was no frame to write"
            raise MediaError(msg)
        self._mux(self._stream.encode(None))
        if self._companions is not None:
            self._companions.pump(None)
