"""LPIPS of pictures, by the network of `archs.lpips_arch` (Zhang et al., CVPR 2018) with the published weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from archs.lpips_arch import LPIPS, MINIMUM_PX, keep_convolutions
from keyframes_gan import weights
from keyframes_gan.errors import WeightsError
from keyframes_gan.metrics.kinds import Box, Picture, Scorer
from keyframes_gan.metrics.regions import mean_over_crops


def load(device: str = "cpu", *, backbone: str = "alexnet", heads: str = "lpips_alexnet") -> Scorer:
    """Return LPIPS with the weights of that name (pretrained_models/manifest.yml) or path.

    Raises:
        WeightsError: a file is missing and cannot be fetched, is altered, or holds something else.
    """
    lacking = [reason for reason in (_lacking(name) for name in (backbone, heads)) if reason is not None]
    if lacking:
        raise WeightsError("; ".join(lacking))
    network = LPIPS()
    state = keep_convolutions(weights.load_state(backbone)) | weights.load_state(heads)
    weights.load_into(network, state, name=f"{backbone} and {heads}")
    return scorer(network.eval())


def _lacking(name: str) -> str | None:
    """Return why the weights `name` cannot be used, None when they can."""
    try:
        weights.locate(name)
    except WeightsError as error:
        row = weights.entries().get(name)
        if row is None or (weights.FOLDER / row.file).exists():
            return str(error)
        return f"{row.file} is not here and could not be fetched from {row.url}; put it at {weights.FOLDER / row.file}"
    return None


def scorer(network: LPIPS) -> Scorer:
    """Return a `Scorer` that runs `network` on single pictures."""

    def measure(original: Picture, picture: Picture) -> float:
        with torch.inference_mode():
            return float(network(_to_tensor(original), _to_tensor(picture)))

    def score(original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        return mean_over_crops(measure, original, picture, boxes, MINIMUM_PX)

    return score


def _to_tensor(picture: Picture) -> Tensor:
    """Return a picture uint8 (H, W, 3) as float32 (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))[None]).float() / 255.0
