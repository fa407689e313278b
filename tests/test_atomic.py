from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from keyframes_gan.atomic import atomic_write, check_writable
from keyframes_gan.errors import MediaError


def test_appears_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    target.write_text("old")
    with atomic_write(target) as part:
        assert part.parent == tmp_path
        assert part.suffix == ".json"
        assert part.name.startswith(".")
        part.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(failure), atomic_write(target) as part:
        part.write_text("half")
        raise failure
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.txt") as part:
            part.write_text("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_try_before_long_work_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.txt").write_text("old")
    for name in ("old.txt", "new.txt"):
        check_writable(tmp_path / name)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.txt", "old")]
    with pytest.raises(MediaError, match="this is a folder"):
        check_writable(tmp_path)

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(MediaError, match=r"new\.txt: cannot write, Permission denied"):
        check_writable(tmp_path / "new.txt")


def test_a_link_is_followed(tmp_path: Path) -> None:
    real = tmp_path / "real.txt"
    real.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    with atomic_write(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_bad_targets_are_one_clear_line(tmp_path: Path) -> None:
    for target, said in [(tmp_path, "is a folder"), (tmp_path / "none" / "a", "does not exist"), (Path("/dev/null"), "not a regular file")]:
        with pytest.raises(MediaError, match=said) as caught, atomic_write(target):
            pass
        assert "\n" not in str(caught.value)


def test_disk_full_is_a_clear_line_and_cleans_up(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="free some space"), atomic_write(tmp_path / "a") as part:
        part.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_errors_about_other_files_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a") as part:
        part.write_text((tmp_path / "other").read_text())
    assert list(tmp_path.iterdir()) == []
