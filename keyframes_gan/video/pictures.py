"""A folder of images, or one image, as a video of constant rate; and frames written as images."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from keyframes_gan.atomic import atomic_write, unwritable
from keyframes_gan.errors import MediaError
from keyframes_gan.types import Frame, Image, VideoInfo, check_image

if TYPE_CHECKING:
    from types import TracebackType

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
    found = _images_in(path)
    if not found:
        msg = f"{path}: the folder has no images ({', '.join(sorted(SUFFIXES))}); expected a video or a folder of frames"
        raise MediaError(msg)
    return sorted(found, key=lambda entry: natural_key(entry.name))


def has_pictures(folder: Path) -> bool:
    """Tell whether a folder has images."""
    return bool(_images_in(folder))


def _images_in(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".")]


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


def picture_frames(path: Path, info: VideoInfo, *, any_size: bool = False) -> Iterator[Frame]:
    """Give the images as frames, each of them a key frame.

    Raises:
        MediaError: an image that cannot be read, or not `any_size` and it has another size than the first.
    """
    for index, one in enumerate(picture_paths(path)):
        rgb = read_picture(one)
        if not any_size and rgb.shape != (info.height, info.width, 3):
            msg = f"{one}: is {rgb.shape[1]}x{rgb.shape[0]}, expected {info.width}x{info.height} as the first image of the folder"
            raise MediaError(msg)
        yield Frame(index, index / info.rate, rgb, is_key=True)


class PictureWriter:
    """Writes frames as images; a context manager. The files appear under their names only after a clean exit.

    Args:
        path: an image, when there is one source; else, or when it has no suffix, a folder, which is made when it is not there. In it, every
            frame becomes a PNG file that is called as its source.
        sources: the images that the frames come from, in order.

    Attributes:
        reencoded: empty; images have no sound.

    Raises:
        MediaError: a name that is no image's, a file for several images, sources that differ in nothing but their suffix, or one of
            which would be replaced; on entry, a folder that cannot be made.
    """

    def __init__(self, path: Path, sources: Sequence[Path]) -> None:
        self.reencoded: list[str] = []
        suffix = "" if path.is_dir() else path.suffix.lower()
        if suffix and (suffix not in SUFFIXES or len(sources) > 1):
            wanted = "no suffix, for a folder of images" if suffix in SUFFIXES else f"one of {', '.join(sorted(SUFFIXES))}"
            msg = f"{path}: expected a video's suffix or {wanted}, got {path.suffix!r}; change -o"
            raise MediaError(msg)
        self._folder = None if suffix else path
        self._targets = [path] if suffix else [path / f"{source.stem}.png" for source in sources]
        if len(set(self._targets)) < len(self._targets):
            msg = f"{sources[0].parent}: expected images whose names differ in more than the suffix; rename one, or write a video"
            raise MediaError(msg)
        replaced = {source.resolve() for source in sources} & {target.resolve() for target in self._targets}
        if replaced:
            msg = f"{path}: expected a place where no image of the input lies, got that of {min(replaced).name}; change -o"
            raise MediaError(msg)
        self._waiting = iter(self._targets)
        self._stack = contextlib.ExitStack()
        self._made = False

    def __enter__(self) -> PictureWriter:
        if self._folder is not None and not self._folder.is_dir():
            try:
                self._folder.mkdir()
            except OSError as error:
                raise unwritable(self._folder, error) from error
            self._made = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is not None and self._made and self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.rmdir()

    def write(self, rgb: Image, time: Fraction) -> None:
        """Write the next frame, uint8 (H, W, 3) RGB; its `time` does not matter.

        Raises:
            MediaError: the file cannot be written.
        """
        check_image(rgb, "PictureWriter.write")
        target = next(self._waiting)
        part = self._stack.enter_context(atomic_write(target))
        part.write_bytes(cv2.imencode(target.suffix, rgb[:, :, ::-1])[1].tobytes())
