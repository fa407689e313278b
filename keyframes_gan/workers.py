"""Work in processes of its own, each with its share of the processor; none outlives the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from keyframes_gan.errors import UserError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def workers(
    jobs: int, *, threads: int | None = 1, start: Callable[..., None] | None = None, given: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of `jobs` processes. They take no part in Ctrl-C; when the body is left by an exception, they end at once.

    Args:
        jobs: how many.
        threads: how many each uses for arithmetic; None: as many as a process that is started by hand.
        start: called with `given` in every process when it begins.
        given: see `start`.

    Raises:
        UserError: a process was ended from outside, and the body has asked for a result of it.
    """
    context = multiprocessing.get_context("spawn")
    listener, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, context, _begin, (listener, threads, start, given))
    shared = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    with _environment(shared), listener, lifeline, pool:
        try:
            yield pool
        except BaseException as error:
            lifeline.close()
            if isinstance(error, BrokenProcessPool):
                msg = "a worker process was ended from outside (out of memory?); start again with fewer --jobs"
                raise UserError(msg) from error
            raise


def _begin(listener: Connection, threads: int | None, start: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    """Set up a process."""
    import cv2  # noqa: PLC0415  # where it is used: here

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(listener,), daemon=True).start()
    if threads is not None:
        cv2.setNumThreads(threads)  # the other libraries have read that from the environment
    if start is not None:
        start(*given)


def _end_with(listener: Connection) -> None:
    """End this process when the other end of the pipe is closed, or whoever held it is gone."""
    listener.poll(None)
    os._exit(1)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
