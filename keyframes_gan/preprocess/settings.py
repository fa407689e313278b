"""What the user asked preprocessing for, checked once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyframes_gan.errors import UserError

if TYPE_CHECKING:
    from keyframes_gan.types import Template

SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm")
LAYOUTS = ("default", "official")
SOURCES = ("compressed", "original")
TEMPLATES = ("eyes", "ffhq", "upright")
MAX_CRF = 51
MIN_SIZE, MAX_SIZE = 32, 2048
MAX_SMOOTHING = 10.0
"""More would need a look-ahead, and so a memory, of more than about 40 frames."""


@dataclass(frozen=True)
class Settings:
    """One call of preprocessing.

    Args:
        base: The folder that holds `original/`.
        crfs: x264 constant rate factors, 0 to 51.
        layout: `default`, or `official` for the folders of the published inference script.
        size: Side of the crops in pixels; None for the smallest of `CROP_SIZES` that loses no pixel of the face, clip by clip.
        crop_template: How faces lie in the crops: one of `TEMPLATES`; None for `eyes`, or for the published rule in the published layout.
        detector: Name of a face detector.
        every: The detector runs on every so many frames; the face is followed in between.
        landmarks_from: Which video the landmarks are found in, `compressed` (as at inference) or `original`.
        key_seconds: Key frames every so many seconds; None for the compressed stream's own I-frames.
        smoothing: Standard deviation in frames of the landmark smoothing, 0 (none) to 10.
        lossless: Crops as PNG, otherwise as JPEG of quality 95.
        limit: Only so many seconds of each video; None for all.
        overwrite: Do complete clips again.

    Raises:
        UserError: A value out of range, named with its flag.
    """

    base: Path
    crfs: tuple[int, ...] = (42,)
    layout: str = "default"
    size: int | None = 256
    crop_template: Template | None = None
    detector: str = "dlib-hog"
    every: int = 5
    landmarks_from: str = "compressed"
    key_seconds: Fraction | None = None
    smoothing: float = 1.5
    lossless: bool = True
    limit: Fraction | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        bad = next((crf for crf in self.crfs if not 0 <= crf <= MAX_CRF), None)
        _require(bad is None, f"--crf: expected whole numbers from 0 to {MAX_CRF}, got {bad}")
        _require(bool(self.crfs), "--crf: expected at least one")
        _require(self.layout in LAYOUTS, f"--layout: expected one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        _require(self.landmarks_from in SOURCES, f"--landmarks-from: expected one of {', '.join(SOURCES)}, got {self.landmarks_from!r}")
        known = self.crop_template is None or self.crop_template in TEMPLATES
        _require(known, f"--template: expected one of {', '.join(TEMPLATES)}, got {self.crop_template!r}")
        fits = self.size is None or MIN_SIZE <= self.size <= MAX_SIZE
        _require(fits, f"--size: expected native or {MIN_SIZE} to {MAX_SIZE} pixels, got {self.size}")
        _require(self.every >= 1, f"--detect-every: expected at least 1 frame, got {self.every}")
        _require(0 <= self.smoothing <= MAX_SMOOTHING, f"--smoothing: expected 0 to {MAX_SMOOTHING:.0f} frames, got {self.smoothing}")
        _require(self.key_seconds is None or self.key_seconds > 0, f"--keyframes: expected gop or more than 0 s, got {self.key_seconds}")
        _require(self.limit is None or self.limit > 0, f"--seconds_limit: expected more than 0 s, got {self.limit}")
        if self.layout == "official":
            _require(
                len(self.crfs) == 1,
                "--layout official: original/NAME/crops has room for one CRF; give one --crf, and another --base_path for the next",
            )
            _require(self.key_seconds is None, "--layout official: every round(rate)-th frame is a key frame there; leave out --keyframes")
            _require(self.crop_template is None, "--layout official: it has a template of its own; leave out --template")

    @property
    def template(self) -> Template:
        """The crop's template: the published rule in the published layout, its steady form otherwise unless another was asked for."""
        return "paper" if self.layout == "official" else self.crop_template or "eyes"

    @property
    def suffix(self) -> str:
        """The crops' file name suffix."""
        return ".png" if self.lossless else ".jpg"

    def options(self) -> dict[str, Any]:
        """Return, as plain JSON values, everything that changes what a clip contains."""
        return {
            "layout": self.layout,
            "size": self.size or "native",
            "template": self.template,
            "detector": self.detector,
            "detect_every": self.every,
            "landmarks_from": self.landmarks_from,
            "keyframes": _keyframes_name(self),
            "smoothing_frames": self.smoothing,
            "lossless": self.lossless,
            "limit_seconds": None if self.limit is None else str(self.limit),
        }


def _keyframes_name(settings: Settings) -> str:
    if settings.layout == "official":
        return "every round(rate) frames"
    return "gop" if settings.key_seconds is None else f"every {settings.key_seconds} s"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def find_videos(base: Path) -> tuple[list[Path], list[str]]:
    """Return the videos in `base`/original in natural order, and one line per video that cannot be taken.

    A video whose name differs from another's only by the suffix cannot be taken, because both would have the same output folder.

    Raises:
        UserError: The folder is missing or holds no video.
    """
    folder = base / "original"
    if not folder.is_dir():
        msg = f"--base_path: expected videos in {folder}, got no such folder"
        raise UserError(msg)
    videos = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()]
    if not videos:
        msg = f"--base_path: expected at least one video ({', '.join(SUFFIXES)}) in {folder}, got none"
        raise UserError(msg)
    taken: dict[str, Path] = {}
    problems: list[str] = []
    for path in sorted(videos, key=lambda path: natural(path.name)):
        other = taken.setdefault(path.stem, path)
        if other != path:
            problems.append(f"{path.name}: {other.name} already has the name {path.stem}; rename one of them")
    return list(taken.values()), problems


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which clip2 comes before clip10."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
