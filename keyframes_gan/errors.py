"""Errors that the person at the keyboard can fix, and the one door through which scripts report them."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

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


class DoorParser(argparse.ArgumentParser):
    """Reads a command line; what is wrong with it is a `UserError`, so one line like every other mistake, with the flag that was meant."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        """Return what `args` say.

        Raises:
            UserError: a flag that is not there, has a wrong value or none, or a word that belongs to no flag.
        """
        given, rest = self.parse_known_args(args, namespace)
        if rest:
            flags = [rest[0].split("=")[0]] if rest[0].startswith("-") else []
            close = [one for flag in flags for one in difflib.get_close_matches(flag, self._option_string_actions, n=1)]
            self.error(f"unknown: {' '.join(rest)}" + (f"; did you mean {close[0]}?" if close else ""))
        return given

    def error(self, message: str) -> NoReturn:
        """Raise the `UserError`."""
        msg = f"{message}; see --help"
        raise UserError(msg)


def path_of(text: str) -> Path:
    """Read a file's or folder's name; an empty one, such as that of an unset variable, would otherwise mean the working folder.

    Raises:
        argparse.ArgumentTypeError: it is empty.
    """
    if not text:
        msg = "expected the name of a file or folder, got nothing"
        raise argparse.ArgumentTypeError(msg)
    return Path(text)


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
