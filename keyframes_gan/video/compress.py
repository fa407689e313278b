"""Compression in process: the same video at another x264 quality, and frames to a small file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from fractions import Fraction
from pathlib import Path

from keyframes_gan.errors import MediaError
from keyframes_gan.types import Image
from keyframes_gan.video.companions import KINDS
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding, VideoWriter


def compress(
    source: Path | str,
    target: Path | str,
    *,
    crf: int,
    preset: str = "medium",
    progress: Callable[[int], None] | None = None,
    kinds: Collection[str] = KINDS,
    threads: int = 0,
) -> None:
    """Encode `source` with x264 at `crf` into `target`: as `encode_again`, with sound and subtitles.

    Args:
        source: a video, a folder of images or an image.
        target: ending in .mp4, .mov or .mkv.
        crf: 0 (lossless) to 51.
        preset: x264's, "ultrafast" to "veryslow".
        progress: called with the number of frames done, after each frame.
        kinds: which of "audio" and "subtitle" to carry over.
        threads: encoder threads, 0 for as many as there are cores.

    Raises:
        UserError: `crf` or `preset` out of range.
        MediaError: the source cannot be read to its end, or the target cannot be written.
    """
    encode_again(source, target, Encoding(crf=crf, preset=preset, threads=threads), progress=progress, kinds=kinds)


def encode_again(
    source: Path | str,
    target: Path | str,
    encoding: Encoding,
    *,
    progress: Callable[[int], None] | None = None,
    kinds: Collection[str] = (),
    frames: int | None = None,
) -> None:
    """Encode `source` into `target`: the same timestamps and colour tags.

    Stored pictures go to the encoder as they are, without a detour over RGB, except those that must be turned upright
    first. The output is 8-bit 4:2:0 (odd sizes: 4:4:4) and appears under its name only when complete.

    Args:
        source: a video, a folder of images or an image.
        target: a container that holds the codec.
        encoding: how.
        progress: called with the number of frames done, after each frame.
        kinds: which of "audio" and "subtitle" to carry over.
        frames: only so many from the beginning; None for all.

    Raises:
        MediaError: the source cannot be read to its end, or the target cannot be written.
    """
    with VideoReader(source) as reader:
        writer = VideoWriter(
            target,
            size=(reader.info.width, reader.info.height),
            time_base=reader.info.time_base,
            rate=reader.info.rate,
            like=reader.info,
            streams_from=None if reader.is_pictures else reader.path,
            kinds=kinds,
            encoding=encoding,
        )
        with writer:
            if reader.is_pictures or not reader.source.upright.is_identity:
                for frame in itertools.islice(reader, frames):
                    writer.write(frame.rgb, frame.time)
                    _report(progress, frame.index + 1)
            else:
                for count, (time, picture, _) in enumerate(itertools.islice(reader.stored_pictures(), frames), start=1):
                    writer.write_picture(picture, time)
                    _report(progress, count)


def _report(progress: Callable[[int], None] | None, count: int) -> None:
    if progress is not None:
        progress(count)


def encode_frames(
    frames: Iterable[Image],
    path: Path | str,
    *,
    rate: Fraction | int,
    crf: float = 17.0,
    encoding: Encoding | None = None,
) -> None:
    """Write pictures, uint8 (H, W, 3) RGB of one size, as a video of constant rate without sound.

    Args:
        frames: the pictures in order; read one at a time.
        path: ending in .mp4, .mov, .mkv or .webm.
        rate: frames per second.
        crf: x264's quality, 0 to 51; not used when `encoding` is given.
        encoding: another codec, preset or pixel format.

    Raises:
        MediaError: no frame, or the target cannot be written.
        UserError: `crf` out of range.
    """
    rate = Fraction(rate)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        msg = f"{path}: not written, there was no frame to write"
        raise MediaError(msg)
    size = (first.shape[1], first.shape[0])
    with VideoWriter(path, size=size, time_base=1 / rate, rate=rate, encoding=encoding or Encoding(crf=crf)) as writer:
        for index, rgb in enumerate(itertools.chain([first], iterator)):
            writer.write(rgb, index / rate)
