"""Reading frames at random gives what reading from the start gives, without decoding all that lies before."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from keyframes_gan.errors import MediaError
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.seek import SeekingReader

Make = Callable[..., Any]
CONTAINERS = {
    "clip.mp4": ("libx264", {"crf": "18", "g": "8", "bf": "3"}),
    "clip.mkv": ("libx265", {"crf": "20", "x265-params": "keyint=8:open-gop=1:log-level=none"}),
    "clip.webm": ("libvpx-vp9", {"crf": "30", "b": "0", "g": "8", "cpu-used": "8", "deadline": "realtime"}),
    "clip.ts": ("libx264", {"crf": "18", "g": "8"}),
    "clip.avi": ("mpeg4", {"g": "8", "qmin": "3", "qmax": "3"}),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_any_frames_in_any_order(name: str, make_video: Make, moving: Make) -> None:
    codec, options = CONTAINERS[name]
    pictures = [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p") for rgb in moving((96, 64), 30)]
    path = make_video(name, pictures, codec=codec, options=options)
    expected = [frame.rgb for frame in VideoReader(path)]
    reader = pickle.loads(pickle.dumps(SeekingReader(path)))
    assert len(reader) == 30
    for chosen in ([0], [29], [7, 8, 9], [20, 12, 16, 20], list(range(30))):
        for index, rgb in zip(chosen, reader.read(chosen), strict=True):
            assert np.array_equal(rgb, expected[index]), (name, index)
    assert reader.read([]) == []


def test_uneven_times(make_video: Make, moving: Make) -> None:
    pictures = [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p") for rgb in moving((96, 64), 6)]
    path = make_video("in.mp4", pictures, stamps=[0, 3003, 3004, 90001, 90091, 200003], time_base=Fraction(1, 90000))
    expected = [frame.rgb for frame in VideoReader(path)]
    assert all(np.array_equal(rgb, expected[5 - index]) for index, rgb in enumerate(SeekingReader(path).read([5, 4, 3, 2, 1, 0])))


def test_late_frames_cost_no_more_than_early_ones(make_video: Make, moving: Make) -> None:
    pictures = [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p") for rgb in moving((320, 240), 20)] * 20
    reader = SeekingReader(make_video("long.mp4", pictures, options={"crf": "20", "g": "10", "preset": "ultrafast"}))
    assert len(reader) == 400

    def seconds(index: int) -> float:
        times = []
        for _ in range(3):
            start = time.process_time()
            reader.read([index])
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(395) < 4 * seconds(5)


def test_wrong_numbers_and_files(make_video: Make, moving: Make, tmp_path: Path) -> None:
    pictures = [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p") for rgb in moving((96, 64), 12)]
    path = make_video("in.mkv", pictures, options={"crf": "10", "g": "4"})
    for numbers in ([12], [-1, 3]):
        with pytest.raises(IndexError, match="expected frame numbers from 0 to 11"):
            SeekingReader(path).read(numbers)
    with pytest.raises(MediaError, match="no such file"):
        len(SeekingReader(tmp_path / "gone.mp4"))
    raw = make_video("raw.h264", pictures)
    with pytest.raises(MediaError, match=r"time stamp of their own; convert it to \.mp4"):
        len(SeekingReader(raw))
