"""Good footage of faces, whatever it is kept as: the crops of a `clips_*.jsonl`, folders of frames, or videos.

    dataroot_gt/NAME/00000000.png …   frames in natural order, with landmarks in dataroot_gt/NAME/landmarks.npy
    dataroot_gt/NAME.mp4              a video (also .mkv .mov .avi .webm), with landmarks in dataroot_gt/NAME.npy
    dataroot_gt/NAME.png …            pictures directly in the folder are one clip, with landmarks in dataroot_gt/landmarks.npy

Landmarks are float (N, 68, 2), (x, y) in pixels of the frame, one row a frame; or (N, 5, 2), eye centres, nose tip and mouth corners, left
of the picture first, which suffice for the template "ffhq". Without them the frames must be square: they count as aligned already and are
only resized.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from data.clips import ClipRecord, read_crop, read_landmarks, read_originals
from keyframes_gan.errors import UserError
from keyframes_gan.faces.align import LEFT_EYE, MOUTH_LEFT, MOUTH_RIGHT, NOSE_TIP, RIGHT_EYE, CropSpec, crop, rescaled
from keyframes_gan.types import LANDMARK_COUNTS, Image, Matrix, Template
from keyframes_gan.video.pictures import SUFFIXES, natural_key, picture_paths, read_picture
from keyframes_gan.video.seek import SeekingReader

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm")
LANDMARKS = "landmarks.npy"
FIVE = 5

Landmarks = npt.NDArray[np.float32]


class Footage:
    """One clip: `name`, its number of frames, its landmarks float32 (N, 68 or 5, 2) in frame pixels or None, and its frames by number."""

    def __init__(self, name: str, landmarks: Landmarks | None) -> None:
        self.name = name
        self.landmarks = landmarks

    def __len__(self) -> int:
        raise NotImplementedError

    def read(self, indices: Sequence[int]) -> list[Image]:
        """Return these frames, uint8 RGB (H, W, 3).

        Raises:
            UserError: a frame cannot be read.
        """
        raise NotImplementedError


class CropFootage(Footage):
    """The crops of one line of a `clips_*.jsonl`, of its stream "original" or "compressed"."""

    def __init__(self, clip: ClipRecord, stream: str = "original") -> None:
        super().__init__(clip.name, clip.landmarks)
        self.clip, self.stream = clip, stream

    def __len__(self) -> int:
        return len(self.clip)

    def read(self, indices: Sequence[int]) -> list[Image]:
        """Return these crops."""
        return [read_crop(self.clip.path(self.stream, index), self.clip.size) for index in indices]


class PictureFootage(Footage):
    """A folder of pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = np.array([path.name for path in picture_paths(folder)])  # less memory than paths, and shared by loader workers
        file = folder / LANDMARKS
        super().__init__(folder.name, read_landmarks(file, str(folder), counts=LANDMARK_COUNTS) if file.is_file() else None)
        if self.landmarks is not None and len(self.landmarks) != len(self.names):
            raise UserError(_misfit(self.name, len(self.names), len(self.landmarks)))

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: Sequence[int]) -> list[Image]:
        """Return these pictures."""
        return [read_picture(self.folder / str(self.names[index])) for index in indices]


class VideoFootage(Footage):
    """A video file."""

    def __init__(self, path: Path) -> None:
        self.reader = SeekingReader(path)
        file = path.with_suffix(".npy")
        super().__init__(path.stem, read_landmarks(file, str(path), counts=LANDMARK_COUNTS) if file.is_file() else None)

    def __len__(self) -> int:
        return len(self.reader) if self.landmarks is None else len(self.landmarks)

    def read(self, indices: Sequence[int]) -> list[Image]:
        """Return these frames, decoded from the key frame before them. The first call reads the file to its end to count its frames."""
        if len(self) != len(self.reader):
            raise UserError(_misfit(self.name, len(self.reader), len(self)))
        return self.reader.read(indices)


def find_footage(opt: dict[str, Any]) -> list[Footage]:
    """Return all clips that a data set's options name, in order.

    Args:
        opt: `dataroot` (a list of clips_*.jsonl) or `dataroot_gt` (a folder, see above) or both; optionally `meta_info_file` (a text file
            whose lines begin with the names to take from `dataroot_gt`) and `exclude` (names to leave out).

    Raises:
        UserError: nothing is there, landmarks do not fit, or a named clip is missing.
    """
    excluded = set(opt.get("exclude", ()))
    found: list[Footage] = [CropFootage(clip) for clip in read_originals(opt.get("dataroot", ()), excluded)]
    if "dataroot_gt" in opt:
        root = Path(opt["dataroot_gt"])
        found += [clip for clip in folder_footage(root, opt.get("meta_info_file")) if clip.name not in excluded]
    if not found:
        msg = f"{opt.get('name', 'data set')}: no clip is left after `exclude`; expected at least one"
        raise UserError(msg)
    return found


