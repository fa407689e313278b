"""Whole files through the whole pipeline: what a container says goes in, and what it says comes out.

Sources are made, and all expected times, counts, sounds and samples are read, with PyAV alone. Faces come by script.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.types import FaceClip
from keyframes_gan.video.write import Encoding

TAGS = ("colorspace", "color_range", "color_primaries", "color_trc")
QUICK = Encoding(crf=8, preset="ultrafast")
LOSSLESS = Encoding(codec="ffv1")
NTSC = Fraction(30000, 1001)
TEXT = "1\n00:00:00,200 --> 00:00:00,600\nHello\n\n2\n00:00:00,800 --> 00:00:01,000\nBye\n\n"


def settings(**given: Any) -> Settings:
    return Settings(**{"restorer": "recorder", "encoding": QUICK, "smoothing": 0, **given})


def brighter(clip: FaceClip) -> npt.NDArray[np.uint8]:
    return np.clip(clip.crops.astype(np.int16) + 40, 0, 255).astype(np.uint8)


def as_picture(rgb: npt.NDArray[np.uint8], pixel_format: str = "yuv420p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixel_format)


def flat(luma: int, pixel_format: str, size: tuple[int, int] = (128, 96)) -> av.VideoFrame:
    """A grey picture, its luma samples given as they are stored."""
    picture = av.VideoFrame(*size, pixel_format)
    kind, middle = (np.uint16, 512) if "10" in pixel_format else (np.uint8, 128)
    for plane, value in zip(picture.planes, (luma, middle, middle), strict=False):
        plane.update(np.full(plane.buffer_size // np.dtype(kind).itemsize, value, kind).tobytes())
    return picture


def make(
    path: Path,
    pictures: Sequence[av.VideoFrame],
    *,
    codec: str = "libx264",
    stamps: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    options: dict[str, str] | None = None,
    tags: Sequence[int] = (),
    sounds: Sequence[str] = (),
    text: str = "",
) -> Path:
    """Write pictures, mono tones in the languages `sounds`, and subtitles."""
    with av.open(str(path), "w") as output:
        quick = {"crf": "8", "preset": "ultrafast"} if codec == "libx264" else {}
        stream = output.add_stream(codec, rate=25, options=quick if options is None else options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = pictures[0].width, pictures[0].height, pictures[0].format.name
        context.time_base = time_base
        for key, value in zip(TAGS, tags, strict=False):
            setattr(context, key, value)
        tracks = [output.add_stream("aac", rate=48000, layout="mono", bit_rate=64000) for _ in sounds]
        for track, language in zip(tracks, sounds, strict=True):
            track.metadata["language"] = language
        lines = av.open(str(_written(path.with_suffix(".srt"), text))) if text else None
        subtitles = output.add_stream_from_template(lines.streams.subtitles[0]) if lines else None
        for stamp, picture in zip(stamps or range(len(pictures)), pictures, strict=True):
            picture.pts, picture.time_base = stamp, time_base
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
        for number, track in enumerate(tracks):
            output.mux(_tone(track, 440 * (number + 1)))
        for packet in lines.demux() if lines else ():
            if packet.size:
                packet.stream = subtitles
                output.mux(packet)
        if lines:
            lines.close()
    return path


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _tone(track: Any, pitch: float) -> list[Any]:
    """A second of sound, encoded."""
    packets = []
    for first in range(0, 48000, 1024):
        wave = np.sin(2 * np.pi * pitch * (first + np.arange(1024)) / 48000).astype(np.float32) * 0.3
        samples = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = 48000, first, Fraction(1, 48000)
        packets += track.encode(samples)
    return packets + track.encode(None)


def packets(path: Path) -> dict[str, list[tuple[Fraction, bytes]]]:
    """Per stream, "video 0" and so on: the (time, bytes) of its packets in order of time, times from the first picture's on."""
    found: dict[str, list[tuple[Fraction, bytes]]] = {}
    with av.open(str(path)) as container:
        names = {}
        for kind in ("video", "audio", "subtitle"):
            same = [stream for stream in container.streams if stream.type == kind]
            names |= {stream.index: f"{kind} {number}" for number, stream in enumerate(same)}
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                found.setdefault(names[packet.stream.index], []).append((packet.pts * packet.time_base, bytes(packet)))
    start = min(time for time, _ in found["video 0"])
    return {name: sorted((time - start, data) for time, data in given) for name, given in found.items()}


def times(path: Path) -> list[Fraction]:
    return [time for time, _ in packets(path)["video 0"]]


