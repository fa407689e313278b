"""Live input: FFmpeg's own test sources stand in for cameras, through the same device demuxers as these."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import pytest

from keyframes_gan.errors import MediaError
from keyframes_gan.video import camera
from keyframes_gan.video.camera import QUEUE, TICK, Camera, CameraReader

NUMBERED = "color=c=black:s=64x48:r=25:d={seconds},geq=lum='N+20':cb=128:cr=128,format=yuv420p"
"""Picture N is grey, its luma N + 20, given as fast as it can be made."""


def numbers(reader: CameraReader) -> list[int]:
    """The numbers of the pictures that come, by their grey: limited-range luma (BT.601)."""
    return [round(float(frame.rgb.mean()) * 219 / 255 + 16) - 20 for frame in reader]


def test_pictures_come_at_the_times_of_the_clock() -> None:
    start = time.monotonic()
    with CameraReader(Camera("testsrc2=size=160x120:rate=25,realtime", "lavfi", max_frames=12)) as reader:
        frames = list(reader)
    elapsed = time.monotonic() - start
    info = reader.info
    assert (info.width, info.height, info.rate, info.time_base) == (160, 120, 25, TICK)
    assert (info.frames, info.duration, info.audio_streams) == (None, None, 0)
    assert [frame.index for frame in frames] == list(range(12))
    assert {frame.rgb.shape for frame in frames} == {(120, 160, 3)}
    assert not any(frame.is_key for frame in frames)
    times = [frame.time for frame in frames]
    assert times[0] == 0
    assert times == sorted(set(times))
    assert all((each / TICK).denominator == 1 for each in times)
    assert 0.2 < times[-1] < elapsed
    assert reader.notes == []
    assert reader.dropped == 0


def test_when_nobody_takes_them_few_stay_evenly_spread_the_newest_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 pictures a second apart 32 stay, 6.4 seconds apart on average."""
    seconds = iter(range(10_000))
    monkeypatch.setattr(camera.time, "monotonic_ns", lambda: next(seconds) * 10**9)
    with CameraReader(Camera(NUMBERED.format(seconds=8), "lavfi")) as reader:
        reader._thread.join()
        found = numbers(reader)
    assert (len(found), found[0], found[-1]) == (QUEUE, 0, 199)
    gaps = [after - before for before, after in pairwise(found)]
    assert 3 <= min(gaps) <= max(gaps) <= 8
    assert reader.dropped == 200 - QUEUE
    (note,) = reader.notes
    assert "the recording ended by itself (the device ended)" in note


def test_it_ends_after_so_many_seconds_or_when_stopped() -> None:
    with CameraReader(Camera("testsrc2=size=64x48:rate=50,realtime", "lavfi", seconds=0.3)) as reader:
        times = [frame.time for frame in reader]
    assert 0 < times[-1] < 0.3
    with CameraReader(Camera("testsrc2=size=64x48:rate=50,realtime", "lavfi")) as reader:
        for frame in reader:
            if frame.index == 5:
                reader.stop()
        assert 5 <= frame.index <= 5 + QUEUE
    assert reader.notes == []


def test_times_go_on_where_two_pictures_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera.time, "monotonic_ns", lambda: 7)
    with CameraReader(Camera(NUMBERED.format(seconds=0.2), "lavfi")) as reader:
        assert [frame.time for frame in reader] == [index * Fraction(1, 90_000) for index in range(5)]


class Wrapped:
    """A container of FFmpeg's test source whose `decode` does what a test says."""

    def __init__(self, decode: Any) -> None:
        self._inside = av.open(NUMBERED.format(seconds=0.4), format="lavfi")
        self._decode = decode
        self.closed = False

    def decode(self, stream: Any) -> Iterator[Any]:
        pictures: Iterator[Any] = self._decode(self._inside, stream)
        return pictures

    def close(self) -> None:
        self.closed = True
        self._inside.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inside, name)


def reader_of(decode: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[CameraReader, Wrapped]:
    container = Wrapped(decode)
    monkeypatch.setattr(camera.av, "open", lambda *_, **__: container)
    return CameraReader(Camera("fake", "lavfi")), container


def test_a_device_that_has_nothing_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(inside: Any, stream: Any) -> Iterator[Any]:
        for number, picture in enumerate(inside.decode(stream)):
            yield picture
            if number % 2:
                raise av.error.BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    reader, container = reader_of(decode, monkeypatch)
    with reader:
        assert numbers(reader) == list(range(10))
    assert container.closed


def test_a_camera_that_is_unplugged_ends_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(inside: Any, stream: Any) -> Iterator[Any]:
        for _, picture in zip(range(5), inside.decode(stream), strict=False):
            yield picture
        raise av.error.OSError(errno.ENODEV, "No such device")

    reader, _ = reader_of(decode, monkeypatch)
    with reader:
        assert numbers(reader) == list(range(5))
    assert reader.notes == ["--camera fake: the recording ended by itself (No such device)"]


@pytest.mark.parametrize("before", [0, 3])
def test_a_camera_that_hangs_is_not_waited_for(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(camera, "CLOSE_SECONDS", 0.1)
    released = threading.Event()

    def decode(inside: Any, stream: Any) -> Iterator[Any]:
        for _, picture in zip(range(before), inside.decode(stream), strict=False):
            yield picture
        released.wait(20)

    reader, container = reader_of(decode, monkeypatch)
    if before:
        with reader:
            assert len(list(reader)) == before
        assert len(reader.notes) == 1
    else:
        with pytest.raises(MediaError, match="--camera: expected pictures from fake, got none in 0 s"):
            reader.__enter__()
    assert not container.closed
    released.set()
    reader._thread.join()
    container.close()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Camera("/dev/no_such_camera", "v4l2"), "expected a camera at /dev/no_such_camera, got No such file"),
        (Camera("0", "no_such_input"), "expected a PyAV whose FFmpeg has the input device no_such_input"),
        (Camera("no_such_filter", "lavfi"), "expected a camera at no_such_filter, got Filter not found"),
        (Camera("sine=d=1", "lavfi"), "has no video stream"),
    ],
)
def test_what_cannot_be_opened_is_one_line(given: Camera, words: str) -> None:
    if given.format == "v4l2" and "video4linux2,v4l2" not in av.formats_available:
        pytest.skip("this PyAV has no v4l2 input")
    with pytest.raises(MediaError) as told, CameraReader(given):
        pass
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "platform", "device", "kind"),
    [
        ("0", "linux", "/dev/video0", "v4l2"),
        ("/dev/v4l/by-id/cam", "linux", "/dev/v4l/by-id/cam", "v4l2"),
        ("1", "darwin", "1:none", "avfoundation"),
        ("Integrated Camera", "win32", "video=Integrated Camera", "dshow"),
    ],
)
def test_what_a_camera_is_called(name: str, platform: str, device: str, kind: str) -> None:
    found = Camera.called(name, platform=platform)
    assert (found.device, found.format) == (device, kind)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "0", "platform": "win32"}, "the camera's name on Windows"),
        ({"name": "0", "platform": "sunos5"}, "expected Linux, macOS or Windows, got sunos5"),
        ({"name": "0", "platform": "linux", "seconds": 0.0}, "--seconds: expected more than 0, got 0.0"),
        ({"name": "0", "platform": "linux", "seconds": float("nan")}, "--seconds: expected more than 0"),
        ({"name": "0", "platform": "linux", "max_frames": 0}, "--max-frames: expected at least 1, got 0"),
    ],
)
def test_wrong_values_name_their_flag(given: dict[str, Any], words: str) -> None:
    with pytest.raises(MediaError, match=words):
        Camera.called(**given)
