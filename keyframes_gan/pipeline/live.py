"""Where frames come from: a file, or a camera, whose recording Ctrl-C ends."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyframes_gan.video.camera import Camera, CameraReader
from keyframes_gan.video.read import VideoReader

if TYPE_CHECKING:
    from collections.abc import Iterator

Source = Path | Camera
Reader = VideoReader | CameraReader


def reader_of(source: Source, *, any_size: bool = False) -> Reader:
    """Return a reader of a file, a folder of images, an image or a camera. A camera is opened when the reader is entered.

    Args:
        source: where frames come from.
        any_size: the images of a folder may differ in size.

    Raises:
        MediaError: the file cannot be read.
    """
    return VideoReader(source, any_size=any_size) if isinstance(source, Path) else CameraReader(source)


@contextlib.contextmanager
def ctrl_c_ends(reader: Reader) -> Iterator[None]:
    """Make the first Ctrl-C end a camera's recording instead of the program; the second is as ever.

    Nothing changes for files, nor outside of the main thread, which signals do not reach.
    """
    if isinstance(reader, VideoReader) or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(_number: int, _frame: Any) -> None:  # noqa: ANN401  # as the signal module has it
        signal.signal(signal.SIGINT, before)
        reader.stop()

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
