"""Making bad clips of good ones, as KEEP was trained on them, in the order and at the strengths that its published recipe uses.

    blur -> noise -> smaller by `scale` -> noise again -> H.264

One draw serves a whole clip: the kernel, the two noise levels, the way of resampling and the CRF. The noise itself is new in every
frame. KEEP: Feng et al., "Kalman-Inspired Feature Propagation for Video Face Super-Resolution", ECCV 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from keyframes_gan.errors import MediaError
from keyframes_gan.types import FloatArray, Image
from keyframes_gan.video.roundtrip import Codec, roundtrip

KERNELS = ("iso", "aniso")
RESIZES = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
WHITE = 255


@dataclass(frozen=True)
class Draw:
    """One degradation, with everything decided.

    Attributes:
        sigmas: standard deviations of the blur in pixels along its two axes.
        angle: of the first axis, in radians from x towards y.
        noise_levels: standard deviations before and after the resampling, in levels of 255.
        resize: a key of `RESIZES`.
        crf: x264's constant rate factor.
    """

    sigmas: tuple[float, float]
    angle: float
    noise_levels: tuple[float, float]
    resize: str
    crf: int


@dataclass(frozen=True)
class Degradation:
    """The range of degradations. Ranges include both ends; probabilities add up to 1.

    Attributes:
        blur_kernel_size: side of the kernel in pixels, odd.
        kernel_list: kinds of kernel, of `KERNELS`; `kernel_prob` how likely each is.
        blur_sigma: standard deviations in pixels of the unreduced frame; an "aniso" kernel draws two, and an angle.
        noise_range: standard deviations of the Gaussian noise in levels of 255.
        scale: by how much the picture becomes smaller.
        resize_list: ways of resampling, of `RESIZES`; `resize_prob` how likely each is.
        crf_range: x264's constant rate factor.
        swap_channels: hand the encoder RGB as if it were BGR, as the published code does: chroma is then lost in the wrong colours.
    """

    blur_kernel_size: int = 21
    kernel_list: tuple[str, ...] = KERNELS
    kernel_prob: tuple[float, ...] = (0.7, 0.3)
    blur_sigma: tuple[float, float] = (2.0, 10.0)
    noise_range: tuple[float, float] = (0.0, 10.0)
    scale: int = 4
    resize_list: tuple[str, ...] = tuple(RESIZES)
    resize_prob: tuple[float, ...] = (0.3, 0.3, 0.4)
    crf_range: tuple[int, int] = (25, 44)
    swap_channels: bool = False

    @classmethod
    def of(cls, opt: dict[str, Any]) -> Degradation:
        """Read the keys of a data set's options that have the names of the attributes; `legacy` sets `swap_channels`."""
        chosen: dict[str, Any] = {"swap_channels": bool(opt.get("legacy", False))}
        for key in cls.__dataclass_fields__:
            if key in opt:
                chosen[key] = tuple(opt[key]) if isinstance(opt[key], list) else opt[key]
        return cls(**chosen)

    def weaker(self, strength: float) -> Degradation:
        """Return the range whose blur, noise and CRF reach from their lowest (noise and CRF: 0) up to `strength`, 0 to 1, of the way."""
        low, high = self.blur_sigma
        return replace(
            self,
            blur_sigma=(low, low + strength * (high - low)),
            noise_range=(strength * self.noise_range[0], strength * self.noise_range[1]),
            crf_range=(round(strength * self.crf_range[0]), round(strength * self.crf_range[1])),
        )

    def draw(self, rng: np.random.Generator) -> Draw:
        """Decide on one degradation."""
        along = across = float(rng.uniform(*self.blur_sigma))
        angle = 0.0
        if rng.choice(self.kernel_list, p=self.kernel_prob) == "aniso":
            across, angle = float(rng.uniform(*self.blur_sigma)), float(rng.uniform(-np.pi, np.pi))
        levels = (float(rng.uniform(*self.noise_range)), float(rng.uniform(*self.noise_range)))
        resize = str(rng.choice(self.resize_list, p=self.resize_prob))
        return Draw((along, across), angle, levels, resize, int(rng.integers(self.crf_range[0], self.crf_range[1] + 1)))

    def apply(self, frames: Sequence[Image], draw: Draw, rng: np.random.Generator) -> list[Image]:
        """Return the degraded clip.

        Args:
            frames: uint8 RGB (H, W, 3), all of one size.
            draw: what `draw` gave.
            rng: where the noise comes from.

        Returns:
            As many pictures, uint8 RGB (H // scale, W // scale, 3); rows and columns beyond a multiple of `scale` are left out.

        Raises:
            MediaError: the frames differ in size, or are smaller than `scale`.
        """
        if min(frames[0].shape[:2]) < self.scale:
            msg = f"degradation: expected frames of at least {self.scale} pixels for scale {self.scale}, got {frames[0].shape[:2]}"
            raise MediaError(msg)
        small = [self._reduced(frame, draw, rng) for frame in frames]
        if not self.swap_channels:
            return roundtrip(small, Codec(crf=draw.crf)).frames
        swapped = roundtrip([_reversed(picture) for picture in small], Codec(crf=draw.crf)).frames
        return [_reversed(picture) for picture in swapped]

    def _reduced(self, frame: Image, draw: Draw, rng: np.random.Generator) -> Image:
        """Blur, noise, resampling, noise: uint8 in, uint8 out, in float32 between."""
        height, width = (side // self.scale for side in frame.shape[:2])
        whole = frame[: height * self.scale, : width * self.scale].astype(np.float32)
        noisy = _with_noise(blurred(whole, self.blur_kernel_size, draw.sigmas, draw.angle), draw.noise_levels[0], rng)
        small = cv2.resize(noisy, (width, height), interpolation=RESIZES[draw.resize])
        return np.rint(_with_noise(small, draw.noise_levels[1], rng)).astype(np.uint8)


def blurred(picture: FloatArray, size: int, sigmas: tuple[float, float], angle: float) -> FloatArray:
    """Return float32 (H, W, 3) after a Gaussian cut off to `size` x `size` pixels; a round one takes a tenth of the time."""
    if sigmas[0] == sigmas[1]:
        done: FloatArray = cv2.GaussianBlur(picture, (size, size), sigmas[0])
    else:
        done = cv2.filter2D(picture, cv2.CV_32F, gaussian_kernel(size, sigmas, angle))
    return done


def gaussian_kernel(size: int, sigmas: tuple[float, float], angle: float) -> FloatArray:
    """Return exp(-x' S^-1 x / 2) on the pixels around the centre, normalised to sum 1, float32 (size, size).

    Args:
        size: side in pixels, odd.
        sigmas: standard deviations in pixels along the first axis and across it.
        angle: of the first axis, in radians from x towards y.
    """
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    first, second = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    weights = np.exp(-0.5 * ((first / sigmas[0]) ** 2 + (second / sigmas[1]) ** 2))
    kernel: FloatArray = (weights / weights.sum()).astype(np.float32)
    return kernel


def _with_noise(picture: FloatArray, level: float, rng: np.random.Generator) -> FloatArray:
    """Add Gaussian noise of standard deviation `level` to float32 levels of 255, and keep to their range."""
    noise = rng.standard_normal(picture.shape, dtype=np.float32)
    noise *= level
    noise += picture
    return np.clip(noise, 0, WHITE, out=noise)


def _reversed(picture: Image) -> Image:
    """Return RGB as BGR, or the other way round."""
    return np.ascontiguousarray(picture[:, :, ::-1])
