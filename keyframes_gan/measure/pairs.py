"""Which files are measured against which: videos and folders of pictures, paired by name, in trees of any depth."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from keyframes_gan.errors import UserError
from keyframes_gan.video import pictures

COMPRESSED, RESTORED = "compressed", "restored"
SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
OUTPUT_NAME = "output_video"
PUBLISHED = ("binary_landmarks", "crops", "frames")
"""Folders of pictures that the published layout has for a video NAME.mp4, in NAME/ beside it."""


@dataclass(frozen=True)
class Pair:
    """A video's files: the original, and by version those to judge."""

    name: str
    original: Path
    versions: dict[str, Path]


@dataclass(frozen=True)
class Paths:
    """What to pair: each a video, a folder of pictures, or a tree of those. `flags` are what messages call them."""

    original: Path
    restored: Path
    compressed: Path | None = None
    flags: tuple[str, str, str] = ("--gt", "--restored", "--lq")

    def check(self) -> None:
        """Raise `UserError` for a path that does not exist."""
        for flag, path in zip(self.flags, (self.original, self.restored, self.compressed), strict=True):
            if path is not None and not path.exists():
                msg = f"{flag}: expected a folder of videos or a video, got {path}, which does not exist"
                raise UserError(msg)


def find_pairs(paths: Paths) -> tuple[list[Pair], list[str]]:
    """Return the pairs, and one line for each counterpart that is missing.

    The restored version of NAME is the first of: NAME.mp4 (or .mkv, ...), NAME/output_video.mp4, output_video/NAME.mp4, and NAME, a folder
    of pictures; in a tree, NAME is the path from its root. Two single videos or folders of pictures are a pair whatever their names.

    Raises:
        UserError: a path does not exist, two videos differ only in their suffix, or no pair was found.
    """
    paths.check()
    originals = find_videos(paths.original, paths.flags[0])
    pairs, missing = [], []
    for name, original in originals.items():
        restored = _counterpart(paths.restored, name, alone=len(originals) == 1)
        compressed = _counterpart(paths.compressed, name, alone=len(originals) == 1) if paths.compressed else None
        if paths.compressed and compressed is None:
            missing.append(f"{name}: no compressed video in {paths.compressed}")
        if restored is None:
            missing.append(f"{name}: no restored video in {paths.restored}")
            continue
        pairs.append(Pair(name, original, {RESTORED: restored} if compressed is None else {RESTORED: restored, COMPRESSED: compressed}))
    if not pairs:
        msg = f"{paths.flags[1]} {paths.restored}: expected videos named like those in {paths.original} ({', '.join(originals)})"
        raise UserError(msg + ", got none")
    return pairs, missing + _strangers(paths, originals, pairs)


def _strangers(paths: Paths, originals: dict[str, Path], pairs: list[Pair]) -> list[str]:
    """Return one line for each restored video that has no original, in the folders where restored videos were looked for by name."""
    if not paths.original.is_dir() or not paths.restored.is_dir() or _is_pictures(paths.restored) or _is_pictures(paths.original):
        return []
    used = {path for pair in pairs for path in pair.versions.values()}
    places = {(Path(name).parent, path.is_dir()) for name, path in originals.items()}
    found = find_videos(paths.restored, paths.flags[1], empty_ok=True)
    strangers = [name for name, path in found.items() if path not in used and (Path(name).parent, path.is_dir()) in places]
    return [f"{name}: no original video in {paths.original}" for name in strangers]


def find_videos(path: Path, flag: str, *, empty_ok: bool = False) -> dict[str, Path]:
    """Return the videos and folders of pictures under `path` by name, in order: the path from there without suffix, with slashes.

    A file, or a folder that holds pictures itself, is the only one, by its own name. What `preprocessing.py --layout official` made
    from a video and put into a folder of its name, beside it, is left out.

    Raises:
        UserError: nothing there, no video in the folder, or two of one name.
    """
    if path.is_file() or _is_pictures(path):
        return {path.stem if path.is_file() else path.resolve().name: path}
    if not path.is_dir():
        msg = f"{flag}: expected a folder of videos or a video, got {path}, which does not exist"
        raise UserError(msg)
    found: dict[str, Path] = {}
    for one in _walk(path):
        name = one.relative_to(path).with_suffix("").as_posix() if one.is_file() else one.relative_to(path).as_posix()
        if name in found:
            msg = f"{flag}: expected one video per name, got {found[name].name} and {one.name} in {one.parent}; move one away"
            raise UserError(msg)
        found[name] = one
    if not found and not empty_ok:
        msg = f"{flag}: expected videos ({', '.join(SUFFIXES)}) or folders of pictures in {path}, got none"
        raise UserError(msg)
    return {name: one for name, one in found.items() if not (one.name in PUBLISHED and Path(name).parent.as_posix() in found)}


def _walk(root: Path) -> list[Path]:
    """Return every video and every folder of pictures in a tree, hidden ones left out, in order of their names."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(folder)
        found += [here / name for name in files if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES]
        if here != root and _is_pictures(here):
            found.append(here)
    return sorted(found, key=lambda path: pictures.natural_key(path.relative_to(root).as_posix()))


def _is_pictures(path: Path) -> bool:
    """Tell whether a path is a folder that holds pictures but no videos."""
    if not path.is_dir():
        return False
    suffixes = {entry.suffix.lower() for entry in path.iterdir() if not entry.name.startswith(".") and entry.is_file()}
    return bool(suffixes & pictures.SUFFIXES) and not suffixes & set(SUFFIXES)


def _counterpart(path: Path, name: str, *, alone: bool) -> Path | None:
    """Return the file or folder under `path` that holds the version of the video `name`, None when there is none."""
    if path.is_file() or _is_pictures(path):
        own = path.stem if path.is_file() else path.resolve().name
        return path if alone or own == name else None
    parent, leaf = (path / name).parent, Path(name).name
    for stem in (parent / leaf, parent / leaf / OUTPUT_NAME, path / OUTPUT_NAME / name):
        for suffix in SUFFIXES:
            file = stem.with_name(stem.name + suffix)
            if file.is_file():
                return file
    return path / name if _is_pictures(path / name) else None
