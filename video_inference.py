"""Restore the faces in a video (-i, -o), or in folders that preprocessing.py made (--base_path). See docs/inference.md."""

from __future__ import annotations

from collections.abc import Sequence

from keyframes_gan.errors import run_door
from keyframes_gan.pipeline import arguments


def main(argv: Sequence[str]) -> int:
    """Run what the command line asks for."""
    given = arguments.read(argv, __doc__)
    from keyframes_gan.pipeline import door  # noqa: PLC0415  # after --help has been answered

    return door.restore_folders(given) if given.base_path else door.restore_source(given)


if __name__ == "__main__":
    raise SystemExit(run_door(main))
