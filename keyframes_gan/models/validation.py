"""Validation that all recipes share: scores next to those of the given pictures, curves and pictures, and the best weights kept.

Every validation adds a line to `validation.jsonl`: {"iteration", "data", "restored": {metric: score}, "compressed": {metric: score}}; the
second are the scores of what the network was given, and are left out where it was given nothing but the original.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from keyframes_gan.models import checkpoints
from keyframes_gan.models.base import EngineModel
from keyframes_gan.registry import calculate_metric, get_root_logger

RESULTS = "validation.jsonl"
SHOWN_SAMPLES = 4
"""So many samples of each validation set go to TensorBoard as pictures."""

Image = npt.NDArray[np.uint8]
Scores = dict[str, float]


@dataclass(frozen=True)
class Shown:
    """What a network made of one sample: uint8 RGB pictures (H, W, 3), one per frame, in the same order in all three lists.

    Attributes:
        name: of the sample, fit for a file name; "/" makes folders.
        restored: what the network made.
        truth: the originals.
        given: what it was given; empty where that is the original itself.
    """

    name: str
    restored: list[Image]
    truth: list[Image]
    given: list[Image]


class ValidatedModel(EngineModel):
    """An `EngineModel` that measures network "g" on the validation sets. Subclasses write `shown`."""

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.best: dict[str, dict[str, float]] = {}
        self.untouched: dict[str, Scores] = {}
        self.validated: set[tuple[str, int]] = set()

    @abstractmethod
    def shown(self, net: nn.Module, data: dict[str, Any]) -> Shown:
        """Run `net`, in eval mode and without gradients, on a loader's batch of one sample."""

    def validation(self, dataloader: Iterable[DataLoader[Any]], current_iter: int, tb_logger: Any, save_img: bool = False) -> None:  # noqa: ANN401
        """Measure on every validation set; process 0 only. The name and order of the arguments are those of BasicSR's loop."""
        if self.opt["rank"] != 0:
            return
        for loader in dataloader:
            dataset: Any = loader.dataset
            name = str(dataset.opt["name"])
            if (name, current_iter) not in self.validated:
                self.validated.add((name, current_iter))
                self._validate(name, loader, current_iter, tb_logger, save_img=save_img)

    def _validate(self, name: str, loader: DataLoader[Any], current_iter: int, tb_logger: Any, *, save_img: bool) -> None:  # noqa: ANN401
        """Measure the averaged weights, else the raw ones, on one data set."""
        restored: list[Scores] = []
        given: list[Scores] = []
        for index, sample in enumerate(self._each_shown(loader)):
            restored.append(self._scores(sample.restored, sample.truth))
            if name not in self.untouched and sample.given:
                given.append(self._scores(sample.given, sample.truth))
            if tb_logger and index < SHOWN_SAMPLES:
                tb_logger.add_image(f"{name}/{sample.name}", strip(sample), current_iter, dataformats="HWC")
            if save_img:
                self._save_pictures(Path(self.opt["path"]["visualization"]) / name, sample, current_iter)
        if given:
            self.untouched[name] = _mean(given)
        self._report(name, _mean(restored), current_iter, tb_logger)

    def _each_shown(self, loader: DataLoader[Any]) -> Iterator[Shown]:
        net = self.averages.get("g", self.get_bare_model(self.networks["g"]))
        for data in loader:
            training = net.training
            net.eval()
            with torch.inference_mode():
                sample = self.shown(net, data)
            net.train(training)
            self.batch = {}
            yield sample

    def _scores(self, pictures: list[Image], truth: list[Image]) -> Scores:
        """Return every metric of the options, averaged over the frames."""
        return _mean([self._score(picture, original) for picture, original in zip(pictures, truth, strict=True)])

    def _score(self, picture: Image, truth: Image) -> Scores:
        """Return every metric of the options, on BGR pictures as BasicSR's metrics expect them."""
        pair = {"img": picture[:, :, ::-1], "img2": truth[:, :, ::-1]}
        return {name: float(calculate_metric(pair, _metric(options))) for name, options in self.opt["val"]["metrics"].items()}

    @staticmethod
    def _save_pictures(folder: Path, sample: Shown, current_iter: int) -> None:
        """Write `NAME_ITERATION.png`, or one such file per frame into a folder of that name."""
        stem = f"{sample.name}_{current_iter}"
        single = len(sample.restored) == 1
        for index, picture in enumerate(sample.restored):
            path = folder / (f"{stem}.png" if single else f"{stem}/{index:06d}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture[:, :, ::-1])

    def _report(self, name: str, scores: Scores, current_iter: int, tb_logger: Any) -> None:  # noqa: ANN401
        """Log the scores, save the weights when they are the best so far, and last, as a sign of being done, add to the results."""
        before = self.untouched.get(name, {})
        parts = [f"{metric} {value:.4f}{_gain(value, before.get(metric))}" for metric, value in scores.items()]
        get_root_logger().info("validation %s at %d: %s", name, current_iter, ", ".join(parts))
        if tb_logger:
            for metric, value in scores.items():
                tb_logger.add_scalar(f"metrics/{name}/{metric}", value, current_iter)
        if self.is_train and self._is_best(name, scores, current_iter):
            self.save_final("best")
        row = {"iteration": current_iter, "data": name, "restored": scores} | ({"compressed": before} if before else {})
        with (Path(self.opt["path"]["log"]) / RESULTS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Continue from a state; what `validation.jsonl` says of the time after it is forgotten, and the best results are read from it."""
        super().resume_training(resume_state)
        source = Path(resume_state["folder"]) / RESULTS
        lines = source.read_text(encoding="utf-8").splitlines(keepends=True) if source.is_file() else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]  # one without was not written to its end
        rows = [row for row in rows if row["iteration"] <= self.iteration]
        for row in rows:
            self._is_best(row["data"], row["restored"], row["iteration"])
            if row["iteration"] == self.iteration:
                self.validated.add((row["data"], self.iteration))
        if self.opt["rank"] == 0:
            text = "".join(json.dumps(row) + "\n" for row in rows)
            checkpoints.write_atomically(Path(self.opt["path"]["log"]) / RESULTS, lambda part: part.write_text(text, encoding="utf-8"))

    def _is_best(self, name: str, scores: Scores, current_iter: int) -> bool:
        """Note the scores that are the best so far; return whether the one that the options choose is among them."""
        found = False
        for metric, value in scores.items():
            sign = 1.0 if self.opt["val"]["metrics"][metric].get("better", "higher") == "higher" else -1.0
            key = f"{name}/{metric}"
            if key in self.best and sign * value <= sign * self.best[key]["value"]:
                continue
            found = found or key == self.opt["val"].get("best", next(iter(self.best), key))
            self.best[key] = {"value": value, "iteration": float(current_iter)}
        return found

    def about(self) -> dict[str, str]:
        """Add the best scores to what is stored with the final weights."""
        return {**super().about(), "best": json.dumps(self.best, sort_keys=True)}


def image_of(picture: Tensor) -> Image:
    """Turn a picture (3, H, W) in [0, 1], clamped here, into uint8 RGB (H, W, 3)."""
    levels = picture.float().clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy())


def strip(sample: Shown) -> Image:
    """Return given | restored | truth of the middle frame, side by side: (H, 2 W or 3 W, 3)."""
    return np.hstack([pictures[len(pictures) // 2] for pictures in (sample.given, sample.restored, sample.truth) if pictures])


def _gain(value: float, before: float | None) -> str:
    return "" if before is None else f" (compressed {before:.4f}, {value - before:+.4f})"


def _metric(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "better"}


def _mean(scores: list[Scores]) -> Scores:
    return {name: float(np.mean([each[name] for each in scores])) for name in scores[0]}
