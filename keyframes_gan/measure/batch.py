"""Measuring folders of videos: pairs them by name, goes on after failures, and tells everything that was not measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keyframes_gan import metrics
from keyframes_gan.errors import UserError
from keyframes_gan.measure.files import measure_files
from keyframes_gan.measure.results import COMPRESSED, RESTORED, Summary, VideoScores
from keyframes_gan.measure.streams import load_scorers
from keyframes_gan.metrics import Scorer
from keyframes_gan.video.read import count_frames

SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
OUTPUT_NAME = "output_video"


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Each path is a folder of videos or one video; `output` is the folder for metrics.csv and metrics.json, None for that of the results.
    """

    gt_path: Path
    inference_path: Path
    compressed_path: Path | None = None
    output: Path | None = None
    metrics: tuple[str, ...] = metrics.DEFAULT
    face_region: bool = False
    detector: str = "dlib-hog"
    crop_border: int = 0
    every: int = 1

    @property
    def folder(self) -> Path:
        """Where the results are written."""
        if self.output is not None:
            return self.output
        return self.inference_path if self.inference_path.is_dir() else self.inference_path.parent


@dataclass(frozen=True)
class Pair:
    """A video's files: the original, and by version those to judge."""

    name: str
    original: Path
    versions: dict[str, Path]


def measure_folders(settings: Settings) -> Summary:
    """Measure every pair of original and restored video; a pair that fails is noted and the others go on.

    Raises:
        UserError: an unknown metric or option out of range, a path that does not exist, or not a single pair.
    """
    _check(settings)
    pairs, missing = find_pairs(settings)
    scorers, unavailable = load_scorers(settings.metrics)
    options = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()}
    summary = Summary(tuple(dict.fromkeys(settings.metrics)), unavailable, missing=missing, options=options)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        for pair in pairs:
            try:
                summary.videos.append(_measure(pair, scorers, settings, progress))
            except UserError as error:
                summary.failed[pair.name] = str(error)
    return summary


def find_pairs(settings: Settings) -> tuple[list[Pair], list[str]]:
    """Return the pairs, and one line for each counterpart that is missing.

    The restored version of NAME is the first of: NAME.mp4 (or .mkv, ...), NAME/output_video.mp4, output_video/NAME.mp4, and NAME, a folder
    of pictures. Two single files are a pair whatever their names.

    Raises:
        UserError: a path does not exist, two videos differ only in their suffix, or no pair was found.
    """
    originals = find_videos(settings.gt_path, "--gt_path")
    pairs, missing = [], []
    for name, original in originals.items():
        restored = _counterpart(settings.inference_path, name, alone=len(originals) == 1)
        compressed = _counterpart(settings.compressed_path, name, alone=len(originals) == 1) if settings.compressed_path else None
        if settings.compressed_path and compressed is None:
            missing.append(f"{name}: no compressed video in {settings.compressed_path}")
        if restored is None:
            missing.append(f"{name}: no restored video in {settings.inference_path}")
            continue
        versions = {RESTORED: restored} if compressed is None else {RESTORED: restored, COMPRESSED: compressed}
        pairs.append(Pair(name, original, versions))
    if not pairs:
        msg = f"--inference_path {settings.inference_path}: expected videos named like those in {settings.gt_path} ({', '.join(originals)})"
        raise UserError(msg + ", got none")
    if settings.inference_path.is_dir() and settings.gt_path.is_dir():
        strangers = sorted(set(find_videos(settings.inference_path, "--inference_path", empty_ok=True)) - set(originals))
        missing += [f"{name}: no original video in {settings.gt_path}" for name in strangers]
    return pairs, missing


def find_videos(path: Path, flag: str, *, empty_ok: bool = False) -> dict[str, Path]:
    """Return the videos of a folder by name without suffix, in order; of a file, itself.

    Raises:
        UserError: nothing there, no video in the folder, or two of one name.
    """
    if path.is_file():
        return {path.stem: path}
    if not path.is_dir():
        msg = f"{flag}: expected a folder of videos or a video, got {path}, which does not exist"
        raise UserError(msg)
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file():
            if file.stem in found:
                msg = f"{flag}: expected one video per name, got {found[file.stem].name} and {file.name} in {path}; move one away"
                raise UserError(msg)
            found[file.stem] = file
    if not found and not empty_ok:
        msg = f"{flag}: expected videos ({', '.join(SUFFIXES)}) in {path}, got none"
        raise UserError(msg)
    return found


def _counterpart(path: Path, name: str, *, alone: bool) -> Path | None:
    """Return the file or folder under `path` that holds the version of the video `name`, None when there is none."""
    if path.is_file():
        return path if alone or path.stem == name else None
    for stem in (path / name, path / name / OUTPUT_NAME, path / OUTPUT_NAME / name):
        for suffix in SUFFIXES:
            file = stem.with_name(stem.name + suffix)
            if file.is_file():
                return file
    pictures = path / name
    return pictures if pictures.is_dir() and any(pictures.glob("*.png")) else None


def _measure(pair: Pair, scorers: dict[str, Scorer], settings: Settings, progress: Progress) -> VideoScores:
    """Measure one pair."""
    frames = count_frames(pair.original)
    task = progress.add_task(pair.name, total=frames)
    try:
        scores = measure_files(
            pair.original,
            pair.versions,
            scorers,
            face_region=settings.face_region,
            detector=settings.detector,
            crop_border=settings.crop_border,
            every=settings.every,
            progress=lambda count: progress.advance(task, count),
        )
    finally:
        progress.remove_task(task)
    files = {"original": str(pair.original), **{version: str(path) for version, path in pair.versions.items()}}
    return VideoScores(pair.name, frames, files, scores)


def _check(settings: Settings) -> None:
    """Raise `UserError` for what cannot be measured at all."""
    for name in settings.metrics:
        metrics.find(name)
    for flag, path in (("--inference_path", settings.inference_path), ("--compressed_path", settings.compressed_path)):
        if path is not None and not path.exists():
            msg = f"{flag}: expected a folder of videos or a video, got {path}, which does not exist"
            raise UserError(msg)
    if not settings.metrics or settings.every < 1 or settings.crop_border < 0:
        got = f"{settings.metrics}, {settings.every}, {settings.crop_border}"
        msg = f"expected at least one of --metrics, --every of at least 1, --crop_border of at least 0, got {got}"
        raise UserError(msg)
