"""Key frames that are sent beside a compressed stream: when one is due, and what it costs to send and to arrive with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import cv2

from keyframes_gan.errors import UserError
from keyframes_gan.types import Image, check_image
from keyframes_gan.video.roundtrip import QUALITIES, Codec, roundtrip

CODEC = "libsvtav1"
"""A still AV1 picture, which is what an .avif file holds."""
BITS_PER_BYTE = 8


@dataclass(frozen=True)
class KeyPlan:
    """How often a high-quality key frame is sent, and how it is coded.

    Attributes:
        seconds: one in every period of so many seconds, counted from the start of the video.
        quality: constant rate factor of the AV1 still picture, 1 (best) to 63; None for no loss (PNG).

    Raises:
        UserError: a value out of range, named with its flag.
    """

    seconds: Fraction
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            msg = f"--key_interval: expected more than 0 seconds, got {self.seconds}"
            raise UserError(msg)
        best, worst = QUALITIES[CODEC]
        if self.quality is not None and not best <= self.quality <= worst:
            msg = f"--key_quality: expected {best} (best) to {worst}, got {self.quality}"
            raise UserError(msg)


class EverySoOften:
    """Tells which frames are key frames: in each period of so many seconds the first one that there is.

    Args:
        seconds: length of a period.
    """

    def __init__(self, seconds: Fraction) -> None:
        self._seconds = seconds
        self._reached = -1

    def __call__(self, time: Fraction) -> bool:
        """Tell it of the frame at `time`; times must not fall. A frame begins at most one period."""
        period = math.floor(time / self._seconds)
        begins = period > self._reached
        self._reached = max(period, self._reached)
        return begins


class KeyChannel:
    """Sends key crops one by one, each by itself, so that none waits for another.

    Args:
        quality: as in `KeyPlan`.

    Attributes:
        sent: how many there were.
        bits: what they cost together, without the few bytes that say where in the frame a crop lies.
    """

    def __init__(self, quality: int | None = None) -> None:
        self._quality = quality
        self.sent = 0
        self.bits = 0

    def send(self, crop: Image) -> Image:
        """Return a crop, uint8 (S, S, 3) RGB, as it arrives."""
        check_image(crop, "KeyChannel.send")
        if self._quality is None:
            arrived, size = crop, len(cv2.imencode(".png", crop[..., ::-1])[1])
        else:
            coded = roundtrip([crop], Codec(CODEC, crf=self._quality, gop=1))
            arrived, size = coded.frames[0], coded.size_bytes
        self.sent += 1
        self.bits += size * BITS_PER_BYTE
        return arrived
