from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from keyframes_gan.errors import MediaError, UserError
from keyframes_gan.video.compress import compress, encode_again, encode_frames
from keyframes_gan.video.write import Encoding

Make = Callable[..., Any]


def test_same_times_same_sound_smaller_picture(make_video: Make, moving: Make, facts: Make, video_facts: Make, tmp_path: Path) -> None:
    stamps = [0, 3003, 3004, 9009, 21021, 21023, 90001, 90091, 200000, 200003]
    pictures = [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p") for rgb in moving((96, 64), 10)]
    source = make_video("in.mp4", pictures, stamps=stamps, time_base=Fraction(1, 90000), audio=["aac"], tags={"colorspace": 1})
    done: list[int] = []
    compress(source, tmp_path / "out.mp4", crf=42, progress=done.append)
    before, after = facts(source), facts(tmp_path / "out.mp4")
    assert [time for time, _ in after["0:video"]] == [time for time, _ in before["0:video"]] == [Fraction(stamp, 90000) for stamp in stamps]
    assert after["1:audio"] == before["1:audio"]
    assert sum(len(data) for _, data in after["0:video"]) < 0.5 * sum(len(data) for _, data in before["0:video"])
    assert done == list(range(1, 11))
    assert video_facts(tmp_path / "out.mp4")["tags"] == video_facts(source)["tags"]


def test_crf_0_stores_the_very_samples(make_video: Make, moving: Make, tmp_path: Path) -> None:
    pictures = [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p") for rgb in moving((96, 64), 5)]
    source = make_video("in.mp4", pictures)
    compress(source, tmp_path / "out.mp4", crf=0)
    with av.open(str(source)) as first, av.open(str(tmp_path / "out.mp4")) as second:
        for before, after in zip(first.decode(video=0), second.decode(video=0), strict=True):
            assert np.array_equal(before.to_ndarray(), after.to_ndarray())


def test_deep_full_range_and_odd_sources(make_video: Make, flat: Make, video_facts: Make, tmp_path: Path) -> None:
    deep = make_video("deep.mkv", [flat(100, 110, 140, (65, 47), "yuv420p10le")] * 1, codec="ffv1", options={})
    compress(deep, tmp_path / "deep.mp4", crf=10)
    found = video_facts(tmp_path / "deep.mp4")
    assert (found["size"], found["pixel_format"], found["frames"]) == ((65, 47), "yuv444p", 1)
    full = make_video("full.mp4", [flat(100, 110, 140, (64, 48), "yuv420p")], tags={"color_range": 2, "colorspace": 1})
    compress(full, tmp_path / "full_out.mp4", crf=0)
    with av.open(str(tmp_path / "full_out.mp4")) as container:
        picture = next(container.decode(video=0))
    assert int(picture.color_range) == 2
    assert abs(int(np.frombuffer(picture.planes[0], np.uint8)[5]) - 100) <= 1


def test_folder_of_images(video_facts: Make, tmp_path: Path) -> None:
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64, 3), 40 * index, np.uint8))
    compress(tmp_path, tmp_path / "out.mp4", crf=30)
    assert video_facts(tmp_path / "out.mp4")["frames"] == 3


@pytest.mark.parametrize("crf", [-1, 52])
def test_crf_out_of_range(make_video: Make, ramp: Make, tmp_path: Path, crf: int) -> None:
    with pytest.raises(UserError, match=f"expected 0 .* to 51 .* got {crf}"):
        compress(make_video("in.mp4", ramp(2)), tmp_path / "out.mp4", crf=crf)


def test_truncated_source_leaves_no_output(make_video: Make, moving: Make, tmp_path: Path) -> None:
    pictures = [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p") for rgb in moving((96, 64), 40)]
    source = make_video("in.mp4", pictures, container_options={"movflags": "+faststart"})
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(MediaError, match="truncated"):
        compress(source, tmp_path / "out.mp4", crf=30)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9"])
def test_a_limited_rate_is_kept(make_video: Make, moving: Make, tmp_path: Path, codec: str) -> None:
    """Three seconds of noisy pictures; without a limit they take many times as much."""
    noise = np.random.default_rng(0).integers(-20, 20, (75, 64, 96, 3))
    pictures = [np.clip(rgb.astype(int) + more, 0, 255).astype(np.uint8) for rgb, more in zip(moving((96, 64), 75), noise, strict=True)]
    frames = [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p") for rgb in pictures]
    source = make_video("in.mp4", frames)
    sizes = []
    for bitrate in (0, 60_000):
        encode_again(
            source, tmp_path / "out.mp4", Encoding(codec=codec, crf=15, preset="veryfast", threads=1, steady=True, bitrate=bitrate)
        )
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert container.streams.video[0].codec_context.name == codec
            sizes.append(8 * sum(packet.size for packet in container.demux(video=0)))
    assert sizes[0] > 3 * sizes[1]
    assert 0.5 * 180_000 < sizes[1] < 1.7 * 180_000  # three seconds are short to keep a rate in: VP9 overshoots by half


def test_the_beginning_alone(make_video: Make, ramp: Make, video_facts: Make, tmp_path: Path) -> None:
    encode_again(make_video("in.mp4", ramp(10)), tmp_path / "out.mp4", Encoding(), frames=4)
    assert video_facts(tmp_path / "out.mp4")["frames"] == 4


def test_bitrates_that_cannot_be(ramp: Make) -> None:
    for codec, bitrate in (("av1", 1000), ("h264", -1)):
        with pytest.raises(UserError, match=r"bitrate: expected 0 \(none\) or bits per second"):
            Encoding(codec=codec, bitrate=bitrate)


def test_in_place(make_video: Make, ramp: Make, video_facts: Make) -> None:
    path = make_video("in.mp4", ramp(10), audio=["aac"])
    compress(path, path, crf=30)
    assert video_facts(path)["frames"] == 10


def test_frames_are_taken_one_at_a_time(moving: Make, tmp_path: Path) -> None:
    taken: list[int] = []

    def frames() -> Any:
        for index, rgb in enumerate(moving((64, 48), 5)):
            taken.append(index)
            yield rgb

    encode_frames(frames(), tmp_path / "out.mp4", rate=25)
    assert taken == [0, 1, 2, 3, 4]
