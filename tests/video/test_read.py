from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from keyframes_gan.errors import MediaError
from keyframes_gan.video.packets import count_frames
from keyframes_gan.video.pictures import natural_key
from keyframes_gan.video.read import VideoReader, probe

Make = Callable[..., Any]

# ITU-T H.273: luma weights (Kr, Kb) of the matrix codes.
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}


def closed_form_rgb(y: int, u: int, v: int, space: int, is_full: bool) -> np.ndarray[Any, Any]:
    """ITU-T H.273 equations for 8-bit samples."""
    red_weight, blue_weight = WEIGHTS[space]
    luma = y / 255 if is_full else (y - 16) / 219
    pb, pr = ((u - 128) / (255 if is_full else 224), (v - 128) / (255 if is_full else 224))
    red = luma + 2 * (1 - red_weight) * pr
    blue = luma + 2 * (1 - blue_weight) * pb
    green = (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return np.clip(np.array([red, green, blue]) * 255, 0, 255)


def test_frames_come_in_presentation_order_with_their_indices(make_video: Make, ramp: Make) -> None:
    path = make_video("a.mp4", ramp(30), options={"crf": "1", "bf": "3"})
    with VideoReader(path) as reader:
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(30))
    expected = [closed_form_rgb(20 + 4 * index, 128, 128, 6, False)[0] for index in range(30)]
    assert np.abs(np.array([frame.rgb.mean() for frame in frames]) - expected).max() < 1.5
    assert [frame.time for frame in frames] == [Fraction(index, 25) for index in range(30)]


def test_probe_says_what_the_container_says(make_video: Make, ramp: Make) -> None:
    path = make_video("a.mp4", ramp(10, (62, 34)), rate=Fraction(30000, 1001), time_base=Fraction(1, 30000), stamps=range(0, 10010, 1001))
    info = probe(path)
    assert (info.width, info.height, info.rotation) == (62, 34, 0)
    assert info.time_base == Fraction(1, 30000)
    assert (info.frames, info.codec, info.pixel_format, info.bit_depth) == (10, "h264", "yuv420p", 8)
    assert (info.color_space, info.color_range) == ("unknown", "unknown")
    assert count_frames(path) == 10


def test_variable_rate_times_are_exact(make_video: Make, ramp: Make) -> None:
    stamps = [0, 3003, 3004, 9009, 21021, 21023, 90001, 90091, 200000, 200003]
    path = make_video("vfr.mp4", ramp(10), stamps=stamps, time_base=Fraction(1, 90000))
    assert [frame.time for frame in VideoReader(path)] == [Fraction(stamp, 90000) for stamp in stamps]


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.ts"])
def test_times_start_at_the_first_frame(make_video: Make, ramp: Make, name: str) -> None:
    path = make_video(name, ramp(10), stamps=range(35, 45))
    reader = VideoReader(path)
    assert [frame.time for frame in reader] == [Fraction(index, 25) for index in range(10)]
    assert reader.source.start >= Fraction(35, 25)


