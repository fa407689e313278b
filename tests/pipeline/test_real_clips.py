"""Real footage through the whole pipeline with the restorer that changes nothing: the beginnings of ../shared/data/clips/special.

How many people there are, and where the cuts are, is what the README beside the clips says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from keyframes_gan.errors import FaceError
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.video.write import Encoding

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Clip:
    """How many frames are taken of a clip, how many people a frontal detector finds there, and in how many frames at least."""

    people: int
    found: int
    frames: int = 40


CLIPS = {
    # A pure profile, which is not for a frontal detector, up to the cut before frame 58; then the singer.
    "face_leaves_frame": Clip(people=1, found=20, frames=80),
    "keep_real_1": Clip(people=1, found=40),
    "keep_synthetic_1": Clip(people=1, found=40),
    "multi_face": Clip(people=2, found=80),
    "multi_face_grid": Clip(people=2, found=80),
    "no_face": Clip(people=0, found=0),
    # A hand hides the face at first.
    "profile_or_occluded": Clip(people=1, found=25),
    # A man, and from frame 82 on a woman.
    "scene_cut": Clip(people=2, found=95, frames=100),
    "with_audio": Clip(people=1, found=40),
}


@pytest.fixture
def beginning(clips_dir: Path, tmp_path: Path) -> Callable[[str, int], Path]:
    """Give `beginning(name, count)`: the first pictures of a clip and the sound to them, packets as they are."""

    def cut(name: str, count: int) -> Path:
        target = tmp_path / f"{name}.mp4"
        with av.open(str(clips_dir / "special" / f"{name}.mp4")) as given, av.open(str(target), "w") as made:
            tracks = {stream.index: made.add_stream_from_template(stream) for stream in given.streams if stream.type in {"video", "audio"}}
            left, end = count, Fraction(0)
            for packet in given.demux():
                if packet.dts is None or packet.stream.index not in tracks:
                    continue
                time = packet.dts * packet.time_base
                is_picture = packet.stream.type == "video"
                if not left and (is_picture or time > end):
                    continue
                left, end = (left - 1, time) if is_picture else (left, end)
                packet.stream = tracks[packet.stream.index]
                made.mux(packet)
        return target

    return cut


def pictures(path: Path) -> list[tuple[Fraction, npt.NDArray[np.uint8]]]:
    """(time from the first picture's on, luma samples) of every picture."""

    def luma(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
        plane = frame.planes[0]
        return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].copy()

    with av.open(str(path)) as container:
        frames = [(frame.pts * frame.time_base, luma(frame)) for frame in container.decode(video=0)]
    return [(time - frames[0][0], samples) for time, samples in frames]


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux() if packet.stream.type == "audio" and packet.size]


@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_go_through(name: str, beginning: Callable[[str, int], Path], tmp_path: Path) -> None:
    """All frames at their times, which Matroska rounds to milliseconds, and all sound; luma as it was but for the way to RGB and back."""
    clip = CLIPS[name]
    source, target = beginning(name, clip.frames), tmp_path / "out.mkv"
    asked = Settings(restorer="none", encoding=Encoding(codec="ffv1", threads=1), no_face="copy")
    outcome = restore_video(source, target, asked, progress=False)
    before, after = pictures(source), pictures(target)
    assert all(abs(time - other) <= Fraction(1, 1000) for (time, _), (other, _) in zip(after, before, strict=True))
    assert outcome.frames == len(after) >= clip.frames - 3
    assert sound(target) == sound(source)
    assert outcome.people == clip.people
    assert clip.found <= outcome.faces <= clip.people * clip.frames
    for (_, given), (_, got) in zip(before, after, strict=True):
        change = np.abs(got.astype(np.int16) - given)
        assert change.mean() < 0.5
        assert np.percentile(change, 99) <= 2


def test_no_face_is_an_error_unless_asked_otherwise(beginning: Callable[[str, int], Path], tmp_path: Path) -> None:
    with pytest.raises(FaceError, match="expected a face, found none in 10 frames"):
        restore_video(beginning("no_face", 10), tmp_path / "out.mkv", Settings(restorer="none"), progress=False)
    assert not (tmp_path / "out.mkv").exists()
