"""Files read in step: times that do not fit, regions of a real face, crops of the main person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from keyframes_gan.errors import UserError
from keyframes_gan.faces.align import crop
from keyframes_gan.measure import load_scorers, measure_files
from keyframes_gan.measure.files import find_faces, people_of
from keyframes_gan.measure.spaces import CROP_SPEC
from keyframes_gan.metrics.fidelity import psnr
from keyframes_gan.report import write_png
from keyframes_gan.types import FaceTrack
from keyframes_gan.video.compress import encode_frames
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding, VideoWriter

RATE = Fraction(25)


@pytest.fixture
def video(tmp_path: Path) -> Callable[..., Path]:
    """Write a video whose frames are at the given numbers of 1/25 s; equal numbers show equal pictures."""

    def write(name: str, numbers: Sequence[int]) -> Path:
        path = tmp_path / name
        with VideoWriter(path, size=(64, 48), time_base=1 / RATE, rate=RATE, encoding=Encoding(crf=0)) as writer:
            for number in numbers:
                writer.write(np.full((48, 64, 3), 10 * number + 20, np.uint8), number / RATE)
        return path

    return write


def measured(original: Path, restored: Path) -> float | None:
    scorers, _ = load_scorers(["psnr"])
    return measure_files(original, {"restored": restored}, scorers)["whole"]["restored"].mean("psnr")


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([0, 1, 2, 4, 5], "b.mp4: expected 6 frames as .*a.mp4, got 5: frame 3 of the original at 0.120 s is not in it"),
        ([0, 1, 2, 3, 4], "expected 6 frames as .*, got 5: frame 5 of the original at 0.200 s is not in it"),
        ([0, 1, 2, 3, 4, 5, 6], "expected 6 frames as .*, got 7: frame 6 at 0.240 s is not in the original"),
        ([0, 1, 2, 4, 5, 6], "b.mp4: expected frame 3 at 0.120 s as .*a.mp4, got 0.160 s; a frame is missing or added there"),
    ],
)
def test_frames_are_matched_by_time(numbers: Sequence[int], words: str, video: Callable[..., Path]) -> None:
    original = video("a.mp4", range(6))
    with pytest.raises(UserError, match=words):
        measured(original, video("b.mp4", numbers))


def test_a_frame_too_many_in_between_is_found(video: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"expected 5 frames as .*, got 6: frame 2 at 0.080 s is not in the original"):
        measured(video("a.mp4", [0, 1, 3, 4, 5]), video("b.mp4", range(6)))


def test_containers_may_round_times(video: Callable[..., Path], tmp_path: Path) -> None:
    numbers = [0, 1, 2, 5, 6]
    original = video("a.mp4", numbers)
    assert measured(original, video("b.mkv", numbers)) == 100.0
    for frame in VideoReader(original):
        write_png(frame.rgb, tmp_path / "frames" / f"{frame.index}.png")
    scores = measure_files(original, {"restored": tmp_path / "frames"}, load_scorers(["psnr"])[0])["whole"]["restored"]
    assert scores.mean("psnr") == 100.0
    assert scores.times == tuple(number / RATE for number in numbers)
    scores = measure_files(tmp_path / "frames", {"restored": original}, load_scorers(["psnr"])[0])["whole"]["restored"]
    assert (scores.mean("psnr"), scores.times) == (100.0, (None,) * 5)


@pytest.mark.parametrize(
    ("original", "restored", "words"),
    [
        (("a1", "a2", "a3"), ("a1", "a3"), "expected 3 frames as .*, got 2: picture a2 of the original is not in it"),
        (("a1", "a2"), ("a1", "a2", "a10"), "got 3: picture a10 is not in the original"),
        (("a1", "a2"), ("b1",), "got 1; measure versions"),
    ],
)
def test_missing_pictures_are_named(original: Sequence[str], restored: Sequence[str], words: str, tmp_path: Path) -> None:
    for folder, names in (("gt", original), ("test", restored)):
        for name in names:
            write_png(np.zeros((16, 16, 3), np.uint8), tmp_path / folder / f"{name}.png")
    with pytest.raises(UserError, match=words):
        measured(tmp_path / "gt", tmp_path / "test")


def test_metrics_of_faces_leave_out_bridged_frames() -> None:
    seen = np.array([True, False, True])
    track = FaceTrack(id=3, first=1, points=np.ones((3, 68, 2), np.float32), seen=seen, score=seen.astype(np.float32))
    assert [list(people) for people in people_of([track])] == [[], [3], [], [3]]
    assert [list(people) for people in people_of([track], bridged=True)] == [[], [3], [3], [3]]


@pytest.fixture(scope="module")
def blurred(portrait_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blurred") / "blurred.mp4"
    pictures = [cv2.GaussianBlur(frame.rgb, (0, 0), 2) for frame in VideoReader(portrait_video)]
    encode_frames(iter(pictures), path, rate=RATE, crf=4)
    return path


def test_the_main_person_is_measured_in_aligned_crops(portrait_video: Path, blurred: Path) -> None:
    scorers, _ = load_scorers(["psnr", "akd"])
    found = measure_files(portrait_video, {"restored": blurred}, scorers, regions=("whole", "crop"), every=4)
    scores = found["crop"]["restored"]
    (track,) = find_faces(VideoReader(portrait_video))
    to_crop = CROP_SPEC.to_crop(track.points[4 - track.first])
    pair = []
    for path in (portrait_video, blurred):
        with VideoReader(path) as reader:
            pair.append(crop(next(frame.rgb for frame in reader if frame.index == 4), to_crop, CROP_SPEC.size))
    assert scores.frames == (0, 4, 8)
    assert scores.metrics["psnr"].values[1] == pytest.approx(psnr(*pair))
    enlarged = float(np.sqrt(np.linalg.det(to_crop[:, :2])))
    assert scores.mean("akd") == pytest.approx(enlarged * found["whole"]["restored"].mean("akd"), rel=0.35)


def test_all_metrics_of_faces_and_time_on_a_real_face(portrait_video: Path, blurred: Path) -> None:
    names = ["ids", "sigma_ids", "vidd", "akd", "sigma_akd", "lmd", "tlme", "e_warp", "tof", "flicker", "seam_ratio"]
    scorers, reasons = load_scorers(names)
    assert reasons == {}
    versions = {"copy": portrait_video, "blurred": blurred}
    scores = measure_files(portrait_video, versions, scorers, regions=("whole", "face"), clip_length=4, every=2)
    for region in ("whole", "face"):
        copy, spoilt = (scores[region][version] for version in versions)
        assert copy.mean("ids") == pytest.approx(1, abs=1e-6)
        assert spoilt.mean("ids") < 0.999
        for name in ("akd", "lmd", "tlme", "tof", "flicker"):
            assert copy.mean(name) == 0.0
            assert spoilt.mean(name) is None or spoilt.mean(name) > 0
        assert copy.mean("sigma_ids") == pytest.approx(0, abs=1e-6)
        assert copy.mean("seam_ratio") > 0
        assert copy.mean("e_warp") > 0


def test_crops_need_a_face(video: Callable[..., Path]) -> None:
    scorers, _ = load_scorers(["psnr"])
    original = video("a.mp4", range(3))
    with pytest.raises(UserError, match=r"a\.mp4: expected a face for --region crop, got none"):
        measure_files(original, {"restored": original}, scorers, regions=("crop",))


def test_without_a_face_metrics_of_faces_have_no_value(video: Callable[..., Path]) -> None:
    scorers, _ = load_scorers(["akd", "psnr"])
    original = video("a.mp4", range(3))
    scores = measure_files(original, {"restored": original}, scorers)["whole"]["restored"]
    assert (scores.mean("akd"), scores.mean("psnr")) == (None, 100.0)
