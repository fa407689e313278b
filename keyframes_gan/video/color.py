"""Colour: what a stream's tags mean, and the one conversion between a stream's pixels and RGB.

Convention:
    Tags are FFmpeg's names, after ITU-T H.273 (colour primaries, transfer characteristics, matrix coefficients).
    An untagged stream is read as BT.601 below 720 coded lines and as BT.709 from there on, in limited ("tv") range.
    Grey pictures are full range unless their stream says "tv", as FFmpeg has it.
    RGB is full range. Primaries and transfer curves are carried along, never converted.

Chroma is resampled bicubically and with exact rounding in both directions. On real footage the luma then survives
YUV -> RGB -> YUV without a single changed sample; swscale's default fast path loses it down to 38 dB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from keyframes_gan.errors import MediaError
from keyframes_gan.types import Image

UNKNOWN = "unknown"
HD_LINES = 720

SPACES = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc", 10: "bt2020c"}
RANGES = {1: "tv", 2: "pc"}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
UNSPECIFIED = 2
TV, PC = 1, 2

# swscale's own numbers: SWS_CS_* for the matrices, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP.
_SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT2020 = 9
_EXACT_BICUBIC = 0x4 | 0x40000 | 0x2000 | 0x4000

_TV_BLACK, _TV_WHITE = 16, 235
_GREY_FROM_TV = np.clip(np.rint((np.arange(256) - _TV_BLACK) * 255.0 / (_TV_WHITE - _TV_BLACK)), 0, 255).astype(np.uint8)


def name(table: dict[int, str], code: int) -> str:
    """Return the FFmpeg name of an H.273 code, "unknown" when the stream does not say or the code has no name here."""
    return table.get(int(code), UNKNOWN)


def code(table: dict[int, str], wanted: str) -> int | None:
    """Return the H.273 code of an FFmpeg name, None for "unknown"."""
    return next((number for number, label in table.items() if label == wanted), None)


def assumed_space(lines: int) -> int:
    """Return the matrix code of an untagged stream with `lines` coded lines: 1 (BT.709) or 6 (BT.601)."""
    return 1 if lines >= HD_LINES else 6


def is_rgb(pixel_format: str) -> bool:
    """Tell whether FFmpeg's pixel format carries RGB (packed, planar or a palette), so that no matrix applies."""
    return pixel_format.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "bayer", "x2rgb", "x2bgr"))


def is_grey(pixel_format: str) -> bool:
    """Tell whether FFmpeg's pixel format has luma only."""
    return pixel_format.startswith(("gray", "ya", "mono"))


@dataclass(frozen=True)
class Coding:
    """How samples stand for colours: FFmpeg's pixel format, matrix code (H.273) and range code (1 tv, 2 pc)."""

    pixel_format: str
    space: int
    range: int


def coding_of(picture: VideoFrame) -> Coding:
    """Return the coding of a decoded picture, with the conventions of this module where the stream is silent."""
    pixel_format = picture.format.name
    if is_rgb(pixel_format):
        return Coding(pixel_format, 0, PC)
    space = int(picture.colorspace)
    if space in (0, UNSPECIFIED):
        space = assumed_space(picture.height)
    tagged = int(picture.color_range)
    if pixel_format.startswith("yuvj"):
        tagged = PC
    return Coding(pixel_format, space, tagged if tagged in (TV, PC) else (PC if is_grey(pixel_format) else TV))


def _matrix(coding: Coding) -> int:
    """Return swscale's matrix for a coding; raise `MediaError` for one that swscale does not know."""
    if is_rgb(coding.pixel_format):
        return _SWSCALE_MATRIX[6]
    if coding.space not in _SWSCALE_MATRIX:
        msg = f"colour matrix {SPACES.get(coding.space, coding.space)}: not supported; convert the video to bt709 first"
        raise MediaError(msg)
    return _SWSCALE_MATRIX[coding.space]


class Converter:
    """Converts pictures of one stream; keeps swscale's tables between pictures. Not for several threads at once."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def to_coding(self, picture: VideoFrame, target: Coding) -> VideoFrame:
        """Return `picture` in another coding, the same size; the picture itself when nothing changes."""
        source = coding_of(picture)
        if source == target:
            return picture
        from_rgb, to_rgb = is_rgb(source.pixel_format), is_rgb(target.pixel_format)
        from_matrix, to_matrix = _matrix(source), _matrix(target)
        if from_rgb and not to_rgb:
            picture.colorspace = target.space  # PyAV 17 takes BT.2020 from the picture only, not as an argument
        return self._scaler.reformat(
            picture,
            format=target.pixel_format,
            src_colorspace=to_matrix if from_rgb else from_matrix,
            dst_colorspace=None if from_rgb and to_matrix == _BT2020 else (from_matrix if to_rgb else to_matrix),
            src_color_range=source.range,
            dst_color_range=target.range,
            interpolation=_EXACT_BICUBIC,
        )

    def to_layout(self, picture: VideoFrame, size: tuple[int, int], pixel_format: str) -> VideoFrame:
        """Return `picture` with `size` (width, height) and `pixel_format`, its samples meaning what they meant; itself when it has them."""
        if (picture.width, picture.height) == size and picture.format.name == pixel_format:
            return picture
        return self._scaler.reformat(picture, *size, format=pixel_format, interpolation=_EXACT_BICUBIC)

    def to_rgb(self, picture: VideoFrame) -> Image:
        """Return uint8 RGB (H, W, 3), C-contiguous, whatever the picture's format, depth, matrix and range."""
        source = coding_of(picture)
        rgb = _packed(self.to_coding(picture, Coding("rgb24", 0, PC)))
        if is_grey(source.pixel_format) and source.range == TV:
            return np.ascontiguousarray(_GREY_FROM_TV[rgb])
        return rgb


def _packed(picture: VideoFrame) -> Image:
    """Return the samples of an rgb24 picture without the padding at the ends of its rows."""
    plane = picture.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: picture.height, : picture.width * 3]
    return np.array(rows, order="C").reshape(picture.height, picture.width, 3)
