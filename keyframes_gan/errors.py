"""Errors that the person at the keyboard can fix, and the one door through which scripts report them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_USER_ERROR = 2


class UserError(Exception):
    """Something the user can fix. The message is one line: what was expected, what came, which flag or file to change."""


class MediaError(UserError):
    """A video or picture cannot be read or written: missing, not media, no frames, truncated, disk full."""


class FaceError(UserError):
    """No usable face where one was needed."""


class OptionsError(UserError):
    """An options file failed the gate. The message may span several lines, one `file:line:col: key: message` each."""


class WeightsError(UserError):
    """Weights are missing, altered, of another layout, or unsafe to load."""


def run_door(main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a script's `main(argv)` and return its exit status.

    A `UserError` becomes one `error: ...` line on standard error and status 2; Ctrl-C becomes status 130; status 141, as for other
    programs, when whoever read the output (`| head`) has left.
    Any other exception is a bug and keeps its traceback.
    """
    try:
        status = main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing half-written was left under its final name\n")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain once more at its end
        return 141
    return status
