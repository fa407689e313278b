from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from keyframes_gan.errors import MediaError, UserError
from keyframes_gan.video.compress import encode_frames
from keyframes_gan.video.read import VideoReader, probe
from keyframes_gan.video.write import Encoding, VideoWriter

Make = Callable[..., Any]
LOSSLESS = Encoding(codec="ffv1", pixel_format="yuv444p")


def copy_through(source: Path, target: Path, encoding: Encoding | None = None) -> VideoWriter:
    """The pipeline's use: every frame read, written with its time, everything else carried over."""
    with VideoReader(source) as reader:
        size = (reader.info.width, reader.info.height)
        writer = VideoWriter(
            target,
            size=size,
            time_base=reader.info.time_base,
            rate=reader.info.rate,
            like=reader.info,
            streams_from=source,
            encoding=encoding,
        )
        with writer:
            for frame in reader:
                writer.write(frame.rgb, frame.time)
    return writer


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_times_and_sound_are_the_sources(make_video: Make, ramp: Make, facts: Make, tmp_path: Path, name: str) -> None:
    stamps = [0, 40, 41, 90, 133, 500, 501, 777, 900, 1000]
    source = make_video("in.mp4", ramp(10), stamps=stamps, time_base=Fraction(1, 1000), audio=["aac", "aac"], seconds=1.5)
    target = tmp_path / f"out_{name}"
    copy_through(source, target)
    before, after = facts(source), facts(target)
    shift = after["0:video"][0][0] - before["0:video"][0][0]
    assert shift == 0 or name == "a.mkv"
    assert [time - shift for time, _ in after["0:video"]] == [time for time, _ in before["0:video"]]
    for track in ("1:audio", "2:audio"):
        assert [data for _, data in after[track]] == [data for _, data in before[track]]
        tolerance = Fraction(1, 1000) if name == "a.mkv" else 0
        differences = [new - shift - old for (new, _), (old, _) in zip(after[track], before[track], strict=True)]
        assert max(abs(difference) for difference in differences) <= tolerance
    with av.open(str(target)) as container:
        assert [track.metadata.get("language") for track in container.streams.audio] == ["eng", "ita"]


@pytest.mark.parametrize(("source_name", "target_name"), [("in.ts", "out.mp4"), ("in.mp4", "out.mp4"), ("in.mkv", "out.mp4")])
def test_late_start_keeps_picture_and_sound_together(
    make_video: Make, ramp: Make, facts: Make, tmp_path: Path, source_name: str, target_name: str
) -> None:
    source = make_video(source_name, ramp(20), stamps=range(10, 30), audio=["aac"], seconds=1.0)
    copy_through(source, tmp_path / target_name)
    before, after = facts(source), facts(tmp_path / target_name)
    gap_before = before["0:video"][0][0] - before["1:audio"][0][0]
    gap_after = after["0:video"][0][0] - after["1:audio"][0][0]
    assert gap_before > Fraction(1, 5)
    assert abs(gap_after - gap_before) <= Fraction(1, 1000)
    assert len(after["1:audio"]) == len(before["1:audio"])


@pytest.mark.parametrize("seconds", [0.2, 4.0])
def test_sound_longer_or_shorter_than_the_picture_is_whole(
    make_video: Make, ramp: Make, facts: Make, tmp_path: Path, seconds: float
) -> None:
    source = make_video("in.mp4", ramp(25), audio=["aac"], seconds=seconds)
    copy_through(source, tmp_path / "out.mp4")
    assert facts(tmp_path / "out.mp4")["1:audio"] == facts(source)["1:audio"]


