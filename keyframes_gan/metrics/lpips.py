"""LPIPS of pictures, and of neighbouring frames, by the network of `archs.lpips_arch` (Zhang et al., CVPR 2018), version 0.1.

lpips      on AlexNet        lpips_vgg   on VGG16: state which, their figures differ
tlpips     Chu et al., "Learning temporal coherence via self-supervision" (TecoGAN), SIGGRAPH 2020, there tLP: absolute difference between
           how far neighbouring restored frames are apart and how far those of the original are; AlexNet. (Its tables show 100 times this.)
"""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from archs.lpips_arch import LPIPS, MINIMUM_PX, keep_convolutions
from keyframes_gan.metrics.clips import Begin, FrameByFrame, Frames, Strip, Value
from keyframes_gan.metrics.perceptual import NetworkScorer, loaded

NAMES = {"alex": ("alexnet", "lpips_alexnet"), "vgg": ("vgg16", "lpips_vgg16")}


def load(device: str = "auto", *, argument: str = "alex") -> NetworkScorer:
    """Return LPIPS on the network `argument`, "alex" or "vgg".

    Raises:
        WeightsError: a file is missing and cannot be fetched, is altered, or holds something else.
    """
    return from_files(argument, *NAMES[argument], device=device)


@lru_cache(maxsize=2)
def from_files(network: str, backbone: str, heads: str, *, device: str = "auto") -> NetworkScorer:
    """Return LPIPS with the weights of these names (pretrained_models/manifest.yml) or paths; loaded once.

    Raises:
        WeightsError: as for `load`.
    """
    made = loaded((backbone, heads), _put, LPIPS(network))
    return NetworkScorer(made, MINIMUM_PX, device)


def _put(backbone: dict[str, Tensor], heads: dict[str, Tensor]) -> dict[str, Tensor]:
    return keep_convolutions(backbone) | heads


def load_tlpips(device: str = "auto") -> Begin:
    """Return the difference of LPIPS steps over time.

    Raises:
        WeightsError: as for `load`.
    """
    scorer = load(device)
    return lambda: FrameByFrame(lambda frames: _step_differences(frames, scorer))


def _step_differences(frames: Frames, scorer: NetworkScorer) -> list[Value]:
    values: list[Value] = []
    for index, (one, two) in enumerate(zip(_steps(frames, frames.original, scorer), _steps(frames, frames.judged, scorer), strict=True)):
        counts = one is not None and two is not None and frames.continues(index)
        values.append(abs(one - two) if counts and one is not None and two is not None else None)
    return values


def _steps(frames: Frames, strip: Strip, scorer: NetworkScorer) -> list[Value]:
    """Return how far every picture is from the one before; for the whole picture, found out once and as one batch."""
    pairs = [(before, picture) for before, picture in strip.steps() if before is not None]
    if frames.boxes is None:
        found = strip.once("lpips steps", lambda: scorer.many([before for before, _ in pairs], [picture for _, picture in pairs]))
    else:
        first = len(strip) - len(pairs)
        found = [scorer(before, picture, frames.inside(first + index)) for index, (before, picture) in enumerate(pairs)]
    return [None] * (len(strip) - len(pairs)) + found