@pytest.mark.parametrize(
    "matrix", [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]
)
def test_display_matrix_turns_frames_upright(make_video: Make, flat: Make, matrix: tuple[int, int, int, int]) -> None:
    """The tkhd box is written by hand; the white quarter must land where its equations put it."""
    width, height = 64, 32
    pictures = []
    for _ in range(3):
        picture = flat(16, 128, 128, (width, height), "yuv420p")
        plane = picture.planes[0]
        luma = np.full((height, plane.line_size), 16, np.uint8)
        luma[: height // 2, : width // 2] = 235
        plane.update(luma.tobytes())
        pictures.append(picture)
    path = make_video("turned.mp4", pictures)
    data = bytearray(path.read_bytes())
    a, b, c, d = matrix
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)

    centre = np.array([width / 4 - width / 2, height / 4 - height / 2])
    shown = np.array([a * centre[0] + c * centre[1], b * centre[0] + d * centre[1]])
    size = (width, height) if a else (height, width)
    x, y = (shown + np.array(size) / 2).astype(int)

    with VideoReader(path) as reader:
        frame = next(iter(reader))
    assert (reader.info.width, reader.info.height) == size
    assert frame.rgb.shape == (size[1], size[0], 3)
    assert frame.rgb.flags.c_contiguous
    assert frame.rgb[y, x].min() > 245
    others = [frame.rgb[size[1] - 1 - y, x], frame.rgb[y, size[0] - 1 - x], frame.rgb[size[1] - 1 - y, size[0] - 1 - x]]
    assert max(other.max() for other in others) < 10
    if a * d - b * c == 1:
        assert reader.info.rotation == {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[a, b]


@pytest.mark.parametrize(
    ("space", "full", "pixel_format"),
    list(itertools.product([1, 5, 6, 7, 9], [False, True], ["yuv420p", "yuv444p", "yuv420p10le"])),
)
def test_tagged_colours_follow_the_standard(make_video: Make, flat: Make, space: int, full: bool, pixel_format: str) -> None:
    for number, (y, u, v) in enumerate([(81, 90, 200), (145, 54, 60), (100, 180, 110), (180, 128, 128)]):
        pictures = [flat(y, u, v, (48, 32), pixel_format)]
        path = make_video(f"c{number}.mkv", pictures, codec="ffv1", options={}, tags={"colorspace": space, "color_range": 2 if full else 1})
        rgb = next(iter(VideoReader(path))).rgb
        assert np.abs(rgb - closed_form_rgb(y, u, v, space, full)).max() <= 1.5
        assert np.ptp(rgb, axis=(0, 1)).max() <= 1


@pytest.mark.parametrize(("size", "space"), [((64, 48), 6), ((64, 718), 6), ((64, 720), 1), ((1280, 64), 6)])
def test_untagged_matrix_is_assumed_by_lines(make_video: Make, flat: Make, size: tuple[int, int], space: int) -> None:
    path = make_video("u.mkv", [flat(81, 90, 200, size, "yuv420p")], codec="ffv1", options={})
    assert probe(path).color_space == "unknown"
    assert np.abs(next(iter(VideoReader(path))).rgb - closed_form_rgb(81, 90, 200, space, False)).max() <= 1.5


@pytest.mark.parametrize("pixel_format", ["gray", "gray10le", "yuv420p", "yuv444p", "yuv420p10le"])
def test_grey_stays_grey(make_video: Make, flat: Make, pixel_format: str) -> None:
    path = make_video(
        "g.mkv", [flat(level, 128, 128, (50, 30), pixel_format) for level in (16, 77, 126, 200, 235)], codec="ffv1", options={}
    )
    for level, frame in zip((16, 77, 126, 200, 235), VideoReader(path), strict=True):
        assert np.all(frame.rgb[..., 0] == frame.rgb[..., 1])
        assert np.all(frame.rgb[..., 1] == frame.rgb[..., 2])
        expected = level if pixel_format.startswith("gray") else (level - 16) / 219 * 255
        assert np.abs(frame.rgb - expected).max() <= 1


def test_grey_tagged_limited_is_expanded(make_video: Make, flat: Make) -> None:
    path = make_video("g.mkv", [flat(126, 0, 0, (50, 30), "gray")], codec="ffv1", options={}, tags={"color_range": 1})
    assert np.abs(next(iter(VideoReader(path))).rgb - (126 - 16) / 219 * 255).max() <= 1


@pytest.mark.parametrize("pixel_format", ["bgr0", "gbrp10le"])
def test_stored_rgb_is_not_changed(make_video: Make, pixel_format: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    path = make_video("r.mkv", [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixel_format)], codec="ffv1", options={})
    assert np.abs(next(iter(VideoReader(path))).rgb.astype(int) - rgb).max() <= (0 if pixel_format == "bgr0" else 1)


@pytest.mark.parametrize("width", [33, 388, 422, 700])
def test_frames_are_contiguous_at_padded_widths(make_video: Make, ramp: Make, width: int) -> None:
    path = make_video("w.mkv", ramp(2, (width, 20)), codec="ffv1", options={})
    for frame in VideoReader(path):
        assert frame.rgb.shape == (20, width, 3)
        assert frame.rgb.flags.c_contiguous


def test_key_frames_are_the_key_packets(make_video: Make, ramp: Make) -> None:
    path = make_video("k.mp4", ramp(24), options={"crf": "20", "g": "7", "bf": "2", "x264-params": "scenecut=0"})
    with av.open(str(path)) as container:
        expected = sorted(packet.pts * packet.time_base for packet in container.demux(video=0) if packet.size and packet.is_keyframe)
    found = [frame.time for frame in VideoReader(path) if frame.is_key]
    assert found == expected
    assert len(found) == 4


def test_reading_twice_starts_again_and_close_ends_an_iteration(make_video: Make, ramp: Make) -> None:
    path = make_video("a.mp4", ramp(12))
    with VideoReader(path) as reader:
        assert len(list(reader)) == len(list(reader)) == 12
        half = reader.stored_pictures()
        next(half)
    assert list(half) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", {"movflags": "+faststart"}), ("a.mkv", {}), ("a.avi", {}), ("a.mov", {"movflags": "+faststart"})],
)
def test_truncated_gives_the_good_frames_then_says_how_many(
    make_video: Make, tmp_path: Path, moving: Make, name: str, options: dict[str, str]
) -> None:
    pictures = [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p") for rgb in moving((96, 64), 40)]
    whole = make_video(name, pictures, options={"crf": "5", "bf": "0", "g": "5"}, container_options=options)
    cut = tmp_path / f"cut{whole.suffix}"
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 6 // 10])
    count = 0
    with pytest.raises(MediaError) as caught:
        for _ in VideoReader(cut):
            count += 1
    assert 5 < count < 40
    assert f"only {count}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov", "a.webm"])
