"""Keyframes-GAN (IEEE TMM 2023): DMSASFFNet at 256 pixels, compatible with the public checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archs.dmsasff_arch import DMSASFFNet
from keyframes_gan import weights as weights_store
from keyframes_gan.devices import choose_device, choose_precision
from keyframes_gan.restorers.reference_guided import ClipTensors, ReferenceGuided
from keyframes_gan.types import RestorerSpec

if TYPE_CHECKING:
    import torch

WEIGHTS = "keyframes_gan_net_g_55000"

SPEC = RestorerSpec(
    name="keyframes",
    summary="Keyframes-GAN (DMSASFFNet, IEEE TMM 2023) at 256 px",
    weights=WEIGHTS,
    crop_sizes=(256,),
    clip_length=4,
    overlap=0,
    licence="not stated by the authors",
)


def _forward(network: torch.nn.Module, clip: ClipTensors) -> torch.Tensor:
    # Trained with a reference on every frame; where there is none, the compressed crop is its own reference.
    reference = clip.reference + (1.0 - clip.valid) * clip.compressed
    output: torch.Tensor = network(clip.compressed, reference, clip.landmark.expand(-1, 3, -1, -1))
    return output


def create(*, device: str = "auto", precision: str = "fp32", weights: str | None = None) -> ReferenceGuided:
    """Build the restorer, its spectral norms and batch norms folded into the convolutions.

    Args:
        device: "auto", "cpu", "cuda", ...
        precision: "fp32" or "bf16".
        weights: a manifest name or a file; default: the public checkpoint.

    Raises:
        UserError: no such device or precision.
        WeightsError: the weights are missing, altered or of another network.
    """
    chosen_device, dtype = choose_device(device), choose_precision(precision)
    source = weights or WEIGHTS
    network = DMSASFFNet(**weights_store.kwargs_of(source, "DMSASFFNet"))
    weights_store.load_into(network, weights_store.load_state(source), name=source)
    return ReferenceGuided(network.fold(), _forward, SPEC, device=chosen_device, precision=dtype)
