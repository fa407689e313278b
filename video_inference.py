"""Restore the faces in a video (-i, -o), or in folders that preprocessing.py made (--base_path). See docs/inference.md."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from keyframes_gan.errors import UserError, run_door
from keyframes_gan.pipeline import arguments


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: neither of the two forms, or a flag of the other form.
    """
    parser = arguments.parser(__doc__)
    given = parser.parse_args(argv)
    if (given.base_path is None) == (given.input is None) or (given.input is None) != (given.output is None and not given.dry_run):
        msg = "expected either -i INPUT -o OUTPUT or --base_path FOLDER, got neither or a mixture; see --help"
        raise UserError(msg)
    other = arguments.ONLY_FOLDERS if given.input else arguments.ONLY_VIDEO
    names = [flag.lstrip("-").replace("-", "_") for flag in other]
    used = [flag for flag, name in zip(other, names, strict=True) if getattr(given, name) != parser.get_default(name)]
    if used:
        msg = f"{', '.join(used)}: expected only with {'--base_path' if given.input else '-i and -o'}; leave it out"
        raise UserError(msg)
    return given


def main(argv: Sequence[str]) -> int:
    """Run one of the two forms."""
    given = parse(argv)
    from keyframes_gan.pipeline import door  # noqa: PLC0415  # after --help has been answered

    return door.restore_file(given) if given.input else door.restore_folders(given)


if __name__ == "__main__":
    raise SystemExit(run_door(main))
