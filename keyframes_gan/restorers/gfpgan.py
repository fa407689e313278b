"""GFPGAN 1.4 (Wang et al., CVPR 2021): still faces, with the prior of a StyleGAN2; the network through spandrel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyframes_gan import public_networks
from keyframes_gan.devices import choose_device, choose_precision
from keyframes_gan.restorers.stills import SIZE, Stills
from keyframes_gan.types import RestorerSpec

if TYPE_CHECKING:
    import torch

WEIGHTS = "gfpgan_v1.4"

SPEC = RestorerSpec(
    name="gfpgan",
    summary="GFPGAN 1.4: still faces at 512 px",
    weights=WEIGHTS,
    crop_sizes=(SIZE,),
    clip_length=4,
    overlap=0,
    licence="Apache-2.0",
    template="ffhq",
    references="none",
)


def _forward(network: torch.nn.Module, crops: torch.Tensor) -> torch.Tensor:
    # Fresh noise in every frame, the network's default, would flicker; the noise that comes with the weights is the same each time.
    restored: torch.Tensor = network(crops, randomize_noise=False)[0]
    return restored


def create(*, device: str = "auto", precision: str = "fp32", weights: str | None = None) -> Stills:
    """Build the restorer.

    Args:
        device: "auto", "cpu", "cuda", ...
        precision: "fp32" or "bf16".
        weights: a manifest name or a file; default: version 1.4 as published.

    Raises:
        UserError: no such device or precision.
        WeightsError: the weights are missing, altered or of another network.
    """
    chosen_device, dtype = choose_device(device), choose_precision(precision)
    descriptor = public_networks.load(weights or WEIGHTS, architectures=("GFPGAN",))
    return Stills(descriptor.model, _forward, SPEC, device=chosen_device, precision=dtype)
