"""Made footage whose pixels tell which frame they are of and where in it they lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from data.position import PositionSampler, train_loader
from keyframes_gan.faces.align import FFHQ_POINTS, FFHQ_SIZE

WIDTH, HEIGHT, FRAMES = 160, 144, 12
FACE = 96  # side, in frame pixels, of the square that the crop shows


def face_landmarks(left: float, top: float, side: float) -> np.ndarray:
    """68 landmarks whose five points lie as FFHQ has them in the square with its corner at (left, top)."""
    five = (np.array(FFHQ_POINTS) + 0.5) / FFHQ_SIZE * side - 0.5 + [left, top]
    points = np.tile(five.mean(axis=0), (68, 1))
    ring = np.stack([np.cos(np.arange(6) * np.pi / 3), np.sin(np.arange(6) * np.pi / 3)], axis=1) * side / 30
    points[36:42], points[42:48] = five[0] + ring, five[1] + ring
    points[30], points[48], points[54] = five[2:]
    return points.astype(np.float32)


def frame(index: int) -> np.ndarray:
    """Red tells the frame, green the column, blue the row."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[..., 0] = 10 * index + 8
    rgb[..., 1] = np.arange(WIDTH)[None] + 40
    rgb[..., 2] = np.arange(HEIGHT)[:, None] + 40
    return rgb


def corner(index: int) -> tuple[int, int]:
    """Where the face's square begins in a frame: it moves by 2 pixels a frame."""
    return 20 + 2 * index, 16 + index


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the same clip as frames ("frames"), as a video ("video") and aligned already ("square"), 12 frames each."""
    root = tmp_path_factory.mktemp("footage")
    landmarks = np.stack([face_landmarks(*corner(index), FACE) for index in range(FRAMES)])
    for name in ("frames", "square"):
        (root / name).mkdir()
    for index in range(FRAMES):
        left, top = corner(index)
        cv2.imwrite(str(root / "frames" / f"{index:08d}.png"), frame(index)[:, :, ::-1])
        cv2.imwrite(str(root / "square" / f"{index:08d}.png"), frame(index)[top : top + FACE, left : left + FACE, ::-1])
    np.save(root / "frames" / "landmarks.npy", landmarks)
    np.save(root / "video.npy", landmarks)
    with av.open(str(root / "video.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "4", "g": "5", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FRAMES):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame(index), format="rgb24")))
        output.mux(stream.encode(None))
    return root


SHOT, SHOTS, CROP = (176, 160), 14, 144


def shot(index: int) -> np.ndarray:
    """Frame of a textured scene, uint8 (160, 176, 3), that moves by (-3, 1) a frame."""
    noise = np.random.default_rng(7).normal(size=(192, 256, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 1) / 3 + cv2.GaussianBlur(noise, (0, 0), 3)
    scene = np.clip(128 + 45 * soft / soft.std(), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(scene[16 - index : 176 - index, 3 * index : 3 * index + 176])


def shot_corner(index: int) -> tuple[int, int]:
    """Where the crop of 144 px begins in a shot: within it the scene moves by (-2, 1) a frame."""
    return 20 - index, 6


def write_shots(path: Path, frames: list[np.ndarray]) -> None:
    """Write a video that keeps every value."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        (stream.width, stream.height), stream.pix_fmt = SHOT, "bgr0"
        for rgb in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        output.mux(stream.encode(None))


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a list of two clips of one lossless video: frames 0 to 11 ("first") and 2 to 13 ("second"); only the outer crops are there."""
    root, rows, count = tmp_path_factory.mktemp("shots"), [], SHOTS - 2
    (root / "original").mkdir()
    write_shots(root / "original" / "talk.mkv", [shot(index) for index in range(SHOTS)])
    for name, begin in (("first", 0), ("second", 2)):
        folder = root / "processed_42" / name
        for stream in ("original", "compressed"):
            (folder / stream).mkdir(parents=True)
            for index in (0, count - 1):
                cv2.imwrite(str(folder / stream / f"{index:06d}.png"), np.zeros((CROP, CROP, 3), np.uint8))
        corners = [shot_corner(begin + index) for index in range(count)]
        np.save(folder / "matrices.npy", np.array([[[1.0, 0, -left], [0, 1.0, -top]] for left, top in corners]))
        np.save(folder / "landmarks.npy", np.zeros((count, 68, 2), np.float32))
        row = {"name": name, "crf": 42, "size": CROP, "count": count, "folder": f"processed_42/{name}", "is_key": [True] * count}
        rows.append(json.dumps({**row, "first": begin, "original": "original/talk.mkv", "rate": "25"}) + "\n")
    (root / "clips_42.jsonl").write_text("".join(rows))
    return root / "clips_42.jsonl"


@pytest.fixture
def stream_of() -> Callable[..., list[dict[str, object]]]:
    """Give `stream_of(dataset, workers)`: the first six batches of two of a training run."""

    def collect(dataset: torch.utils.data.Dataset[object], workers: int) -> list[dict[str, object]]:
        sampler = PositionSampler(len(dataset), seed=5, batches=6, batch_size=2)  # type: ignore[arg-type]
        return list(train_loader(dataset, sampler, workers=workers, pin_memory=False))

    return collect


@pytest.fixture
def same() -> Callable[[object, object], bool]:
    """Give `same(one, other)`: whether two lists of batches, or samples, are equal to the bit."""

    def equal(one: object, other: object) -> bool:
        if isinstance(one, torch.Tensor):
            return torch.equal(one, other)  # type: ignore[arg-type]
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)  # type: ignore[attr-defined,index]
        if isinstance(one, list | tuple):
            return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))  # type: ignore[arg-type,call-overload]
        return one == other

    return equal
