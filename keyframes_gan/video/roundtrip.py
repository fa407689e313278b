"""Frames through an encoder and back, in memory: what a video codec does to pictures, without a file.

Compressed pictures for training come from here. The packets go straight from the encoder to the decoder, with no container between.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame

from keyframes_gan.errors import MediaError, UserError
from keyframes_gan.types import Image, check_image
from keyframes_gan.video import color

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

DECODERS = {"libx264": "h264", "libx265": "hevc", "mpeg4": "mpeg4", "libvpx-vp9": "vp9", "libsvtav1": "libdav1d"}
"""Encoder -> decoder, by FFmpeg's names."""
CODECS = tuple(DECODERS)
QUALITIES = {"libx264": (0, 51), "libx265": (0, 51), "mpeg4": (1, 31), "libvpx-vp9": (0, 63), "libsvtav1": (1, 63)}
"""Encoder -> its best and its worst constant quality: a CRF, and for mpeg4, which has none, the quantiser of every block."""
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")

_SVT_PRESETS = ("12", "11", "10", "9", "8", "7", "5", "4", "3")
_VP9_SPEEDS = ("8", "8", "7", "7", "6", "5", "4", "3", "2")


@dataclass(frozen=True)
class Codec:
    """An encoder and its settings.

    Attributes:
        name: one of `CODECS`.
        crf: constant quality on the encoder's own scale (`QUALITIES`), lower is better; rounded where the encoder takes whole numbers.
        bitrate: bits per second instead of `crf`; None for constant quality.
        preset: one of `PRESETS`; mapped to the nearest speed of vp9 and av1, ignored by mpeg4.
        gop: the longest distance between key frames, in frames.
        rate: frames per second, which rate control goes by.

    Raises:
        UserError: a value out of range.
    """

    name: str = "libx264"
    crf: float = 23.0
    bitrate: int | None = None
    preset: str = "medium"
    gop: int = 250
    rate: Fraction = Fraction(25)

    def __post_init__(self) -> None:
        if self.name not in CODECS:
            msg = f"codec: expected one of {', '.join(CODECS)}, got {self.name!r}"
            raise UserError(msg)
        if self.preset not in PRESETS:
            msg = f"preset: expected one of {', '.join(PRESETS)}, got {self.preset!r}"
            raise UserError(msg)
        best, worst = QUALITIES[self.name]
        if self.bitrate is None and not best <= self.crf <= worst:
            msg = f"crf: expected {best} to {worst} for {self.name}, got {self.crf}"
            raise UserError(msg)
        if self.gop < 1 or self.rate <= 0 or (self.bitrate is not None and self.bitrate < 1):
            msg = f"codec: expected gop, rate and bitrate above 0, got {self.gop}, {self.rate} and {self.bitrate}"
            raise UserError(msg)

    def options(self) -> dict[str, str]:
        """Return the encoder's options, of which some only make results the same from run to run.

        Av1 and x265 keep to one thread; x264 leaves out what it does with AVX-512 in an order of chance (its macroblock tree).
        """
        speed, constant = PRESETS.index(self.preset), self.bitrate is None
        whole = {"crf": f"{round(self.crf)}"} if constant else {}
        if self.name == "mpeg4":
            if self.bitrate is not None:  # without a buffer to keep to, here half a second, it is in no hurry to meet the rate
                return {"maxrate": f"{self.bitrate}", "bufsize": f"{max(self.bitrate // 2, 1)}"}
            return {"qmin": f"{round(self.crf)}", "qmax": f"{round(self.crf)}"}
        if self.name == "libvpx-vp9":
            deadline = "good" if speed > PRESETS.index("fast") else "realtime"
            return {"deadline": deadline, "cpu-used": _VP9_SPEEDS[speed], **whole, **({"b": "0"} if constant else {})}
        if self.name == "libsvtav1":
            return {"preset": _SVT_PRESETS[speed], "svtav1-params": "lp=1" if constant else "rc=1:lp=1", **whole}
        steady = {"libx264": "cpu-independent=1", "libx265": "log-level=none:info=0:pools=none:frame-threads=1"}[self.name]
        return {"preset": self.preset, f"{self.name[3:]}-params": steady, **({"crf": f"{self.crf:g}"} if constant else {})}