def test_packets_are_interleaved(make_video: Make, moving: Make, tmp_path: Path) -> None:
    pictures = [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p") for rgb in moving((64, 48), 150)]
    source = make_video("in.mp4", pictures, audio=["aac"], seconds=6)
    copy_through(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        places = sorted((packet.pos, packet.stream.type, packet.dts * packet.time_base) for packet in container.demux() if packet.size)
    latest = {"video": Fraction(0), "audio": Fraction(0)}
    for _, kind, time in places:
        latest[kind] = time
        assert abs(latest["video"] - latest["audio"]) < Fraction(6, 10)


@pytest.mark.parametrize(
    ("codec", "target_name", "expected"),
    [
        ("pcm_mulaw", "out.mp4", "aac"),
        ("wmav2", "out.mp4", "aac"),
        ("libmp3lame", "out.mp4", "mp3"),
        ("pcm_s16le", "out.mkv", "pcm_s16le"),
        ("libopus", "out.mov", "aac"),
        ("aac", "out.webm", "opus"),
    ],
)
def test_refused_sound_is_encoded_again(make_video: Make, ramp: Make, tmp_path: Path, codec: str, target_name: str, expected: str) -> None:
    container = {"wmav2": "in.asf", "pcm_mulaw": "in.mov"}.get(codec, "in.mkv")
    source = make_video(container, ramp(30), audio=[codec], seconds=2.0, options={"crf": "20", "bf": "0"})
    target = tmp_path / target_name
    encoding = Encoding(codec="av1", preset="ultrafast", crf=30) if target.suffix == ".webm" else None
    writer = copy_through(source, target, encoding)
    with av.open(str(target)) as output:
        track = output.streams.audio[0]
        assert track.codec_context.name in (expected, f"lib{expected}", f"{expected}float")
        blocks = [(frame.pts * frame.time_base, frame.to_ndarray(), frame.format.is_packed) for frame in output.decode(track)]
        rate = track.codec_context.sample_rate
    wave = np.concatenate([block.reshape(-1) for _, block, _ in blocks]).astype(np.float64)
    assert abs(len(wave) / rate - 2.0) < 0.1
    assert abs(blocks[0][0]) < Fraction(1, 10)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    assert abs(np.argmax(spectrum) * rate / len(wave) - 440) < 2
    assert bool(writer.reencoded) == (codec in ("pcm_mulaw", "wmav2", "aac") or target.suffix == ".mov")


def _with_subtitles(video: Path, target: Path, text_codec: str = "subrip") -> None:
    """Remux `video` and add two lines of SubRip text."""
    lines = target.with_suffix(".srt")
    lines.write_text("1\n00:00:00,200 --> 00:00:00,600\nHello\n\n2\n00:00:00,800 --> 00:00:01,000\nWörld\n\n", encoding="utf-8")
    with av.open(str(video)) as first, av.open(str(lines)) as second, av.open(str(target), "w") as output:
        video_out = output.add_stream_from_template(first.streams.video[0])
        text_out = output.add_stream_from_template(second.streams.subtitles[0])
        text_out.metadata["language"] = "fra"
        for packet in first.demux(video=0):
            if packet.size:
                packet.stream = video_out
                output.mux(packet)
        for packet in second.demux(subtitles=0):
            if packet.size:
                packet.stream = text_out
                output.mux(packet)


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_subtitles_are_carried(make_video: Make, ramp: Make, facts: Make, tmp_path: Path, name: str) -> None:
    source = tmp_path / "subs.mkv"
    _with_subtitles(make_video("in.mp4", ramp(30)), source)
    copy_through(source, tmp_path / name)
    found = [entry for entry in facts(tmp_path / name)["1:subtitle"] if len(entry[1]) > 2]
    assert [time for time, _ in found] == [Fraction(1, 5), Fraction(4, 5)]
    assert [data[-6:].endswith(text.encode()) for (_, data), text in zip(found, ("Hello", "Wörld"), strict=True)] == [True, True]
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.subtitles[0].metadata["language"] == "fra"


def test_subtitles_can_go_back_from_mp4_to_matroska(make_video: Make, ramp: Make, facts: Make, tmp_path: Path) -> None:
    source = tmp_path / "subs.mkv"
    _with_subtitles(make_video("in.mp4", ramp(30)), source)
    copy_through(source, tmp_path / "middle.mp4")
    copy_through(tmp_path / "middle.mp4", tmp_path / "out.mkv")
    assert [data for _, data in facts(tmp_path / "out.mkv")["1:subtitle"]] == [b"Hello", "Wörld".encode()]


def test_what_no_container_form_exists_for_is_an_error(make_video: Make, ramp: Make, tmp_path: Path) -> None:
    source = tmp_path / "subs.mkv"
    _with_subtitles(make_video("in.mp4", ramp(30)), source)
    with pytest.raises(MediaError, match=r"cannot hold the \w+ subtitle stream .* \.mkv"):
        copy_through(source, tmp_path / "out.webm", Encoding(codec="av1"))
    assert not (tmp_path / "out.webm").exists()


@pytest.mark.parametrize("tags", [(1, 1, 1, 1), (1, 2, 1, 13), (6, 1, 6, 6), (5, 2, 5, 6), (9, 1, 9, 16), (2, 0, 2, 2)])
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_colour_tags_are_kept(
    make_video: Make, ramp: Make, video_facts: Make, tmp_path: Path, tags: tuple[int, int, int, int], name: str
) -> None:
    keys = ("colorspace", "color_range", "color_primaries", "color_trc")
    source = make_video("in.mp4", ramp(3), tags=dict(zip(keys, tags, strict=True)))
    copy_through(source, tmp_path / name)
    assert video_facts(source)["tags"] == tags
    assert video_facts(tmp_path / name)["tags"] == tags


def test_the_matrix_is_spelled_out_when_the_size_would_change_it(make_video: Make, ramp: Make, video_facts: Make, tmp_path: Path) -> None:
    info = probe(make_video("in.mp4", ramp(2)))
    with VideoWriter(tmp_path / "big.mp4", size=(64, 720), time_base=Fraction(1, 25), rate=Fraction(25), like=info) as writer:
        writer.write(np.zeros((720, 64, 3), np.uint8), Fraction(0))
    assert video_facts(tmp_path / "big.mp4")["tags"][0] == 6


def test_sample_aspect_ratio_is_kept(make_video: Make, ramp: Make, video_facts: Make, tmp_path: Path) -> None:
    source = make_video("in.mp4", ramp(3), tags={"sample_aspect_ratio": Fraction(4, 3)})
    copy_through(source, tmp_path / "out.mp4")
    assert video_facts(tmp_path / "out.mp4")["aspect"] == Fraction(4, 3)


@pytest.mark.parametrize("space", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("color_range", ["tv", "pc"])
def test_stored_samples_follow_the_standard(make_video: Make, ramp: Make, tmp_path: Path, space: str, color_range: str) -> None:
    """ITU-T H.273, from RGB to samples."""
    code = {"bt709": 1, "smpte170m": 6, "bt2020nc": 9}[space]
    red_weight, blue_weight = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[code]
    tags = {"colorspace": code, "color_range": 2 if color_range == "pc" else 1}
    info = probe(make_video("in.mkv", ramp(1), tags=tags))
    red, green, blue = 200, 90, 40
    rgb = np.full((48, 64, 3), (red, green, blue), np.uint8)
    encoding = Encoding(codec="ffv1")
    with VideoWriter(
        tmp_path / "out.mkv", size=(64, 48), time_base=Fraction(1, 25), rate=Fraction(25), like=info, encoding=encoding
    ) as writer:
        writer.write(rgb, Fraction(0))
    luma = (red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue) / 255
    pb, pr = (blue / 255 - luma) / (2 - 2 * blue_weight), (red / 255 - luma) / (2 - 2 * red_weight)
    full = color_range == "pc"
    expected = [luma * 255 if full else 16 + 219 * luma, *(128 + value * (255 if full else 224) for value in (pb, pr))]
    with av.open(str(tmp_path / "out.mkv")) as container:
        picture = next(container.decode(video=0))
    stored = [int(np.frombuffer(plane, np.uint8)[plane.line_size * 5 + 5]) for plane in picture.planes]
    assert np.abs(np.array(stored) - expected).max() <= 1


@pytest.mark.parametrize("encoding", [LOSSLESS, Encoding(crf=0, pixel_format="yuv444p"), Encoding(codec="ffv1", pixel_format="bgr0")])
@pytest.mark.parametrize("size", [(96, 64), (96, 720)])
def test_round_trip(moving: Make, tmp_path: Path, encoding: Encoding, size: tuple[int, int]) -> None:
    pictures = moving(size, 3)
    encode_frames(pictures, tmp_path / "out.mkv", rate=25, encoding=encoding)
    for rgb, frame in zip(pictures, VideoReader(tmp_path / "out.mkv"), strict=True):
        assert np.abs(frame.rgb.astype(int) - rgb).max() <= (0 if encoding.pixel_format == "bgr0" else 2)


def test_luma_survives_reading_and_writing(make_video: Make, moving: Make, tmp_path: Path) -> None:
    pictures = [av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p") for rgb in moving((96, 64), 3)]
    source = make_video("in.mkv", pictures, codec="ffv1", options={})
    copy_through(source, tmp_path / "out.mkv", Encoding(codec="ffv1"))
    with av.open(str(source)) as first, av.open(str(tmp_path / "out.mkv")) as second:
        for before, after in zip(first.decode(video=0), second.decode(video=0), strict=True):
            one, two = before.to_ndarray().astype(int), after.to_ndarray().astype(int)
            assert np.abs(one[:64] - two[:64]).max() <= 1
            assert np.abs(one - two).max() <= 6


@pytest.mark.parametrize("size", [(97, 64), (96, 63), (97, 63), (31, 17)])
@pytest.mark.parametrize("codec", ["h264", "hevc", "ffv1"])
def test_odd_sizes_keep_their_size(moving: Make, video_facts: Make, tmp_path: Path, size: tuple[int, int], codec: str) -> None:
    path = tmp_path / "odd.mkv"
    pictures = moving(size, 4)
    encode_frames(pictures, path, rate=25, encoding=Encoding(codec=codec, crf=4, preset="ultrafast"))
    assert video_facts(path)["size"] == size
    assert video_facts(path)["frames"] == 4
    error = np.array([frame.rgb.astype(float) - rgb for frame, rgb in zip(VideoReader(path), pictures, strict=True)])
    assert 10 * np.log10(255**2 / (error**2).mean()) > 35


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_codecs_in_mp4(moving: Make, video_facts: Make, tmp_path: Path, codec: str) -> None:
    path = tmp_path / "out.mp4"
    encode_frames(moving((96, 64), 20), path, rate=Fraction(30000, 1001), encoding=Encoding(codec=codec, crf=20, preset="ultrafast"))
    assert video_facts(path)["frames"] == 20
    assert video_facts(path)["codec"] in (codec, "libdav1d")
    assert {"h264": b"avc1", "hevc": b"hvc1", "av1": b"av01"}[codec] in path.read_bytes()
    assert [frame.time for frame in VideoReader(path)] == [Fraction(1001 * index, 30000) for index in range(20)]


def test_last_frame_has_a_length(moving: Make, tmp_path: Path) -> None:
    encode_frames(moving((64, 48), 10), tmp_path / "out.mp4", rate=10)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == 1


def test_failure_leaves_nothing(moving: Make, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    with (
        pytest.raises(RuntimeError, match="stop"),
        VideoWriter(target, size=(64, 48), time_base=Fraction(1, 25), rate=Fraction(25)) as writer,
    ):
        for index, rgb in enumerate(moving((64, 48), 60)):
            writer.write(rgb, Fraction(index, 25))
        msg = "stop"
        raise RuntimeError(msg)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert target.read_bytes() == b"old"


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 20 kB: the system's own error, as when the disk is full. Not a fixture: pytest's log is a file, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("count", [8, 60])
def test_full_disk_is_a_clear_line(tmp_path: Path, name: str, count: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    with small_files(), pytest.raises(MediaError, match="free some space") as caught:
        encode_frames([noise] * count, tmp_path / name, rate=25, encoding=Encoding(codec="ffv1"))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_targets(moving: Make, tmp_path: Path) -> None:
    rgb = moving((64, 48), 1)
    (tmp_path / "folder.mp4").mkdir()
    for target, said in [("none/out.mp4", "does not exist"), ("folder.mp4", "is a folder"), ("out.xyz", "ending in"), ("out", "ending in")]:
        with pytest.raises(MediaError, match=said):
            encode_frames(rgb, tmp_path / target, rate=25)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(moving: Make, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(MediaError, match="Permission"):
        encode_frames(moving((64, 48), 1), tmp_path / "out.mp4", rate=25)
    tmp_path.chmod(0o700)


def test_codec_that_the_container_refuses(moving: Make, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot hold h264"):
        encode_frames(moving((64, 48), 1), tmp_path / "out.webm", rate=25)
    assert list(tmp_path.iterdir()) == []


def test_no_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frame"):
        encode_frames([], tmp_path / "out.mp4", rate=25)
    with (
        pytest.raises(MediaError, match="no frame"),
        VideoWriter(tmp_path / "out.mp4", size=(64, 48), time_base=Fraction(1, 25), rate=Fraction(25)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_wrong_use_is_a_value_error(tmp_path: Path) -> None:
    rgb = np.zeros((48, 64, 3), np.uint8)
    with VideoWriter(tmp_path / "out.mp4", size=(64, 48), time_base=Fraction(1, 25), rate=Fraction(25)) as writer:
        writer.write(rgb, Fraction(0))
        with pytest.raises(ValueError, match="expected pictures of 64x48"):
            writer.write(np.zeros((50, 64, 3), np.uint8), Fraction(1))
        with pytest.raises(ValueError, match="does not come after"):
            writer.write(rgb, Fraction(0))
        with pytest.raises(ValueError, match="uint8"):
            writer.write(rgb.astype(np.float32), Fraction(1))  # type: ignore[arg-type]


def test_codec_of_the_container() -> None:
    chosen = {suffix: Encoding(codec="auto").chosen_for(Path(f"out{suffix}")).codec for suffix in (".mp4", ".MKV", ".webm")}
    assert chosen == {".mp4": "h264", ".MKV": "h264", ".webm": "av1"}
    assert Encoding(codec="hevc").chosen_for(Path("out.webm")).codec == "hevc"


@pytest.mark.parametrize("wrong", [{"codec": "vhs"}, {"crf": -1}, {"crf": 52}, {"preset": "best"}])
def test_bad_encoding_is_a_user_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="expected"):
        Encoding(**wrong)
