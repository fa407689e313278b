"""What a conference client makes of a face: a stream with its codec, key frames, lost frames and changes of resolution, in memory.

A stream is thought of as running all along the clip, with a key frame every so many frames; only the few frames that bear on one of them
are really encoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from keyframes_gan.types import Image
from keyframes_gan.video.roundtrip import CODECS, Codec, roundtrip

SMALLEST_SIDE = 64
"""Pictures are not made smaller than this before the encoder; SVT-AV1 takes none that are."""
CRF_RANGES: dict[str, tuple[int, int]] = {
    "libx264": (25, 45),
    "libx265": (27, 45),
    "mpeg4": (6, 31),
    "libvpx-vp9": (46, 63),
    "libsvtav1": (48, 63),
}
"""Ends of equal PSNR on a portrait, as far as the scales go."""


@dataclass(frozen=True)
class Stream:
    """One stream, everything decided, as far as it bears on frame `frame` of a clip.

    Attributes:
        codec: the encoder, at a constant quality.
        bits_per_pixel: bits per encoded pixel and frame that a rate is kept at instead; None for constant quality.
        frame: the frame that is wanted.
        shown: the frames that are encoded, ascending, `frame` among them; the first is a key frame to the encoder.
        keys: all key frames up to `frame`, ascending.
        scale: by how much pictures were resized before the encoder, from the last key frame on.
        earlier_scale: the same, before that; another value when the client has just switched.
    """

    codec: Codec
    bits_per_pixel: float | None
    frame: int
    shown: tuple[int, ...]
    keys: tuple[int, ...]
    scale: float
    earlier_scale: float


@dataclass(frozen=True)
class Client:
    """The range of streams. Ranges include both ends; `*_prob` add up to 1; probabilities `p_*` are of one stream.

    Attributes:
        codecs: encoders, of `keyframes_gan.video.roundtrip.CODECS`; `codec_prob` how likely each is.
        crf_range: per encoder, its constant quality on its own scale.
        presets: x264's names of encoder speeds, all equally likely.
        gop_range: frames from one key frame to the next.
        p_bitrate: a bit rate is kept instead of a quality; `bpp_range` bits per encoded pixel and frame, drawn evenly in its logarithm.
        p_drop: frames get lost before the encoder, each (but the wanted one) with a probability drawn from `drop_range`.
        p_scale: the stream has another resolution, by a factor drawn from `scale_range`; `p_switch` how likely such a stream had the full
            resolution until a few frames ago.
        window: at most so many frames up to the wanted one are encoded; when the last key frame is further back, the first of them
            stands in for it.
        ahead: so many frames after it are encoded too, for the encoder to look at and to predict from.
    """

    codecs: tuple[str, ...] = CODECS
    codec_prob: tuple[float, ...] = (0.5, 0.15, 0.1, 0.15, 0.1)
    crf_range: Mapping[str, Sequence[int]] = field(default_factory=lambda: CRF_RANGES)
    presets: tuple[str, ...] = ("ultrafast", "superfast", "veryfast", "fast", "medium")
    gop_range: tuple[int, int] = (25, 250)
    p_bitrate: float = 0.3
    bpp_range: tuple[float, float] = (0.02, 0.2)
    p_drop: float = 0.2
    drop_range: tuple[float, float] = (0.1, 0.5)
    p_scale: float = 0.2
    scale_range: tuple[float, float] = (0.5, 0.9)
    p_switch: float = 0.5
    window: int = 8
    ahead: int = 2

    @classmethod
    def of(cls, opt: dict[str, Any]) -> Client:
        """Read the keys of a data set's options that have the names of the attributes."""
        chosen: dict[str, Any] = {}
        for key in cls.__dataclass_fields__:
            if key in opt:
                chosen[key] = tuple(opt[key]) if isinstance(opt[key], list) else opt[key]
        return cls(**chosen)

    def draw(self, rng: np.random.Generator, frame: int, count: int, rate: Fraction) -> Stream:
        """Decide on one stream.

        Args:
            rng: where random numbers come from.
            frame: the wanted frame of the clip.
            count: frames of the clip.
            rate: frames per second.
        """
        gop = int(rng.integers(self.gop_range[0], self.gop_range[1] + 1))
        name, preset = str(rng.choice(self.codecs, p=self.codec_prob)), str(rng.choice(self.presets))
        best, worst = self.crf_range[name]
        codec = Codec(name, crf=float(rng.integers(best, worst + 1)), preset=preset, gop=gop, rate=rate)
        bits = float(np.exp(rng.uniform(*np.log(self.bpp_range)))) if rng.random() < self.p_bitrate else None
        last = max(frame - int(rng.integers(0, gop)), 0)
        keys = list(range(last % gop, last + 1, gop))
        scale = earlier = float(rng.uniform(*self.scale_range)) if rng.random() < self.p_scale else 1.0
        if scale != 1.0 and rng.random() < self.p_switch:
            switch = frame - int(rng.integers(0, self.window))
            if switch > last:
                keys.append(switch)
                earlier = 1.0
        stop = min(frame + self.ahead, count - 1, keys[-1] + gop - 1)
        around = range(max(keys[-1], frame - self.window + 1), stop + 1)
        lost = float(rng.uniform(*self.drop_range)) if rng.random() < self.p_drop else 0.0
        kept = rng.random(len(around)) >= lost
        shown = tuple(one for one, keep in zip(around, kept, strict=True) if keep or one in (around[0], frame))
        return Stream(codec, bits, frame, shown, tuple(keys), scale, earlier)


def through(frames: Sequence[Image], codec: Codec, *, scale: float = 1.0, bits_per_pixel: float | None = None) -> list[Image]:
    """Return the frames as the other side sees them.

    Args:
        frames: uint8 RGB (H, W, 3), all of one size.
        codec: the encoder.
        scale: the pictures are encoded at this part of their size, though no smaller than `SMALLEST_SIDE`, and enlarged again.
        bits_per_pixel: keep to so many bits per encoded pixel and frame instead of the codec's quality.

    Raises:
        MediaError: the encoder is missing or refuses the frames.
    """
    height, width = frames[0].shape[:2]
    scale = min(1.0, max(scale, SMALLEST_SIDE / min(height, width)))
    size = (round(width * scale), round(height * scale))
    if bits_per_pixel is not None:
        codec = replace(codec, bitrate=max(1, round(bits_per_pixel * size[0] * size[1] * codec.rate)))
    if size == (width, height):
        return roundtrip(frames, codec).frames
    smaller = [np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8) for frame in frames]
    return [
        np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
        for picture in roundtrip(smaller, codec).frames
    ]
