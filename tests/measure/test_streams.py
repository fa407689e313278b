"""Scoring streams: means, regions, borders, and what does not belong together."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from keyframes_gan.errors import UserError
from keyframes_gan.measure import Region, load_scorers, measure_pair, measure_streams
from keyframes_gan.measure.files import boxes_of
from keyframes_gan.measure.streams import BATCH_FRAMES
from keyframes_gan.types import FaceTrack, Frame


def _plain(level: int, size: int = 32) -> np.ndarray:
    return np.full((size, size, 3), level, np.uint8)


def _db(difference: int) -> float:
    return float(20 * np.log10(255 / difference))


def test_pair_gives_the_mean_over_frames() -> None:
    means = measure_pair([_plain(0), _plain(0), _plain(0)], [_plain(10), _plain(20), _plain(0)])
    assert means["psnr"] == pytest.approx((_db(10) + _db(20) + 100.0) / 3)
    c1 = (0.01 * 255) ** 2
    assert means["ssim"] == pytest.approx((c1 / (100 + c1) + c1 / (400 + c1) + 1) / 3)


def test_frames_serve_as_pictures() -> None:
    frames = (Frame(index, Fraction(index, 25), _plain(50)) for index in range(2))
    assert measure_pair(frames, iter([_plain(60), _plain(60)]), ("psnr",)) == {"psnr": pytest.approx(_db(10))}


def test_boxes_limit_what_counts_and_frames_without_count_nowhere() -> None:
    test = _plain(0)
    test[:16] = 50
    boxes = [[(0, 0, 32, 16)], [], [(0, 0, 32, 32)]]
    assert measure_pair([_plain(0)] * 3, [test] * 3, ("psnr",), boxes=boxes[:1])["psnr"] == pytest.approx(_db(50))
    half = float(10 * np.log10(255**2 / (50**2 / 2)))
    assert measure_pair([_plain(0)] * 3, [test] * 3, ("psnr",), boxes=boxes)["psnr"] == pytest.approx((_db(50) + half) / 2)
    assert measure_pair([_plain(0)], [test], ("psnr",), boxes=[[]])["psnr"] is None


def test_versions_regions_border_and_step_in_one_pass() -> None:
    scorers, reasons = load_scorers(["psnr"])
    assert reasons == {}
    spoilt = _plain(0)
    spoilt[:2], spoilt[20:24, 20:24] = 255, 30
    versions = {"compressed": [spoilt, _plain(200)] * 2, "restored": [_plain(10), _plain(200)] * 2}
    regions = {"whole": Region(), "face": Region([[(20, 20, 24, 24)]] * 4)}
    scores = measure_streams([_plain(0)] * 4, versions, scorers, regions=regions, crop_border=2, every=2)
    assert scores["whole"]["restored"].mean("psnr") == pytest.approx(_db(10))
    assert scores["whole"]["restored"].frames == (0, 2)
    assert scores["face"]["compressed"].mean("psnr") == pytest.approx(_db(30))
    assert scores["whole"]["compressed"].mean("psnr") == pytest.approx(10 * np.log10(255**2 * 28 * 28 / (30**2 * 16)))


@pytest.mark.parametrize(
    ("original", "test", "words"),
    [
        ([_plain(0)] * 3, [_plain(0)] * 2, "b.mp4: expected the frames of a.mp4, but it ends after 2"),
        ([_plain(0)] * 2, [_plain(0)] * 3, "b.mp4: expected 2 frames as a.mp4, but it goes on"),
        ([_plain(0)], [_plain(0, 30)], "b.mp4: expected 32x32 as a.mp4, got 30x30 in frame 0"),
        ([], [], "a.mp4: expected at least one frame"),
    ],
)
def test_streams_that_do_not_fit_are_named(original: list[np.ndarray], test: list[np.ndarray], words: str) -> None:
    scorers, _ = load_scorers(["psnr"])
    with pytest.raises(UserError, match=words):
        measure_streams(original, {"test": test}, scorers, labels={"original": "a.mp4", "test": "b.mp4"})


def test_memory_holds_few_pictures_whatever_the_length() -> None:
    alive: set[int] = set()
    most = 0

    def stream(count: int) -> Iterator[np.ndarray]:
        nonlocal most
        for index in range(count):
            picture = _plain(index)
            alive.add(id(picture))
            weakref.finalize(picture, alive.discard, id(picture))
            most = max(most, len(alive))
            yield picture

    scorers, _ = load_scorers(["psnr", "e_warp", "tof", "flicker", "seam_ratio"])
    measure_streams(stream(120), {"test": stream(120)}, scorers)
    assert most <= 2 * (2 * BATCH_FRAMES + 2)


def test_metrics_of_faces_need_people() -> None:
    with pytest.raises(UserError, match="akd: expected `people`"):
        measure_pair([_plain(0)], [_plain(0)], ("akd",))
    assert measure_pair([_plain(0)], [_plain(0)], ("akd",), people=[{}]) == {"akd": None}


def test_times_are_compared() -> None:
    frames = [[Frame(index, Fraction(index, rate), _plain(0)) for index in range(12)] for rate in (25, 24)]
    scorers, _ = load_scorers(["psnr"])
    measure_streams(frames[0], {"test": frames[1]}, scorers)
    measure_streams(frames[0], {"test": frames[0]}, scorers, tolerance=Fraction(1, 1000))
    with pytest.raises(UserError, match=r"test: expected frame 6 at 0\.240 s as original, got 0\.250 s"):
        measure_streams(frames[0], {"test": frames[1]}, scorers, tolerance=Fraction(99, 10000))


def test_bad_border() -> None:
    scorers, _ = load_scorers(["psnr"])
    with pytest.raises(UserError, match="--crop_border: expected 0 to 15 for 32x32, got 16"):
        measure_streams([_plain(0)], {"test": [_plain(0)]}, scorers, crop_border=16)


def test_boxes_come_from_all_tracks() -> None:
    points = np.zeros((2, 5, 2), np.float32)
    points[:, 1] = (50, 100)
    seen, score = np.ones(2, bool), np.ones(2, np.float32)
    tracks = [FaceTrack(id=number, first=first, points=points, seen=seen, score=score) for number, first in ((0, 1), (1, 2))]
    boxes = boxes_of(tracks, 640, 480)
    assert [len(frame) for frame in boxes] == [0, 1, 2, 1]
    assert boxes[1][0] == (0, 0, 56, 111)