def planes(path: Path) -> list[list[npt.NDArray[np.uint8]]]:
    """The samples of every picture, plane by plane, as they are stored."""

    def samples(plane: Any) -> npt.NDArray[np.uint8]:
        return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]

    with av.open(str(path)) as container:
        return [[samples(plane).copy() for plane in frame.planes] for frame in container.decode(video=0)]


def told(path: Path, question: Callable[[Any], Any]) -> Any:
    """What PyAV answers about the first video stream."""
    with av.open(str(path)) as container:
        return question(container.streams.video[0])


UNEVEN = (0, 1, 2, 5, 6, 9, 10, 11, 30, 31, 33, 34)
TIMES: dict[str, tuple[str, dict[str, Any]]] = {
    "constant": ("in.mp4", {}),
    "29.97 a second": ("in.mp4", {"time_base": 1 / NTSC}),
    "variable, in 1/90000 s": ("in.mp4", {"time_base": Fraction(1, 90000), "stamps": [3003 * step + step % 7 for step in UNEVEN]}),
    "variable, in milliseconds": ("in.mkv", {"time_base": Fraction(1, 1000), "stamps": [33 * step + step % 3 for step in UNEVEN]}),
    "pictures stored out of order": ("in.mp4", {"options": {"bf": "3", "preset": "medium"}, "stamps": UNEVEN}),
    "late start": ("in.mkv", {"stamps": range(40, 52)}),
    "transport stream": ("in.ts", {}),
    "every picture by itself": ("in.avi", {"codec": "mjpeg"}),
}


@pytest.mark.parametrize("case", TIMES)
def test_every_frame_keeps_its_time(case: str, tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any) -> None:
    name, given = TIMES[case]
    pixel_format = "yuvj420p" if name.endswith("avi") else "yuv420p"
    source = make(tmp_path / name, [as_picture(rgb, pixel_format) for rgb in moving(12)], **given)
    follow(lambda _: [(0, face(64, 42, 20))])
    recorder = record(brighter)
    outcome = restore_video(source, tmp_path / "out.mp4", settings(), progress=False)
    assert times(tmp_path / "out.mp4") == times(source)
    assert len(times(source)) == outcome.frames == sum(len(clip) for clip in recorder.clips) == 12


def test_one_frame(tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any) -> None:
    source = make(tmp_path / "in.mp4", [as_picture(rgb) for rgb in moving(1)])
    follow(lambda _: [(0, face(64, 42, 20))])
    recorder = record(brighter)
    restore_video(source, tmp_path / "out.mp4", settings(), progress=False)
    assert times(tmp_path / "out.mp4") == times(source) == [0]
    assert [len(clip) for clip in recorder.clips] == [1]


@pytest.mark.parametrize("languages", [(), ("eng",), ("eng", "ita")])
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_sounds_and_subtitles_come_along(
    name: str, languages: tuple[str, ...], tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any
) -> None:
    """Packets byte by byte, at their distance from the picture; MP4 keeps text in another form, so there only the words are compared."""
    pictures = [as_picture(rgb) for rgb in moving(25)]
    source = make(tmp_path / "in.mkv", pictures, sounds=languages, text=TEXT)
    follow(lambda index: [(0, face(64, 42, 20))] if index > 5 else [])
    record(brighter)
    outcome = restore_video(source, tmp_path / name, settings(), progress=False)
    before, after = packets(source), packets(tmp_path / name)
    assert sorted(before) == sorted(after) == sorted(["video 0", *(f"audio {i}" for i in range(len(languages))), "subtitle 0"])
    for i in range(len(languages)):
        given, kept = before[f"audio {i}"], after[f"audio {i}"]
        assert [data for _, data in kept] == [data for _, data in given]
        assert all(abs(time - other) <= Fraction(1, 1000) for (time, _), (other, _) in zip(kept, given, strict=True))
    said = [(time, data[-5:].strip()) for time, data in after["subtitle 0"] if len(data) > 2]
    assert [(time, words.endswith(text)) for (time, words), text in zip(said, (b"Hello", b"Bye"), strict=True)] == [
        (Fraction(1, 5), True),
        (Fraction(4, 5), True),
    ]
    assert [note.split(": ")[1] for note in outcome.notes] == (["srt -> mov_text"] if name.endswith("mp4") else [])
    with av.open(str(tmp_path / name)) as container:
        assert tuple(stream.metadata["language"] for stream in container.streams.audio) == languages


