"""CSV, JSON and other files, written under a temporary name and renamed when complete."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keyframes_gan.atomic import atomic_write, unwritable


def write_csv(path: Path | str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write rows as CSV (UTF-8, RFC 4180), completely or not at all; None becomes an empty cell.

    Raises:
        MediaError: the folder or file cannot be written.
    """
    target = Path(path)
    _make_folder(target)
    with atomic_write(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    return target


def write_json(path: Path | str, data: Mapping[str, Any]) -> Path:
    """Write `data` as standard JSON, completely or not at all; infinite and undefined numbers become null.

    Raises:
        MediaError: the folder or file cannot be written.
    """
    text = json.dumps(_standard(data), indent=1, ensure_ascii=False, allow_nan=False)
    return write_bytes((text + "\n").encode(), Path(path))


def _standard(value: Any) -> Any:  # noqa: ANN401
    """Return `value` with paths as text and numbers that JSON does not know as None."""
    if isinstance(value, Mapping):
        return {str(key): _standard(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_standard(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def write_bytes(data: bytes, target: Path) -> Path:
    """Write `data` under `target`, completely or not at all, and return `target`.

    Raises:
        MediaError: the folder or file cannot be written.
    """
    _make_folder(target)
    with atomic_write(target) as temporary:
        temporary.write_bytes(data)
    return target


def _make_folder(target: Path) -> None:
    """Make the folder of `target`."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(target, error) from error
