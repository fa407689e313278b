"""Live input through FFmpeg's device demuxers: a camera's pictures, each with the time at which it came.

A thread takes the pictures off the device. `QUEUE` of them wait at most: when restoring is slower than the camera, the newest always joins
them, and the one whose neighbours in time are nearest to each other is dropped and counted. So memory and delay are bounded, the times stay
true, and what is left is spread evenly over the time that was missed, instead of coming in bursts.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.format import ContainerFormat

from keyframes_gan.errors import MediaError
from keyframes_gan.types import Frame
from keyframes_gan.video import color
from keyframes_gan.video.read import Upright, described, video_stream

if TYPE_CHECKING:
    from types import TracebackType

    from av.container import InputContainer
    from av.video.frame import VideoFrame

QUEUE = 32
"""Pictures that wait at most: about a second, so that a clip can be restored meanwhile."""
TICK = Fraction(1, 90_000)
STALL_SECONDS = 10.0
"""Without a picture for so long, the recording ends."""
CLOSE_SECONDS = 2.0
RETRY_SECONDS = 0.005
FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's demuxer of cameras, by `sys.platform`."""


@dataclass(frozen=True)
class Camera:
    """A device, and when to stop by itself: `seconds` after the first picture, or after `max_frames` pictures; None for no limit.

    Raises:
        MediaError: a limit that lets nothing through.
    """

    device: str
    format: str
    seconds: float | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            msg = f"--seconds: expected more than 0, got {self.seconds}"
            raise MediaError(msg)
        if self.max_frames is not None and self.max_frames < 1:
            msg = f"--max-frames: expected at least 1, got {self.max_frames}"
            raise MediaError(msg)

    @classmethod
    def called(cls, name: str, *, platform: str = sys.platform, seconds: float | None = None, max_frames: int | None = None) -> Camera:
        """Return the camera that a user calls `name`: its number, or the device's own name.

        Args:
            name: Linux: 0 for /dev/video0, or a path; macOS: a number or name; Windows: a name.
            platform: as `sys.platform` has it.
            seconds: see `Camera`.
            max_frames: see `Camera`.

        Raises:
            MediaError: a platform whose cameras FFmpeg cannot read, a number on Windows, or a limit out of range.
        """
        if platform not in FORMATS:
            msg = f"--camera: expected Linux, macOS or Windows, got {platform}; record a file first and give it with -i"
            raise MediaError(msg)
        number = name.isascii() and name.isdigit()
        if platform == "win32" and number:
            msg = f"--camera: expected the camera's name on Windows, such as 'Integrated Camera', got {name}"
            raise MediaError(msg)
        device = {"linux": f"/dev/video{name}" if number else name, "darwin": f"{name}:none", "win32": f"video={name}"}[platform]
        return cls(device, FORMATS[platform], seconds, max_frames)


