"""Frames through every codec and back, in memory."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from keyframes_gan.errors import MediaError, UserError
from keyframes_gan.types import Image
from keyframes_gan.video.compress import compress, encode_frames
from keyframes_gan.video.roundtrip import CODECS, PRESETS, QUALITIES, Codec, roundtrip

Cut = Callable[..., list[Image]]


def psnr_db(first: list[Image], second: list[Image]) -> float:
    return float(10 * np.log10(255**2 / np.square(np.stack(first).astype(float) - np.stack(second)).mean()))


def quality(name: str, part: float) -> float:
    best, worst = QUALITIES[name]
    return best + part * (worst - best)


@pytest.fixture(scope="module")
def cut() -> Cut:
    """Give `cut(width, height, count)`: a public-domain portrait that drifts by a pixel per frame."""
    from skimage.data import astronaut  # noqa: PLC0415  # slow to import

    portrait = astronaut()
    return lambda width, height, count=8: [np.ascontiguousarray(portrait[:height, 100 + i : 100 + i + width]) for i in range(count)]


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_gives_back_each_picture_worse_with_every_step(name: str, cut: Cut) -> None:
    frames = cut(129, 97)  # odd: no codec in 4:2:0 stores it as it is
    done = [roundtrip(frames, Codec(name, crf=quality(name, part), preset="veryfast", gop=3)) for part in (0.1, 0.6, 0.9)]
    for decoded in done:
        assert [picture.shape for picture in decoded.frames] == [(97, 129, 3)] * 8
        assert all(picture.flags.c_contiguous for picture in decoded.frames)
        assert np.flatnonzero(decoded.is_key).tolist() == [0, 3, 6]
    table = [[psnr_db([picture], [frame]) for frame in frames] for picture in done[0].frames]
    assert np.argmax(table, axis=1).tolist() == list(range(8))  # none lost, none moved
    scores = [psnr_db(decoded.frames, frames) for decoded in done]
    assert scores[0] > 36
    assert scores[0] > scores[1] + 2 > scores[2] + 2
    assert done[0].size_bytes > done[1].size_bytes > done[2].size_bytes


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("bitrate", [None, 100_000])
def test_the_same_arguments_give_the_same_pictures(name: str, bitrate: int | None, cut: Cut) -> None:
    frames = cut(160, 160)  # with AVX-512, x264's own defaults fail this
    codec = Codec(name, crf=quality(name, 0.6), bitrate=bitrate, preset="veryfast", gop=5)
    first = roundtrip(frames, codec)
    for _ in range(5):
        again = roundtrip(frames, codec)
        assert again.size_bytes == first.size_bytes
        assert all(np.array_equal(one, other) for one, other in zip(first.frames, again.frames, strict=True))


@pytest.mark.parametrize("name", CODECS)
def test_bitrate_decides_the_size(name: str, cut: Cut) -> None:
    frames = cut(192, 192, 24)
    low, high = (roundtrip(frames, Codec(name, bitrate=rate, preset="veryfast")) for rate in (40_000, 400_000))
    assert 1.8 * low.size_bytes < high.size_bytes
    assert psnr_db(low.frames, frames) + 1 < psnr_db(high.frames, frames)


@pytest.mark.parametrize("name", ["libx264", "libvpx-vp9", "libsvtav1"])
def test_slowest_preset_is_accepted(name: str, cut: Cut) -> None:
    assert len(roundtrip(cut(64, 64, 2), Codec(name, crf=40, preset=PRESETS[-1])).frames) == 2


def test_it_is_what_a_file_would_hold(cut: Cut, tmp_path: Path) -> None:
    frames = cut(128, 96)
    encode_frames(frames, tmp_path / "in.mp4", rate=25, crf=0)
    compress(tmp_path / "in.mp4", tmp_path / "out.mp4", crf=35, threads=1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stored = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    assert psnr_db(roundtrip(frames, Codec(crf=35)).frames, stored) > 40  # against the frames themselves it is 28


def test_one_frame_is_enough(cut: Cut) -> None:
    decoded = roundtrip(cut(64, 48, 1), Codec(crf=30))
    assert (len(decoded.frames), decoded.is_key) == (1, [True])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "h264"}, "codec: expected one of libx264, "),
        ({"preset": "quick"}, "preset: expected one of ultrafast, "),
        ({"crf": 52}, "crf: expected 0 to 51 for libx264, got 52"),
        ({"name": "mpeg4", "crf": 0}, "crf: expected 1 to 31 for mpeg4, got 0"),
        ({"gop": 0}, "gop, rate and bitrate above 0"),
        ({"rate": Fraction(0)}, "gop, rate and bitrate above 0"),
        ({"bitrate": 0}, "gop, rate and bitrate above 0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Codec(**settings)  # type: ignore[arg-type]


def test_frames_that_cannot_be_encoded(cut: Cut) -> None:
    with pytest.raises(MediaError, match="at least one frame"):
        roundtrip([], Codec())
    with pytest.raises(MediaError, match="expected frames of 64x48, got one of 62x48"):
        roundtrip([*cut(64, 48, 1), *cut(62, 48, 1)], Codec())
    with pytest.raises(MediaError, match=r"mpeg4: cannot encode 8192x2 pictures .* choose another codec or another size"):
        roundtrip([np.zeros((2, 8192, 3), np.uint8)], Codec("mpeg4"))  # sides have 13 bits
    with pytest.raises(ValueError, match="expected uint8 RGB"):
        roundtrip([np.zeros((4, 4), np.uint8)], Codec())
