"""Routing: what is measured against closed forms, which expert gets which face, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from keyframes_gan import restorers
from keyframes_gan.errors import OptionsError, UserError, WeightsError
from keyframes_gan.faces import align, detectors
from keyframes_gan.faces.landmarks import Landmarker
from keyframes_gan.options import load_routing
from keyframes_gan.options.routed import Euro, Routing, Steadiness
from keyframes_gan.restorers import routed
from keyframes_gan.restorers.routed_bands import Bands, TrackMemory
from keyframes_gan.restorers.routed_measure import Look, look, noise_of
from keyframes_gan.types import BatchRestorer, Cutoffs, DecidingRestorer, FaceClip, Image, Reference, RestorerSpec, Tracking
from keyframes_gan.video.read import VideoReader

SIZE = 256
CENTRE = (SIZE - 1) / 2


def points(width: float, x: float = CENTRE, y: float = CENTRE) -> npt.NDArray[np.float32]:
    """Landmarks with level eyes whose box is `width` pixels wide, its centre at (x, y)."""
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 10), np.linspace(0, 1, 7)), -1).reshape(-1, 2)[:68]
    raw = np.concatenate([grid[:36], grid[36:42] * [0.2, 0.0], grid[42:48] * [0.2, 0.0] + [0.8, 0.0], grid[48:]])
    left, top, right, bottom = align.box_of(raw)
    scaled = (raw - np.array([left + right, top + bottom]) / 2) * (width / (right - left)) + np.array([x, y])
    made: npt.NDArray[np.float32] = np.concatenate([scaled, np.tile(scaled.mean(axis=0), (68 - len(scaled), 1))]).astype(np.float32)
    box = align.box_of(made)
    placed: npt.NDArray[np.float32] = ((made - (box[:2] + box[2:]) / 2) * (width / (box[2] - box[0])) + np.array([x, y])).astype(np.float32)
    return placed


def grey(luma: npt.NDArray[Any]) -> Image:
    return np.repeat(np.clip(np.rint(luma), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def wave(amplitude: float, period: float) -> npt.NDArray[np.float64]:
    return np.broadcast_to(128 + amplitude * np.sin(2 * np.pi * np.arange(SIZE) / period), (SIZE, SIZE))


def noisy(luma: npt.NDArray[Any], sigma: float, seed: int = 0) -> npt.NDArray[Any]:
    return luma + np.random.default_rng(seed).normal(0, sigma, luma.shape)


def clip(crops: Sequence[Image], faces: Sequence[npt.NDArray[np.float32]], *, track: int = 0, first: int = 0) -> FaceClip:
    count = len(crops)
    return FaceClip(track, first, np.stack(crops), np.tile(np.eye(2, 3), (count, 1, 1)), np.stack(faces))


def seen(width: float, sharpness: float = 300.0, noise: float = 1.0) -> Look:
    return Look(width, sharpness, noise)


@pytest.fixture(scope="module")
def routing() -> Routing:
    return load_routing(routed.DEFAULT)


@pytest.mark.parametrize(("amplitude", "period"), [(20, 8), (40, 12), (60, 5)])
def test_sharpness_of_a_wave_is_the_closed_form(amplitude: float, period: float) -> None:
    found = look(grey(wave(amplitude, period)), np.eye(2, 3), points(100))
    assert found.width == pytest.approx(100, abs=0.01)
    assert found.noise < 2
    wanted = amplitude**2 / 2 * (2 - 2 * np.cos(2 * np.pi / period)) ** 2
    assert found.sharpness == pytest.approx(wanted, rel=0.08)


@pytest.mark.parametrize("sigma", [2.0, 6.0, 15.0])
def test_noise_is_measured_and_no_sharpness(sigma: float) -> None:
    flat = np.full((SIZE, SIZE), 128.0)
    assert noise_of(noisy(flat, sigma).astype(np.float32)) == pytest.approx(sigma, rel=0.05)
    for width in (70, 100, 140, 200):
        found = look(grey(noisy(flat, sigma)), np.eye(2, 3), points(width))
        assert found.noise == pytest.approx(sigma, rel=0.06)
        # Its own 20 times the variance, at the width where nothing is scaled, is 80 to 4500.
        assert found.sharpness < 0.1 * 20 * sigma**2


def test_width_is_that_in_the_frame_whatever_the_crop() -> None:
    picture = grey(wave(20, 8))
    matrix = np.array([[0.5, 0, 3], [0, 0.5, -2]])
    assert look(picture, matrix, points(60)).width == pytest.approx(120, abs=0.01)
    away = look(picture, np.eye(2, 3), points(100, x=-200))
    assert (away.sharpness, away.noise) == (0.0, 0.0)


def test_sharpness_is_of_one_scale(real_face: tuple[Image, npt.NDArray[np.float32]]) -> None:
    """A real face, antialiased to 100, 120 and 145 pixels: alike in sharpness, where the variance by itself falls by half."""
    values, plain = [], []
    for width in (100, 120, 145):
        picture, there = resized(*real_face, width)
        values.append(look(picture, np.eye(2, 3), there).sharpness)
        left, top, right, bottom = np.rint(align.box_of(there)).astype(int)
        plain.append(cv2.Laplacian(cv2.cvtColor(picture[top:bottom, left:right], cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
    assert max(values) < 1.6 * min(values)
    assert max(plain) > 1.8 * min(plain)


@pytest.fixture(scope="module")
def real_face(clips_dir: Path) -> tuple[Image, npt.NDArray[np.float32]]:
    with VideoReader(clips_dir / "val" / "spk27.mp4") as reader:
        rgb = next(iter(reader)).rgb
    return rgb, Landmarker().points(rgb, detectors.find("dlib-hog")().detect(rgb)[0].box, rounds=2)


def resized(rgb: Image, face: npt.NDArray[np.float32], width: float) -> tuple[Image, npt.NDArray[np.float32]]:
    box = align.box_of(face)
    side = [round(length * width / float(box[2] - box[0])) for length in rgb.shape[1::-1]]
    factor = np.array(side) / rgb.shape[1::-1]
    return cv2.resize(rgb, side, interpolation=cv2.INTER_AREA), ((face + 0.5) * factor - 0.5).astype(np.float32)


@pytest.mark.parametrize(
    ("width", "blur", "noise", "expert"),
    [
        (170, 0, 0, "none"),
        (170, 3, 0, "none"),
        (140, 0, 0, "F"),
        (120, 0, 0, "F"),
        (120, 1.5, 0, "T"),
        (120, 1.5, 6, "T"),
        (120, 1.5, 12, "T"),
        (120, 1.5, 25, "T"),
        (120, 0, 25, "T"),
        (120, 0, 4, "F"),
        (80, 0, 0, "T"),
        (80, 2, 10, "T"),
        (40, 0, 0, "none"),
    ],
)
def test_real_faces_go_where_they_belong(
    real_face: tuple[Image, npt.NDArray[np.float32]], routing: Routing, width: float, blur: float, noise: float, expert: str
) -> None:
    picture, face = resized(*real_face, width)
    if blur:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    picture = np.clip(np.rint(noisy(picture.astype(np.float64), noise)), 0, 255).astype(np.uint8) if noise else picture
    found = look(picture, np.eye(2, 3), face)
    assert found.width == pytest.approx(width, rel=0.01)
    assert Bands(routing).choose(found, TrackMemory())[0] == expert


@pytest.mark.parametrize(
    ("look_", "expert", "reason"),
    [
        (seen(150), "none", "w >= 150"),
        (seen(149.9), "F", "100 <= w < 150, q >= 100"),
        (seen(120, 99.9), "T", "100 <= w < 150, q < 100"),
        (seen(120, 900, 8.1), "T", "100 <= w < 150, noise > 8"),
        (seen(100, 100, 8), "F", "100 <= w < 150, q >= 100"),
        (seen(99.9), "T", "50 <= w < 100"),
        (seen(50, 5), "T", "50 <= w < 100"),
        (seen(49.9), "none", "0 <= w < 50"),
    ],
)
def test_the_published_bands(routing: Routing, look_: Look, expert: str, reason: str) -> None:
    assert Bands(routing).choose(look_, TrackMemory())[:2] == (expert, reason)


def follow(routing: Routing, looks: Sequence[Look]) -> list[str]:
    memory, chosen, bands = TrackMemory(), [], Bands(routing)
    for one in looks:
        expert, _, memory = bands.choose(one, memory)
        chosen.append(expert)
    return chosen


def test_a_track_at_a_limit_does_not_flip(routing: Routing) -> None:
    rng = np.random.default_rng(0)
    for base, name in ((seen(151), "none"), (seen(120, 104), "F"), (seen(120, 96), "T"), (seen(101), "F"), (seen(48), "none")):
        jumping = [base, *(Look(base.width + rng.normal(0, 2), base.sharpness + rng.normal(0, 12), base.noise) for _ in range(200))]
        assert set(follow(routing, jumping)) == {name}


def test_a_few_odd_frames_change_nothing_and_a_lasting_change_does(routing: Routing) -> None:
    sharp, blurred = seen(120, 300), seen(120, 20)
    assert follow(routing, [sharp] * 3 + [blurred] * 4 + [sharp] * 3) == ["F"] * 10
    assert follow(routing, [sharp] * 3 + [blurred] * 8) == ["F"] * 7 + ["T"] * 4
    assert follow(routing, [seen(120)] * 2 + [seen(170)] * 6 + [seen(120)] * 6) == ["F"] * 6 + ["none"] * 6 + ["F"] * 2
    memory, bands = TrackMemory(), Bands(routing)
    for one in (sharp, blurred):
        _, reason, memory = bands.choose(one, memory)
    assert reason == "100 <= w < 150, q >= 100, held from earlier frames"


class Recorder:
    """Brightens what it is given by `step`, `scale` times as large, and notes the clips."""

    def __init__(
        self, step: int = 40, scale: int = 1, *, template: Any = "upright", sizes: tuple[int, ...] = (SIZE,), residual: bool = True
    ) -> None:
        self.spec = RestorerSpec(
            name="recorder",
            summary="records",
            weights=None,
            crop_sizes=sizes,
            clip_length=4,
            overlap=0,
            licence="none",
            residual=residual,
            template=template,
        )
        self.step, self.scale = step, scale
        self.calls: list[list[tuple[int, int, int]]] = []
        self.clips: list[FaceClip] = []
        self.fails = False

    def start(self, track_id: int) -> list[int]:
        return [track_id]

    def restore(self, clip: FaceClip, state: list[int]) -> npt.NDArray[np.uint8]:
        return self.restore_many([clip], [state])[0]

    def restore_many(self, clips: Sequence[FaceClip], states: Sequence[list[int]]) -> list[npt.NDArray[np.uint8]]:
        if self.fails:
            raise MemoryError
        self.calls.append([(state[0], one.first, len(one)) for one, state in zip(clips, states, strict=True)])
        self.clips += clips
        side = self.scale * clips[0].crops.shape[1]
        brighter = [np.minimum(one.crops.astype(int) + self.step, 255).astype(np.uint8) for one in clips]
        return [np.stack([align.enlarged(crop, side) for crop in one]) for one in brighter]


class OneAtATime(Recorder):
    restore_many = None  # type: ignore[assignment]

    def restore(self, clip: FaceClip, state: list[int]) -> npt.NDArray[np.uint8]:
        return Recorder.restore_many(self, [clip], [state])[0]


def router(routing: Routing, **experts: Any) -> routed.Routed:
    return routed.Routed(routing, {"T": experts.get("T") or Recorder(), "F": experts.get("F") or Recorder(80)})


FLAT = grey(np.full((SIZE, SIZE), 100.0))
SHARP = grey(wave(40, 6))


def test_faces_that_are_left_come_back_as_they_are(routing: Routing) -> None:
    made = router(routing)
    given = clip([SHARP] * 3, [points(160)] * 2 + [points(30)])
    state = made.start(7)
    restored = made.restore(given, state)
    assert restored is given.crops
    decisions = [made.decision(state, index) for index in range(3)]
    assert [one and (one.expert, one.left) for one in decisions] == [("none", True)] * 3
    assert decisions[0] is not None
    assert decisions[0].width_px == pytest.approx(160, abs=0.01)
    assert made.decision(state, 3) is None


def test_experts_get_their_faces_and_nothing_else_changes(routing: Routing) -> None:
    made = router(routing, T=Recorder(sizes=(128, SIZE)))
    given = clip([FLAT, FLAT, SHARP, SHARP], [points(80)] * 4, first=10)
    restored = made.restore(given, made.start(3))
    assert restored.shape == given.crops.shape
    expert = made._experts["T"]
    assert isinstance(expert, Recorder)
    assert expert.calls == [[(3, 10, 4)]]
    assert expert.clips[0].crops.shape[1] == 128
    np.testing.assert_array_equal(expert.clips[0].crops, given.crops[:, 64:192, 64:192])
    np.testing.assert_array_equal(expert.clips[0].to_crop, np.tile([[1, 0, -64], [0, 1, -64]], (4, 1, 1)))
    change = restored.astype(int) - given.crops
    assert (change[:, 96:160, 96:160] == 40).all()
    outside = np.ones((SIZE, SIZE), bool)
    outside[64:192, 64:192] = False
    assert not change[:, outside].any()


def test_people_share_batches_and_clips_are_no_longer_than_asked(routing: Routing) -> None:
    made = router(routing)
    clips = [
        clip([FLAT] * 6, [points(80)] * 6, track=1),
        clip([SHARP] * 3, [points(120)] * 3, track=2),
        clip([FLAT] * 2, [points(120)] * 2, track=3),
        clip([FLAT] * 2, [points(20)] * 2, track=4),
    ]
    assert isinstance(made, BatchRestorer)
    assert isinstance(made, DecidingRestorer)
    results = made.restore_many(clips, [made.start(number) for number in (1, 2, 3, 4)])
    tall, fine = made._experts["T"], made._experts["F"]
    assert isinstance(tall, Recorder)
    assert isinstance(fine, Recorder)
    assert tall.calls == [[(1, 0, 4), (3, 0, 2)], [(1, 4, 2)]]
    assert fine.calls == [[(2, 0, 3)]]
    assert [
        result[0, SIZE // 2, SIZE // 2, 0] - int(one.crops[0, SIZE // 2, SIZE // 2, 0]) for result, one in zip(results, clips, strict=True)
    ] == [40, 80, 40, 0]
    alone = router(routing, T=OneAtATime())
    for one, wanted in zip(clips, results, strict=True):
        np.testing.assert_array_equal(alone.restore(one, alone.start(0)), wanted)


def test_enlarging_experts_make_the_crops_larger(routing: Routing) -> None:
    made = router(routing, T=Recorder(scale=4, sizes=(128,)))
    restored = made.restore(clip([FLAT], [points(80)]), made.start(0))
    assert restored.shape == (1, 4 * SIZE, 4 * SIZE, 3)
    assert (restored[0, 400:600, 400:600] == 140).all()
    assert (restored[0, :250] == 100).all()


def test_an_expert_sees_faces_by_its_own_template(routing: Routing) -> None:
    expert = Recorder(template="ffhq", sizes=(512,), residual=False)
    made = router(routing, T=expert)
    reference = Reference(SHARP, SHARP, points(90), Fraction(1, 5))
    given = replace(clip([FLAT], [points(80)]), references=(reference,))
    restored = made.restore(given, made.start(0))
    wanted = align.CropSpec("ffhq", 512).to_crop(points(80))
    np.testing.assert_allclose(expert.clips[0].to_crop[0], wanted)
    np.testing.assert_allclose(expert.clips[0].landmarks[0], align.transform_points(points(80), wanted), atol=1e-3)
    moved = expert.clips[0].references[0]
    assert moved is not None
    assert moved.time == Fraction(1, 5)
    np.testing.assert_allclose(
        moved.landmarks, align.transform_points(points(90), align.CropSpec("ffhq", 512).to_crop(points(90))), atol=1e-3
    )
    middle = restored.shape[1] // 2
    assert restored.shape[1] == SIZE * min(int(np.ceil(align.scale_of(wanted))), 4)
    assert (restored[0, middle - 20 : middle + 20, middle - 20 : middle + 20] == 140).all()


def test_experts_remember_a_track_while_it_stays(routing: Routing) -> None:
    class Counting(Recorder):
        def restore_many(self, clips: Sequence[FaceClip], states: Sequence[list[int]]) -> list[npt.NDArray[np.uint8]]:
            made = super().restore_many(clips, states)
            for one, state in zip(clips, states, strict=True):
                state.append(one.first)
            return made

    expert = Counting()
    made = router(routing, T=expert)
    state = made.start(5)
    made.restore(clip([FLAT] * 6, [points(80)] * 6), state)
    assert state.experts["T"] == (5, [5, 0, 4])
    made.restore(clip([FLAT], [points(80)], first=6), state)
    assert state.experts["T"] == (6, [5, 0, 4, 6])
    made.restore(clip([FLAT], [points(80)], first=9), state)
    assert state.experts["T"] == (9, [5, 9])


def test_a_failure_leaves_the_state_alone(routing: Routing) -> None:
    expert = Recorder()
    made = router(routing, T=expert)
    state = made.start(5)
    made.restore(clip([FLAT] * 2, [points(80)] * 2), state)
    before = (state.memory, dict(state.decisions), dict(state.experts))
    expert.fails = True
    with pytest.raises(MemoryError):
        made.restore(clip([FLAT] * 2, [points(80)] * 2, first=2), state)
    assert (state.memory, state.decisions, state.experts) == before


def test_frames_of_context_and_ahead_are_not_judged(routing: Routing) -> None:
    made = router(routing)
    given = replace(clip([FLAT] * 4, [points(80)] * 4), context=1, ahead=1)
    state = made.start(0)
    restored = made.restore(given, state)
    assert sorted(state.decisions) == [1, 2]
    np.testing.assert_array_equal(restored[[0, 3]], given.crops[[0, 3]])
    assert (restored[1:3] != given.crops[1:3]).any(axis=(1, 2, 3)).all()


def test_decisions_of_long_ago_are_forgotten(routing: Routing) -> None:
    made = router(routing)
    state = made.start(0)
    for first in range(0, 400, 8):
        made.restore(clip([FLAT] * 8, [points(30)] * 8, first=first), state)
    assert len(state.decisions) <= routed.REMEMBERED + 8


def test_experts_are_any_restorers_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(
        "experts: {A: {restorer: none}, B: {restorer: keyframes_lite}}\nbands: [{from_px: 90, expert: A}, {from_px: 0, expert: B}]\n"
    )
    made = restorers.find("routed", device="cpu", weights=str(path))
    given = clip([SHARP], [points(120)])
    np.testing.assert_array_equal(made.restore(given, made.start(0)), [align.enlarged(SHARP, 2 * SIZE)])
    small = clip([SHARP], [points(80)])
    restored = made.restore(small, made.start(1))
    assert (restored != align.enlarged(SHARP, restored.shape[1])).any()


def test_options_that_are_not_there_are_told() -> None:
    with pytest.raises(UserError, match=r"--weights: expected, for routed, a file like options/infer/routed\.yml, got nothing\.yml"):
        restorers.find("routed", device="cpu", weights="nothing.yml")


def test_wrong_experts_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    for expert, error, message in (
        ("{restorer: nobody}", UserError, "got 'nobody'"),
        ("{restorer: keyframes_lite, settings: {windows: 3}}", UserError, r"experts\.T\.settings: expected arguments .* got windows"),
        ("{restorer: srnet, settings: {window: a}}", UserError, r"srnet: window: expected 0 \(all\) or at least 2 pixels, got 'a'"),
        ("{restorer: srnet, settings: {window: 8.5}}", UserError, "srnet: window: expected 0"),
        ("{restorer: codeformer, settings: {fidelity: a}}", UserError, "codeformer: fidelity: expected 0 to 1, got 'a'"),
        ("{restorer: srnet, settings: {device: cpu}}", OptionsError, r"experts\.T\.settings\.device: expected only with the flag --device"),
        ("{restorer: srnet, weights: missing.pth}", OptionsError, r"experts\.T\.weights: no such file"),
        ("{restorer: srnet, weights: bisenett}", WeightsError, "bisenett"),
    ):
        path.write_text(f"experts: {{T: {expert}}}\nbands: [{{from_px: 0, expert: T}}]\n")
        with pytest.raises(error, match=message):
            restorers.find("routed", device="cpu", weights=str(path))


def test_as_shipped_small_faces_are_enlarged_and_large_ones_left() -> None:
    made = restorers.find("routed", device="cpu")
    state, given = made.start(0), clip([SHARP] * 2, [points(60), points(190)])
    restored = made.restore(given, state)
    assert restored.shape == (2, 4 * SIZE, 4 * SIZE, 3)
    assert isinstance(made, DecidingRestorer)
    first, second = (made.decision(state, index) for index in (0, 1))
    assert first is not None
    assert second is not None
    # One odd frame changes nothing: the track stays with its expert.
    assert (first.expert, second.expert) == ("T", "T")
    assert first.seconds > 0
    assert second.reason.endswith("held from earlier frames")


def test_the_options_say_how_faces_are_followed_and_how_alike_they_must_stay(routing: Routing) -> None:
    steady = Steadiness(detect_every=7, box_life=3, centre=Euro(min_cutoff=0.5, beta=0.1, d_cutoff=2.0))
    made = routed.Routed(routing.model_copy(update={"steadiness": steady, "min_identity": 0.9}), {"T": Recorder(), "F": Recorder()})
    assert made.spec.tracking == Tracking(7, 3, 1.5, "gaussian", (Cutoffs(0.5, 0.1, 2.0), Cutoffs(1.0, 0.010, 1.0)), 50, 2_500_000)
    assert made.spec.min_identity == 0.9
