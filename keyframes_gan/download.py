"""Fetching one file over HTTP: progress, resuming, a check before it gets its name, one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sys
from typing import TYPE_CHECKING

from keyframes_gan.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

ATTEMPTS = 3
TIMEOUT_SECONDS = (10.0, 60.0)
BLOCK_BYTES = 1 << 18
HTTP_PARTIAL = 206
HTTP_UNSATISFIABLE = 416
FLAG = "A restorer's weights can also be given by video_inference.py --weights FILE"

logger = logging.getLogger(__name__)


def fetch(url: str, target: Path, *, check: Callable[[Path], None], resume: bool) -> None:
    """Download `url` to `target`.

    The bytes collect in `target` + ".part", which is locked meanwhile: a second process waits, and finds the file done.
    A broken transfer is taken up where it broke, also by a later call. Only a file that passes `check` gets its final name;
    one that does not is deleted.

    Args:
        url: http or https.
        target: the final path; its folder is made.
        check: raises `WeightsError` when the complete file is not the expected one.
        resume: whether bytes of an earlier call may be continued; pass False when `check` could not tell.

    Raises:
        WeightsError: not reachable, refused, broken, unwritable, or the check failed.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if target.is_file():
                _drop(part, stream)
                return
            if not resume:
                stream.truncate(0)
            try:
                _transfer(url, target, stream)
            finally:
                stream.flush()
                os.fsync(stream.fileno())
                if not os.fstat(stream.fileno()).st_size:
                    part.unlink()
            _finish(part, target, check)
    except OSError as error:
        msg = f"{target}: cannot write, {error.strerror or error}; free some space or put the file from {url} there. {FLAG}"
        raise WeightsError(msg) from error


def _drop(part: Path, stream: BinaryIO) -> None:
    """Delete the empty `.part` of a process that waited; the one it waited for has been renamed away."""
    with contextlib.suppress(FileNotFoundError):
        if part.stat().st_ino == os.fstat(stream.fileno()).st_ino:
            part.unlink()


def _finish(part: Path, target: Path, check: Callable[[Path], None]) -> None:
    try:
        check(part)
    except WeightsError:
        part.unlink()
        raise
    part.replace(target)


def _transfer(url: str, target: Path, stream: BinaryIO) -> None:
    """Append to `stream` what is missing of `url`, trying again from where it broke."""
    import requests  # noqa: PLC0415  (only a download needs it)

    for attempt in range(1, ATTEMPTS + 1):
        try:
            _request(url, target, stream)
        except requests.HTTPError as error:
            reason = f"HTTP {error.response.status_code} {error.response.reason}"
            raise _unreachable(url, target, reason) from error
        except requests.RequestException as error:
            logger.info("%s: attempt %d of %d failed: %s", url, attempt, ATTEMPTS, error)
            if attempt == ATTEMPTS:
                raise _unreachable(url, target, type(error).__name__) from error
        else:
            return


def _unreachable(url: str, target: Path, reason: str) -> WeightsError:
    return WeightsError(f"{target.name}: cannot fetch {url} ({reason}); fetch it elsewhere and put it at {target}. {FLAG}")


def _request(url: str, target: Path, stream: BinaryIO) -> None:
    """One HTTP request from the end of `stream` on; starts anew where the server cannot continue."""
    import requests  # noqa: PLC0415
    from tqdm import tqdm  # noqa: PLC0415

    have = stream.seek(0, os.SEEK_END)
    # identity: with a compressed transfer the counted bytes would not be the file's.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, stream=True, headers=headers, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code == HTTP_UNSATISFIABLE:
            # Nothing after our bytes: either all is here, which the check will tell, or the file has become another one.
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return
            stream.truncate(0)
            msg = "the server's file is shorter than the part at hand"
            raise requests.ConnectionError(msg)
        response.raise_for_status()
        if response.status_code != HTTP_PARTIAL:
            stream.truncate(0)
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=target.name, file=sys.stderr) as bar:
            for block in response.iter_content(BLOCK_BYTES):
                stream.write(block)
                bar.update(len(block))
