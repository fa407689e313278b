"""The plan that `--dry-run` prints: frames, people, memory and time, from a look at the first frames and one restored crop."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.pipeline.clock import Stopwatch
from keyframes_gan.pipeline.framing import AlignedStream, FaceFraming, WholeFraming
from keyframes_gan.pipeline.people import Person, Slot
from keyframes_gan.pipeline.restoring import Runner
from keyframes_gan.pipeline.stream import build_detector, build_restorer, face_stream, look_ahead_of, tracking_of
from keyframes_gan.video.packets import count_frames
from keyframes_gan.video.read import VideoReader

if TYPE_CHECKING:
    from pathlib import Path

    from keyframes_gan.faces.smooth import SmoothFrame
    from keyframes_gan.pipeline.framing import Framing
    from keyframes_gan.pipeline.settings import Settings
    from keyframes_gan.types import Frame, Restorer

SAMPLE = 50
MEBIBYTE = 2**20
KEPT = 64
"""Decoded frames of the sample that are held, more than any look-ahead."""


@dataclass(frozen=True)
class Plan:
    """What restoring a video will take, as far as its first frames tell.

    `frames` of the video, of which `sampled` were looked at; `faces_per_frame` in these; `clip_length` and `look_ahead` in frames;
    `frame_bytes` held in frames at most, without the restorer's own memory; `seconds` for decoding, finding and restoring faces,
    without encoding.
    """

    source: Path
    frames: int
    sampled: int
    people: int
    faces_per_frame: float
    clip_length: int
    look_ahead: int
    frame_bytes: int
    seconds: float

    def __str__(self) -> str:
        """Return the plan in a few lines."""
        return (
            f"{self.source}: {self.frames} frames\n"
            f"  faces: {self.faces_per_frame:.2f} a frame, {self.people} people at most at once, in the first {self.sampled} frames\n"
            f"  memory: {self.frame_bytes / MEBIBYTE:.0f} MiB of frames at most "
            f"({self.look_ahead} of look-ahead, clips of {self.clip_length}), besides the networks\n"
            f"  time: about {self.seconds:.0f} s, encoding not included\n"
        )


def plan_of(source: Path, settings: Settings, *, restorer: Restorer | None = None) -> Plan:
    """Look at the first `SAMPLE` frames, restore one crop, and extrapolate.

    Raises:
        UserError: as `restore_video`, but that a video without faces is none.
    """
    with VideoReader(source) as reader:
        info, total = reader.info, count_frames(source)
        restorer = restorer or build_restorer(settings)
        runner = Runner(restorer, Stopwatch(), clip_length=settings.max_length, overlap=settings.overlap, protocol=settings.protocol)
        framing: Framing = WholeFraming.of(restorer.spec, info) if settings.has_aligned else FaceFraming(restorer.spec)
        detector = build_detector(settings, restorer.spec.tracking)
        stream = AlignedStream() if settings.has_aligned else face_stream(settings, restorer.spec, detector, Stopwatch())
        kept: deque[Frame] = deque(maxlen=KEPT)
        found: list[SmoothFrame] = []
        start = time.perf_counter()
        for frame in islice(reader, SAMPLE):
            kept.append(frame)
            found += stream.update(frame)
        found += stream.flush()
        follow_seconds = (time.perf_counter() - start) / max(len(found), 1)
    counts = [min(len(one.faces), 1) if settings.only_center_face else len(one.faces) for one in found]
    per_frame = sum(counts) / max(len(counts), 1)
    restore_seconds = _restore_seconds(restorer, framing, kept, found, settings)
    clip_length = runner.clip_length
    look_ahead = 0 if settings.has_aligned else look_ahead_of(tracking_of(settings, restorer.spec))
    picture = 3 * info.width * info.height
    finish = settings.finish.settled(restorer.spec, info, photos=False)
    return Plan(
        source,
        total,
        len(found),
        max(counts, default=0),
        per_frame,
        clip_length,
        look_ahead,
        (look_ahead + clip_length + 1) * picture + clip_length * picture * finish.upscale**2,
        total * (follow_seconds + per_frame * restore_seconds),
    )


def _restore_seconds(restorer: Restorer, framing: Framing, kept: deque[Frame], found: list[SmoothFrame], settings: Settings) -> float:
    """Return how long restoring one crop takes, 0 when no face was found; the first time, which warms up, does not count."""
    frames = {frame.index: frame for frame in kept}
    known = next(((frames[one.index], one.faces[0]) for one in found if one.faces and one.index in frames), None)
    if known is None:
        return 0.0
    person = Person(0, restorer, KeyframeMemory(settings.max_keyframes, settings.policy), framing)
    person.add(Slot(known[0]), known[1])
    clip = person.clip(1)
    restorer.restore(clip, person.state)
    start = time.perf_counter()
    restorer.restore(clip, person.state)
    return time.perf_counter() - start
