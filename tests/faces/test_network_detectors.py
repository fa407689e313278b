"""RetinaFace and YOLOv5-face as detectors: coordinates through scaling and decoding, doubles, weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from keyframes_gan import weights
from keyframes_gan.errors import WeightsError
from keyframes_gan.faces.detectors import find
from keyframes_gan.faces.detectors.network import box_around, suppress
from keyframes_gan.faces.detectors.retinaface import anchors
from keyframes_gan.faces.landmarks import Landmarker, box_of
from keyframes_gan.types import Image

NETWORKS = ("retinaface_mobile0.25", "retinaface_resnet50", "YOLOv5n", "YOLOv5l")
WIDTH, HEIGHT = 900, 500
FACE = (301, 103, 121)
FIVE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
"""Where eyes, nose and corners of the mouth lie in the red square that stands for a face."""


def picture() -> Image:
    """Return a grey picture with a red square at x, y, side = FACE."""
    rgb = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    x, y, side = FACE
    rgb[y : y + side, x : x + side] = (250, 10, 10)
    return rgb


def square_in(red: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return corner (2,) and side, in pixels from the picture's corner, of where a plane (H, W) is bright."""
    y, x = torch.nonzero(red, as_tuple=True)
    return torch.stack([x.min(), y.min()]).float(), float(x.max() - x.min() + 1)


class SeesRed(nn.Module):
    """In place of a network: finds the red square in what it is given, and says so in the network's own numbers."""

    def __init__(self, *, retina: bool) -> None:
        super().__init__()
        self.retina = retina
        self.seen: list[torch.Tensor] = []

    def forward(self, pictures: torch.Tensor) -> Any:
        self.seen.append(pictures)
        red = pictures[0, 2] + 123 > 150 if self.retina else (pictures[0, 0] > 0.6) & (pictures[0, 1] < 0.3)
        corner, side = square_in(red) if red.any() else (torch.full((2,), -999.0), 1.0)
        points = corner + side * torch.from_numpy(FIVE).float()
        return self.as_retina(pictures, corner + side / 2, side, points) if self.retina else self.as_yolo(corner + side / 2, side, points)

    @staticmethod
    def as_retina(pictures: torch.Tensor, centre: torch.Tensor, side: float, points: torch.Tensor) -> Any:
        made = torch.from_numpy(np.array(anchors(pictures.shape[2], pictures.shape[3])))
        count = len(made)
        boxes, points_out, scores = torch.zeros(1, count, 4), torch.zeros(1, count, 10), torch.zeros(1, count, 2)
        for row, score in ((count // 3, 0.9), (count // 2, 0.95), (7, 0.5)):
            x, y, width = made[row].tolist()
            boxes[0, row, :2] = (centre - torch.tensor([x, y])) / (0.1 * width)
            boxes[0, row, 2:] = 5 * float(np.log(side / width))
            points_out[0, row] = ((points - torch.tensor([x, y])) / (0.1 * width)).flatten()
            scores[0, row, 1] = score
        return boxes, scores, points_out

    @staticmethod
    def as_yolo(centre: torch.Tensor, side: float, points: torch.Tensor) -> torch.Tensor:
        row = torch.cat([centre, torch.tensor([side, side, 0.95]), points.flatten(), torch.tensor([1.0])])
        weaker, weak = row.clone(), row.clone()
        weaker[15], weak[15] = 0.8, 0.5
        return torch.stack([weaker, row, weak, torch.zeros(16)])[None]


def seeing_red(name: str, **options: Any) -> tuple[Any, SeesRed]:
    detector: Any = find(name)(**options)
    network = SeesRed(retina=name.startswith("retina"))
    detector.__dict__["_network"] = network, torch.device("cpu")
    return detector, network


@pytest.mark.parametrize("name", ["retinaface_mobile0.25", "YOLOv5n"])
@pytest.mark.parametrize("max_pixels", [2_000_000, 60_000])
def test_box_and_points_come_back_in_pixels_of_the_frame(name: str, max_pixels: int) -> None:
    detector, network = seeing_red(name, min_face=32, max_pixels=max_pixels)
    (found,) = detector.detect(picture())
    x, y, side = FACE
    expected = np.array([x, y]) - 0.5 + side * FIVE
    error = 1.0 if max_pixels > WIDTH * HEIGHT else 2.5
    assert found.points is not None
    assert np.abs(found.points - expected).max() < error
    assert found.score == pytest.approx(0.95)
    assert np.abs((found.box[:2] + found.box[2:]) / 2 - expected.mean(axis=0)).max() < 0.1 * side
    assert network.seen[0].shape[2] * network.seen[0].shape[3] < 1.2 * max_pixels


@pytest.mark.parametrize("name", ["retinaface_mobile0.25", "YOLOv5n"])
def test_a_face_is_found_near_its_place_and_nowhere_else(name: str) -> None:
    detector, _ = seeing_red(name)
    rgb = picture()
    (found,) = detector.detect(rgb)
    (again,) = detector.detect_near(rgb, found.box)
    assert np.abs(again.box - found.box).max() < 4
    assert detector.detect_near(rgb, found.box + np.float32([400, 100, 400, 100])) == []
    assert detector.detect_near(rgb, found.box + np.float32([5000, 0, 5000, 0])) == []


def test_yolo_gets_rgb_filled_up_to_32_with_grey() -> None:
    detector, network = seeing_red("YOLOv5n", min_face=32, max_pixels=2_000_000)
    detector.detect(picture())
    seen = network.seen[0]
    assert seen.shape == (1, 3, 512, 928)
    assert (seen[0, :, HEIGHT:] == 114 / 255).all()
    assert (seen[0, :, :, WIDTH:] == 114 / 255).all()
    torch.testing.assert_close(seen[0, :, 150, 350], torch.tensor([250, 10, 10]) / 255)


def test_retinaface_gets_bgr_less_its_mean() -> None:
    detector, network = seeing_red("retinaface_mobile0.25", min_face=32, max_pixels=2_000_000)
    detector.detect(picture())
    assert network.seen[0].shape == (1, 3, HEIGHT, WIDTH)
    assert network.seen[0][0, :, 150, 350].tolist() == [10 - 104, 10 - 117, 250 - 123]


def test_anchors_are_the_published_ones() -> None:
    made = anchors(320, 320)
    assert made.shape == (4200, 3)
    assert made[:3].tolist() == [[4, 4, 16], [4, 4, 32], [12, 4, 16]]
    assert made[3200].tolist() == [8, 8, 64]
    assert made[-1].tolist() == [304, 304, 512]
    assert len(anchors(50, 70)) == 2 * (7 * 9 + 4 * 5 + 2 * 3)


def test_doubles_are_suppressed_best_first() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 5, 10, 15], [50, 50, 60, 60]], np.float32)
    scores = np.array([0.8, 0.9, 0.7, 0.95], np.float32)
    assert suppress(boxes, scores, 0.4) == [3, 1, 2]
    assert suppress(boxes, scores, 0.9) == [3, 1, 0, 2]
    assert suppress(boxes[:0], scores[:0], 0.4) == []


