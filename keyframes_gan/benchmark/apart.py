"""Restoring, here or in a process that does nothing else, which tells what the method costs: time, memory, multiply-accumulates."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import torch

from keyframes_gan.benchmark.plan import LOSSLESS, SUFFIX
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import Outcome, build_restorer, restore_video
from keyframes_gan.types import Restorer
from keyframes_gan.video.compress import encode_frames
from keyframes_gan.video.read import VideoReader
from keyframes_gan.workers import workers

SAMPLE_FRAMES = 2
STATUS = Path("/proc/self/status")
FLOPS_PER_MAC = 2
_LOADED: dict[tuple[str | None, ...], Restorer] = {}
"""Restorers of this process, by name, weights, device and precision; warm."""


@dataclass(frozen=True)
class Cost:
    """What a method took on one clip; None where that is not known.

    `seconds`: decoding and encoding included, starting and loading a network not. `peak_bytes`: most resident memory of a process that does
    only this, Python and libraries included; known on Linux. `gpu_peak_bytes`: most memory that PyTorch had taken on a CUDA device.
    `macs_per_face`: multiply-accumulates of the networks in PyTorch for one face in one frame, over the clip's first frames.
    """

    seconds: float | None = None
    peak_bytes: int | None = None
    gpu_peak_bytes: int | None = None
    macs_per_face: float | None = None


def restore_here(given: Path, target: Path, settings: Settings) -> tuple[Cost, Outcome]:
    """Restore a clip in this process, with a network that stays loaded for the next one; of what it cost only the time is known.

    Raises:
        UserError: it cannot be done.
    """
    key = (settings.restorer, settings.weights, settings.device, settings.precision)
    restorer = _LOADED.get(key) or build_restorer(settings)
    if key not in _LOADED:
        with _sample(given, settings) as (sample, aside, few):
            restore_video(sample, aside, few, restorer=restorer, progress=False)
        _LOADED[key] = restorer
    outcome = restore_video(given, target, settings, restorer=restorer, progress=False)
    return Cost(outcome.seconds), outcome


def restore_apart(given: Path, target: Path, settings: Settings) -> tuple[Cost, Outcome]:
    """Restore a clip in a process of its own; return what it cost, and what the pipeline did.

    Raises:
        UserError: it cannot be done, or the process was ended from outside.
    """
    with workers(1, threads=None) as pool:
        return pool.submit(_restore, given, target, settings, cv2.getNumThreads()).result()


def _restore(given: Path, target: Path, settings: Settings, threads: int) -> tuple[Cost, Outcome]:
    """Do it here: a few frames to warm up, the clip, and then, since counting takes time and memory, the few frames once more."""
    cv2.setNumThreads(threads)
    restorer = build_restorer(settings)
    with _sample(given, settings) as (sample, aside, few):
        restore_video(sample, aside, few, restorer=restorer, progress=False)
        outcome = restore_video(given, target, settings, restorer=restorer, progress=False)
        on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return Cost(outcome.seconds, resident_peak(), on_gpu or None, macs_per_face(sample, aside, few, restorer)), outcome


@contextmanager
def _sample(given: Path, settings: Settings) -> Iterator[tuple[Path, Path, Settings]]:
    """Give the first frames of a clip, where they may be restored to, and the settings for that."""
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / f"sample{SUFFIX}"
        _cut(given, sample)
        yield sample, Path(folder) / f"restored{SUFFIX}", replace(settings, references=(), keys=None, key_source=None, no_face="copy")


def resident_peak() -> int | None:
    """Return the most memory that this process has held so far, in bytes; None where the system does not say.

    The kernel's own count (VmHWM in proc(5)), since `getrusage` also tells what the process that started this one held.
    """
    if not STATUS.is_file():
        return None
    return next((int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")), None)


def macs_per_face(source: Path, target: Path, settings: Settings, restorer: Restorer) -> float | None:
    """Return the multiply-accumulates (half of PyTorch's count of operations) of restoring a clip over its faces; None without any."""
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415  # 70 MB, which are not the method's

    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:  # compiled code cannot be counted
        outcome = restore_video(source, target, settings, restorer=restorer, progress=False)
    counted = counter.get_total_flops() / FLOPS_PER_MAC
    return counted / outcome.faces if counted and outcome.faces else None


def _cut(given: Path, target: Path) -> None:
    """Write the first frames of a clip."""
    with VideoReader(given) as reader:
        encode_frames((frame.rgb for frame in islice(reader, SAMPLE_FRAMES)), target, rate=reader.info.rate, encoding=LOSSLESS)
