"""High-quality key frames for the file form: the original video is read beside the compressed one, and gives a picture when one is due."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from keyframes_gan.errors import MediaError
from keyframes_gan.keyframes.sent import EverySoOften, KeyPlan
from keyframes_gan.video.read import VideoReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from keyframes_gan.types import Frame, Image, VideoInfo

SHARE_OF_FRAME = Fraction(1, 4)
"""Frames belong together when their times differ by less than this part of the interval between frames."""


class OriginalKeys:
    """Plays the sender: knows the original, and hands out its picture where a key frame is due. A context manager.

    Args:
        path: the original, frame for frame the video that is restored.
        plan: how often.
        info: of the video that is restored.

    Raises:
        MediaError: the original is not there, or of another size.
    """

    def __init__(self, path: Path, plan: KeyPlan, info: VideoInfo) -> None:
        self._reader = VideoReader(path)
        self._is_due = EverySoOften(plan.seconds)
        self._frames: Iterator[Frame] = iter(())
        own, self._other = self._reader.info, info.path
        self._tolerance = SHARE_OF_FRAME / info.rate
        if (own.width, own.height) != (info.width, info.height):
            sizes = f"{info.width}x{info.height} as {info.path}, got {own.width}x{own.height}"
            msg = f"--key_source: expected the original of {sizes}; give the video that was compressed"
            raise MediaError(msg)

    def __enter__(self) -> OriginalKeys:
        self._frames = iter(self._reader.__enter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._reader.__exit__(kind, error, trace)

    def take(self, frame: Frame) -> Image | None:
        """Go on to the original of `frame`, the next one; return its picture when a key frame is due.

        Raises:
            MediaError: the original has ended, or goes by other times.
        """
        own = next(self._frames, None)
        if own is None or abs(own.time - frame.time) > self._tolerance:
            got = "the end of the video" if own is None else f"one at {float(own.time):.3f} s"
            msg = f"--key_source: expected a frame at {float(frame.time):.3f} s as {self._other} has, got {got} in {self._reader.path}"
            raise MediaError(msg)
        return own.rgb if self._is_due(frame.time) else None
