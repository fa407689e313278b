"""Side-by-side frames, labels and contact sheets. Pictures are uint8 RGB (H, W, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from keyframes_gan.errors import MediaError
from keyframes_gan.report.files import write_bytes
from keyframes_gan.types import Image, check_image

FONT = cv2.FONT_HERSHEY_SIMPLEX
TALL_TEXT = "Ag"  # its height serves every label, so that labels in a row stand on one line
WHITE = (255, 255, 255)
LABEL_SHARE = 0.055
LABEL_MIN_PX, LABEL_MAX_PX = 12, 36
SHADE = 0.35


def side_by_side(pictures: Sequence[Image], labels: Sequence[str] | None = None, *, gap_px: int = 0) -> Image:
    """Return the pictures next to each other, each with its label at the top left.

    Pictures of other heights are scaled to the tallest one's height. The result has even width and height (the last row or
    column is repeated where needed), so that every codec takes it.

    Args:
        pictures: uint8 RGB (H, W, 3), one or more.
        labels: one per picture, drawn on a darkened strip; None draws none. An empty label draws none for its picture.
        gap_px: black pixels between two pictures.

    Raises:
        ValueError: no picture, or a number of labels other than that of the pictures.
    """
    if not pictures or (labels is not None and len(labels) != len(pictures)):
        msg = f"side_by_side: expected at least one picture and a label for each, got {len(pictures)} pictures and labels {labels}"
        raise ValueError(msg)
    height = max(picture.shape[0] for picture in pictures)
    parts: list[Image] = []
    for index, picture in enumerate(pictures):
        check_image(picture, f"side_by_side: picture {index}")
        part = _to_height(picture, height)
        if gap_px and index:
            parts.append(np.zeros((height, gap_px, 3), np.uint8))
        parts.append(label(part, labels[index]) if labels is not None else part)
    return _even(np.concatenate(parts, axis=1))


def label(picture: Image, text: str) -> Image:
    """Return a copy of `picture` with `text` at the top left in white on a darkened strip. Characters outside ASCII become `?`."""
    marked: Image = picture.copy()
    if not text:
        return marked
    text = text.encode("ascii", "replace").decode()
    scale, (width, size, base) = _fit_text(text, picture.shape[0], picture.shape[1])
    strip_height, strip_width = min(picture.shape[0], size + 2 * base), min(picture.shape[1], width + 2 * base)
    strip = marked[:strip_height, :strip_width]
    strip[:] = (strip * SHADE).astype(np.uint8)
    cv2.putText(marked, text, (base, size + base), FONT, scale, WHITE, 1, cv2.LINE_AA)
    return marked


def contact_sheet(rows: Sequence[Sequence[Image]], labels: Sequence[str], path: Path | str, *, cell_height_px: int = 256) -> Path:
    """Write a PNG with one row per moment or face and one column per version, and return its path.

    Args:
        rows: every row has one uint8 RGB picture per label.
        labels: names of the columns, drawn into the pictures of the first row.
        path: the PNG to write; its folder is made.
        cell_height_px: height of every picture on the sheet; smaller pictures are enlarged without smoothing.

    Raises:
        ValueError: no rows, or a row with another number of pictures than labels.
        MediaError: the file cannot be written.
    """
    if not rows or any(len(row) != len(labels) for row in rows):
        msg = f"contact_sheet: expected rows of {len(labels)} pictures, got rows of {[len(row) for row in rows]}"
        raise ValueError(msg)
    lines = []
    for number, row in enumerate(rows):
        cells = [_to_height(picture, cell_height_px) for picture in row]
        lines.append(side_by_side(cells, labels if number == 0 else None, gap_px=2))
    width = max(line.shape[1] for line in lines)
    sheet = np.concatenate([cv2.copyMakeBorder(line, 0, 2, 0, width - line.shape[1], cv2.BORDER_CONSTANT) for line in lines])
    return write_png(np.ascontiguousarray(sheet[:-2]), path)


def write_png(picture: Image, path: Path | str) -> Path:
    """Write an RGB picture as PNG, completely or not at all, and return its path.

    Raises:
        MediaError: the folder or file cannot be written.
    """
    check_image(picture, "write_png")
    done, data = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        msg = f"{path}: a picture of {picture.shape[1]}x{picture.shape[0]} px could not be encoded as PNG"
        raise MediaError(msg)
    return write_bytes(data.tobytes(), Path(path))


def _to_height(picture: Image, height: int) -> Image:
    """Scale a picture to a height: nearest when enlarging (no false detail), area mean when reducing."""
    if picture.shape[0] == height:
        return picture
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    method = cv2.INTER_NEAREST if height > picture.shape[0] else cv2.INTER_AREA
    scaled: Image = cv2.resize(picture, (width, height), interpolation=method)
    return scaled


def _even(picture: Image) -> Image:
    """Repeat the last row or column where height or width is odd."""
    odd_height, odd_width = picture.shape[0] % 2, picture.shape[1] % 2
    return np.pad(picture, ((0, odd_height), (0, odd_width), (0, 0)), mode="edge") if odd_height or odd_width else picture


def _fit_text(text: str, height: int, width: int) -> tuple[float, tuple[int, int, int]]:
    """Return the font scale for a picture's size, and (width, height, margin) in px of the text at that scale."""
    wanted_px = min(max(height * LABEL_SHARE, LABEL_MIN_PX), LABEL_MAX_PX)
    unit_width, unit_height = cv2.getTextSize(text, FONT, 1.0, 1)[0][0], cv2.getTextSize(TALL_TEXT, FONT, 1.0, 1)[0][1]
    scale = min(wanted_px / max(unit_height, 1), 0.94 * width / max(unit_width, 1))
    (_, text_height), base = cv2.getTextSize(TALL_TEXT, FONT, scale, 1)
    return scale, (cv2.getTextSize(text, FONT, scale, 1)[0][0], text_height, max(base, 2))
