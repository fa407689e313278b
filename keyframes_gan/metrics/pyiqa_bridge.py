"""Any metric of the package pyiqa by name (`pyiqa:musiq`, `pyiqa:topiq_nr-face`), where the package and the metric's weights are here.

pyiqa (Chen and Mo; licence PolyForm Noncommercial) is no dependency (`pip install 'pyiqa>=0.1.16'`). It fetches weights by itself when a
metric is made; here it may not. Its connections are refused, and a metric whose weights are not in its cache is unavailable.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import io
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from keyframes_gan.errors import UserError
from keyframes_gan.metrics.kinds import Box, Metric, Picture, Scorer, UnavailableError

PREFIX = "pyiqa:"
INSTALL = "pip install 'pyiqa>=0.1.16'"
MINIMUM_PX = 64
NOT_OF_PICTURES = ("fid", "fid_dinov2", "inception_score")
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def describe(name: str) -> Metric:
    """Return what is known of the metric `pyiqa:NAME`; without the package, not even which way is better.

    Raises:
        UserError: the package has no metric of that name, or it is none of single pictures.
    """
    short = name.removeprefix(PREFIX)
    common: dict[str, Any] = {"loader": "pyiqa_bridge:load", "argument": short, "on_device": True}
    try:
        known = _imported("pyiqa.default_model_configs").DEFAULT_CONFIGS
    except UnavailableError:
        return Metric(name, name, "", "unknown", 4, summary="by the package pyiqa", **common)
    if short not in known or short in NOT_OF_PICTURES:
        near = difflib.get_close_matches(short, known, n=3)
        msg = f"--metrics: expected pyiqa: and a metric of single pictures that pyiqa has, got {name!r}; close: {', '.join(near) or 'none'}"
        raise UserError(msg)
    facts = known[short]
    better: Literal["lower", "higher"] = "lower" if facts.get("lower_better", False) else "higher"
    blind = facts.get("metric_mode") == "NR"
    summary = f"by pyiqa, {'blind' if blind else 'against the original'}, range {facts.get('score_range', 'unknown')}"
    return Metric(name, name, "", better, 4, summary=summary, uses_original=not blind, **common)


def load(device: str = "auto", *, argument: str) -> Scorer:
    """Return pyiqa's metric `argument`.

    Raises:
        UnavailableError: the package, or what it needs itself, is not installed, or the metric's weights are not in its cache.
    """
    package = _imported("pyiqa")
    import torch  # noqa: PLC0415

    from keyframes_gan.devices import choose_device  # noqa: PLC0415
    from keyframes_gan.metrics.perceptual import to_batch  # noqa: PLC0415
    from keyframes_gan.metrics.regions import mean_over_crops  # noqa: PLC0415

    place = choose_device(device)
    with offline():
        try:
            metric: Any = package.create_metric(argument, device=place)
        except OSError as error:
            said = str(error).strip().splitlines()
            msg = (
                f"pyiqa:{argument}: its weights are not in pyiqa's cache ({said[0] if said else type(error).__name__}); "
                f"fetch them once with: python -c \"import pyiqa; pyiqa.create_metric('{argument}')\""
            )
            raise UnavailableError(msg) from error

    def measure(original: Picture, picture: Picture) -> float:
        pair = [to_batch([one]).to(place).float() / 255.0 for one in (picture, original)]
        with torch.inference_mode():
            return float(metric(*(pair[:1] if metric.metric_mode == "NR" else pair)))

    def score(original: Picture, picture: Picture, boxes: Sequence[Box] | None = None) -> float | None:
        return mean_over_crops(measure, original, picture, boxes, MINIMUM_PX)

    return score


def _imported(module: str) -> Any:  # noqa: ANN401  # a module without types
    """Return a module of the package.

    Raises:
        UnavailableError: the package is not installed, or does not go with what else is (old versions fail on current NumPy).
    """
    if importlib.util.find_spec("pyiqa") is None:
        msg = f"metrics of pyiqa need that package (licence PolyForm Noncommercial); run: {INSTALL}"
        raise UnavailableError(msg)
    try:
        with offline():
            return importlib.import_module(module)
    except (ImportError, AttributeError) as error:
        msg = f"the package pyiqa cannot be imported ({error}); run: {INSTALL}"
        raise UnavailableError(msg) from error


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Refuse every connection of this process, and keep what is said on standard output to itself."""

    def refuse(_: socket.socket, address: object) -> None:
        msg = f"no connection to {address}: metrics do not download"
        raise ConnectionRefusedError(msg)

    connect, before = socket.socket.connect, {name: os.environ.get(name) for name in OFFLINE}
    socket.socket.connect = refuse  # type: ignore[method-assign, assignment]
    os.environ.update(OFFLINE)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
