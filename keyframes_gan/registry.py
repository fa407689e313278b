"""The only door to BasicSR: makes it importable, and adds this project's parts to its registries.

BasicSR 1.4.2 asks for two things that are gone: `torchvision.transforms.functional_tensor` (torchvision 0.17) and, on Python 3.12,
`distutils.version`. Both are put in place before its import. What the rest of the project needs of BasicSR it takes from here.

Adding a part: write its module, name it in its folder's list (`archs.ARCHS`, `data.DATASETS`, `losses.LOSSES`,
`keyframes_gan.models.MODELS`, `keyframes_gan.metrics.METRICS`), and describe its options in `keyframes_gan.options`.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import types
from functools import lru_cache
from typing import Any

import numpy as np


def _supply_functional_tensor() -> None:
    """Stand in for the module that BasicSR's degradations take `rgb_to_grayscale` from."""
    name = "torchvision.transforms.functional_tensor"
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    functional = importlib.import_module("torchvision.transforms.functional")
    module = types.ModuleType(name)
    module.__dict__["rgb_to_grayscale"] = functional.rgb_to_grayscale
    sys.modules[name] = module


class _LooseVersion:
    """As much of distutils' LooseVersion as BasicSR uses: comparing dotted numbers."""

    def __init__(self, text: str) -> None:
        self.numbers = [int(number) for number in re.findall(r"\d+", text.split("+", maxsplit=1)[0])]

    def __ge__(self, other: _LooseVersion) -> bool:
        return self.numbers >= other.numbers


def _supply_loose_version() -> None:
    """Stand in for `distutils.version` where Python no longer has it (3.12) and setuptools does not offer its own."""
    try:
        importlib.import_module("distutils.version")
    except ImportError:
        package, module = types.ModuleType("distutils"), types.ModuleType("distutils.version")
        module.__dict__["LooseVersion"] = _LooseVersion
        package.__dict__["version"] = module
        sys.modules["distutils"] = package
        sys.modules["distutils.version"] = module


_supply_functional_tensor()
_supply_loose_version()

from basicsr import train as basicsr_train  # noqa: E402
from basicsr.archs import build_network  # noqa: E402
from basicsr.data import build_dataset  # noqa: E402
from basicsr.losses import build_loss  # noqa: E402
from basicsr.metrics import calculate_metric  # noqa: E402
from basicsr.models import build_model  # noqa: E402
from basicsr.models.base_model import BaseModel  # noqa: E402
from basicsr.utils import get_root_logger  # noqa: E402
from basicsr.utils.dist_util import get_dist_info  # noqa: E402
from basicsr.utils.logger import initialized_logger as initialized_loggers  # noqa: E402
from basicsr.utils.registry import (  # noqa: E402
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
)

__all__ = [
    "ARCH_REGISTRY",
    "DATASET_REGISTRY",
    "LOSS_REGISTRY",
    "METRIC_REGISTRY",
    "MODEL_REGISTRY",
    "BaseModel",
    "basicsr_train",
    "build_dataset",
    "build_loss",
    "build_model",
    "build_network",
    "calculate_metric",
    "get_dist_info",
    "get_root_logger",
    "initialized_loggers",
    "register_all",
]

# (package, the mapping in it: name -> module, BasicSR's registry). Metrics have a mapping of another kind and come apart.
SOURCES: tuple[tuple[str, str, Any], ...] = (
    ("archs", "ARCHS", ARCH_REGISTRY),
    ("data", "DATASETS", DATASET_REGISTRY),
    ("losses", "LOSSES", LOSS_REGISTRY),
    ("keyframes_gan.models", "MODELS", MODEL_REGISTRY),
)


class OwnMetric:
    """A metric of `keyframes_gan.metrics` as BasicSR calls its own: on uint8 BGR pictures, `img` against `img2`, the original.

    Its model is loaded at the first call.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._scorer: Any = None

    def __call__(self, img: Any, img2: Any) -> float:  # noqa: ANN401
        """Return the score.

        Raises:
            WeightsError: the metric needs weights that are not here.
        """
        if self._scorer is None:
            self._scorer = importlib.import_module("keyframes_gan.metrics").load(self.name)
        original, picture = (np.ascontiguousarray(bgr[:, :, ::-1]) for bgr in (img2, img))
        return float(self._scorer(original, picture))


def _put(registry: Any, name: str, part: Any) -> None:  # noqa: ANN401
    """Register `part`; where BasicSR has one of that name (`PerceptualLoss`), ours takes its place."""
    registry._obj_map[name] = part


@lru_cache(maxsize=1)
def register_all() -> None:
    """Import every part that the lists name and enter it into BasicSR's registries. A second call does nothing.

    Raises:
        ImportError, AttributeError: a list names a module or a class that is not there.
    """
    for package, listing, registry in SOURCES:
        mapping: dict[str, str] = getattr(importlib.import_module(package), listing)
        for name, module in mapping.items():
            _put(registry, name, getattr(importlib.import_module(module), name))
    for name, metric in importlib.import_module("keyframes_gan.metrics").METRICS.items():
        if metric.of == "picture":
            _put(METRIC_REGISTRY, name, OwnMetric(name))
