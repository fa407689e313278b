"""Streams of a conference client: what is drawn keeps to its ranges and fits together; what comes out looks as it should."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from data.conference import CRF_RANGES, Client, Stream, through
from keyframes_gan.types import Image
from keyframes_gan.video.roundtrip import Codec

COUNT = 300


def streams(client: Client, frame: int = 150, number: int = 600) -> list[Stream]:
    rng = np.random.default_rng(0)
    return [client.draw(rng, frame, COUNT, Fraction(30)) for _ in range(number)]


@pytest.fixture(scope="module")
def faces() -> list[Image]:
    from skimage.data import astronaut  # noqa: PLC0415  # slow to import

    portrait = astronaut()
    return [np.ascontiguousarray(portrait[40:200, 140 + i : 300 + i]) for i in range(4)]


def psnr_db(first: list[Image], second: list[Image]) -> float:
    return float(10 * np.log10(255**2 / np.square(np.stack(first).astype(float) - np.stack(second)).mean()))


def test_draws_keep_to_their_ranges() -> None:
    made = streams(Client(gop_range=(10, 40)))
    names = Counter(stream.codec.name for stream in made)
    for name, expected in zip(CRF_RANGES, (0.5, 0.15, 0.1, 0.15, 0.1), strict=True):
        assert names[name] / 600 == pytest.approx(expected, abs=0.07)  # over 3 standard deviations
    for stream in made:
        best, worst = CRF_RANGES[stream.codec.name]
        assert best <= stream.codec.crf <= worst
        assert 10 <= stream.codec.gop <= 40
        assert stream.bits_per_pixel is None or 0.02 <= stream.bits_per_pixel <= 0.2
        assert stream.scale == 1 or 0.5 <= stream.scale <= 0.9
        assert stream.codec.rate == 30
    assert np.mean([stream.bits_per_pixel is not None for stream in made]) == pytest.approx(0.3, abs=0.06)
    assert np.mean([stream.scale != 1 for stream in made]) == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("frame", [0, 3, 150, 299])
def test_frames_of_a_stream_fit_together(frame: int) -> None:
    lost = 0
    for stream in streams(Client(gop_range=(5, 40), p_drop=0.5), frame):
        last, gop = stream.keys[-1], stream.codec.gop
        assert stream.frame == frame in stream.shown
        assert list(stream.shown) == sorted(set(stream.shown))
        assert max(last, frame - 7) == stream.shown[0]
        assert frame <= stream.shown[-1] <= min(frame + 2, last + gop - 1, 299)
        switched = stream.scale != stream.earlier_scale
        regular = stream.keys[:-1] if switched else stream.keys
        assert regular[-1] <= frame
        assert set(np.diff(regular).tolist()) <= {gop}
        assert 0 <= regular[0] < gop
        if switched:
            assert stream.earlier_scale == 1
            assert regular[-1] < last > frame - 8
        lost += len(stream.shown) < stream.shown[-1] - stream.shown[0] + 1
    assert lost > 30


def test_key_frames_lie_anywhere() -> None:
    distances = [150 - stream.keys[-1] for stream in streams(Client(gop_range=(20, 20), p_scale=0))]
    assert set(distances) == set(range(20))


def test_chances_of_nothing_give_nothing() -> None:
    for stream in streams(Client(p_bitrate=0, p_drop=0, p_scale=0), number=100):
        assert stream.bits_per_pixel is None
        assert stream.scale == stream.earlier_scale == 1
        assert stream.shown == tuple(range(stream.shown[0], stream.shown[-1] + 1))


def test_lower_resolutions_and_rates_look_worse(faces: list[Image]) -> None:
    codec = Codec(crf=20, preset="veryfast")
    full, half = through(faces, codec), through(faces, codec, scale=0.5)
    assert [picture.shape for picture in half] == [(160, 160, 3)] * 4
    assert psnr_db(half, faces) + 2 < psnr_db(full, faces)
    assert psnr_db(half, faces) > 24  # in its place, not shifted: a shift of one pixel alone costs more
    rich, poor = (psnr_db(through(faces, codec, bits_per_pixel=bits), faces) for bits in (1.0, 0.02))
    assert poor + 3 < rich


def test_pictures_do_not_become_too_small_for_any_encoder(faces: list[Image]) -> None:
    small = [np.ascontiguousarray(face[:80, :70]) for face in faces]
    shown = through(small, Codec("libsvtav1", crf=40), scale=0.1)
    assert [picture.shape for picture in shown] == [(80, 70, 3)] * 4


def test_options_are_read_by_name() -> None:
    made = Client.of({"codecs": ["mpeg4"], "codec_prob": [1.0], "crf_range": {"mpeg4": [3, 4]}, "window": 3, "other": 1})
    assert made == Client(codecs=("mpeg4",), codec_prob=(1.0,), crf_range={"mpeg4": [3, 4]}, window=3)
    assert {stream.codec.crf for stream in streams(made, number=30)} == {3, 4}
