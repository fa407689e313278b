"""The default restorer: key frames' coding residuals moved by optical flow, carried from frame to frame. Ships with weights.

The network is KeyframeFlowNet; weights of DMSASFFNetLite, whose frames do not influence one another, are taken too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from archs.dmsasff_lite_arch import DMSASFFNetLite
from archs.keyframe_flow_arch import AHEAD, DETAIL_PREFIX, KeyframeFlowNet, VividKeyframeFlowNet
from keyframes_gan import weights as weights_store
from keyframes_gan.devices import choose_device, choose_precision, quick_precision
from keyframes_gan.restorers.flow_guided import FlowGuided
from keyframes_gan.restorers.reference_guided import ClipTensors, ReferenceGuided
from keyframes_gan.types import CROP_SIZES, RestorerSpec

if TYPE_CHECKING:
    import torch

LEAST_FACE, LEAST_CROP = 213.0, 320
"""Smaller faces hold more in every pixel than those it was trained on; at this width they fill a crop that large, both in pixels."""

SPEC = RestorerSpec(
    name="keyframes_lite",
    summary="compression artefacts, guided by key frames and neighbouring frames; small and fast",
    weights="keyframes_lite",
    crop_sizes=tuple(sorted((LEAST_CROP, *CROP_SIZES))),
    clip_length=8 + AHEAD,
    overlap=AHEAD,
    licence="Apache-2.0",
    residual=True,
    template="upright",
    least_face=LEAST_FACE,
    any_template=True,
    looks_ahead=True,
    references="given",
)
PLAIN_SPEC = replace(
    SPEC,
    crop_sizes=CROP_SIZES,
    template="eyes",
    least_face=0.0,
    any_template=False,
    clip_length=8,
    overlap=0,
    looks_ahead=False,
    references="stream",
)
"""For DMSASFFNetLite."""
PLAIN_KEY = "picture_pyramid.enter.weight"
"""A key that only weights of DMSASFFNetLite have."""


def _forward(network: torch.nn.Module, clip: ClipTensors) -> torch.Tensor:
    output: torch.Tensor = network(clip.compressed, clip.reference, clip.landmark, clip.valid)
    return output


def create(*, device: str = "auto", precision: str = "auto", weights: str | None = None) -> ReferenceGuided | FlowGuided:
    """Build the restorer.

    Args:
        device: "auto", "cpu", "cuda", ...
        precision: "fp32", "bf16" or "auto": bf16 where the device computes it faster; DMSASFFNetLite stays with fp32 then.
        weights: a manifest name or a file; default: the shipped weights.

    Raises:
        UserError: no such device or precision.
        WeightsError: the weights are missing, altered or of another network.
    """
    chosen_device = choose_device(device)
    source = weights or "keyframes_lite"
    state = weights_store.load_state(source)
    if PLAIN_KEY in state:
        plain = DMSASFFNetLite(**weights_store.kwargs_of(source, "DMSASFFNetLite"))
        weights_store.load_into(plain, state, name=source)
        return ReferenceGuided(plain, _forward, PLAIN_SPEC, device=chosen_device, precision=choose_precision(precision))
    return FlowGuided(flow_network(source, state), SPEC, device=chosen_device, precision=quick_precision(precision, chosen_device))


def flow_network(source: str, state: dict[str, torch.Tensor]) -> KeyframeFlowNet:
    """Return the network for `state`, the weights of `source` (a manifest name or a file), on the CPU in float32.

    Raises:
        WeightsError: the weights are of another network.
    """
    vivid = any(name.startswith(DETAIL_PREFIX) for name in state)
    kind = VividKeyframeFlowNet if vivid else KeyframeFlowNet
    network = kind(**weights_store.kwargs_of(source, kind.__name__))
    weights_store.load_into(network, state, name=source)
    return network
