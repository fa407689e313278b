"""A folder of videos in, a folder of restored videos out: one after the other, going on after failures, resumable.

Beside every finished video stands a hidden record, .NAME.done.json: what went in (the input's hash, the settings, the hash of the weights)
and what was done. `--resume` leaves a video alone whose record says the same.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyframes_gan import report, weights
from keyframes_gan.atomic import unwritable
from keyframes_gan.errors import MediaError, UserError
from keyframes_gan.faces import parse
from keyframes_gan.pipeline.stream import Outcome, build_restorer, restore_video, weights_digest
from keyframes_gan.video import pictures
from keyframes_gan.video.write import CONTAINERS

if TYPE_CHECKING:
    from keyframes_gan.pipeline.profile import Profile
    from keyframes_gan.pipeline.settings import Settings
    from keyframes_gan.types import Restorer

SUFFIXES = (*CONTAINERS, ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".flv", ".wmv", ".ogv", ".3gp")
DEFAULT_SUFFIX = ".mp4"
RESTORED = "restored"
"""What is appended to the name of an output that nobody named."""


@dataclass
class BatchOutcome:
    """Which inputs were restored and which left alone, and a line for each that failed; where the time went, by the input's name."""

    restored: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    profiles: dict[str, Profile] = field(default_factory=dict)


def videos_in(folder: Path) -> list[Path]:
    """Return the videos directly in `folder`, by their suffix, in natural order; hidden ones and `results_in` left out."""
    results = results_in(folder)
    return [path for path in _videos(folder) if path not in results]


def results_in(folder: Path) -> list[Path]:
    """Return every video NAME_restored in `folder` beside a NAME: what this became when it was restored without an output's name."""
    found = _videos(folder)
    names = {path.stem for path in found}
    return [path for path in found if path.stem.endswith(f"_{RESTORED}") and path.stem.removesuffix(f"_{RESTORED}") in names]


def _videos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")]
    return sorted(found, key=lambda path: pictures.natural_key(path.name))


def named(path: Path, suffix: str) -> Path:
    """Return `path` with `_suffix` after its name, or as it is when `suffix` is empty.

    Raises:
        MediaError: `suffix` would lead into another folder.
    """
    if "/" in suffix or "\\" in suffix:
        msg = f"--suffix: expected a part of a file name, got {suffix!r}"
        raise MediaError(msg)
    return path.with_stem(f"{path.stem}_{suffix}") if suffix else path


def target_of(source: Path, folder: Path, suffix: str) -> Path:
    """Return where the restored `source` goes: the same name, as .mp4 where its container cannot be written."""
    ending = source.suffix if source.suffix.lower() in CONTAINERS else DEFAULT_SUFFIX
    return named(folder / (source.stem + ending), suffix)


def beside(source: Path, suffix: str) -> Path:
    """Return where the restored `source` goes when nobody says: beside it, called NAME_restored, or NAME_`suffix`.

    Images and the containers that can be written stay what they are, other videos become .mp4, folders stay folders, of whose name
    full stops become underscores, lest it look like a file's.

    Raises:
        MediaError: `suffix` would lead into another folder, or `source` has no name.
    """
    place = source if source.name not in ("", "..") else source.resolve()
    if not place.name:
        msg = f"-o: expected the name of a folder, got none, and {source} has no name to make one from; add it"
        raise MediaError(msg)
    if source.is_dir():
        place = place.with_name(place.name.replace(".", "_"))
    elif source.suffix.lower() not in pictures.SUFFIXES:
        return target_of(place, place.parent, suffix or RESTORED)
    return named(place, suffix or RESTORED)


def record_of(target: Path) -> Path:
    """Return the record that stands beside a finished `target`."""
    return target.with_name(f".{target.name}.done.json")


