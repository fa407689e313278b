"""The portrait clip: as asked for, and moving smoothly round."""

from __future__ import annotations

import numpy as np

from keyframes_gan.portrait import portrait_clip


def test_clip_moves_smoothly() -> None:
    clip = [frame.astype(np.int16) for frame in portrait_clip(40, (384, 384))]
    assert {(frame.shape, frame.dtype) for frame in clip} == {((384, 384, 3), np.dtype(np.int16))}
    steps = [float(np.abs(one - other).mean()) for one, other in zip(clip, [*clip[1:], clip[0]], strict=True)]
    assert min(steps) > 0
    assert max(steps) < 20
    assert max(float(np.abs(clip[0] - frame).mean()) for frame in clip) > 20