def folder_footage(root: Path, names_file: str | None = None) -> list[Footage]:
    """Return the clips in a folder in natural order, or those that a text file names, one at the beginning of each line.

    Raises:
        UserError: no such folder, no clip in it, a named clip is missing, or landmarks do not fit.
    """
    return [PictureFootage(path) if path.is_dir() else VideoFootage(path) for path in _entries(root, names_file)]


def _entries(root: Path, names_file: str | None) -> list[Path]:
    """Return the folders and videos of a folder; the folder itself when pictures lie in it directly."""
    if not root.is_dir():
        msg = f"expected a folder of clips, got {root}; give one that holds a folder of frames or a video per clip"
        raise UserError(msg)
    inside = sorted((entry for entry in root.iterdir() if not entry.name.startswith(".")), key=lambda entry: natural_key(entry.name))
    if any(entry.is_file() and entry.suffix.lower() in SUFFIXES for entry in inside):
        return [root]
    clips = [entry for entry in inside if entry.is_dir() or entry.suffix.lower() in VIDEO_SUFFIXES]
    if names_file is not None:
        by_name = {_name(entry): entry for entry in clips}
        names = [line.split()[0] for line in Path(names_file).read_text(encoding="utf-8").splitlines() if line.strip()]
        missing = [name for name in names if name not in by_name]
        if missing:
            msg = f"{names_file}: expected a folder or a video called {missing[0]} in {root}, got none; correct the list"
            raise UserError(msg)
        return [by_name[name] for name in names]
    if not clips:
        msg = f"expected folders of frames or videos ({', '.join(VIDEO_SUFFIXES)}) in {root}, got none"
        raise UserError(msg)
    return clips


def _name(path: Path) -> str:
    """Return what a clip is called."""
    return path.name if path.is_dir() else path.stem


def _misfit(name: str, frames: int, landmarks: int) -> str:
    return f"{name}: expected landmarks for {frames} frames, got {landmarks}; find them again in this very clip"


def alignment(clip: Footage, index: int, shape: tuple[int, ...], template: Template, size: int) -> Matrix:
    """Return the float64 (2, 3) matrix from a frame of `shape` to the aligned square of `size` pixels.

    Args:
        clip: the clip; without landmarks its frames are taken as aligned.
        index: the frame whose landmarks to go by.
        shape: (H, W, ...) of the frame.
        template: how the face lies in the square.
        size: its side in pixels.

    Raises:
        UserError: no landmarks, and the frame is not square; or five, and another template than "ffhq".
        FaceError: landmarks that define no crop.
    """
    if clip.landmarks is not None:
        points = clip.landmarks[index]
        if len(points) == FIVE:
            if template != "ffhq":
                msg = f"{clip.name}: expected 68 landmarks for template {template}, got {FIVE}; set template: ffhq, or find all of them"
                raise UserError(msg)
            points = _spread(points)
        return CropSpec(template, size).to_crop(points)
    if shape[0] != shape[1]:
        msg = f"{clip.name}: expected {LANDMARKS} with the frames, or square frames that are aligned already, got {shape[1]}x{shape[0]}"
        raise UserError(msg)
    return rescaled(np.eye(2, 3), crop=size / shape[0])


def _spread(five: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return 68 landmarks of which `keyframes_gan.faces.align.five_points` are the given five."""
    points = np.tile(five.mean(axis=0), (68, 1))
    points[LEFT_EYE], points[RIGHT_EYE] = five[0], five[1]
    points[[NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT]] = five[2:]
    return points


def aligned(frames: Sequence[Image], matrices: Sequence[Matrix], size: int, *, reduced: float = 1) -> list[Image]:
    """Cut the aligned squares out of frames.

    Args:
        frames: uint8 RGB (H, W, 3).
        matrices: per frame (2, 3), from frame to crop pixels, for frames of full size.
        size: side of the squares in pixels.
        reduced: by how much the frames given are smaller than full size, for instance 4.
    """
    return [
        crop(frame, rescaled(matrix, frame=1 / reduced), size, interpolation=cv2.INTER_CUBIC)
        for frame, matrix in zip(frames, matrices, strict=True)
    ]
