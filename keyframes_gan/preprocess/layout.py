"""The two ways a clip is laid out on disk. Each writer fills temporary folders; `publish` renames them when all is there.

A folder appears under its final name only when it is complete, so a killed run leaves nothing but folders called `.NAME.*.part`,
which the next run removes.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from keyframes_gan.atomic import PART_PREFIX
from keyframes_gan.faces.align import CropSpec, crop, landmark_image, transform_points
from keyframes_gan.preprocess.records import RECORD, hash_path
from keyframes_gan.preprocess.settings import Settings
from keyframes_gan.types import Image, Matrix, Points

PART = ".part"
JPEG_QUALITY = 95
PNG_LEVEL = 1


def save_picture(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Write uint8 RGB (H, W, 3) or grey (H, W) as PNG or JPEG, by the suffix."""
    lossless = path.suffix == ".png"
    options = [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL] if lossless else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture  # noqa: PLR2004
    path.write_bytes(cv2.imencode(path.suffix, bgr, options)[1].tobytes())


def temporary_folder(final: Path) -> Path:
    """Make a hidden folder beside `final` to work in."""
    made = final.with_name(f".{final.name}.{secrets.token_hex(4)}{PART}")
    made.mkdir(parents=True)
    return made


def remove_leftovers(parents: list[Path]) -> None:
    """Remove what killed runs left in these folders."""
    for parent in parents:
        for path in parent.glob(f".*{PART}"):
            shutil.rmtree(path)
        for path in parent.glob(f"{PART_PREFIX}*"):
            path.unlink()


def publish(temporary: Path, final: Path) -> None:
    """Give a complete folder its final name, in place of an older one."""
    if final.exists():
        old = temporary_folder(final)
        final.rename(old / final.name)
        temporary.rename(final)
        shutil.rmtree(old)
    else:
        temporary.rename(final)
    directory = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Layout:
    """What both layouts share: hidden work folders, hashes, and the record as the last file of all.

    Args:
        settings: What the user asked for.
        size: Side of this clip's crops in pixels.
        finals: The folders this clip will have, each with its subfolders; the record goes into the first, which is published last.
    """

    covers_all_frames: bool

    def __init__(self, settings: Settings, size: int, finals: dict[Path, tuple[str, ...]]) -> None:
        self.settings = settings
        self.spec = CropSpec(settings.template, size)
        self.finals = list(finals)
        self.works = [temporary_folder(final) for final in finals]
        for work, subfolders in zip(self.works, finals.values(), strict=True):
            for subfolder in subfolders:
                (work / subfolder).mkdir()

    def add(self, original: Image, compressed: Image, points: Points, *, is_key: bool) -> None:
        """Write one frame; `points` float32 (68, 2) in frame pixels."""
        raise NotImplementedError

    def close_arrays(self) -> None:
        """Write what can only be written when all frames are known."""

    def finish(self, record: dict[str, Any]) -> None:
        """Add the hashes of all parts to `record`, write it, and give the folders their names."""
        self.close_arrays()
        for work, final in zip(self.works, self.finals, strict=True):
            folder = final.relative_to(self.settings.base).as_posix()
            record["sha256"].update({f"{folder}/{part.name}": hash_path(part) for part in sorted(work.iterdir())})
        with (self.works[0] / RECORD).open("w", encoding="utf-8") as file:
            json.dump(record, file)
            file.flush()
            os.fsync(file.fileno())
        for work, final in reversed(list(zip(self.works, self.finals, strict=True))):
            publish(work, final)

    def abandon(self) -> None:
        """Remove the work folders, where they have not been published."""
        for work in self.works:
            shutil.rmtree(work, ignore_errors=True)


class DefaultLayout(Layout):
    """`processed_CRF/NAME/`: crops numbered from 000000 in `original` and `compressed`, landmark images, and two arrays.

    Covers the frames of the main track only.
    """

    covers_all_frames = False

    def __init__(self, settings: Settings, name: str, crf: int, size: int) -> None:
        super().__init__(settings, size, {clip_folder(settings, name, crf): ("original", "compressed", "landmark_images")})
        self.landmarks: list[Points] = []
        self.matrices: list[Matrix] = []

    def add(self, original: Image, compressed: Image, points: Points, *, is_key: bool) -> None:
        """Write one frame; whether it is a key frame stands in the record only."""
        del is_key
        matrix = self.spec.to_crop(points)
        landmarks = transform_points(points, matrix)
        index, size, work = len(self.matrices), self.spec.size, self.works[0]
        name = f"{index:06d}{self.settings.suffix}"
        save_picture(work / "original" / name, crop(original, matrix, size))
        save_picture(work / "compressed" / name, crop(compressed, matrix, size))
        save_picture(work / "landmark_images" / f"{index:06d}.png", landmark_image(landmarks, size))
        self.matrices.append(matrix)
        self.landmarks.append(landmarks)

    def close_arrays(self) -> None:
        """Write `landmarks.npy`, float32 (N, 68, 2) in crop pixels, and `matrices.npy`, float64 (N, 2, 3)."""
        np.save(self.works[0] / "landmarks.npy", np.stack(self.landmarks).astype(np.float32))
        np.save(self.works[0] / "matrices.npy", np.stack(self.matrices).astype(np.float64))


class OfficialLayout(Layout):
    """`compressed_CRF/NAME/` and `original/NAME/` as the published inference script reads them.

    Files are numbered from 1, a key frame's name ends in `_key`; crops, landmarks and matrices are those of the published rule.
    Covers every frame of the video: where there is no face, the nearest frame's landmarks stand in.
    """

    covers_all_frames = True

    def __init__(self, settings: Settings, name: str, crf: int, size: int) -> None:
        compressed = ("frames", "crops", "binary_landmarks", "landmarks", "transform_matrices")
        original = settings.base / "original" / name
        super().__init__(settings, size, {clip_folder(settings, name, crf): compressed, original: ("frames", "crops")})
        self.count = 0

    def add(self, original: Image, compressed: Image, points: Points, *, is_key: bool) -> None:
        """Write one frame under the name of its number."""
        self.count += 1
        stem = f"{self.count}_key" if is_key else str(self.count)
        matrix, size, picture = self.spec.to_crop(points), self.spec.size, f"{stem}{self.settings.suffix}"
        landmarks = np.rint(transform_points(points, matrix)).astype(np.int32)
        for work, frame in zip(self.works, (compressed, original), strict=True):
            save_picture(work / "frames" / picture, frame)
            save_picture(work / "crops" / picture, crop(frame, matrix, size, antialias=False, border="black"))
        work = self.works[0]
        save_picture(work / "binary_landmarks" / picture, landmark_image(np.clip(landmarks, 0, size - 1), size))
        np.save(work / "landmarks" / f"{stem}.npy", landmarks)
        np.save(work / "transform_matrices" / f"{stem}.npy", matrix)


def clip_folder(settings: Settings, name: str, crf: int) -> Path:
    """Return the folder in which the clip's record lies."""
    kind = "compressed" if settings.layout == "official" else "processed"
    return settings.base / f"{kind}_{crf}" / name
