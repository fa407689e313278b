"""How figures were measured: what a reader needs to measure the same again, and to judge whether two figures may be compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keyframes_gan import metrics, weights
from keyframes_gan.circumstances import PACKAGES, circumstances
from keyframes_gan.errors import WeightsError
from keyframes_gan.faces import dlib_models
from keyframes_gan.measure.files import SHARE_OF_FRAME
from keyframes_gan.measure.settings import Settings
from keyframes_gan.measure.spaces import CROP, CROP_SPEC, WHOLE

LANDMARKS = "68 points, dlib's shape predictor, started from the face in the original"
COLOR = "8-bit RGB, full range, from YUV by the stream's own matrix and range (BT.601 or BT.709 by size where it names none)"
LUMA = "BT.601, studio swing, from RGB, not rounded"
FLOW = "OpenCV DIS, medium preset, on grey pictures; RAFT (torchvision, large, 12 updates) where a metric is named so"


def protocol(settings: Settings, names: Iterable[str]) -> dict[str, Any]:
    """Return the protocol of measuring the metrics `names` (those that could be taken) with these settings, as plain data."""
    import torch  # noqa: PLC0415  # worker processes import this module, but need torch for some metrics only

    chosen = [metrics.find(name) for name in names]
    with_faces = settings.regions != (WHOLE,) or any(metric.uses_faces for metric in chosen)
    return {
        "regions": list(settings.regions),
        "crop": {"template": CROP_SPEC.template, "size": CROP_SPEC.size, "resampling": "bicubic, antialiased"}
        if CROP in settings.regions
        else None,
        "crop_border": settings.crop_border,
        "every": settings.every,
        "clip_length": settings.clip_length,
        "detector": settings.detector if with_faces else None,
        "landmarks": LANDMARKS if with_faces else None,
        "color": COLOR,
        "luma": LUMA,
        "flow": FLOW,
        "matching": f"by time, within {SHARE_OF_FRAME} of a frame; folders of pictures by order",
        "weights": {name: _hash(name) for metric in chosen for name in metric.weights} | (_dlib_hashes(settings) if with_faces else {}),
        "device": settings.device,
        **circumstances(torch.get_num_threads() if settings.jobs == 1 else settings.jobs, packages=(*PACKAGES, "torchvision", "scipy")),
    }


def _hash(name: str) -> str | None:
    """Return the SHA-256 of the weights `name` as they lie here, None when they do not."""
    try:
        return weights.digest(weights.locate(name, allow_download=False))
    except WeightsError:
        return None


def _dlib_hashes(settings: Settings) -> dict[str, str]:
    """Return the hashes of dlib's models that find and compare faces."""
    files = [dlib_models.LANDMARKS_68, dlib_models.IDENTITY]
    if settings.detector == "dlib-cnn":
        files.append(dlib_models.CNN_DETECTOR)
    return {file: weights.digest(dlib_models.model_path(file)) for file in files}
