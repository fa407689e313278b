"""FID: how far the restored frames of a whole set are from the originals as a distribution.

Sources: Heusel et al., "GANs trained by a two time-scale update rule", NeurIPS 2017 (the distance); Parmar, Zhang and Zhu, "On aliased
resizing and surprising subtleties in GAN evaluation" (clean-fid), CVPR 2022: pictures are resized to 299x299 with an antialiased bicubic
filter (a = -0.5, as Pillow's), not rounded. The features are those of `archs.inception_arch`.

All frames of all clips make one distribution, so only the total has a value. FID of few frames is far too large and depends on
their number (Chong and Forsyth, CVPR 2020): 2,048 frames are the least for a covariance of full rank; compare only at equal numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from archs.inception_arch import FEATURES, SIDE
from keyframes_gan.metrics.clips import Begin, ClipScore, Frames, Strip
from keyframes_gan.metrics.kinds import Box, Picture
from keyframes_gan.metrics.perceptual import to_batch

Floats = npt.NDArray[np.float64]
Describe = Callable[[Sequence[Picture]], Floats]
"""Maps pictures of any sizes to features (N, C)."""

MINIMUM_PX = 32
FEWEST = 2


def load_fid(device: str = "auto") -> Begin:
    """Return FID.

    Raises:
        WeightsError: the weights `inception_fid` are not here and cannot be fetched, or are altered.
    """
    describe = inception(device)
    return lambda: FrechetScorer(describe)


def inception(device: str = "auto") -> Describe:
    """Return what maps pictures to Inception features (N, 2048)."""
    from archs import build  # noqa: PLC0415
    from keyframes_gan import weights  # noqa: PLC0415
    from keyframes_gan.devices import choose_device  # noqa: PLC0415

    state = weights.load_state("inception_fid")
    network = build("InceptionFID").eval()
    weights.load_into(network, state, name="inception_fid")
    place = choose_device(device)
    network.to(place)

    def describe(pictures: Sequence[Picture]) -> Floats:
        if not pictures:
            return np.zeros((0, FEATURES))
        with torch.inference_mode():
            batch = torch.cat([resized(to_batch([picture]).to(place)) for picture in pictures])
            found: Floats = network(batch).double().cpu().numpy()
        return found

    return describe


def resized(pictures: torch.Tensor) -> torch.Tensor:
    """Return pictures uint8 (N, 3, H, W) as float32 (N, 3, 299, 299) with values about 0 to 255, antialiased, not rounded."""
    return F.interpolate(pictures.float(), (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)


@dataclass(frozen=True)
class Moments:
    """Sums over features, from which mean and covariance of any union of sets follow."""

    count: int
    total: Floats
    products: Floats

    @classmethod
    def of(cls, features: Floats) -> Moments:
        """Return the moments of features (N, C)."""
        return cls(len(features), features.sum(axis=0), features.T @ features)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    @property
    def mean(self) -> Floats:
        """The mean (C,)."""
        return self.total / self.count

    @property
    def covariance(self) -> Floats:
        """The sample covariance (C, C)."""
        found: Floats = (self.products - self.count * np.outer(self.mean, self.mean)) / (self.count - 1)
        return found


@dataclass(frozen=True)
class Pool:
    """What FID of several clips is made from: the moments of the original and of the restored pictures."""

    original: Moments
    judged: Moments

    def __add__(self, other: Pool) -> Pool:
        return Pool(self.original + other.original, self.judged + other.judged)

    def value(self) -> float | None:
        """Return the distance; None for fewer than two pictures."""
        return frechet(self.original, self.judged) if min(self.original.count, self.judged.count) >= FEWEST else None


def frechet(one: Moments, two: Moments) -> float:
    """Return the squared Frechet distance of two Gaussians: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^0.5), at least 0.

    The trace of the root is the sum of the roots of the eigenvalues of C1^0.5 C2 C1^0.5, which is symmetric.
    """
    first, second = one.covariance, two.covariance
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    distance = np.square(one.mean - two.mean).sum() + np.trace(first) + np.trace(second) - 2 * middle
    return max(float(distance), 0.0)


@dataclass
class FrechetScorer:
    """The `ClipScorer` of FID: frames and clips have no value of their own."""

    describe: Describe
    frames: int = 0
    pool: Pool | None = field(default=None)

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        self.frames += len(frames)
        both = Pool(self._moments(frames, frames.original), self._moments(frames, frames.judged))
        self.pool = both if self.pool is None else self.pool + both

    def finish(self) -> ClipScore:
        """Return the moments."""
        return ClipScore((None,) * self.frames, None, self.pool)

    def _moments(self, frames: Frames, strip: Strip) -> Moments:
        whole = frames.boxes is None
        return strip.once(("inception moments", whole), lambda: Moments.of(self.describe(_cut(frames, strip))))


def _cut(frames: Frames, strip: Strip) -> list[Picture]:
    """Return the whole pictures, or what their boxes show."""
    found: list[Picture] = []
    for index, picture in enumerate(strip.pictures):
        boxes: Sequence[Box] | None = frames.inside(index)
        parts = [picture] if boxes is None else [np.ascontiguousarray(picture[y0:y1, x0:x1]) for x0, y0, x1, y1 in boxes]
        found += [part for part in parts if min(part.shape[:2]) >= MINIMUM_PX]
    return found
