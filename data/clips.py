"""Reading what `preprocessing.py` wrote: one line of `clips_*.jsonl` is one aligned clip of one face at one CRF."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from keyframes_gan.errors import UserError
from keyframes_gan.types import BoolArray, Image

SUFFIXES = (".png", ".jpg")
STREAMS = ("original", "compressed")


@dataclass(frozen=True)
class ClipRecord:
    """One aligned clip: crops of the original and of the compressed video, frame by frame.

    `folder` holds `original/000000.png …` and `compressed/000000.png …`; `landmarks` float32 (N, 68, 2), (x, y) in crop pixels;
    `is_key` bool (N,) marks the compressed stream's key frames; `size` is the side of a crop in pixels. The crops show frames `first` and
    on of the video `original`, which has `rate` frames per second; None where the list does not say which video. `template` says how faces
    lie in the crops (`keyframes_gan.faces.align`).
    """

    name: str
    crf: int
    folder: Path
    size: int
    landmarks: npt.NDArray[np.float32]
    is_key: BoolArray
    suffix: str
    original: Path | None = None
    first: int = 0
    rate: Fraction = Fraction(25)
    template: str = "eyes"

    def __len__(self) -> int:
        return len(self.landmarks)

    def path(self, stream: str, index: int) -> Path:
        """Return the file of crop `index` of `stream` ("original" or "compressed")."""
        return self.folder / stream / f"{index:06d}{self.suffix}"

    def recording(self, use: str, otherwise: str = "") -> tuple[Path, Path]:
        """Return the original video and the file of the crops' places in it.

        Args:
            use: what for, as in "expected FILE to encode it anew".
            otherwise: what else one might do than run preprocessing.py again.

        Raises:
            UserError: one of them is not there, or the list does not say which video it is.
        """
        video, matrices = self.original, self.folder / "matrices.npy"
        if video is None or not video.is_file() or not matrices.is_file():
            wanted = matrices if video is not None and video.is_file() else video or "the original video"
            msg = f"{self.name}: expected {wanted} {use}, got no such file; run preprocessing.py again{otherwise}"
            raise UserError(msg)
        return video, matrices


def read_clips(path: Path) -> list[ClipRecord]:
    """Read every clip that a `clips_*.jsonl` lists; folders are relative to the file.

    Raises:
        UserError: the file is missing or empty, a line is not what preprocessing.py writes, or what it names is not there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        msg = f"{path}: cannot read the list of clips ({error.strerror}); make it with preprocessing.py"
        raise UserError(msg) from error
    clips = [_record(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not clips:
        msg = f"{path}: expected at least one clip, got an empty list; run preprocessing.py on videos with faces"
        raise UserError(msg)
    return clips


def read_originals(paths: Iterable[str], exclude: Collection[str] = ()) -> list[ClipRecord]:
    """Read several lists for their originals: a clip that is there at several CRFs counts once, the first time it is named.

    Args:
        paths: the lists.
        exclude: names of clips to leave out.

    Raises:
        UserError: as `read_clips`.
    """
    clips = [clip for path in paths for clip in read_clips(Path(path)) if clip.name not in exclude]
    return list({(clip.folder.parents[1], clip.name): clip for clip in reversed(clips)}.values())[::-1]


def check_one_template(clips: Iterable[ClipRecord]) -> None:
    """Hold clips to crops in which faces lie alike.

    Raises:
        UserError: they do not.
    """
    some = {clip.template: clip for clip in clips}
    if len(some) > 1:
        got = ", ".join(f"{template} in {clip.folder}" for template, clip in some.items())
        msg = f"dataroot: expected crops of one template, got {got}; run preprocessing.py again, with the same --template for all"
        raise UserError(msg)


def _record(path: Path, number: int, line: str) -> ClipRecord:
    """Turn one line into a checked record."""
    where = f"{path}:{number}"
    try:
        row: dict[str, Any] = json.loads(line)
        folder = path.parent / str(row["folder"])
        name, crf, size, count = str(row["name"]), int(row["crf"]), int(row["size"]), int(row["count"])
        is_key = np.asarray(row["is_key"], dtype=np.bool_)
        original = path.parent / str(row["original"]) if "original" in row else None
        first, rate = int(row.get("first", 0)), Fraction(row.get("rate", 25))
        template = str(row["options"]["template"]) if "options" in row else "eyes"
    except (ValueError, KeyError, TypeError) as error:
        msg = (
            f"{where}: expected a clip with folder, name, crf, size, count and is_key, got an error on {error}; run preprocessing.py again"
        )
        raise UserError(msg) from error
    landmarks = read_landmarks(folder / "landmarks.npy", where)
    if not len(landmarks) == len(is_key) == count or count == 0:
        msg = f"{where}: {name} has {count} frames, {len(landmarks)} landmarks and {len(is_key)} key flags; run preprocessing.py again"
        raise UserError(msg)
    for suffix in SUFFIXES:
        record = ClipRecord(name, crf, folder, size, landmarks, is_key, suffix, original, first, rate, template)
        if all(record.path(stream, index).is_file() for stream in STREAMS for index in (0, count - 1)):
            return record
    msg = f"{where}: expected crops of frames 0 to {count - 1} in {folder}/original and compressed; run preprocessing.py again"
    raise UserError(msg)


def read_landmarks(path: Path, where: str, *, counts: tuple[int, ...] = (68,)) -> npt.NDArray[np.float32]:
    """Load landmarks as float32 (N, 68, 2).

    Args:
        path: an .npy file.
        where: what refers to it, for the message.
        counts: how many points a face may have.

    Raises:
        UserError: it cannot be read, or has another shape.
    """
    try:
        landmarks = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        msg = f"{where}: cannot read {path} ({error}); run preprocessing.py again"
        raise UserError(msg) from error
    if landmarks.shape[1:] not in {(count, 2) for count in counts} or not np.isfinite(landmarks).all():
        msg = f"{path}: expected finite landmarks (N, {' or '.join(map(str, counts))}, 2), got shape {landmarks.shape}; find them again"
        raise UserError(msg)
    return np.ascontiguousarray(landmarks, dtype=np.float32)


def read_crop(path: Path, size: int) -> Image:
    """Decode one crop to uint8 RGB (size, size, 3).

    Raises:
        UserError: the file is missing, broken, or of another size.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None or bgr.shape != (size, size, 3):
        got = "nothing readable" if bgr is None else f"{bgr.shape[1]}x{bgr.shape[0]}"
        msg = f"{path}: expected a {size}x{size} crop, got {got}; run preprocessing.py again"
        raise UserError(msg)
    return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)


class CropCache:
    """Decoded crops in memory, up to a budget; what comes after that is decoded every time.

    Samples are drawn evenly, so that no crop is worth more than another: nothing is ever dropped.

    Args:
        budget_bytes: how much to keep; 0 keeps nothing.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self._crops: dict[Path, Image] = {}

    def get(self, path: Path, size: int) -> Image:
        """Return the crop at `path`, uint8 RGB (size, size, 3); do not write to it."""
        crop = self._crops.get(path)
        if crop is None:
            crop = read_crop(path, size)
            if self.used_bytes + crop.nbytes <= self.budget_bytes:
                self._crops[path] = crop
                self.used_bytes += crop.nbytes
        return crop
