"""CodeFormer (Zhou et al., NeurIPS 2022): still faces, from a codebook of face parts; not for commercial use.

The network comes from spandrel_extra_arches, which is not installed unless somebody asks for it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from keyframes_gan import public_networks
from keyframes_gan.devices import choose_device, choose_precision
from keyframes_gan.errors import UserError
from keyframes_gan.restorers.stills import SIZE, Stills
from keyframes_gan.types import RestorerSpec

if TYPE_CHECKING:
    import torch

WEIGHTS = "codeformer"

SPEC = RestorerSpec(
    name="codeformer",
    summary="CodeFormer: still faces at 512 px; not for commercial use",
    weights=WEIGHTS,
    crop_sizes=(SIZE,),
    clip_length=4,
    overlap=0,
    licence="S-Lab License 1.0 (non-commercial)",
    template="ffhq",
    references="none",
)


def _forward(network: torch.nn.Module, crops: torch.Tensor, *, fidelity: float) -> torch.Tensor:
    restored: torch.Tensor = network(crops, weight=fidelity)[0]
    return restored


def create(*, device: str = "auto", precision: str = "fp32", weights: str | None = None, fidelity: float = 0.5) -> Stills:
    """Build the restorer.

    Args:
        device: "auto", "cpu", "cuda", ...
        precision: "fp32" or "bf16".
        weights: a manifest name or a file; default: the published weights.
        fidelity: 0 trusts the codebook alone (the best looking face), 1 follows the input (the most similar one).

    Raises:
        UserError: no such device or precision, or a fidelity outside of 0 to 1.
        WeightsError: spandrel_extra_arches is not installed, or the weights are missing, altered or of another network.
    """
    if not isinstance(fidelity, int | float) or not 0 <= fidelity <= 1:
        msg = f"codeformer: fidelity: expected 0 to 1, got {fidelity!r}"
        raise UserError(msg)
    chosen_device, dtype = choose_device(device), choose_precision(precision)
    descriptor = public_networks.load(weights or WEIGHTS, architectures=("CodeFormer",), extra=True)
    return Stills(descriptor.model, partial(_forward, fidelity=fidelity), SPEC, device=chosen_device, precision=dtype)
