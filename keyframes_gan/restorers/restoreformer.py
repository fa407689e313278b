"""RestoreFormer (Wang et al., CVPR 2022): still faces, attending to a dictionary of faces; the network through spandrel.

Weights of RestoreFormer++ (PAMI 2023), whose attention works at several scales, are refused: spandrel, up to 0.4.2, has no such network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyframes_gan import public_networks
from keyframes_gan.devices import choose_device, choose_precision
from keyframes_gan.restorers.stills import SIZE, Stills
from keyframes_gan.types import RestorerSpec

if TYPE_CHECKING:
    import torch

WEIGHTS = "restoreformer"

SPEC = RestorerSpec(
    name="restoreformer",
    summary="RestoreFormer: still faces at 512 px",
    weights=WEIGHTS,
    crop_sizes=(SIZE,),
    clip_length=4,
    overlap=0,
    licence="none stated by its authors",
    template="ffhq",
    references="none",
)


def _forward(network: torch.nn.Module, crops: torch.Tensor) -> torch.Tensor:
    restored: torch.Tensor = network(crops)[0]
    return restored


def create(*, device: str = "auto", precision: str = "fp32", weights: str | None = None) -> Stills:
    """Build the restorer.

    Args:
        device: "auto", "cpu", "cuda", ...
        precision: "fp32" or "bf16".
        weights: a manifest name or a file; default: the weights published with GFPGAN.

    Raises:
        UserError: no such device or precision.
        WeightsError: the weights are missing, altered or of another network.
    """
    chosen_device, dtype = choose_device(device), choose_precision(precision)
    note = " (RestoreFormer++ is another network than RestoreFormer, and spandrel does not have it)"
    descriptor = public_networks.load(weights or WEIGHTS, architectures=("RestoreFormer",), note=note)
    return Stills(descriptor.model, _forward, SPEC, device=chosen_device, precision=dtype)
