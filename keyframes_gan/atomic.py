"""Files that appear under their final name only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from keyframes_gan.errors import MediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

PART_PREFIX = ".part-"

_USER_ERRNOS = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


def unwritable(path: Path, error: OSError) -> MediaError:
    """Return the one-line error for a target that the system refused: disk full, no permission, no such folder."""
    reason = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return MediaError(f"{path}: cannot write, {reason}; free some space or choose another output path")
    return MediaError(f"{path}: cannot write, {reason}; choose an output path in an existing, writable folder")


def _check_target(path: Path) -> None:
    """Raise `MediaError` unless `path` can become a regular file in an existing folder."""
    if path.is_dir():
        msg = f"{path}: cannot write, this is a folder; give the name of a file"
        raise MediaError(msg)
    if path.exists() and not path.is_file():
        msg = f"{path}: cannot write, this is not a regular file; give the name of a file"
        raise MediaError(msg)
    if not path.parent.is_dir():
        msg = f"{path}: cannot write, the folder {path.parent} does not exist; make it or choose another output path"
        raise MediaError(msg)


def _synchronise(path: Path) -> None:
    """Flush a file's or a folder's contents to the disk, where the system can."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _new_part(target: Path) -> Path:
    """Make an empty temporary file beside what `target` is, or leads to."""
    _check_target(target)
    final = target.resolve()
    part = final.with_name(f"{PART_PREFIX}{secrets.token_hex(4)}-{final.name}")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise unwritable(target, error) from error
    return part


def check_writable(path: Path) -> None:
    """Try, before long work, whether `atomic_write` can write `path`; nothing stays.

    Raises:
        MediaError: as `atomic_write`.
    """
    _new_part(path).unlink()


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`; on a clean exit it becomes `path`, on any exception it is deleted.

    The temporary file exists (empty) on entry, is hidden, and keeps the suffix, so that writers which choose
    the format by suffix work: `.part-<random>-<name>`. It is flushed to the disk (fsync) before the rename,
    which replaces an older file in one step (POSIX rename). A symbolic link is followed, not replaced.

    Args:
        path: the final name; its folder must exist.

    Yields:
        The temporary path, to be opened and written by name.

    Raises:
        MediaError: the folder is missing or not writable, the target is no regular file, or the disk is full;
            also when such an `OSError` about the temporary file leaves the body.
    """
    target = Path(path)
    final = target.resolve()
    part = _new_part(target)
    try:
        yield part
        _synchronise(part)
        part.replace(final)
    except OSError as error:
        part.unlink(missing_ok=True)
        about_target = error.filename is None or str(error.filename) == str(part)
        if about_target and error.errno in _USER_ERRNOS:
            raise unwritable(target, error) from error
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):
        _synchronise(final.parent)
