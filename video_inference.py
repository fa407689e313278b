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
    sources = [one for one in (given.input, given.camera, given.base_path) if one is not None]
    has_target = given.output is not None or (given.input is not None and given.dry_run)
    if len(sources) != 1 or has_target != (given.base_path is None):
        msg = "expected either -i INPUT -o OUTPUT or --base_path FOLDER (or --camera N -o OUTPUT), got neither or a mixture; see --help"
        raise UserError(msg)
    foreign = {
        "-i and -o": arguments.ONLY_VIDEO if given.base_path else (),
        "--base_path": () if given.base_path else arguments.ONLY_FOLDERS,
        "--camera": () if given.camera is not None else arguments.ONLY_CAMERA,
        "-i": () if given.camera is None else arguments.NOT_CAMERA,
    }
    for form, flags in foreign.items():
        names = [flag.lstrip("-").replace("-", "_") for flag in flags]
        used = [flag for flag, name in zip(flags, names, strict=True) if getattr(given, name) != parser.get_default(name)]
        if used:
            msg = f"{', '.join(used)}: expected only with {form}; leave it out"
            raise UserError(msg)
    return given


def main(argv: Sequence[str]) -> int:
    """Run one of the two forms."""
    given = parse(argv)
    from keyframes_gan.pipeline import door  # noqa: PLC0415  # after --help has been answered

    return door.restore_folders(given) if given.base_path else door.restore_source(given)


if __name__ == "__main__":
    raise SystemExit(run_door(main))