def test_whole_files_are_not_called_truncated(make_video: Make, ramp: Make, name: str) -> None:
    codec = {"a.webm": "libvpx-vp9"}.get(name, "libx264")
    path = make_video(name, ramp(8), codec=codec, options={"crf": "20", "bf": "0"} if codec == "libx264" else {"deadline": "realtime"})
    assert len(list(VideoReader(path))) == 8


def test_truncated_before_the_index_cannot_be_opened(make_video: Make, tmp_path: Path, ramp: Make) -> None:
    data = make_video("a.mp4", ramp(20)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="cannot be read as a video"):
        probe(tmp_path / "cut.mp4")


def _sound_only(path: Path) -> None:
    with av.open(str(path), "w") as output:
        track = output.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        output.mux(track.encode(frame))
        output.mux(track.encode(None))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.mp4", None, "no such file"),
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"hello, world\n" * 200, "cannot be read as a video"),
        ("text.txt", b"hello, world\n" * 200, "not a video"),
        ("list.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "video"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://localhost:1/a.ts\n", "video"),
        ("zeros.mp4", bytes(5000), "video"),
        ("sound.mp4", "sound", "no video stream"),
        ("missing.png", None, "no such file"),
        ("bad.png", b"not a png", "not an image"),
        ("empty.png", b"", "not an image"),
        ("nothing", "folder", "no images"),
    ],
)
@pytest.mark.parametrize("ask", [probe, count_frames])
def test_bad_input_is_one_clear_line(tmp_path: Path, name: str, content: Any, said: str, ask: Callable[[Path], object]) -> None:
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content == "sound":
        _sound_only(path)
    elif content is not None:
        path.write_bytes(content)
    if ask is count_frames and name in ("bad.png", "empty.png"):
        pytest.skip("counting images does not open them")
    with pytest.raises(MediaError) as caught:
        ask(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_natural_order() -> None:
    assert sorted(["f10.png", "f2.png", "F1.png", "a.png"], key=natural_key) == ["a.png", "F1.png", "f2.png", "f10.png"]


def test_folder_of_images_is_a_video(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (10, 2, 1):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((20, 30, 3), (0, 0, number), np.uint8))
    (folder / ".part-1-11.png").write_bytes(b"half")
    (folder / "notes.txt").write_text("x")
    reader = VideoReader(folder, rate=Fraction(30000, 1001))
    frames = list(reader)
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [1, 2, 10]
    assert [frame.time for frame in frames] == [Fraction(1001 * index, 30000) for index in range(3)]
    assert all(frame.is_key and frame.rgb.flags.c_contiguous for frame in frames)
    assert (reader.info.width, reader.info.height, reader.info.frames, count_frames(folder)) == (30, 20, 3, 3)
    assert len(list(VideoReader(folder / "2.png"))) == 1


def test_image_of_another_size_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 30, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "2.png"), np.zeros((22, 30, 3), np.uint8))
    with pytest.raises(MediaError, match=r"2\.png: is 30x22, expected 30x20"):
        list(VideoReader(tmp_path))


def test_deep_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.full((20, 30, 3), 0x8080, np.uint16))
    cv2.imwrite(str(tmp_path / "2.png"), np.full((20, 30, 4), 0x80, np.uint8))
    for frame in VideoReader(tmp_path):
        assert np.all(frame.rgb == 0x80)


def test_a_real_clip(clips_dir: Path) -> None:
    path = clips_dir / "special" / "keep_real_1.mp4"
    with av.open(str(path)) as container:
        stamps = sorted(packet.pts * packet.time_base for packet in container.demux(video=0) if packet.size)
    assert [frame.time for frame in VideoReader(path)] == [stamp - stamps[0] for stamp in stamps]


def test_a_title_that_is_no_utf8_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "title.mp4"
    with av.open(str(path), "w") as output:
        output.metadata["title"] = "abcXY"
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        output.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"abcXY", b"abc\xff\xfe"))
    with VideoReader(path) as reader:
        assert len(list(reader)) == 1
