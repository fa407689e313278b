"""Faces by script instead of by detector, a restorer that records what it gets, and videos made with PyAV alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from keyframes_gan import restorers
from keyframes_gan.faces.smooth import Observation
from keyframes_gan.pipeline import gallery, stream
from keyframes_gan.types import FaceClip, Frame, RestorerSpec

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
Script = Callable[[int], Sequence[tuple[int, Points]]]


def face68(x: float, y: float, eyes: float) -> Points:
    """Landmarks of a frontal face whose eye centres are `eyes` pixels apart, midway between them at (x, y)."""
    jaw = [(-1.1 * np.cos(angle), 0.1 + 1.7 * np.sin(angle)) for angle in np.linspace(0, np.pi, 17)]
    brows = [(side + shift, -0.35) for side in (-0.55, 0.55) for shift in np.linspace(-0.3, 0.3, 5)]
    nose = [(0.0, height) for height in np.linspace(0.05, 0.55, 4)] + [(shift, 0.65) for shift in np.linspace(-0.2, 0.2, 5)]
    ring = np.arange(6) * np.pi / 3
    look = [(side + 0.15 * np.cos(angle), 0.07 * np.sin(angle)) for side in (-0.5, 0.5) for angle in ring]
    mouth = [(0.4 * np.cos(angle), 1.05 + 0.15 * np.sin(angle)) for angle in np.arange(20) * np.pi / 10]
    return (np.array(jaw + brows + nose + look + mouth) * eyes + [x, y]).astype(np.float32)


def pictures(count: int, size: tuple[int, int] = (128, 96)) -> list[Image]:
    """Smooth colourful pictures, (width, height), that move."""
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float64)
    waves = ((np.sin((x + 3 * i) / 17), np.cos((y - 2 * i) / 13), np.sin((x + y + i) / 23)) for i in range(count))
    return [np.ascontiguousarray(127 + 100 * np.stack(wave, -1)).astype(np.uint8) for wave in waves]


def write_video(
    path: Path, frames: Sequence[Image], *, gop: int = 250, crf: int = 12, rate: int = 25, stamps: Sequence[int] | None = None
) -> Path:
    """Write h264 with a key frame every `gop` frames and nowhere else; frame i is shown at `stamps[i]` / rate."""
    with av.open(str(path), "w") as container:
        options = {"crf": str(crf), "preset": "ultrafast", "g": str(gop), "sc_threshold": "0", "bf": "0"}
        track = container.add_stream("libx264", rate=rate, options=options)
        track.height, track.width = frames[0].shape[:2]
        track.pix_fmt = "yuv420p"
        for stamp, rgb in zip(stamps or range(len(frames)), frames, strict=True):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts = stamp
            container.mux(track.encode(picture))
        container.mux(track.encode(None))
    return path


def decoded(path: Path) -> list[tuple[Fraction, bool, Image]]:
    """(time, is a key frame, picture) of every frame, by PyAV alone."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [((f.pts - frames[0].pts) * f.time_base, bool(f.key_frame), f.to_ndarray(format="rgb24")) for f in frames]


class ScriptedTracker:
    """Stands in for `FaceTracker`: sees the faces that a script says are there, and cuts before the frames `cuts`."""

    def __init__(self, script: Script, cuts: Sequence[int] = ()) -> None:
        self._script, self._cuts = script, cuts
        self.cut = False

    def update(self, frame: Frame) -> list[Observation]:
        found = []
        self.cut = frame.index in self._cuts
        for track_id, points in self._script(frame.index):
            box = np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)
            found.append(Observation(track_id, frame.index, box, points, 1.0, confirmed=True))
        return found


class Recorder:
    """A restorer that keeps every clip it was given, and gives back what `change` makes of the crops."""

    def __init__(self, change: Callable[[FaceClip], npt.NDArray[np.uint8]], **spec: Any) -> None:
        values = {"crop_sizes": (64, 96, 128, 256), "clip_length": 4, "overlap": 0, "residual": True, "weights": None, **spec}
        self.spec = RestorerSpec(name="recorder", summary="records", licence="none", **values)
        self.clips: list[FaceClip] = []
        self.states: list[tuple[int, object]] = []
        self.settings: dict[str, Any] = {}
        self._change = change

    def start(self, track_id: int) -> object:
        return ("state of", track_id)

    def restore(self, clip: FaceClip, state: object) -> npt.NDArray[np.uint8]:
        self.clips.append(clip)
        self.states.append((clip.track_id, state))
        return self._change(clip)


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], None]:
    """Give `follow(script, cuts=(), identity=None)`: the pipeline now sees the faces `script(index)` lists as (track id, landmarks).

    `identity(landmarks)` numbers the person a face belongs to; without, every look sees somebody new.
    """

    def use(script: Script, cuts: Sequence[int] = (), identity: Callable[[Points], int] | None = None) -> None:
        looks = iter(range(1000, 2**31))

        def embed(points: Points) -> npt.NDArray[np.float32]:
            number = next(looks) if identity is None else identity(points)
            drawn = np.random.default_rng(number).standard_normal(128).astype(np.float32)
            unit: npt.NDArray[np.float32] = drawn / np.linalg.norm(drawn)
            return unit

        monkeypatch.setattr(stream, "FaceTracker", lambda *_, **__: ScriptedTracker(script, cuts))
        monkeypatch.setattr(gallery, "face_chip", lambda _rgb, points: points)
        monkeypatch.setattr(gallery, "embed_chip", embed)

    return use


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recorder]:
    """Give `record(change=unchanged, **spec)`: the restorer that is now called "recorder"."""

    def use(change: Callable[[FaceClip], npt.NDArray[np.uint8]] = lambda clip: clip.crops, **spec: Any) -> Recorder:
        recorder = Recorder(change, **spec)
        module = ModuleType("recorder_of_this_test")

        def create(**settings: Any) -> Recorder:
            recorder.settings = settings
            return recorder

        module.create = create  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(restorers.RESTORERS, "recorder", (module.__name__, "records"))
        return recorder

    return use


@pytest.fixture
def face() -> Callable[[float, float, float], Points]:
    """Give `face(x, y, eyes)`: 68 landmarks of a frontal face, its eye centres `eyes` pixels apart around (x, y)."""
    return face68


@pytest.fixture
def moving() -> Callable[..., list[Image]]:
    """Give `moving(count, (width, height))`: smooth colourful pictures that move."""
    return pictures


@pytest.fixture
def make_video() -> Callable[..., Path]:
    """Give `make_video(path, frames, gop=, crf=, rate=, stamps=)`."""
    return write_video


@pytest.fixture
def frames_of() -> Callable[[Path], list[tuple[Fraction, bool, Image]]]:
    """Give `frames_of(path)`: (time, is a key frame, picture) of every frame."""
    return decoded


@pytest.fixture(scope="module")
def module_tools() -> ModuleType:
    """Give this module, for fixtures that live longer than a test."""
    return sys.modules[__name__]
