"""The predictor class on the real `cog` package, without its server."""

from __future__ import annotations

import importlib
import inspect
import re
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
import yaml

from keyframes_gan import weights
from keyframes_gan.errors import FaceError, MediaError, UserError, WeightsError
from keyframes_gan.faces import detectors
from keyframes_gan.restorers.none import Unchanged

PUBLIC = (
    "input_video",
    "draw_box",
    "bg_enhancement",
    "upscale",
    "max_length",
    "has_aligned",
    "only_center_face",
    "detection_model",
    "face_upsample",
    "bg_tile",
    "save_video_fps",
)
"""The inputs of the public Cog package of KEEP."""


@pytest.fixture(scope="module")
def door() -> ModuleType:
    """predict.py."""
    pytest.importorskip("cog", reason="cog has no wheels for Windows")
    return importlib.import_module("predict")


@pytest.fixture(scope="module")
def inputs(door: Any) -> dict[str, Any]:
    found = inspect.signature(door.Predictor.predict).parameters
    return {name: parameter.default for name, parameter in found.items() if name != "self"}


@pytest.fixture
def predict(door: Any, inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give `predict(input_video=, ...)` of a predictor that restores nothing and needs no weights; defaults are filled in as Cog does."""
    monkeypatch.setattr(door.tempfile, "mkdtemp", lambda: str(tmp_path))

    class Quick(door.Predictor):  # type: ignore[misc]
        restorer, fetched = "none", ()

    predictor = Quick()
    predictor.setup()
    defaults = {name: field.default for name, field in inputs.items()} | {"detection_model": "dlib-hog"}
    return lambda **given: predictor.predict(**{**defaults, **given})


def pictures(path: Path) -> list[tuple[Fraction, Any]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [((frame.pts - frames[0].pts) * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in frames]


def audio_streams(path: Path) -> int:
    with av.open(str(path)) as container:
        return len(container.streams.audio)


def test_inputs_are_those_of_the_public_package(inputs: dict[str, Any]) -> None:
    assert tuple(inputs) == PUBLIC
    assert all(field.description for field in inputs.values())
    assert (inputs["upscale"].ge, inputs["upscale"].le, inputs["bg_tile"].ge) == (1, None, 64)
    assert {"retinaface_resnet50", "retinaface_mobile0.25", "YOLOv5l", "YOLOv5n"} <= set(inputs["detection_model"].choices)
    given = {name: field.default for name, field in inputs.items()}
    assert (given["upscale"], given["max_length"], given["detection_model"]) == (1, 20, "retinaface_resnet50")


def test_every_choice_is_a_detector(door: Any, inputs: dict[str, Any]) -> None:
    for name in inputs["detection_model"].choices:
        detectors.find(door.detector_called(name))
    assert door.detector_called("yolov5n") == "YOLOv5n"
    with pytest.raises(UserError, match="expected a detector of"):
        detectors.find(door.detector_called("eyes"))


def test_a_video_goes_through(predict: Any, portrait_video: Path, tmp_path: Path) -> None:
    result = predict(input_video=portrait_video)
    assert result == tmp_path / "restored.mp4"
    assert [time for time, _ in pictures(result)] == [Fraction(index, 25) for index in range(12)]
    assert audio_streams(result) == audio_streams(portrait_video) == 1
    for (_, got), (_, given) in zip(pictures(result), pictures(portrait_video), strict=True):
        assert np.abs(got.astype(int) - given).mean() < 3


def test_inputs_reach_the_pipeline(predict: Any, portrait_video: Path) -> None:
    plain = pictures(predict(input_video=portrait_video))
    result = predict(input_video=portrait_video, draw_box=True, upscale=2, only_center_face=True, max_length=3, save_video_fps=29.97)
    shown = pictures(result)
    assert [time for time, _ in shown] == [index / Fraction(2997, 100) for index in range(12)]
    assert {picture.shape for _, picture in shown} == {(448, 448, 3)}
    for (_, got), (_, given) in zip(shown, plain, strict=True):
        change = np.abs(got[::2, ::2].astype(int) - given).max(axis=2)
        assert 50 < (change > 60).sum() < change.size / 4


def test_every_input_becomes_its_setting(door: Any, predict: Any, portrait_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(door, "restore_video", lambda *given, **more: asked.append((*given, more)))
    predict(input_video=portrait_video)
    predict(
        input_video=portrait_video,
        draw_box=True,
        bg_enhancement=True,
        upscale=3,
        max_length=7,
        has_aligned=True,
        only_center_face=True,
        detection_model="yolov5l",
        face_upsample=True,
        bg_tile=0,
        save_video_fps=24,
    )
    (_, _, plain, more), (source, _, full, _) = asked
    assert source == portrait_video
    assert isinstance(more["restorer"], Unchanged)
    assert (plain.draw_box, plain.max_length, plain.has_aligned, plain.only_center_face, plain.fps) == (False, 20, False, True, None)
    assert (full.draw_box, full.max_length, full.has_aligned, full.only_center_face, full.fps) == (True, 7, True, True, 24)
    assert (full.restorer, full.detector) == ("none", "YOLOv5l")
    finishes = [(one.finish.upscale, one.finish.background, one.finish.bg_tile, one.finish.face_upsample) for one in (plain, full)]
    assert finishes == [(1, "none", 400, False), (3, "model", 0, True)]


@pytest.mark.parametrize("rate", [24, 23.976, 29.97, 59.94, 12.5])
def test_rates_are_close_fractions(door: Any, predict: Any, rate: float, portrait_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(door, "restore_video", lambda _source, _target, settings, **_: asked.append(settings.fps))
    predict(input_video=portrait_video, save_video_fps=rate)
    assert float(asked[0]) == pytest.approx(rate, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"upscale": 5}, UserError, "--upscale: expected 1 to 4, got 5"),
        ({"save_video_fps": float("nan")}, UserError, "save_video_fps: expected more than 0, up to 1000, got nan"),
        ({"save_video_fps": float("inf")}, UserError, "save_video_fps: expected more than 0, up to 1000, got inf"),
        ({"detection_model": "eyes"}, UserError, "expected a detector of"),
        ({"input_video": Path("nowhere.mp4")}, MediaError, "nowhere.mp4: no such file"),
        ({"input_video": "flat"}, FaceError, "expected a face, found none in 1 frames"),
    ],
)
def test_what_the_user_can_change_is_one_line(
    predict: Any, portrait_video: Path, tmp_path: Path, given: dict[str, Any], kind: type[UserError], words: str
) -> None:
    if given.get("input_video") == "flat":
        given = {"input_video": tmp_path / "flat.mkv"}
        with av.open(str(tmp_path / "flat.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
            container.mux(stream.encode(av.VideoFrame(96, 96, "yuv420p")))
            container.mux(stream.encode(None))
    with pytest.raises(kind, match=re.escape(words)) as told:
        predict(**{"input_video": portrait_video, **given})
    assert "\n" not in str(told.value)
    assert not (tmp_path / "restored.mp4").exists()


def test_without_weights_it_does_not_start(door: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty weights folder and no network; first the restorer's are wanted, then the detector's."""
    wanted: list[str] = []

    def offline(_url: str, target: Path, **_: Any) -> None:
        wanted.append(target.name)
        msg = "no network"
        raise WeightsError(msg)

    rows = weights.entries()
    (tmp_path / weights.MANIFEST).write_bytes((weights.FOLDER / weights.MANIFEST).read_bytes())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    monkeypatch.setattr(weights, "fetch", offline)
    with pytest.raises(WeightsError, match="no network"):
        door.Predictor().setup()

    class OnlyTheDetector(door.Predictor):  # type: ignore[misc]
        restorer = "none"

    with pytest.raises(WeightsError, match="no network"):
        OnlyTheDetector().setup()
    assert wanted == [rows["keep_v1"].file, rows["retinaface_resnet50"].file]


def test_the_image_has_what_the_door_needs(repo_root: Path, door: Any) -> None:
    """BasicSR is installed as `make setup` does, without its dependencies; requirements-basicsr.txt is not in the image at that time."""
    told = yaml.safe_load((repo_root / "cog.yaml").read_text(encoding="utf-8"))
    file, _, name = told["predict"].partition(":")
    assert (repo_root / file).is_file()
    assert hasattr(door, name)
    build = told["build"]
    assert (build["gpu"], build["python_version"]) == (True, "3.12")
    assert (repo_root / build["python_requirements"]).samefile(repo_root / "requirements.txt")
    lines = [line.split("#")[0].strip() for line in (repo_root / "requirements-basicsr.txt").read_text(encoding="utf-8").splitlines()]
    wanted = [line for line in lines if line]
    assert build["run"] == [f"pip install --no-deps --no-build-isolation {line}" for line in wanted]
