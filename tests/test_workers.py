"""Processes that work: their share of the processor, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from keyframes_gan.errors import UserError
from keyframes_gan.workers import workers

PATIENCE = 60
PARENT = """
import sys, time
from keyframes_gan.workers import workers
from tests.test_workers import slow

if __name__ == "__main__":
    with workers(2) as pool:
        for future in [pool.submit(slow, f"{sys.argv[1]}/{name}") for name in "ab"]:
            future.result()
"""


def share() -> tuple[str | None, int]:
    return os.environ.get("OMP_NUM_THREADS"), cv2.getNumThreads()


def slow(note: str) -> None:
    """Write the process's number, and be long about it."""
    Path(note).with_suffix(".part").write_text(str(os.getpid()))
    Path(note).with_suffix(".part").rename(note)
    time.sleep(PATIENCE * 10)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def remember(name: str, value: str) -> None:
    os.environ[name] = value


def recall(name: str) -> str | None:
    return os.environ.get(name)


def noted(*notes: Path) -> list[int]:
    """Wait for the notes, and return the numbers in them."""
    until = time.monotonic() + PATIENCE
    while not all(note.is_file() for note in notes) and time.monotonic() < until:
        time.sleep(0.05)
    return [int(note.read_text()) for note in notes]


def ended(process: int) -> bool:
    """Wait for the end of a process, which may be nobody's child any more."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_each_gets_its_share_and_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with workers(1, threads=3) as pool:
        assert pool.submit(share).result() == ("3", 3)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    with workers(1, threads=None) as pool:
        assert pool.submit(share).result()[0] == "7"


def test_each_is_started_as_asked() -> None:
    with workers(1, start=remember, given=("OF_THIS_TEST", "kept")) as pool:
        assert pool.submit(recall, "OF_THIS_TEST").result() == "kept"


def test_one_that_is_ended_from_outside_is_one_line() -> None:
    with pytest.raises(UserError, match=r"ended from outside.*fewer --jobs"), workers(1) as pool:
        pool.submit(die).result()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_ends_them_at_once(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), workers(1) as pool:
        pool.submit(slow, str(tmp_path / "a"))
        (process,) = noted(tmp_path / "a")
        raise error
    assert ended(process)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_none_outlives_the_process_that_started_it(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    paths = os.pathsep.join(str(path) for path in (Path(__file__).parents[1], os.environ.get("PYTHONPATH", "")) if str(path))
    with subprocess.Popen([sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": paths}) as parent:
        processes = noted(tmp_path / "a", tmp_path / "b")
        parent.send_signal(how)
        assert parent.wait(PATIENCE) == -how
    assert all(ended(process) for process in processes)
