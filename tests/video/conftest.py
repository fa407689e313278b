"""Media made with PyAV itself, and facts read with PyAV itself: nothing here uses the code under test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

Facts = dict[str, list[tuple[Fraction, bytes]]]


def flat_picture(y: int, u: int, v: int, size: tuple[int, int], pixel_format: str) -> av.VideoFrame:
    """A picture of one colour, given by its stored 8-bit samples (shifted up for 10-bit formats)."""
    picture = av.VideoFrame(*size, pixel_format)
    deep = "10" in pixel_format
    for plane, value in zip(picture.planes, (y, u, v), strict=False):
        kind = np.uint16 if deep else np.uint8
        samples = np.full(plane.buffer_size // np.dtype(kind).itemsize, value * 4 if deep else value, kind)
        plane.update(samples.tobytes())
    return picture


def sound(codec_format: str, samples: int, rate: int, first: int) -> av.AudioFrame:
    """A tone of `samples` samples starting at sample `first`, mono."""
    wave = np.sin(2 * np.pi * 440 * (first + np.arange(samples)) / rate) * 0.3
    whole = {"s16": (np.int16, 2**15 - 1), "s32": (np.int32, 2**31 - 1)}.get(codec_format.rstrip("p"))
    data = wave.astype(np.float32) if whole is None else (wave * whole[1]).astype(whole[0])
    frame = av.AudioFrame.from_ndarray(data[None], format=codec_format, layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
    return frame


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Give `make(name, pictures, stamps=…, …)`: a video file written by PyAV alone."""

    def make(
        name: str,
        pictures: Sequence[av.VideoFrame],
        *,
        stamps: Sequence[int] | None = None,
        time_base: Fraction = Fraction(1, 25),
        rate: Fraction = Fraction(25),
        codec: str = "libx264",
        options: dict[str, str] | None = None,
        tags: dict[str, int] | None = None,
        audio: Sequence[str] = (),
        seconds: float = 1.0,
        container_options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", container_options=container_options or {}) as output:
            stream = output.add_stream(codec, rate=rate, options=options if options is not None else {"crf": "10"})
            context = stream.codec_context
            context.width, context.height, context.pix_fmt = pictures[0].width, pictures[0].height, pictures[0].format.name
            context.time_base = time_base
            for key, value in (tags or {}).items():
                setattr(context, key, value)
            tracks = [output.add_stream(one, rate=48000, layout="mono", bit_rate=64000) for one in audio]
            for number, track in enumerate(tracks):
                track.metadata["language"] = ("eng", "ita", "spa")[number]
            for stamp, picture in zip(stamps if stamps is not None else range(len(pictures)), pictures, strict=True):
                picture.pts, picture.time_base = stamp, time_base
                output.mux(stream.encode(picture))
            output.mux(stream.encode(None))
            for track in tracks:
                size = track.codec_context.frame_size or 1024
                for first in range(0, int(48000 * seconds), size):
                    output.mux(track.encode(sound(track.codec_context.format.name, size, 48000, first)))
                output.mux(track.encode(None))
        return path

    return make


@pytest.fixture
def ramp() -> Callable[..., list[av.VideoFrame]]:
    """Give `ramp(count, size)`: flat grey pictures that brighten from frame to frame by 4."""

    def make(count: int, size: tuple[int, int] = (64, 48), pixel_format: str = "yuv420p") -> list[av.VideoFrame]:
        return [flat_picture(20 + 4 * index, 128, 128, size, pixel_format) for index in range(count)]

    return make


@pytest.fixture
def flat() -> Callable[..., av.VideoFrame]:
    return flat_picture


@pytest.fixture
def facts() -> Callable[[Path], Facts]:
    """Give `facts(path)`: per stream, "0:video" and so on, the (time, bytes) of its packets in order of time."""

    def read(path: Path) -> Facts:
        found: Facts = {}
        with av.open(str(path)) as container:
            for packet in container.demux():
                if packet.size and packet.pts is not None:
                    key = f"{packet.stream.index}:{packet.stream.type}"
                    found.setdefault(key, []).append((packet.pts * packet.time_base, bytes(packet)))
        return {key: sorted(value) for key, value in found.items()}

    return read


@pytest.fixture
def video_facts() -> Callable[[Path], dict[str, Any]]:
    """Give `video_facts(path)`: what PyAV says about the first video stream."""

    def read(path: Path) -> dict[str, Any]:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            return {
                "codec": context.name,
                "size": (context.width, context.height),
                "pixel_format": context.pix_fmt,
                "tags": (context.colorspace, context.color_range, context.color_primaries, context.color_trc),
                "aspect": stream.sample_aspect_ratio,
                "frames": sum(1 for _ in container.decode(stream)),
            }

    return read


def noise_video(size: tuple[int, int], count: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Smooth colourful pictures that move."""
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float64)
    found = []
    for index in range(count):
        red = 127 + 100 * np.sin((x + 3 * index) / 17)
        green = 127 + 100 * np.cos((y - 2 * index) / 13)
        blue = 127 + 100 * np.sin((x + y) / 23)
        found.append(np.ascontiguousarray(np.stack([red, green, blue], -1).astype(np.uint8)))
    return found


@pytest.fixture
def moving() -> Callable[..., list[np.ndarray[Any, np.dtype[np.uint8]]]]:
    return noise_video
