"""Key frames sent beside a stream: when they are due, what arrives, what they cost."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from skimage.data import astronaut

from keyframes_gan.errors import UserError
from keyframes_gan.keyframes.sent import EverySoOften, KeyChannel, KeyPlan


def test_the_first_frame_of_each_period_is_due() -> None:
    """At 30/s and one a second frames 0, 30, 60; a period without a frame is left out; the first frame after it is due."""
    is_due = EverySoOften(Fraction(1))
    assert [index for index in range(90) if is_due(Fraction(index, 30))] == [0, 30, 60]
    is_due = EverySoOften(Fraction("0.4"))
    assert [time for time in (Fraction(one, 10) for one in (1, 2, 5, 19, 20, 21)) if is_due(time)] == [
        Fraction(one, 10) for one in (1, 5, 19, 20)
    ]


def test_lossless_crops_arrive_as_they_are() -> None:
    crop = np.ascontiguousarray(astronaut()[:128, 150:278])
    channel = KeyChannel()
    assert (channel.send(crop) == crop).all()
    assert channel.sent == 1
    assert 0 < channel.bits < 8 * crop.nbytes


def test_coded_crops_arrive_as_decoded_and_cost_less() -> None:
    crop = np.ascontiguousarray(astronaut()[:128, 150:278])
    lossless, errors, bits = KeyChannel(), [], []
    lossless.send(crop)
    for quality in (20, 45):
        channel = KeyChannel(quality)
        arrived = channel.send(crop)
        assert (arrived.shape, arrived.dtype) == (crop.shape, crop.dtype)
        errors.append(float(np.square(arrived.astype(float) - crop).mean()))
        bits.append(channel.bits)
    assert 0 < errors[0] < errors[1]
    assert bits[1] < bits[0] < lossless.bits
    assert channel.send(crop) is not crop
    assert (channel.sent, channel.bits) == (2, 2 * bits[1])


@pytest.mark.parametrize(
    ("seconds", "quality", "flag"), [("0", None, "--key_interval"), ("1", 0, "--key_quality"), ("1", 64, "--key_quality")]
)
def test_plans_out_of_range(seconds: str, quality: int | None, flag: str) -> None:
    with pytest.raises(UserError, match=f"^{flag}: expected"):
        KeyPlan(Fraction(seconds), quality)
