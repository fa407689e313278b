"""DMSASFFNetLite: the idea of Keyframes-GAN in a network small enough for a CPU. Ships with default weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archs.dmsasff_lite_arch import DMSASFFNetLite
from keyframes_gan import weights as weights_store
from keyframes_gan.devices import choose_device, choose_precision
from keyframes_gan.restorers.reference_guided import ClipTensors, ReferenceGuided
from keyframes_gan.types import CROP_SIZES, RestorerSpec

if TYPE_CHECKING:
    import torch

SPEC = RestorerSpec(
    name="keyframes_lite",
    summary="compression artefacts, guided by key frames; small and fast",
    weights="keyframes_lite",
    crop_sizes=CROP_SIZES,
    clip_length=8,
    overlap=0,
    needs_reference=False,
    licence="Apache-2.0",
    residual=True,
)


def _forward(network: torch.nn.Module, clip: ClipTensors) -> torch.Tensor:
    output: torch.Tensor = network(clip.compressed, clip.reference, clip.landmark, clip.valid)
    return output


def create(*, device: str = "auto", precision: str = "fp32", weights: str | None = None) -> ReferenceGuided:
    """Build the restorer.

    Args:
        device: "auto", "cpu", "cuda", ...
        precision: "fp32" or "bf16".
        weights: a manifest name or a file; default: the shipped weights.

    Raises:
        UserError: no such device or precision.
        WeightsError: the weights are missing, altered or of another network.
    """
    chosen_device, dtype = choose_device(device), choose_precision(precision)
    source = weights or "keyframes_lite"
    network = DMSASFFNetLite(**weights_store.kwargs_of(source, "DMSASFFNetLite"))
    weights_store.load_into(network, weights_store.load_state(source), name=source)
    return ReferenceGuided(network, _forward, SPEC, device=chosen_device, precision=dtype)
