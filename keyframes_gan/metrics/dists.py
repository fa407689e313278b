"""DISTS of pictures, by the network of `archs.dists_arch` (Ding et al., IEEE TPAMI 2022), at the pictures' own size."""

from __future__ import annotations

from archs.dists_arch import DISTS, MINIMUM_PX, published
from keyframes_gan.metrics.perceptual import NetworkScorer, loaded

NAMES = ("vgg16", "dists")


def load(device: str = "auto", *, names: tuple[str, str] = NAMES) -> NetworkScorer:
    """Return DISTS with the weights of these names (pretrained_models/manifest.yml) or paths.

    Raises:
        WeightsError: a file is missing and cannot be fetched, is altered, or holds something else.
    """
    return NetworkScorer(loaded(names, published, DISTS()), MINIMUM_PX, device)
