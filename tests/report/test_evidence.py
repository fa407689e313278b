"""Pictures of versions: the right frames, the right boxes, the right lines."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from keyframes_gan.errors import MediaError
from keyframes_gan.report.evidence import choose_moments, find_differences, gather
from keyframes_gan.video.compress import encode_frames
from keyframes_gan.video.write import Encoding

LOSSLESS = Encoding(codec="ffv1", pixel_format="bgr0")


def frames(count: int = 10, *, marked: bool = False) -> list[np.ndarray]:
    """Frame t is grey of level 20 + 10 t, with a ramp in green; marked ones have a white square at (60..92, 20..52)."""
    made = []
    for index in range(count):
        picture = np.full((96, 128, 3), 20 + 10 * index, np.uint8)
        picture[..., 1] = np.arange(128)
        if marked:
            picture[20:52, 60:92] = 255
        made.append(picture)
    return made


@pytest.fixture
def versions(tmp_path: Path) -> dict[str, Path]:
    encode_frames(frames(), tmp_path / "in.mkv", rate=25, encoding=LOSSLESS)
    encode_frames(frames(marked=True), tmp_path / "out.mkv", rate=25, encoding=LOSSLESS)
    return {"original": tmp_path / "in.mkv", "input": tmp_path / "in.mkv", "restored": tmp_path / "out.mkv"}


@pytest.mark.parametrize(
    ("count", "keys", "wanted"),
    [
        (100, range(0, 100, 10), (0, 30, 60, 90)),
        (9, (0,), (0, 2, 4, 8)),
        (3, (), (0, 1, 2)),
        (1, (0,), (0,)),
        (100, (0, 50), (0, 25, 50, 99)),
    ],
)
def test_moments_are_key_frames_first(count: int, keys: range | tuple[int, ...], wanted: tuple[int, ...]) -> None:
    assert choose_moments(count, tuple(keys), 4) == wanted


def test_the_close_up_is_where_the_versions_differ(versions: dict[str, Path]) -> None:
    evidence = gather(versions, before="input", after="restored")
    first = evidence.close_ups[0]
    assert first.box == (60, 20, 92, 52)
    assert (first.pictures["restored"] == 255).all()
    assert (first.pictures["input"][..., 1] == np.arange(60, 92)).all()
    assert {picture.shape for picture in first.pictures.values()} == {(32, 32, 3)}


def test_the_profile_is_one_line_over_time(versions: dict[str, Path]) -> None:
    profile = gather(versions, before="input", after="restored").profile
    line = profile.pictures["input"]
    assert (profile.y, profile.x0, line.shape) == (36, 0, (10, 128, 3))
    assert (line[:, 0, 0] == 20 + 10 * np.arange(10)).all()
    assert (profile.pictures["restored"][:, 60:92] == 255).all()


def test_the_comparison_plays(versions: dict[str, Path], tmp_path: Path) -> None:
    evidence = gather(versions, before="input", after="restored")
    (tmp_path / "c.mp4").write_bytes(evidence.video)
    with av.open(str(tmp_path / "c.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.frames) == (3 * 128, 96, 10)
    assert evidence.shown == ("input", "restored", "original")
    assert evidence.frames == 10
    assert [one.index for one in evidence.moments] == sorted(one.index for one in evidence.moments)


def test_a_smaller_input_is_enlarged(versions: dict[str, Path], tmp_path: Path) -> None:
    encode_frames([picture[::2, ::2].copy() for picture in frames()], tmp_path / "small.mkv", rate=25, encoding=LOSSLESS)
    evidence = gather({**versions, "input": tmp_path / "small.mkv"}, before="input", after="restored")
    assert {picture.shape for one in evidence.moments for picture in one.pictures.values()} == {(96, 128, 3)}


def test_versions_of_other_length_are_named(versions: dict[str, Path], tmp_path: Path) -> None:
    encode_frames(frames(7), tmp_path / "short.mkv", rate=25, encoding=LOSSLESS)
    with pytest.raises(MediaError, match=r"short\.mkv: expected as many frames"):
        gather({**versions, "input": tmp_path / "short.mkv"}, before="input", after="restored")


def test_equal_versions_have_close_ups_too(versions: dict[str, Path]) -> None:
    assert len(gather({"a": versions["input"], "b": versions["input"]}, before="a", after="b").close_ups) == 2


def test_second_place_does_not_overlap_the_first() -> None:
    first, second = np.zeros((100, 100, 3), np.uint8), np.zeros((100, 100, 3), np.uint8)
    second[10:42, 10:42] = 200
    second[60:92, 60:92] = 100
    assert find_differences([(first, first), (first, second)]) == (1, [(10, 10, 42, 42), (60, 60, 92, 92)])