def test_the_box_is_the_one_that_dlib_would_draw(clips_dir: Path) -> None:
    """Against `box_of` on dlib's own 68 landmarks of a picture that had no part in the constants."""
    rgb = np.ascontiguousarray(cv2.imread(str(clips_dir.parent / "images" / "2008_002506.jpg"))[..., ::-1])
    for one in find("dlib-hog")(min_face=40, max_pixels=4_000_000).detect(rgb):
        points = Landmarker().points(rgb, one.box, rounds=2)
        five = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
        wanted = box_of(points)
        assert np.abs(box_around(five, np.zeros(4, np.float32)) - wanted).max() < 0.1 * (wanted[2] - wanted[0])


def test_a_profile_keeps_the_width_of_the_networks_box() -> None:
    five = np.array([[10, 10], [10, 10], [9, 20], [10, 30], [10, 30]], np.float32)
    box = box_around(five, np.array([0, 0, 60, 60], np.float32))
    assert box[2] - box[0] == pytest.approx(48)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["retinaface_mobile0.25", "YOLOv5n"])
def test_a_weights_file_goes_through_the_whole_detector(name: str, made_checkpoint: Callable[..., Path]) -> None:
    made = {"retinaface_mobile0.25": "retinaface_mobile025", "YOLOv5n": "yolov5n_face"}[name]
    detector: Any = find(name)
    rgb = np.random.default_rng(0).integers(0, 256, (120, 170, 3), np.uint8)
    found = detector(weights_from=made_checkpoint(made), threshold=0.0, min_face=32, device="cpu").detect(rgb)
    assert found
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(0 <= one.score <= 1 and one.points is not None and one.points.shape == (5, 2) for one in found)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_that_are_nowhere_are_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        msg = "no network"
        raise WeightsError(msg)

    rows = weights.entries()
    monkeypatch.setattr(weights, "entries", lambda: rows)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    monkeypatch.setattr(weights, "_torch_cache", lambda: tmp_path)
    monkeypatch.setattr(weights, "fetch", refuse)
    factory: Any = find(name)
    with pytest.raises(WeightsError, match="no network"):
        factory(device="cpu").detect(np.zeros((64, 64, 3), np.uint8))
