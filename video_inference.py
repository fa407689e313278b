"""Restore the faces in a video (-i, -o), or in folders that preprocessing.py made (--base_path). See docs/inference.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keyframes_gan.errors import run_door
from keyframes_gan.pipeline import arguments


def _write_page(*given: Any, **named: Any) -> list[Path]:  # noqa: ANN401  # passed on as they are
    """Write the report page of a restored video."""
    from keyframes_gan.benchmark import video_report  # noqa: PLC0415  # only who asks for it waits for its imports

    return video_report(*given, **named)


def main(argv: Sequence[str]) -> int:
    """Run what the command line asks for."""
    given = arguments.read(argv, __doc__)
    from keyframes_gan.pipeline import door  # noqa: PLC0415  # after --help has been answered

    return door.restore_folders(given) if given.base_path else door.restore_source(given, write_page=_write_page)


if __name__ == "__main__":
    raise SystemExit(run_door(main))