@dataclass(frozen=True)
class Decoded:
    """What came out of the decoder: one picture for each that went in, which of them are key frames, and the size of the stream."""

    frames: list[Image]
    is_key: list[bool]
    size_bytes: int


def roundtrip(frames: Sequence[Image], codec: Codec, *, threads: int = 1) -> Decoded:
    """Encode `frames` in 4:2:0 and decode them again. With one thread the result depends on the arguments only.

    Args:
        frames: uint8 RGB (H, W, 3), all of one size; odd sizes are padded by repeating the edge and cropped afterwards.
        codec: how to encode.
        threads: of the encoder and the decoder each.

    Raises:
        MediaError: no frame, frames of several sizes, this FFmpeg lacks the codec, or the codec refuses the size.
    """
    if not frames:
        msg = "roundtrip: expected at least one frame, got none"
        raise MediaError(msg)
    height, width = frames[0].shape[:2]
    for frame in frames:
        check_image(frame, "roundtrip")
        if frame.shape[:2] != (height, width):
            msg = f"roundtrip: expected frames of {width}x{height}, got one of {frame.shape[1]}x{frame.shape[0]}"
            raise MediaError(msg)
    try:
        decoded = _through(frames, codec, threads)
    except (av.FFmpegError, ValueError) as error:  # ValueError: the codec is unknown to this FFmpeg
        msg = f"{codec.name}: cannot encode {width}x{height} pictures ({error}); choose another codec or another size"
        raise MediaError(msg) from error
    if len(decoded.frames) != len(frames):
        msg = f"{codec.name}: {len(frames)} frames went in and {len(decoded.frames)} came out; choose another codec"
        raise MediaError(msg)
    return decoded


def _through(frames: Sequence[Image], codec: Codec, threads: int) -> Decoded:
    """Return what the decoder gives, in order of presentation, cut to the size of the frames."""
    height, width = frames[0].shape[:2]
    coding = color.Coding("yuv420p", color.assumed_space(height), color.TV)
    encoder = _encoder(codec, (width + width % 2, height + height % 2), coding, threads)
    decoder = cast("VideoCodecContext", av.CodecContext.create(DECODERS[codec.name], "r"))
    decoder.thread_count = threads
    to_coding, to_rgb = color.Converter(), color.Converter()
    size_bytes, pictures = 0, []
    for index in range(len(frames) + 1):
        packets = encoder.encode(_picture(frames[index], index, codec, coding, to_coding) if index < len(frames) else None)
        for packet in packets:
            size_bytes += packet.size
            pictures += decoder.decode(packet)
    pictures += decoder.decode(None)
    for picture in pictures:
        picture.colorspace, picture.color_range = coding.space, coding.range
    shown = [np.ascontiguousarray(to_rgb.to_rgb(picture)[:height, :width]) for picture in pictures]
    return Decoded(shown, [bool(picture.key_frame) for picture in pictures], size_bytes)


def _encoder(codec: Codec, size: tuple[int, int], coding: color.Coding, threads: int) -> VideoCodecContext:
    """Return an encoder set up for `codec`."""
    if codec.name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes to standard error itself, and takes no option for that
    context = cast("VideoCodecContext", av.CodecContext.create(codec.name, "w"))
    context.width, context.height = size
    context.pix_fmt = coding.pixel_format
    context.time_base, context.framerate = 1 / codec.rate, codec.rate
    context.gop_size = codec.gop
    context.thread_count = threads
    context.colorspace, context.color_range = coding.space, coding.range
    if codec.bitrate is not None:
        context.bit_rate = codec.bitrate
    context.options = codec.options()
    return context


def _picture(rgb: Image, index: int, codec: Codec, coding: color.Coding, converter: color.Converter) -> VideoFrame:
    """Return a frame ready for the encoder."""
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    picture = converter.to_coding(VideoFrame.from_ndarray(rgb, format="rgb24"), coding)
    picture.pts, picture.time_base, picture.pict_type = index, 1 / codec.rate, PictureType.NONE
    return picture
