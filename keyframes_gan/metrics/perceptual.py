"""Distances that networks have learned, between pictures and their originals, batch by batch on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from keyframes_gan import weights
from keyframes_gan.devices import choose_device
from keyframes_gan.errors import WeightsError
from keyframes_gan.metrics.kinds import Box, Picture
from keyframes_gan.metrics.regions import mean_over_crops


class NetworkScorer:
    """A `keyframes_gan.metrics.kinds.BatchScorer` that runs a network on pairs of pictures.

    Args:
        network: maps two batches (N, 3, H, W), RGB in [0, 1], to distances (N,).
        minimum_px: pictures and boxes with a shorter side are not measured.
    """

    def __init__(self, network: nn.Module, minimum_px: int, device: str = "cpu") -> None:
        self.minimum_px = minimum_px
        self._device = choose_device(device)
        self._network = network.eval().to(self._device)

    def __call__(self, original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        """Return the distance, inside boxes the mean over their crops, weighted by area; None where all are too small."""
        return mean_over_crops(lambda one, two: self.distances([one], [two])[0], original, picture, boxes, self.minimum_px)

    def many(self, originals: Sequence[Picture], pictures: Sequence[Picture]) -> list[float | None]:
        """Return the distances of whole pictures of one size."""
        if not pictures or min(pictures[0].shape[:2]) < self.minimum_px:
            return [None] * len(pictures)
        return list(self.distances(originals, pictures))

    def distances(self, firsts: Sequence[Picture], seconds: Sequence[Picture]) -> list[float]:
        """Return the distance of every pair of pictures; all are of one size."""
        with torch.inference_mode():
            found: list[float] = self._network(self._batch(firsts), self._batch(seconds)).double().cpu().tolist()
        return found

    def _batch(self, pictures: Sequence[Picture]) -> Tensor:
        return to_batch(pictures).to(self._device).float() / 255.0


def to_batch(pictures: Sequence[Picture]) -> Tensor:
    """Return pictures uint8 (H, W, 3) as one tensor uint8 (N, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)))


def loaded(names: Sequence[str], put: Callable[..., dict[str, Tensor]], network: nn.Module) -> nn.Module:
    """Return `network` with the weights `put(*states)`, made of the states of `names` (pretrained_models/manifest.yml, or paths).

    Raises:
        WeightsError: a file is missing and cannot be fetched (the message names all of those), is altered, or holds something else.
    """
    lacking = [reason for reason in (_lacking(name) for name in names) if reason is not None]
    if lacking:
        raise WeightsError("; ".join(lacking))
    weights.load_into(network, put(*(weights.load_state(name) for name in names)), name=" and ".join(names))
    return network


def _lacking(name: str) -> str | None:
    """Return why the weights `name` cannot be used, None when they can."""
    try:
        weights.locate(name)
    except WeightsError as error:
        row = weights.entries().get(name)
        if row is None or row.url is None or (weights.FOLDER / row.file).exists():
            return str(error)
        return f"{row.file} is not here and could not be fetched from {row.url}; put it at {weights.FOLDER / row.file}"
    return None