class CameraReader:
    """Reads a camera; a context manager whose frames can be iterated over once. The camera runs from entry to exit.

    `Frame.time` is the wall-clock time, by a clock that never goes back, since the first picture came. No frame is a key frame: none is
    better than the others.

    Args:
        camera: which, and for how long.

    Attributes:
        path: the device.
        info: size, nominal rate and colours of its pictures; set on entry.
        dropped: pictures that gave way to newer ones, because `QUEUE` waited.
        notes: why the recording ended, when nobody asked for it.

    Raises:
        MediaError: on entry, when there is no such camera, this PyAV cannot read cameras, or no picture comes.
    """

    companions_from: Path | None = None
    """The file with sound and subtitles: there is none."""

    def __init__(self, camera: Camera) -> None:
        self.camera, self.path = camera, Path(camera.device)
        self.dropped = 0
        self.notes: list[str] = []
        self._queue: deque[tuple[int, VideoFrame]] = deque()
        self._ready = threading.Condition()
        self._stopping = threading.Event()
        self._ended = False
        self._failure = "the device ended"

    def __enter__(self) -> CameraReader:
        self._container = self._opened()
        try:
            self._stream = video_stream(self._container, self.path)
            self._stream.thread_type = "SLICE"  # frame threads would hold pictures back
        except MediaError:
            self._container.close()
            raise
        self._thread = threading.Thread(target=self._capture, name="camera", daemon=True)
        self._thread.start()
        with self._ready:
            self._ready.wait_for(lambda: self._queue or self._ended, STALL_SECONDS)
            first = self._queue[0][1] if self._queue else None
        if first is None:
            self.close()
            msg = f"--camera: expected pictures from {self.camera.device}, got none in {STALL_SECONDS:.0f} s ({self._failure})"
            raise MediaError(msg)
        self._upright = Upright.of(first)
        info = described(self.path, self._container, self._stream, first)
        self.info = replace(info, time_base=TICK, frames=None, duration=None, audio_streams=0, subtitle_streams=0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def stop(self) -> None:
        """End the recording: what the camera gave until now is still handed out. May be called from a signal handler."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and let go of the device."""
        self.stop()
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        converter = color.Converter()
        for index, (stamp, picture) in enumerate(islice(self._arrivals(), self.camera.max_frames)):
            yield Frame(index, stamp, self._upright.apply(converter.to_rgb(picture)), is_key=False)
        self.stop()

    def _arrivals(self) -> Iterator[tuple[Fraction, VideoFrame]]:
        """Give (time, picture) in the order in which they came, until the recording ends."""
        latest = -1
        while True:
            with self._ready:
                if not self._ready.wait_for(lambda: self._queue or self._ended, STALL_SECONDS):
                    self._failure = f"no picture for {STALL_SECONDS:.0f} s"
                    self._end_early()
                    return
                if not self._queue:
                    return
                nanoseconds, picture = self._queue.popleft()
            latest = max(round(Fraction(nanoseconds, 10**9) / TICK), latest + 1)
            yield latest * TICK, picture

    def _opened(self) -> InputContainer:
        name = self.camera.format
        try:
            ContainerFormat(name, "r")
        except ValueError as error:
            msg = f"--camera: expected a PyAV whose FFmpeg has the input device {name}, got PyAV {av.__version__} without; use -i FILE"
            raise MediaError(msg) from error
        try:
            return av.open(self.camera.device, format=name)
        except (av.FFmpegError, OSError) as error:
            reason = error.strerror or type(error).__name__
            msg = f"--camera: expected a camera at {self.camera.device}, got {reason}; is it plugged in, and free? Or name another one"
            raise MediaError(msg) from error

    def _capture(self) -> None:
        """Fill the queue until somebody stops it, time is up, or the device ends. Runs in a thread of its own."""
        try:
            self._take_all()
        except (av.FFmpegError, OSError) as error:
            self._failure = error.strerror or type(error).__name__
            self._end_early()
        finally:
            with self._ready:
                self._ended = True
                self._ready.notify_all()

    def _take_all(self) -> None:
        first: int | None = None
        most = None if self.camera.seconds is None else round(self.camera.seconds * 10**9)
        for picture in self._pictures():
            now = time.monotonic_ns()
            first = now if first is None else first
            if self._stopping.is_set() or (most is not None and now - first >= most):
                return
            with self._ready:
                self._queue.append((now - first, picture))
                if len(self._queue) > QUEUE:
                    del self._queue[_most_crowded([stamp for stamp, _ in self._queue])]
                    self.dropped += 1
                self._ready.notify()
        if not self._stopping.is_set():
            self._end_early()

    def _pictures(self) -> Iterator[VideoFrame]:
        """Decode, waiting where a device says that it has nothing yet."""
        while not self._stopping.is_set():
            try:
                yield from self._container.decode(self._stream)
            except BlockingIOError:
                time.sleep(RETRY_SECONDS)
            else:
                return

    def _end_early(self) -> None:
        self.notes.append(f"--camera {self.camera.device}: the recording ended by itself ({self._failure})")


def _most_crowded(times: Sequence[int]) -> int:
    """Return which of these growing `times`, neither first nor last, has its neighbours nearest to each other; of equals the oldest."""
    return min(range(1, len(times) - 1), key=lambda index: times[index + 1] - times[index - 1])
