"""All videos of a folder, one after the other or several at a time, with one progress bar and one line per problem."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import queue
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from keyframes_gan.errors import MediaError, UserError
from keyframes_gan.faces.detectors import find
from keyframes_gan.preprocess.clip import STAGES, Outcome, make_clip
from keyframes_gan.preprocess.layout import remove_leftovers
from keyframes_gan.preprocess.records import write_list
from keyframes_gan.preprocess.settings import Settings, find_videos
from keyframes_gan.video.packets import count_frames
from keyframes_gan.workers import workers

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

POLL_SECONDS = 0.2
_WORKER: dict[str, Any] = {}

Task = tuple[Path, int]


@dataclass
class Summary:
    """What a run did: clips made, clips that were complete before, and one line per problem."""

    made: list[Outcome] = field(default_factory=list)
    kept: list[Outcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Stopped(Exception):  # noqa: N818
    """The run was interrupted; a worker leaves its clip unfinished."""


def run(settings: Settings, *, jobs: int = 1, say: Callable[[str], None] | None = None, bar: bool = True) -> Summary:
    """Make the clips of all videos in `settings.base`/original.

    Args:
        settings: What the user asked for.
        jobs: How many videos at a time; more than one uses as many processes of one thread each.
        say: Called with one line per problem, as it happens; by default the line goes to standard error, above the bar.
        bar: Whether to show a progress bar on standard error, if that is a terminal.

    Raises:
        UserError: No videos, an unknown detector, or another run works on the same folder.
    """
    if jobs < 1:
        msg = f"--jobs: expected at least 1, got {jobs}"
        raise UserError(msg)
    find(settings.detector)
    videos, problems = find_videos(settings.base)
    summary = Summary()
    say = say or _say
    with _only_one(settings.base):
        remove_leftovers(_parents(settings))
        for line in problems:
            _note(summary, line, say)
        tasks = [(video, crf) for crf in settings.crfs for video in videos]
        total = STAGES * len(settings.crfs) * sum(_length(video) for video in videos)
        try:
            with tqdm(total=total, unit="frame", disable=None if bar else True, smoothing=0.05) as progress:
                for task, result in _in_turn(tasks, settings, jobs, progress):
                    _collect(summary, task, result, say)
        finally:
            if settings.layout == "default":
                for crf in settings.crfs:
                    write_list(settings.base, crf)
    return summary


def _collect(summary: Summary, task: Task, result: Outcome | UserError, say: Callable[[str], None]) -> None:
    """Sort one clip's result into the summary."""
    if isinstance(result, UserError):
        _note(summary, f"{task[0].name}, CRF {task[1]}: {result}", say)
    else:
        (summary.kept if result.kept else summary.made).append(result)


def _say(line: str) -> None:
    tqdm.write(f"error: {line}", file=sys.stderr)


def _note(summary: Summary, line: str, say: Callable[[str], None]) -> None:
    summary.problems.append(line)
    say(line)


def _length(video: Path) -> int:
    """Return the number of frames for the progress bar; 0 for what cannot be read and will be reported in its turn."""
    try:
        return count_frames(video)
    except MediaError:
        return 0


def _parents(settings: Settings) -> list[Path]:
    """Return the folders in which a killed run may have left unfinished work."""
    kinds = ("compressed", "processed")
    return [settings.base, settings.base / "original", *(settings.base / f"{kind}_{crf}" for kind in kinds for crf in settings.crfs)]


@contextmanager
def _only_one(base: Path) -> Iterator[None]:
    """Hold a lock on the base folder, so that two runs do not remove each other's work."""
    try:
        descriptor = os.open(base / ".preprocessing.lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        msg = f"--base_path: expected a folder to write in, got {error.strerror} for {base}"
        raise UserError(msg) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        msg = f"--base_path: another preprocessing works on {base}; wait for it to end"
        raise UserError(msg) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _in_turn(tasks: list[Task], settings: Settings, jobs: int, progress: tqdm[Any]) -> Iterator[tuple[Task, Outcome | UserError]]:
    """Yield every task with its outcome or its problem, as they end."""
    if jobs > 1 and len(tasks) > 1:
        yield from _in_processes(tasks, settings, min(jobs, len(tasks)), progress)
        return
    for task in tasks:
        yield task, _attempt(task, settings, progress.update, threads=0)


def _attempt(task: Task, settings: Settings, step: Callable[[int], Any], *, threads: int) -> Outcome | UserError:
    """Make one clip; a problem that the user can fix is a result, so that the other videos go on."""
    source, crf = task
    done = 0

    def counted(frames: int) -> None:
        nonlocal done
        done += frames
        step(frames)

    try:
        return make_clip(source, crf, settings, counted, threads=threads)
    except UserError as error:
        return error
    finally:
        step(max(STAGES * _length(source) - done, 0))


def _in_processes(tasks: list[Task], settings: Settings, jobs: int, progress: tqdm[Any]) -> Iterator[tuple[Task, Outcome | UserError]]:
    """Spread the tasks over worker processes."""
    context = multiprocessing.get_context("spawn")
    steps: Queue[int] = context.Queue()
    stop = context.Event()
    with workers(jobs, start=_start_worker, given=(steps, stop)) as pool:
        futures = {pool.submit(_work, task, settings): task for task in tasks}
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                progress.update(_drained(steps))
                yield from ((futures[future], future.result()) for future in done)
            progress.update(_drained(steps))
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _drained(steps: Queue[int]) -> int:
    """Return the sum of what the workers have counted since the last call."""
    total = 0
    while True:
        try:
            total += steps.get_nowait()
        except queue.Empty:
            return total


def _start_worker(steps: Queue[int], stop: Event) -> None:
    _WORKER.update(steps=steps, stop=stop)


def _work(task: Task, settings: Settings) -> Outcome | UserError:
    """Make one clip in a worker process."""

    def step(frames: int) -> None:
        if _WORKER["stop"].is_set():
            raise Stopped
        _WORKER["steps"].put(frames)

    return _attempt(task, settings, step, threads=1)