def restore_batch(
    source: Path, target: Path, settings: Settings, *, suffix: str = "", resume: bool = False, progress: bool = True
) -> BatchOutcome:
    """Restore every video of a folder.

    Args:
        source: the folder of videos.
        target: the folder of results; made when it is not there.
        settings: what to do.
        suffix: appended to the names.
        resume: leave alone what is finished already, from the same input with the same settings.
        progress: draw progress bars, and a line for each video, on standard error.

    Raises:
        UserError: the restorer cannot be built, or `target` is the source or cannot be made.
    """
    if target.resolve() == source.resolve():
        msg = f"-o: expected another folder than that of -i, got {target} for both"
        raise MediaError(msg)
    named(target, suffix)
    run = _Run(settings, build_restorer(settings), resume=resume, progress=progress)
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(target, error) from error
    videos = videos_in(source)
    if progress:
        sys.stderr.writelines(f"note: {path.name} is left out, it is what an earlier run made\n" for path in results_in(source))
    for number, path in enumerate(videos, 1):
        into = target_of(path, target, suffix)
        try:
            line = run.one(path, into)
        except (UserError, OSError) as error:
            reason = unwritable(into, error) if isinstance(error, OSError) else error
            run.outcome.problems.append(f"{path.name}: {str(reason).removeprefix(f'{path}: ')}")
            line = "failed"
        if progress:
            sys.stderr.write(f"[{number}/{len(videos)}] {path.name}: {line}\n")
    return run.outcome


class _Run:
    """Restores the videos of a folder with one restorer; `outcome` says what became of them."""

    def __init__(self, settings: Settings, restorer: Restorer, *, resume: bool, progress: bool) -> None:
        self.outcome = BatchOutcome()
        self._settings, self._restorer, self._resume, self._progress = settings, restorer, resume, progress
        self._asked = _asked(settings, restorer)
        self._taken: set[Path] = set()

    def one(self, path: Path, into: Path) -> str:
        """Restore `path` into `into`, or leave it alone; return what to tell the user."""
        if into in self._taken:
            msg = f"expected names that differ in more than the suffix, got another video that also becomes {into.name}; rename one"
            raise MediaError(msg)
        self._taken.add(into)
        fingerprint = {**self._asked, "source_sha256": _digest(path)}
        if self._resume and _finished(into, fingerprint):
            self.outcome.skipped.append(path)
            return "finished before"
        record_of(into).unlink(missing_ok=True)
        done = restore_video(path, into, self._settings, restorer=self._restorer, progress=self._progress)
        report.write_json(record_of(into), {"fingerprint": fingerprint, "bytes": into.stat().st_size, "outcome": done.as_json()})
        self.outcome.restored.append(path)
        self.outcome.profiles[path.name] = done.profile
        return summary(done) + "".join(f"; note: {note}" for note in done.notes)


def summary(outcome: Outcome) -> str:
    """Return one line on what a pass did."""
    rate = outcome.frames / outcome.seconds
    frames = f"{outcome.frames} frames" + (f" ({outcome.dropped} dropped)" if outcome.dropped else "")
    return f"{frames}, {outcome.faces} faces of {outcome.people} tracks, {outcome.seconds:.1f} s ({rate:.1f} frames/s)"


def _asked(settings: Settings, restorer: Restorer) -> dict[str, Any]:
    """Return, as plain JSON values, what the results depend on besides the input."""
    photos = {str(path): weights.digest(path) for path in settings.references if path.is_file()}
    parser = parse.find(settings.finish.mask, device=settings.device, residual=restorer.spec.residual)
    asked = {key: value for key, value in asdict(settings).items() if key not in ("device", "references")}
    return {
        "settings": json.loads(json.dumps(asked, default=str)),
        "mask": None if parser is None else parser.network,
        "photos_sha256": photos,
        "weights_sha256": weights_digest(settings, restorer),
    }


def _digest(source: Path) -> str:
    try:
        return weights.digest(source)
    except OSError as error:
        msg = f"{source}: cannot be read ({error.strerror}); is it still there, and may it be read?"
        raise MediaError(msg) from error


def _finished(target: Path, fingerprint: dict[str, Any]) -> bool:
    try:
        noted = json.loads(record_of(target).read_text(encoding="utf-8"))
        return bool(noted["fingerprint"] == fingerprint and noted["bytes"] == target.stat().st_size)
    except (OSError, ValueError, LookupError, TypeError):
        return False
