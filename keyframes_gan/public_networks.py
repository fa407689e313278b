"""Networks that other projects published, built and loaded by spandrel (MIT) from the keys of their weights.

The file itself is read by `keyframes_gan.weights`, which never runs a stranger's pickle; spandrel sees only tensors.
Networks under non-commercial licences are in the separate package spandrel_extra_arches, which nobody gets without asking for it.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from keyframes_gan import weights
from keyframes_gan.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

EXTRA_COMMAND = "pip install spandrel_extra_arches"


def load(name_or_path: str | Path, *, architectures: Sequence[str], extra: bool = False, note: str = "") -> Any:  # noqa: ANN401  # spandrel has no types
    """Return spandrel's `ImageModelDescriptor` of a network, in evaluation mode, float32, on the CPU.

    Args:
        name_or_path: as for `keyframes_gan.weights.locate`.
        architectures: spandrel's ids of the architectures that will do, for instance "ESRGAN".
        extra: the architecture is one of spandrel_extra_arches.
        note: ends the message about weights of another network: what the user may have mistaken for the right ones.

    Raises:
        WeightsError: spandrel or its extra package is not installed; or the file cannot be had, is no checkpoint, or holds another
            network than `architectures`.
    """
    spandrel = _imported(extra=extra)
    descriptor = _recognised(spandrel, weights.load_state(name_or_path), str(name_or_path), note)
    found = str(descriptor.architecture.id)
    if found not in architectures:
        msg = f"{name_or_path}: expected weights of {' or '.join(architectures)}, got {found}; choose other weights{note}"
        raise WeightsError(msg)
    return descriptor.eval()


def identify(state: dict[str, torch.Tensor], name: str) -> str:
    """Return spandrel's id of the architecture whose keys and shapes `state` has, strictly.

    Raises:
        WeightsError: spandrel is not installed, or knows no such network; `name` is how the message calls the weights.
    """
    return str(_recognised(_imported(extra=False), state, name).architecture.id)


def _recognised(spandrel: Any, state: dict[str, torch.Tensor], name: str, note: str = "") -> Any:  # noqa: ANN401
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # spandrel imports an architecture on first use, some with deprecated calls of torch
            return spandrel.MAIN_REGISTRY.load(spandrel.canonicalize_state_dict(state))
    except spandrel.UnsupportedModelError as error:
        got = f"{len(state)} tensors of none ({next(iter(state))}, ...)"
        msg = f"{name}: expected weights of a published network, got {got}; choose other weights{note}"
        raise WeightsError(msg) from error
    except (RuntimeError, KeyError, ValueError, IndexError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"{name}: expected weights of a published network, got ones that do not fit: {reason}; choose other weights{note}"
        raise WeightsError(msg) from error


def _imported(*, extra: bool) -> Any:  # noqa: ANN401
    """Import spandrel, and on request register the architectures of its extra package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            spandrel = importlib.import_module("spandrel")
        except ImportError as error:
            msg = f"spandrel: expected it to be installed ({error}); run pip install -r requirements.txt"
            raise WeightsError(msg) from error
        if not extra:
            return spandrel
        try:
            package = importlib.import_module("spandrel_extra_arches")
        except ImportError as error:
            msg = f"spandrel_extra_arches: expected it to be installed, for a network that is not for commercial use; run {EXTRA_COMMAND}"
            raise WeightsError(msg) from error
        package.install(ignore_duplicates=True)
        return spandrel
