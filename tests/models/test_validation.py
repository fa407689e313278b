"""Validation: means over frames and samples, the chosen best, pictures for TensorBoard and on the disk."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from torch import nn

from keyframes_gan.models import validation
from keyframes_gan.models.validation import Shown, ValidatedModel

SIZE = 8


def grey(level: int) -> validation.Image:
    return np.full((SIZE, SIZE, 3), level, dtype=np.uint8)


class Recorded(ValidatedModel):
    """Shows clips of grey frames, as many levels off as `offsets` says."""

    offsets: tuple[int, ...] = (1, 3)

    def shown(self, net: nn.Module, data: dict[str, Any]) -> Shown:
        assert not net.training
        frames = [grey(100 + offset) for offset in self.offsets]
        given = [grey(110)] * len(frames) if data["given"] else []
        return Shown(data["name"], frames, [grey(100)] * len(frames), given)


class Board:
    """Keeps what TensorBoard would be given."""

    def __init__(self) -> None:
        self.images: dict[str, Any] = {}
        self.scalars: dict[str, float] = {}

    def add_image(self, name: str, image: Any, _step: int, dataformats: str) -> None:
        assert dataformats == "HWC"
        self.images[name] = image

    def add_scalar(self, name: str, value: float, _step: int) -> None:
        self.scalars[name] = value


class Loader:
    """Samples with the data set's name where the engine's loaders have it."""

    def __init__(self, name: str, count: int, *, given: bool = True) -> None:
        self.dataset = SimpleNamespace(opt={"name": name})
        self.samples = [{"name": f"clip{index}", "given": given} for index in range(count)]

    def __iter__(self) -> Any:
        return iter(self.samples)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    logging.getLogger("basicsr").setLevel(logging.ERROR)
    # Mean absolute difference in levels, so that expected scores can be seen.
    monkeypatch.setattr(
        validation, "calculate_metric", lambda pair, _options: float(np.abs(pair["img"].astype(int) - pair["img2"].astype(int)).mean())
    )
    opt = {"device": "cpu", "num_gpu": 0, "is_train": True, "dist": False, "rank": 0, "world_size": 1}
    folders = {"log": str(tmp_path), "visualization": str(tmp_path / "pictures")}
    metrics = {"closeness": {"type": "a"}, "distance": {"type": "b", "better": "lower"}}
    made = Recorded({**opt, "path": folders, "val": {"metrics": metrics}})
    made.networks["g"] = nn.Conv2d(3, 3, 1)
    return made


def saved(model: Recorded, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    tags: list[str] = []
    monkeypatch.setattr(model, "save_final", tags.append)
    return tags


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]


def test_scores_are_means_over_frames_and_samples(model: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(model, monkeypatch)
    model.validation([Loader("a", 2), Loader("b", 1, given=False)], 5, None)  # type: ignore[list-item]
    first, second = rows(tmp_path)
    assert first == {
        "iteration": 5,
        "data": "a",
        "restored": {"closeness": 2.0, "distance": 2.0},
        "compressed": {"closeness": 10.0, "distance": 10.0},
    }
    assert "compressed" not in second
    assert model.networks["g"].training


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [(None, [True, False, True]), ("a/distance", [True, True, False]), ("b/closeness", [True, False, True])],
)
def test_the_best_weights_are_kept_by_the_chosen_score(
    model: Recorded, monkeypatch: pytest.MonkeyPatch, chosen: str | None, kept: list[bool]
) -> None:
    tags = saved(model, monkeypatch)
    if chosen is not None:
        model.opt["val"]["best"] = chosen
    found = []
    for iteration, offset in enumerate((2, 1, 3), start=1):  # "closeness" is best when high, "distance" when low
        model.offsets = (offset,)
        model.validation([Loader("a", 1), Loader("b", 1)], iteration, None)  # type: ignore[list-item]
        found.append(bool(tags))
        tags.clear()
    assert found == kept


def test_pictures_and_curves(model: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(model, monkeypatch)
    board = Board()
    model.validation([Loader("a", 6)], 5, board, save_img=True)  # type: ignore[list-item]
    assert sorted(board.images) == [f"a/clip{index}" for index in range(4)]
    # given | restored | truth of the middle frame, the second of two
    assert board.images["a/clip0"].shape == (SIZE, 3 * SIZE, 3)
    assert board.images["a/clip0"][0, ::SIZE, 0].tolist() == [110, 103, 100]
    assert board.scalars == {"metrics/a/closeness": 2.0, "metrics/a/distance": 2.0}
    files = sorted(str(path.relative_to(tmp_path / "pictures")) for path in (tmp_path / "pictures").rglob("*.png"))
    assert files[:2] == ["a/clip0_5/000000.png", "a/clip0_5/000001.png"]
    assert len(files) == 12
    assert cv2.imread(str(tmp_path / "pictures" / files[1]))[0, 0].tolist() == [103] * 3
    model.offsets = (4,)
    model.validation([Loader("a", 1)], 6, None, save_img=True)  # type: ignore[list-item]
    assert (tmp_path / "pictures" / "a" / "clip0_6.png").is_file()


def test_a_validation_is_not_repeated_for_the_same_iteration(model: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(model, monkeypatch)
    for _ in range(2):
        model.validation([Loader("a", 1)], 5, None)  # type: ignore[list-item]
    assert len(rows(tmp_path)) == 1
