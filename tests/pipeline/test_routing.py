"""Routing through the whole pipeline: who is restored, what stays bit for bit, and what the report, the tracks and the boxes say."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import video_inference
from keyframes_gan import restorers
from keyframes_gan.errors import MediaError, run_door
from keyframes_gan.faces import align
from keyframes_gan.faces.align import box_of, enlarged
from keyframes_gan.pipeline import guard
from keyframes_gan.pipeline.framing import FaceFraming
from keyframes_gan.pipeline.settings import Finish, Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.portrait import portrait_clip
from keyframes_gan.report import write_png
from keyframes_gan.restorers import routed
from keyframes_gan.types import FaceClip, RestorerSpec
from keyframes_gan.video.pictures import read_picture
from keyframes_gan.video.write import Encoding

LOSSLESS = Encoding(codec="ffv1")
SIZE = (640, 360)
WIDTHS = {0: 180, 1: 120, 2: 80, 3: 30}
PLACES = {0: (150, 150), 1: (340, 110), 2: (480, 110), 3: (590, 110)}
OPTIONS = """\
experts:
  small: {restorer: brighten, settings: {step: 30}}
  soft: {restorer: brighten, settings: {step: 50}}
  sharp: {restorer: brighten, settings: {step: 70}}
bands:
  - {from_px: 150, expert: none}
  - {from_px: 100, soft: soft, sharp: sharp}
  - {from_px: 50, expert: small}
  - {from_px: 0, expert: none}
