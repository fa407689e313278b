"""A folder of images, or one image, as a video of constant rate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from keyframes_gan.errors import MediaError
from keyframes_gan.types import Frame, Image, VideoInfo

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def is_picture_source(path: Path) -> bool:
    """Tell whether `path` is a folder or has the suffix of an image."""
    return path.is_dir() or path.suffix.lower() in SUFFIXES


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key under which frame2 comes before frame10."""
    return [(1, int(part), "") if part.isdigit() else (0, 0, part.lower()) for part in re.split(r"([0-9]+)", name) if part]


def picture_paths(path: Path) -> list[Path]:
    """Return the images of a folder in natural order, hidden files left out; for an image, itself.

    Raises:
        MediaError: missing, or a folder without images.
    """
    if not path.exists():
        msg = f"{path}: no such file; expected a video or an image"
        raise MediaError(msg)
    if not path.is_dir():
        return [path]
    found = [entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".")]
    if not found:
        msg = f"{path}: the folder has no images ({', '.join(sorted(SUFFIXES))}); expected a video or a folder of frames"
        raise MediaError(msg)
    return sorted(found, key=lambda entry: natural_key(entry.name))


def read_picture(path: Path | str) -> Image:
    """Read one image as uint8 RGB (H, W, 3), upright after its EXIF orientation; 16 bit becomes 8, alpha is dropped.

    Raises:
        MediaError: missing, or not an image.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); expected an image"
        raise MediaError(msg) from error
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if bgr is None:
        msg = f"{path}: is not an image that can be read; it may be damaged"
        raise MediaError(msg)
    return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)


def picture_info(path: Path, rate: Fraction) -> VideoInfo:
    """Return the facts of a folder of images at `rate` frames per second, the size being that of the first."""
    if rate <= 0:
        msg = f"rate: expected more than 0 frames per second, got {rate}"
        raise MediaError(msg)
    found = picture_paths(path)
    height, width = read_picture(found[0]).shape[:2]
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        rotation=0,
        time_base=1 / rate,
        rate=rate,
        frames=len(found),
        duration=len(found) / rate,
        codec=found[0].suffix.lower().lstrip("."),
        pixel_format="rgb24",
        bit_depth=8,
        color_space="gbr",
        color_range="pc",
        key_frames=len(found),
    )


def picture_frames(path: Path, info: VideoInfo) -> Iterator[Frame]:
    """Give the images as frames, each of them a key frame.

    Raises:
        MediaError: an image that cannot be read or has another size than the first.
    """
    for index, one in enumerate(picture_paths(path)):
        rgb = read_picture(one)
        if rgb.shape != (info.height, info.width, 3):
            msg = f"{one}: is {rgb.shape[1]}x{rgb.shape[0]}, expected {info.width}x{info.height} as the first image of the folder"
            raise MediaError(msg)
        yield Frame(index, index / info.rate, rgb, is_key=True)
