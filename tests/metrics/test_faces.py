"""Identity and landmarks: closed forms on made embeddings and points, and known changes of a real face."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from archs.arcface_arch import ResNetArcFace
from keyframes_gan import metrics, weights
from keyframes_gan.faces.detectors import find
from keyframes_gan.faces.landmarks import Landmarker
from keyframes_gan.metrics import identity, landmarks
from keyframes_gan.metrics.clips import ClipScore, Frames, Strip

PERSON = 7


@pytest.fixture(scope="module")
def portrait() -> tuple[np.ndarray, np.ndarray]:
    """A public-domain portrait and its landmarks."""
    picture = np.ascontiguousarray(astronaut()[:300, 80:380])
    box = find("dlib-hog")().detect(picture)[0].box
    return picture, Landmarker().points(picture, box, rounds=2)


def clip(original: list[np.ndarray], judged: list[np.ndarray], points: np.ndarray, **more: list[bool]) -> Frames:
    return Frames(Strip(original), Strip(judged), faces=[{PERSON: points}] * len(original), **more)


def score(name: str, frames: Frames) -> ClipScore:
    scorer = metrics.load_clip(name)()
    scorer.add(frames)
    return scorer.finish()


def test_a_copy_has_the_same_face(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    picture, points = portrait
    frames = clip([picture] * 2, [picture.copy()] * 2, points)
    assert score("ids", frames).values == pytest.approx((1.0, 1.0), abs=1e-6)
    assert score("sigma_ids", frames) == ClipScore((None, None), pytest.approx(0, abs=1e-6))
    assert score("vidd", frames) == ClipScore((None, pytest.approx(0, abs=1e-6)), pytest.approx(0, abs=1e-6))
    for name in ("akd", "lmd"):
        assert score(name, frames).values == (0.0, 0.0)
    assert score("sigma_akd", frames).value == 0.0
    assert score("tlme", frames) == ClipScore((None, 0.0), 0.0)


def test_a_spoilt_face_is_less_like_itself(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    picture, points = portrait
    noise = np.random.default_rng(0).normal(0, 60, picture.shape)
    spoilt = np.clip(picture + noise, 0, 255).astype(np.uint8)
    found = score("ids", clip([picture] * 2, [picture, spoilt], points))
    assert found.values[1] < found.values[0] - 0.005
    jumping = clip([picture] * 3, [picture, spoilt, picture], points)
    assert score("vidd", jumping).values[1] > 0.005
    assert score("sigma_ids", jumping).value == pytest.approx(np.std(score("ids", jumping).values))


def test_a_moved_face_is_as_far_as_it_was_moved(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    picture, points = portrait
    moved = np.roll(picture, (3, 4), axis=(0, 1))
    assert score("akd", clip([picture], [moved], points)).value == pytest.approx(5, abs=0.6)
    assert score("lmd", clip([picture], [moved], points)).value < 0.6
    constant = clip([picture] * 3, [moved] * 3, points)
    assert score("tlme", constant).value == 0.0
    jitter = clip([picture] * 3, [picture, moved, picture], points)
    assert score("tlme", jitter).value == pytest.approx(5, abs=0.6)
    assert score("sigma_akd", jitter).value == pytest.approx(5 * np.std([0, 1, 0]), abs=0.4)


def test_nothing_is_compared_across_cuts_and_without_faces(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    picture, points = portrait
    cut = clip([picture] * 2, [picture] * 2, points, cuts=[True, True])
    empty = Frames(Strip([picture]), Strip([picture]))
    for name in ("vidd", "tlme"):
        assert score(name, cut).value is None
    for name in ("ids", "sigma_ids", "vidd", "akd", "lmd", "sigma_akd", "tlme"):
        assert score(name, empty) == ClipScore((None,), None)


def made(vectors: dict[int, list[float]]) -> Callable[[list], list[np.ndarray]]:
    """An embedder that knows a picture by its first pixel."""
    return lambda faces: [np.array(vectors[int(picture[0, 0, 0])], np.float32) for picture, _ in faces]


def plain(level: int) -> np.ndarray:
    return np.full((8, 8, 3), level, np.uint8)


def test_similarity_spread_and_steps_follow_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = {0: [1.0, 0.0], 1: [0.6, 0.8], 2: [0.0, 1.0]}
    monkeypatch.setattr(identity, "dlib_embeddings", made(vectors))
    frames = clip([plain(0)] * 3, [plain(0), plain(1), plain(2)], np.zeros((68, 2), np.float32))
    assert score("ids", frames).values == pytest.approx((1.0, 0.6, 0.0))
    assert score("sigma_ids", frames).value == pytest.approx(np.std([1, 0.6, 0]))
    assert score("vidd", frames).values == (None, pytest.approx(0.4), pytest.approx(0.2))


def test_people_are_followed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = np.zeros((68, 2), np.float32)

    def at(x: float, y: float) -> np.ndarray:
        return zeros + np.float32([x, y])

    faces = [{1: at(3, 4), 2: zeros}, {1: at(6, 8), 2: zeros}, {2: at(0, 2)}]
    still = [dict.fromkeys(one, zeros) for one in faces]
    frames = Frames(Strip([plain(0)] * 3), Strip([plain(0)] * 3), faces=faces)
    monkeypatch.setattr(landmarks, "placed", lambda frames, strip: faces if strip is frames.judged else still)
    assert score("akd", frames).values == pytest.approx((2.5, 5.0, 2.0))
    spread = (2 * np.std([5, 10]) + 3 * np.std([0, 0, 2])) / 5
    assert score("sigma_akd", frames).value == pytest.approx(spread)
    assert score("tlme", frames).values == (None, pytest.approx(2.5), pytest.approx(2.0))
    assert score("lmd", frames).value == 0.0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.floats(-50, 50), st.floats(-50, 50))
def test_distances_are_symmetric_and_centring_removes_displacement(seed: int, x: float, y: float) -> None:
    one, two = np.random.default_rng(seed).uniform(0, 100, (2, 68, 2)).astype(np.float32)
    moved = one + np.float32([x, y])
    assert landmarks.distance(one, two) == pytest.approx(landmarks.distance(two, one))
    assert landmarks.distance(one, moved) == pytest.approx(np.hypot(x, y), abs=1e-3)
    assert landmarks.distance_centred(one, moved) == pytest.approx(0, abs=1e-3)
    assert landmarks.distance_centred(one, two) == pytest.approx(landmarks.distance_centred(moved, two), rel=1e-3)


def test_arcface_sees_the_aligned_grey_face(
    portrait: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    network = ResNetArcFace().eval()
    monkeypatch.setattr(weights, "load_state", lambda name: network.state_dict() if name == "arcface_resnet18" else None)
    identity.arcface.cache_clear()
    request.addfinalizer(identity.arcface.cache_clear)
    picture, points = portrait
    darker = (picture * 0.5).astype(np.uint8)
    found = score("ids_arcface", clip([picture] * 2, [picture, darker], points))
    assert found.values[0] == pytest.approx(1, abs=1e-5)
    faces = [identity._grey_face(one, points) for one in (picture, darker)]
    with torch.inference_mode():
        one, two = network(torch.from_numpy(np.stack(faces)[:, None]))
    assert found.values[1] == pytest.approx(float(torch.cosine_similarity(one, two, dim=0)), abs=1e-4)
    assert -1 <= faces[0].min() < faces[0].max() <= 1
