"""Metrics: one file per family, listed in `METRICS`. Importing this package imports neither torch nor OpenCV.

    scorer = metrics.load("ssim")              # a metric of pictures; may raise WeightsError or UnavailableError
    value = scorer(original, restored)         # uint8 RGB (H, W, 3)
    value = scorer(original, restored, boxes)  # inside the boxes only; None where no box is large enough
    begin = metrics.load_clip("e_warp")        # any metric, as one of clips: see `keyframes_gan.metrics.clips`

Adding a metric: write a module with a function that returns a `Scorer` or a `clips.Begin`, and describe it in
`keyframes_gan/metrics/catalogue.py` and in docs/metrics.md.
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from keyframes_gan.errors import UserError
from keyframes_gan.metrics.catalogue import METRICS
from keyframes_gan.metrics.clips import Begin, per_picture
from keyframes_gan.metrics.kinds import Box, Metric, Picture, Scorer, UnavailableError
from keyframes_gan.metrics.pyiqa_bridge import PREFIX, describe

__all__ = ["DEFAULT", "METRICS", "Begin", "Box", "Metric", "Picture", "Scorer", "UnavailableError", "find", "load", "load_clip"]


DEFAULT = ("psnr", "ssim", "lpips", "brisque")


def find(name: str) -> Metric:
    """Return the metric `name`, which may be one of the package pyiqa, `pyiqa:NAME`.

    Raises:
        UserError: no such metric; the message lists the names there are.
    """
    if name.startswith(PREFIX):
        return describe(name)
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        msg = f"--metrics: expected some of {', '.join(METRICS)}, pyiqa:NAME, got {name!r}{hint}"
        raise UserError(msg)
    return METRICS[name]


def load(name: str, *, device: str = "auto") -> Scorer:
    """Return the scorer of the metric of pictures `name`, with its model loaded.

    Args:
        name: a metric whose `of` is "picture".
        device: where its network runs, if it has one; "auto" for a GPU where there is one.

    Raises:
        UserError: no such metric, or it needs more than one picture; the device is not there.
        UnavailableError: something it needs is not installed.
        WeightsError: it needs weights that are not here and could not be fetched; the message names the file and its place.
    """
    metric = find(name)
    if metric.of != "picture":
        msg = f"{name}: expected a metric of single pictures, got one of clips; measure videos with compute_metrics.py"
        raise UserError(msg)
    scorer: Scorer = _loaded(metric, device)
    return scorer


def load_clip(name: str, *, device: str = "auto") -> Begin:
    """Return any metric as one of clips, with its model loaded: call the result for every clip.

    Raises:
        UserError, UnavailableError, WeightsError: as for `load`.
    """
    metric = find(name)
    if metric.of == "picture":
        return per_picture(load(name, device=device))
    begin: Begin = _loaded(metric, device)
    return begin


def _loaded(metric: Metric, device: str) -> Any:  # noqa: ANN401  # a Scorer or a Begin, as metric.of says
    """Call the metric's loader."""
    module, function = metric.loader.split(":")
    given: dict[str, Any] = {"device": device} if metric.on_device else {}
    if metric.argument:
        given["argument"] = metric.argument
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)(**given)
