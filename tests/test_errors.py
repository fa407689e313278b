"""The door through which scripts report errors: what a shell sees of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DOOR = "import sys; from keyframes_gan.errors import UserError, run_door\n"


def run(code: str, repo_root: Path, stdout: int = subprocess.PIPE) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", DOOR + code], cwd=repo_root, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_left_is_no_error(repo_root: Path, lines: int) -> None:
    """Few lines meet the closed pipe when they are flushed, many while they are written."""
    reading, writing = os.pipe()
    os.close(reading)
    status, _, told = run(f"sys.exit(run_door(lambda _: sys.stdout.write('line\\n' * {lines}) and 0))", repo_root, writing)
    os.close(writing)
    assert (status, told) == (141, "")


def test_what_the_user_can_change_is_one_line_and_a_bug_keeps_its_traceback(repo_root: Path) -> None:
    raising = "def main(_):\n    raise {0}\nsys.exit(run_door(main))"
    assert run(raising.format("UserError('a flag')"), repo_root) == (2, "", "error: a flag\n")
    assert run(raising.format("KeyboardInterrupt"), repo_root)[0] == 130
    status, _, told = run(raising.format("RuntimeError('a bug')"), repo_root)
    assert status == 1
    assert "Traceback" in told


def test_the_status_is_that_of_the_script(repo_root: Path) -> None:
    assert run("sys.exit(run_door(lambda _: 5))", repo_root) == (5, "", "")
