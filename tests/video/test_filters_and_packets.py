"""FFmpeg's filters on a video's pictures, and what its stream costs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from keyframes_gan.errors import MediaError, UserError
from keyframes_gan.types import Frame
from keyframes_gan.video.compress import compress, encode_again
from keyframes_gan.video.filters import filtered
from keyframes_gan.video.packets import stream_cost
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding


def pictures(frames: Iterable[Frame]) -> np.ndarray:
    return np.stack([frame.rgb for frame in frames])


def test_a_filter_that_does_nothing_changes_nothing(portrait_video: Path) -> None:
    with VideoReader(portrait_video) as reader:
        plain = list(reader)
    same = list(filtered(portrait_video, "null"))
    assert np.array_equal(pictures(same), pictures(plain))
    assert [(one.index, one.time, one.is_key) for one in same] == [(one.index, one.time, one.is_key) for one in plain]


def test_a_filter_does_what_it_is_named(portrait_video: Path) -> None:
    """Flips are known; colours lie between the pixels of 4:2:0, so one flip is right but for their interpolation, and two are exact."""
    with VideoReader(portrait_video) as reader:
        plain = np.stack([frame.rgb for frame in reader])
    once = pictures(filtered(portrait_video, "vflip")).astype(int)
    assert np.abs(once - plain[:, ::-1]).mean() < 1
    assert np.array_equal(pictures(filtered(portrait_video, "vflip,vflip")), plain)


def test_image_files_are_filtered_without_loss(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (34, 50, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "0.png"), picture[..., ::-1])
    (only,) = filtered(tmp_path / "0.png", "hflip")
    assert np.array_equal(only.rgb, picture[:, ::-1])


def test_deblocking_lowers_the_steps_between_blocks(portrait_video: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    compress(portrait_video, bad, crf=45, preset="ultrafast")
    with VideoReader(bad) as reader:
        before = np.stack([frame.rgb for frame in reader]).astype(float)
    after = pictures(filtered(bad, "deblock=filter=strong:block=8")).astype(float)

    def steps(pictures: np.ndarray) -> float:
        return float(np.abs(pictures[:, :, 8::8] - pictures[:, :, 7:-1:8]).mean())

    assert steps(after) < 0.9 * steps(before)


@pytest.mark.parametrize("description", ["no_such_filter", "deblock=no_option=3", "fps=5", "fps=50", "trim=end_frame=2"])
def test_what_ffmpeg_refuses_is_one_line(portrait_video: Path, description: str) -> None:
    with pytest.raises(UserError, match="expected") as caught:
        list(filtered(portrait_video, description))
    assert "\n" not in str(caught.value)


def test_cost_is_that_of_the_packets(portrait_video: Path) -> None:
    """Counted anew with PyAV: 12 frames, key frames 0, 5 and 10."""
    with av.open(str(portrait_video)) as container:
        sizes = [(packet.size, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    cost = stream_cost(portrait_video)
    assert cost.bits == 8 * sum(size for size, _ in sizes)
    assert cost.key_bits == 8 * sum(size for size, is_key in sizes if is_key)
    assert (cost.frames, cost.key_frames) == (12, (0, 5, 10))
    assert cost.bits < 8 * portrait_video.stat().st_size


def test_key_frames_are_numbered_as_shown(portrait_video: Path, tmp_path: Path) -> None:
    """With B-frames packets come in another order than pictures."""
    other = tmp_path / "b.mp4"
    compress(portrait_video, other, crf=30)
    with VideoReader(other) as reader:
        keys = tuple(frame.index for frame in reader if frame.is_key)
    assert stream_cost(other).key_frames == keys


@pytest.mark.parametrize("gop", [1, 4])
def test_key_frames_come_as_often_as_asked(portrait_video: Path, tmp_path: Path, gop: int) -> None:
    encode_again(portrait_video, tmp_path / "c.mp4", Encoding(crf=30, gop=gop))
    assert stream_cost(tmp_path / "c.mp4").key_frames == tuple(range(0, 12, gop))
    with pytest.raises(UserError, match="gop"):
        Encoding(gop=-1)


def test_image_files_cost_their_bytes(tmp_path: Path) -> None:
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    cost = stream_cost(tmp_path)
    assert cost.bits == 8 * sum(path.stat().st_size for path in tmp_path.iterdir())
    assert (cost.frames, cost.key_bits, cost.key_frames) == (2, 0, ())
    with pytest.raises(MediaError):
        stream_cost(tmp_path / "none.mp4")


def test_steady_compression_gives_the_same_bits(portrait_video: Path, tmp_path: Path) -> None:
    """Without it x264 gives other bits now and then, on processors with AVX-512."""
    made = set()
    for _ in range(12):
        encode_again(portrait_video, tmp_path / "c.mp4", Encoding(crf=42, threads=1, steady=True))
        made.add((tmp_path / "c.mp4").read_bytes())
    assert len(made) == 1