min_identity: 0
"""


class Brighten:
    """Enlarges by 2 and brightens."""

    spec = RestorerSpec(
        name="brighten",
        summary="brightens",
        weights=None,
        crop_sizes=(64, 128, 256, 384),
        clip_length=8,
        overlap=0,
        licence="none",
        residual=True,
        template="upright",
    )

    def __init__(self, step: int) -> None:
        self.step = step

    def start(self, track_id: int) -> None:
        return None

    def restore(self, clip: FaceClip, state: None) -> npt.NDArray[np.uint8]:
        brighter = np.minimum(clip.crops.astype(int) + self.step, 255).astype(np.uint8)
        return np.stack([enlarged(crop, 2 * len(crop)) for crop in brighter])


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = ModuleType("brighten_of_this_test")
    module.create = lambda *, step, **_: Brighten(step)  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    monkeypatch.setitem(restorers.RESTORERS, "brighten", (module.__name__, "brightens"))
    path = tmp_path / "routing.yml"
    path.write_text(OPTIONS)
    return path


def placed(face: Any, width: float, x: float, y: float) -> npt.NDArray[np.float32]:
    box = box_of(face(0, 0, 1))
    found: npt.NDArray[np.float32] = face(x, y, width / float(box[2] - box[0]))
    return found


@pytest.fixture
def source(tmp_path: Path, moving: Any, make_video: Any, follow: Any, face: Any) -> Path:
    follow(lambda _: [(number, placed(face, WIDTHS[number], *PLACES[number])) for number in WIDTHS])
    made: Path = make_video(tmp_path / "in.mp4", moving(11, SIZE))
    return made


def settings(options: Path, **given: Any) -> Settings:
    return Settings(restorer="routed", weights=str(options), encoding=LOSSLESS, smoothing=0, **given)


def changes(frames_of: Any, path: Path, source: Path) -> list[npt.NDArray[np.int64]]:
    return [made[2].astype(int) - given[2] for made, given in zip(frames_of(path), frames_of(source), strict=True)]


def test_every_face_gets_its_expert_and_the_rest_stays(source: Path, options: Path, tmp_path: Path, frames_of: Any) -> None:
    tracks = tmp_path / "tracks.json"
    feathered = settings(options, finish=Finish(blend="feather"))
    outcome = restore_video(source, tmp_path / "out.mkv", feathered, tracks=tracks, progress=False)
    plain = restore_video(source, tmp_path / "plain.mkv", Settings(restorer="none", encoding=LOSSLESS, smoothing=0), progress=False)
    assert outcome.frames == plain.frames == 11
    for change in changes(frames_of, tmp_path / "out.mkv", tmp_path / "plain.mkv"):
        for number, step in ((1, 50), (2, 30)):
            x, y = PLACES[number]
            assert abs(np.median(change[y - 8 : y + 9, x - 8 : x + 9]) - step) <= 2
        outside = np.ones(change.shape[:2], bool)
        for number in (1, 2):
            (x, y), reach = PLACES[number], round(0.85 * WIDTHS[number]) + 40
            outside[max(y - reach, 0) : y + reach, x - reach : x + reach] = False
        assert outside.mean() > 0.4
        assert not change[outside].any()
    routes = {one["person"]: one for one in outcome.as_json()["routes"]}
    assert len(routes) == 4
    assert [routes[number]["expert"] for number in WIDTHS] == ["none", "soft", "small", "none"]
    for number, width in WIDTHS.items():
        assert routes[number]["w"] == pytest.approx(width, abs=0.2)
        assert (routes[number]["first_frame"], routes[number]["last_frame"], routes[number]["frames"]) == (0, 10, 11)
    assert routes[1]["reason"] == "100 <= w < 150, q < 100"
    listed = json.loads(tracks.read_text())["frames"][5]["faces"]
    assert {one["person"]: one["done"] for one in listed} == {0: "left", 1: "restored", 2: "restored", 3: "left"}
    assert listed[1]["route"]["expert"] == "soft"
    assert set(listed[1]["route"]) == {"w", "q", "noise", "expert", "reason", "ms"}


def test_larger_output_shows_what_experts_enlarged(source: Path, options: Path, tmp_path: Path, frames_of: Any) -> None:
    finish = Finish(upscale=2, blend="feather")
    restore_video(source, tmp_path / "out.mkv", settings(options, finish=finish, min_identity=0.0), progress=False)
    nothing = Settings(restorer="none", encoding=LOSSLESS, smoothing=0, finish=Finish(upscale=2))
    restore_video(source, tmp_path / "plain.mkv", nothing, progress=False)
    for change in changes(frames_of, tmp_path / "out.mkv", tmp_path / "plain.mkv"):
        assert change.shape == (720, 1280, 3)
        x, y = 2 * PLACES[0][0], 2 * PLACES[0][1]
        assert not change[y - 60 : y + 60, x - 60 : x + 60].any()
        x, y = 2 * PLACES[1][0], 2 * PLACES[1][1]
        assert abs(np.median(change[y - 16 : y + 16, x - 16 : x + 16]) - 50) <= 2


def beyond_the_masks(face: Any, scale: int, blend: str) -> npt.NDArray[np.bool_]:
    """Where nothing of the faces 1 and 2 may show: outside of their crops, or of the ellipses in these, rim and blur included.

    Two pixels further out, because videos have one colour for four.
    """
    framing = FaceFraming(routed.SPEC)
    y, x = np.mgrid[: SIZE[1] * scale, : SIZE[0] * scale].astype(float)
    outside = np.ones(x.shape, bool)
    for number in (1, 2):
        points = placed(face, WIDTHS[number], *PLACES[number])
        side = framing.size(points)
        middle = align.transform_points(np.full(2, (side - 1) / 2), align.invert(framing.to_crop(points, side)))
        across, down = ((places + 0.5) / scale - 0.5 - at for places, at in zip((x, y), middle, strict=True))
        if blend == "feather":
            outside &= np.maximum(np.abs(across), np.abs(down)) > side / 2 + 3
        else:
            outside &= np.hypot(across, down) > 0.44 * side * np.sqrt(1.2) + 4 * 0.02 * side + 3
    return outside


@pytest.mark.parametrize(
    "case",
    [
        (False, None, 2, "multiband"),
        (False, "poisson", 1, "poisson"),
        (False, "feather", 1, "feather"),
        (True, None, 1, "poisson"),
        (True, "multiband", 2, "multiband"),
        (True, "feather", 2, "feather"),
    ],
)
def test_outside_of_the_masks_the_picture_is_the_scaled_input_bit_for_bit(
    source: Path, options: Path, tmp_path: Path, moving: Any, make_video: Any, face: Any, frames_of: Any, case: Any
) -> None:
    photo, blend, scale, used = case
    if photo:
        write_png(moving(1, SIZE)[0], tmp_path / "in.png")
    else:
        make_video(source, moving(2, SIZE))
    ending = ("png", "png") if photo else ("mp4", "mkv")
    given, target, baseline = (tmp_path / f"{name}.{ending[name != 'in']}" for name in ("in", "out", "baseline"))
    asked = settings(options, finish=Finish(upscale=scale, blend=blend))
    outcome = restore_video(given, target, asked, baseline=baseline, progress=False)
    assert outcome.blend == outcome.as_json()["blend"] == used
    if photo:
        pairs = [(read_picture(target), read_picture(baseline))]
    else:
        pairs = [(made[2], plain[2]) for made, plain in zip(frames_of(target), frames_of(baseline), strict=True)]
    outside = beyond_the_masks(face, scale, used)
    assert 0.4 < outside.mean() < 0.95
    for made, plain in pairs:
        assert (made != plain).any()
        np.testing.assert_array_equal(made[outside], plain[outside])


def test_boxes_say_what_was_decided(source: Path, options: Path, tmp_path: Path, frames_of: Any) -> None:
    restore_video(source, tmp_path / "box.mkv", settings(options, draw_box=True), progress=False)
    restore_video(source, tmp_path / "out.mkv", settings(options), progress=False)
    for change in changes(frames_of, tmp_path / "box.mkv", tmp_path / "out.mkv"):
        for number, width in WIDTHS.items():
            (x, y), half = PLACES[number], width // 2
            below = change[y + half + 6 : y + half + 40, x - half : x + half]
            assert below.any() or number == 3


def centre_brightness(rgb: npt.NDArray[np.uint8], _points: Any) -> npt.NDArray[np.float32]:
    """Faces turn away from one another by a degree a level of their middle's green."""
    middle = slice(len(rgb) // 2 - 6, len(rgb) // 2 + 6)
    angle = np.deg2rad(np.median(rgb[middle, middle, 1]))
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def test_a_face_that_loses_its_identity_is_weakened_and_the_report_says_how_alike_faces_stay(
    source: Path, options: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """33 levels are allowed: the 30 of the small face; of the 50 of the soft one only a half, 25."""
    monkeypatch.setattr(guard, "embed", centre_brightness)
    options.write_text(OPTIONS.replace("min_identity: 0", f"min_identity: {np.cos(np.deg2rad(33)):.4f}"))
    outcome = restore_video(source, tmp_path / "out.mp4", settings(options), tracks=tmp_path / "tracks.json", progress=False)
    told = outcome.as_json()
    routes = {one["person"]: one["identity"] for one in told["routes"]}
    assert (routes[0], routes[3]) == (None, None), "left as they were"
    assert {person: one["compared"] for person, one in routes.items() if one} == {1: 1, 2: 1}
    assert (routes[1]["mean"], routes[2]["min"]) == pytest.approx((np.cos(np.deg2rad(25)), np.cos(np.deg2rad(30))), abs=0.015)
    assert told["identity"] == [{"person": person, **routes[person]} for person in (1, 2)]
    frames = [one["faces"] for one in json.loads((tmp_path / "tracks.json").read_text())["frames"]]
    assert {(one["person"], one["done"], one["strength"]) for one in frames[7]} >= {(1, "weakened", 0.5), (2, "restored", 1.0)}
    assert [one.get("identity") for one in frames[0]] == [None, routes[1]["mean"], routes[2]["mean"], None]
    assert not any("identity" in one for faces in frames[1:] for one in faces)
    unjudged = restore_video(source, tmp_path / "out.mp4", settings(options, min_identity=0.0), progress=False).as_json()
    assert "identity" not in unjudged, "--min-identity wins"


def test_the_command_line(source: Path, options: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-i", str(source), "-o", str(tmp_path / "out.mp4"), "--restorer", "routed", "--weights", str(options)]
    assert run_door(video_inference.main, [*words, "--report", str(tmp_path / "report.json"), "--profile"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert {one["expert"] for one in report["routes"]} == {"none", "soft", "small"}
    profile = report["profile"]
    stages = {name: (one["unit"], one["count"]) for name, one in profile["stages"].items() if one["unit"]}
    per_frame = dict.fromkeys(("decode", "track", "identity", "background", "encode"), ("frame", 11))
    assert stages == per_frame | dict.fromkeys(("photos", "align", "restore", "guard", "mask", "paste"), ("face", 44))
    assert {name for name, one in profile["stages"].items() if not one["unit"]} == {"load", "finish", "other"}
    assert sum(one["seconds"] for one in profile["stages"].values()) == pytest.approx(report["seconds"], abs=0.01)
    assert {name: one["count"] for name, one in profile["experts"].items()} == {"none": 22, "soft": 11, "small": 11}
    assert sum(one["seconds"] for one in profile["experts"].values()) <= profile["stages"]["restore"]["seconds"] + 0.01
    assert profile["video_seconds"] == 0.44
    told = capsys.readouterr().out
    assert f"real-time factor {profile['real_time_factor']:.3f} (0.44 s of video)" in told
    assert all(f"\n  {name} " in told for kind in ("stages", "experts") for name in profile[kind])


def test_faces_of_a_photo_on_cards(source: Path, options: Path, tmp_path: Path, moving: Any) -> None:
    photo = tmp_path / "group.png"
    write_png(moving(1, SIZE)[0], photo)
    profile = restore_video(photo, tmp_path / "out.mkv", settings(options), faces=tmp_path / "faces", progress=False).profile
    assert profile.real_time_factor is None
    assert profile.clock.stages["cards"].count == sum(one.count for one in profile.clock.experts.values()) == 4
    names = {f"face_{number:02d}_{kind}.png" for number in (1, 2, 3, 4) for kind in ("lr", "sr", "card")}
    assert {path.name for path in (tmp_path / "faces").iterdir()} == names | {"group_faces_overview.png"}
    sizes = [[len(read_picture(tmp_path / "faces" / f"face_{number:02d}_{kind}.png")) for kind in ("lr", "sr")] for number in (1, 2, 3, 4)]
    assert [after / before for before, after in sizes] == [1, 2, 2, 1]
    card, sheet = (read_picture(tmp_path / "faces" / name) for name in ("face_03_card.png", "group_faces_overview.png"))
    assert sheet.shape[0] >= 4 * card.shape[0]
    assert (sheet[-card.shape[0] * 2 - 4 : -card.shape[0] - 4, : card.shape[1]] == card).all()


def test_faces_of_several_photos_lie_apart_and_those_of_a_video_are_refused(
    source: Path, options: Path, tmp_path: Path, moving: Any
) -> None:
    (tmp_path / "photos").mkdir()
    for name, picture in zip(("a", "b"), moving(2, SIZE), strict=True):
        write_png(picture, tmp_path / "photos" / f"{name}.png")
    restore_video(tmp_path / "photos", tmp_path / "out.mkv", settings(options), faces=tmp_path / "faces", progress=False)
    for name in ("a", "b"):
        assert (tmp_path / "faces" / name / f"{name}_faces_overview.png").is_file()
        assert (tmp_path / "faces" / name / "face_04_card.png").is_file()
    with pytest.raises(MediaError, match="--faces: expected an image"):
        restore_video(source, tmp_path / "out.mkv", settings(options), faces=tmp_path / "more", progress=False)


def test_cards_of_photos_never_replace_one_another_or_the_photo(options: Path, tmp_path: Path, moving: Any) -> None:
    (tmp_path / "photos").mkdir()
    picture = moving(1, SIZE)[0]
    write_png(picture, tmp_path / "photos" / "a.png")
    cv2.imwrite(str(tmp_path / "photos" / "a.jpg"), picture)
    with pytest.raises(MediaError, match="--faces: expected images whose names differ in more than the suffix, got several called a"):
        restore_video(tmp_path / "photos", tmp_path / "out.mkv", settings(options), faces=tmp_path / "faces", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir() if path != options) == ["photos"]
    photo = tmp_path / "face_01_lr.png"
    write_png(picture, photo)
    before = photo.read_bytes()
    with pytest.raises(MediaError, match=r"--faces: .*got .*face_01_lr\.png; choose another"):
        restore_video(photo, tmp_path / "out.mkv", settings(options), faces=tmp_path, progress=False)
    assert photo.read_bytes() == before


HIDDEN = {**dict.fromkeys(range(24, 36), "12 frames"), **dict.fromkeys(range(60, 78), "18 frames")}


@pytest.fixture
def still(tmp_path: Path, make_video: Any) -> Path:
    """A still face for 100 frames, noisy and compressed, something before it in the frames `HIDDEN`."""
    portrait, rng = next(iter(portrait_clip(1, (320, 256), 0.8))), np.random.default_rng(0)
    hidden = portrait.copy()
    hidden[60:190, 100:220] = portrait[190:, :120].mean(axis=(0, 1))
    shown = [np.clip((hidden if index in HIDDEN else portrait) + rng.normal(0, 3, portrait.shape), 0, 255) for index in range(100)]
    made: Path = make_video(tmp_path / "still.mp4", [one.astype(np.uint8) for one in shown], crf=30, gop=12)
    return made


def test_the_region_of_a_still_face_stays_and_outlives_what_hides_it_for_a_while(still: Path, options: Path, tmp_path: Path) -> None:
    """The public script feeds its padded box back: a still face's region grows from 114 to 272 pixels."""
    given = Settings(restorer="routed", weights=str(options), encoding=Encoding(preset="ultrafast"))
    restore_video(still, tmp_path / "out.mp4", given, tracks=tmp_path / "tracks.json", progress=False)
    faces = [one["faces"] for one in json.loads((tmp_path / "tracks.json").read_text())["frames"]]
    away = {index for index, span in HIDDEN.items() if span == "18 frames"}
    assert [len(one) for one in faces] == [int(index not in away) for index in range(100)]
    listed = [one for (one,) in filter(None, faces)]
    assert {(one["person"], one["done"]) for one in listed} == {(0, "restored")}
    assert [index for index, one in enumerate(faces) if one and not one[0]["seen"]] == [index for index in HIDDEN if index not in away]
    points = [np.array(one["landmarks"], np.float32) for one in listed]
    framing = FaceFraming(routed.SPEC)
    size = framing.size(points[0])
    assert {framing.size(one) for one in points} == {size}
    square = np.array([[0, 0], [size, size]])
    corners = np.stack([align.transform_points(square, align.invert(framing.to_crop(one, size))) for one in points])
    boxes = np.array([one["box"] for one in listed])
    assert np.ptp(corners, axis=0).max() <= 1
    assert np.ptp(boxes[:, :2] + boxes[:, 2:], axis=0).max() / 2 <= 1
    assert np.ptp(boxes[:, 2:] - boxes[:, :2], axis=0).max() <= 1
