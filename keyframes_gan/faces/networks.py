"""Networks of the manifest, loaded and made ready to look at faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import archs
from keyframes_gan import weights

if TYPE_CHECKING:
    from pathlib import Path

    import torch


def load_network(name: str, weights_from: str | Path | None, device: str) -> tuple[torch.nn.Module, torch.device]:
    """Return the network of the manifest's row `name` in eval mode, BatchNorms folded, channels last, and the device it is on.

    Args:
        name: the row that says which network it is, and whose file is loaded unless `weights_from` says otherwise.
        weights_from: another name of the manifest, or a file.
        device: "cpu", "cuda", ...; "auto" for a GPU where there is one.

    Raises:
        WeightsError: the file cannot be had or does not fit.
        UserError: the device is not there.
    """
    import torch  # noqa: PLC0415 - only when the first face comes

    from archs.layouts import fold_norms, without_parallel_prefix  # noqa: PLC0415 - imports torch
    from keyframes_gan.devices import choose_device  # noqa: PLC0415 - imports torch

    place = choose_device(device)
    state = weights.load_state(weights_from or name)
    row = weights.entry(name)
    network = archs.build(row.arch, **row.kwargs)
    weights.load_into(network, state, name=str(weights_from or name), rename=without_parallel_prefix)
    network = fold_norms(network.eval().requires_grad_(requires_grad=False))
    return network.to(place, memory_format=torch.channels_last), place  # type: ignore[call-overload]  # torch's stub lacks this form