# Where a display matrix (a, b, c, d) of ISO/IEC 14496-12 shows the stored pixel (x, y) of a picture of (width, height).
TURNS: dict[str, tuple[tuple[int, int, int, int], Callable[[int, int, int, int], tuple[int, int]]]] = {
    "90": ((0, 1, -1, 0), lambda x, y, _, height: (height - 1 - y, x)),
    "180": ((-1, 0, 0, -1), lambda x, y, width, height: (width - 1 - x, height - 1 - y)),
    "270": ((0, -1, 1, 0), lambda x, y, width, _: (y, width - 1 - x)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_turned_videos_are_restored_upright_and_stay_so(
    turn: str, tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any
) -> None:
    """A white spot marks where the face is; the output has no display matrix, but the spot and the face where it would put them."""
    (a, b, c, d), shown_at = TURNS[turn]
    width, height = 160, 96
    stored = moving(6, (width, height))
    for rgb in stored:
        rgb[36:44, 46:54] = 255
    path = make(tmp_path / "in.mp4", [as_picture(rgb) for rgb in stored])
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    x, y = shown_at(50, 40, width, height)
    follow(lambda _: [(0, face(x, y, 12))])
    recorder = record(lambda clip: 255 - clip.crops)
    restore_video(path, tmp_path / "out.mp4", settings(), progress=False)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 6
    for frame in frames:
        assert (frame.width, frame.height) == ((height, width) if b else (width, height))
        assert frame.side_data.get("DISPLAYMATRIX") is None
        assert frame.to_ndarray(format="gray")[y - 2 : y + 3, x - 2 : x + 3].max() < 40
    for clip in recorder.clips:
        eyes = clip.landmarks[:, 36:48].mean(axis=1).round().astype(int)
        assert all(crop[eye[1], eye[0]].min() > 240 for crop, eye in zip(clip.crops, eyes, strict=True))


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p10le", "yuv444p10le"])
def test_ten_bits_are_read_as_ten(pixel_format: str, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    lumas = [64, 100, 333, 504, 800, 940]
    source = make(tmp_path / "in.mkv", [flat(luma, pixel_format) for luma in lumas], codec="ffv1")
    follow(lambda _: [(0, face(64, 42, 20))])
    recorder = record()
    restore_video(source, tmp_path / "out.mkv", settings(encoding=LOSSLESS), progress=False)
    assert [told(path, lambda stream: stream.pix_fmt) for path in (source, tmp_path / "out.mkv")] == [pixel_format, "yuv420p"]
    for luma, (y, u, v) in zip(lumas, planes(tmp_path / "out.mkv"), strict=True):
        assert np.abs(y.astype(float) - luma / 4).max() <= 1
        assert (u == 128).all()
        assert (v == 128).all()
    seen = [crop for clip in recorder.clips for crop in clip.crops]
    for luma, crop in zip(lumas, seen, strict=True):
        assert np.abs(crop.astype(float) - np.clip((luma / 4 - 16) * 255 / 219, 0, 255)).max() <= 1


@pytest.mark.parametrize("size", [(127, 95), (128, 95), (127, 96)])
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_odd_sizes_stay_odd(name: str, size: tuple[int, int], tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any) -> None:
    pictures = moving(5, size)
    source = make(tmp_path / "in.mkv", [as_picture(rgb) for rgb in pictures], codec="ffv1")
    follow(lambda _: [(0, face(64, 42, 12))])
    record(brighter)
    restore_video(source, tmp_path / name, settings(encoding=LOSSLESS if name.endswith("mkv") else QUICK), progress=False)
    assert told(tmp_path / name, lambda stream: (stream.width, stream.height)) == size
    with av.open(str(tmp_path / name)) as container:
        for frame, given in zip(container.decode(video=0), pictures, strict=True):
            change = frame.to_ndarray(format="rgb24").astype(int) - given
            assert change[38:50, 58:70].mean() > 25
            assert np.abs(change[85:]).mean() < 5


def sources_of_grey(tmp_path: Path) -> dict[str, Path]:
    ramp = [20 + 30 * step for step in range(6)]
    grey, coloured = [flat(value, "gray") for value in ramp], [flat(value, "yuv420p") for value in ramp]
    return {
        "gray": make(tmp_path / "gray.mkv", grey, codec="ffv1"),
        "yuv420p": make(tmp_path / "yuv.mp4", coloured),
        "yuvj420p": make(tmp_path / "yuvj.mp4", [flat(value, "yuvj420p") for value in ramp]),
    }


@pytest.mark.parametrize("pixel_format", ["gray", "yuv420p", "yuvj420p"])
def test_grey_stays_grey(pixel_format: str, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    source = sources_of_grey(tmp_path)[pixel_format]
    assert told(source, lambda stream: stream.pix_fmt) == pixel_format
    follow(lambda _: [(0, face(64, 42, 20))])
    record(brighter)
    restore_video(source, tmp_path / "out.mp4", settings(encoding=Encoding(crf=0)), progress=False)
    got = planes(tmp_path / "out.mp4")
    assert len(got) == 6
    for y, u, v in got:
        assert y[42, 64] > y[0, 0] + 20
        assert (u == 128).all()
        assert (v == 128).all()


@pytest.mark.parametrize("tags", [(1, 1, 1, 1), (1, 2, 1, 13), (6, 1, 6, 6), (9, 1, 9, 16), (2, 0, 2, 2)])
def test_colours_and_their_tags_are_kept(
    tags: tuple[int, int, int, int], tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any
) -> None:
    """Matrix, range, primaries, transfer, H.273's numbers. Samples far from the face differ by rounding only."""
    source = make(tmp_path / "in.mp4", [as_picture(rgb) for rgb in moving(4)], tags=tags)
    follow(lambda _: [(0, face(64, 42, 12))])
    record(brighter)
    restore_video(source, tmp_path / "out.mp4", settings(encoding=Encoding(crf=0)), progress=False)
    for path in (source, tmp_path / "out.mp4"):
        assert told(path, lambda stream: tuple(getattr(stream.codec_context, key) for key in TAGS)) == tags
    for given, got in zip(planes(source), planes(tmp_path / "out.mp4"), strict=True):
        assert np.abs(got[0][80:].astype(int) - given[0][80:]).mean() < 1.5
        assert got[0][42, 64] > given[0][42, 64] + 20


def test_no_face_is_a_copy_with_everything_in_it(tmp_path: Path, follow: Any, record: Any, moving: Any) -> None:
    stamps = [2 * step for step in UNEVEN]
    pictures = [flat(20 + 10 * step, "yuv420p") for step in range(12)]
    source = make(tmp_path / "in.mkv", pictures, codec="ffv1", stamps=stamps, sounds=["eng", "ita"], text=TEXT, tags=(1, 1, 1, 1))
    follow(lambda _: [])
    recorder = record(brighter)
    outcome = restore_video(source, tmp_path / "out.mkv", settings(no_face="copy", encoding=LOSSLESS), progress=False)
    assert (outcome.frames, outcome.faces, outcome.people, recorder.clips) == (12, 0, 0, [])
    before, after = packets(source), packets(tmp_path / "out.mkv")
    assert times(tmp_path / "out.mkv") == times(source)
    assert {name: [data for _, data in after[name]] for name in after if name != "video 0"} == {
        name: [data for _, data in before[name]] for name in before if name != "video 0"
    }
    for given, got in zip(planes(source), planes(tmp_path / "out.mkv"), strict=True):
        for one, other in zip(given, got, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cut", [None, 15])
def test_people_who_cross_are_each_restored_along_their_own_path(
    cut: int | None, tmp_path: Path, follow: Any, record: Any, face: Any, moving: Any
) -> None:
    """They walk 200 pixels in opposite directions and are one above the other in the middle; after a cut they are other tracks."""
    count = 30
    source = make(tmp_path / "in.mp4", [as_picture(rgb) for rgb in moving(count, (256, 96))])

    def path(person: int, index: int) -> tuple[float, float]:
        along = 200 * index / (count - 1)
        return (28 + along, 38) if person == 0 else (228 - along, 50)

    def script(index: int) -> list[tuple[int, Any]]:
        later = 2 if cut is not None and index >= cut else 0
        return [(person + later, face(*path(person, index), 14)) for person in (0, 1)]

    follow(
        script, cuts=[] if cut is None else [cut], identity=lambda points: 1 if points[:, 1].mean() < face(0, 44, 14)[:, 1].mean() else 2
    )
    recorder = record(brighter)
    outcome = restore_video(source, tmp_path / "out.mp4", settings(), progress=False)
    assert (outcome.people, outcome.faces) == (2, 2 * count)
    assert times(tmp_path / "out.mp4") == times(source)
    for person in (0, 1):
        clips = sorted((clip for clip in recorder.clips if clip.track_id == person), key=lambda clip: clip.first)
        assert [clip.first + at for clip in clips for at in range(len(clip))] == list(range(count))
        assert cut is None or all(clip.first >= cut or clip.first + len(clip) <= cut for clip in clips)
        for clip in clips:
            eyes = clip.landmarks[:, 36:48].mean(axis=1)
            for at, (eye, matrix) in enumerate(zip(eyes, clip.to_crop, strict=True)):
                back = np.linalg.solve(matrix[:, :2], eye - matrix[:, 2])
                np.testing.assert_allclose(back, path(person, clip.first + at), atol=0.01)
    for given, got, index in zip(planes(source), planes(tmp_path / "out.mp4"), itertools.count(), strict=False):
        for person in (0, 1):
            x, y = (round(value) for value in path(person, index))
            assert got[0][y, x] > given[0][y, x] + 20
