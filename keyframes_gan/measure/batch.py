"""Measuring many videos, one after the other or several at a time: goes on after failures, and tells everything that was not measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import asdict
from functools import cache
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keyframes_gan.errors import MediaError, UserError
from keyframes_gan.measure.files import measure_files
from keyframes_gan.measure.pairs import Pair, find_pairs
from keyframes_gan.measure.protocol import protocol
from keyframes_gan.measure.results import Summary, VideoScores
from keyframes_gan.measure.settings import Settings
from keyframes_gan.measure.streams import load_scorers
from keyframes_gan.metrics import Begin
from keyframes_gan.video.packets import count_frames
from keyframes_gan.workers import workers

Result = VideoScores | str
"""A video's scores, or why it could not be measured."""


def measure_folders(settings: Settings) -> Summary:
    """Measure every pair of original and restored video; a pair that fails is noted and the others go on.

    Raises:
        UserError: an unknown metric or option out of range, a path that does not exist, or not a single pair.
    """
    settings.check()
    pairs, missing = find_pairs(settings.paths)
    scorers, unavailable = _load(settings)
    options = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items() if key != "flags"}
    told = protocol(settings, scorers)
    summary = Summary(tuple(dict.fromkeys(settings.metrics)), unavailable, missing=missing, options=options, protocol=told)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    results: dict[str, Result] = {}
    with Progress(*columns, transient=True) as progress:
        alone = settings.jobs == 1 or len(pairs) == 1
        for pair, result in _one_by_one(pairs, scorers, settings, progress) if alone else _in_processes(pairs, settings, progress):
            results[pair.name] = result
    for pair in pairs:
        result = results[pair.name]
        if isinstance(result, str):
            summary.failed[pair.name] = result
        else:
            summary.videos.append(result)
    return summary


def _load(settings: Settings) -> tuple[dict[str, Begin], dict[str, str]]:
    """Return the metrics, and the reasons for those that cannot be taken here or with these settings."""
    seams = [] if settings.clip_length else [name for name in settings.metrics if name.startswith("seam_ratio")]
    scorers, unavailable = load_scorers([name for name in settings.metrics if name not in seams], device=settings.device)
    reason = "expected --clip_length, how many frames were restored together, got none; add it"
    return scorers, {**unavailable, **dict.fromkeys(seams, reason)}


def _one_by_one(pairs: list[Pair], scorers: dict[str, Begin], settings: Settings, progress: Progress) -> Iterator[tuple[Pair, Result]]:
    """Measure the pairs in this process, with a bar for the frames of each."""
    for pair in pairs:
        task = progress.add_task(pair.name, total=_length(pair.original))
        yield pair, _measure(pair, scorers, settings, lambda count, task=task: progress.advance(task, count))  # type: ignore[misc]
        progress.remove_task(task)


def _length(path: Path) -> int | None:
    """Return the number of frames for the progress bar; None for what cannot be read and will be reported in its turn."""
    try:
        return count_frames(path)
    except MediaError:
        return None


def _in_processes(pairs: list[Pair], settings: Settings, progress: Progress) -> Iterator[tuple[Pair, Result]]:
    """Measure several pairs at a time, each in a process of one thread, with a bar for the videos."""
    task = progress.add_task("videos", total=len(pairs))
    with workers(min(settings.jobs, len(pairs))) as pool:
        futures = {pool.submit(_work, pair, settings): pair for pair in pairs}
        for future in as_completed(futures):
            yield futures[future], future.result()
            progress.advance(task)


@cache
def _loaded(settings: Settings) -> dict[str, Begin]:
    """Return the metrics, loaded once per process."""
    return _load(settings)[0]


def _work(pair: Pair, settings: Settings) -> Result:
    """Measure one pair in a worker process."""
    return _measure(pair, _loaded(settings), settings, None)


def _measure(pair: Pair, scorers: dict[str, Begin], settings: Settings, progress: Callable[[int], None] | None) -> Result:
    """Measure one pair; a problem that the user can fix is a result, so that the other videos go on."""
    try:
        scores = measure_files(
            pair.original,
            pair.versions,
            scorers,
            regions=settings.regions,
            detector=settings.detector,
            crop_border=settings.crop_border,
            every=settings.every,
            clip_length=settings.clip_length,
            progress=progress,
        )
        files = {"original": str(pair.original), **{version: str(path) for version, path in pair.versions.items()}}
        return VideoScores(pair.name, count_frames(pair.original), files, scores)
    except UserError as error:
        return str(error)
