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
from keyframes_gan.video.compress import compress
from keyframes_gan.video.filters import filtered
from keyframes_gan.video.packets import count_frames, stream_cost
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


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9"), ("b.mkv", "libx265")])
def test_a_recording_that_begins_between_key_frames(name: str, codec: str, make_video: Make, flat: Make, tmp_path: Path) -> None:
    """Every reader numbers its frames from the first one that can be decoded."""
    options = {"libx265": {"x265-params": "keyint=8:min-keyint=8:open-gop=1:log-level=none"}}.get(
        codec, {"g": "8", "sc_threshold": "0", "crf": "20"}
    )
    whole = make_video(name, [flat(20 + 10 * index, 128, 128, (96, 64), "yuv420p") for index in range(20)], codec=codec, options=options)
    path = tmp_path / f"cut{Path(name).suffix}"
    with av.open(str(whole)) as given, av.open(str(path), "w") as kept:
        stream = kept.add_stream_from_template(given.streams.video[0])
        for packet in [one for one in given.demux(video=0) if one.size][5:]:
            packet.stream = stream
            kept.mux(packet)
    expected = list(VideoReader(path))
    assert 0 < len(expected) < 15
    assert expected[0].is_key
    cost = stream_cost(path)
    assert count_frames(path) == cost.frames == len(expected)
    assert cost.key_frames == tuple(frame.index for frame in expected if frame.is_key)
    got = SeekingReader(path).read(range(len(expected)))
    assert all(np.array_equal(rgb, frame.rgb) for rgb, frame in zip(got, expected, strict=True))


def two_sizes(path: Path, moving: Make) -> Path:
    """A call that begins at 96x64 and goes on, after the network got worse, at 48x32."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libvpx-vp9", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for part, size in enumerate(((96, 64), (48, 32))):
            encoder = av.CodecContext.create("libvpx-vp9", "w")
            encoder.width, encoder.height = size
            encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
            encoder.options = {"crf": "20", "b": "0", "lag-in-frames": "0", "deadline": "realtime"}
            packets = []
            for index, rgb in enumerate(moving((96, 64), 5)):
                picture = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(*size, format="yuv420p", interpolation="AREA")
                picture.pts, picture.time_base = 5 * part + index, Fraction(1, 25)
                packets += encoder.encode(picture)
            for packet in [*packets, *encoder.encode(None)]:
                packet.stream = stream
                output.mux(packet)
    return path


def test_pictures_that_change_their_size_are_brought_to_the_first_ones(tmp_path: Path, moving: Make) -> None:
    path = two_sizes(tmp_path / "call.webm", moving)
    reader = VideoReader(path)
    frames = list(reader)
    assert [frame.rgb.shape for frame in frames] == [(64, 96, 3)] * 10
    assert [frame.index for frame in frames if frame.is_key] == [0, 5]
    assert reader.notes == ["pictures change from 96x64 to 48x32 at 0.200 s; from there on they are scaled to the first size"]
    wanted = moving((96, 64), 1)[0].astype(int)
    for frame in (frames[0], frames[5]):
        assert np.abs(frame.rgb - wanted).mean() < 8
    assert all(np.array_equal(rgb, frame.rgb) for rgb, frame in zip(SeekingReader(path).read(range(10)), frames, strict=True))
    again = tmp_path / "again.mp4"
    compress(path, again, crf=20)
    assert [frame.rgb.shape for frame in VideoReader(again)] == [(64, 96, 3)] * 10
    assert len(list(filtered(path, "deblock"))) == 10
