"""Whether a media file ends before its container says it should. FFmpeg often reads such a file without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer
    from av.video.stream import VideoStream

_EBML_HEADER = 0x1A45DFA3
_EBML_SEGMENT = 0x18538067
_HEAD_BYTES = 4096


def _ebml_number(data: bytes, at: int, *, keep_marker: bool) -> tuple[int, int]:
    """Read an EBML variable-length integer (RFC 8794, section 4) at `at`; return (value, next position).

    A size whose bits are all one means unknown and comes back as -1.
    """
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    if not keep_marker:
        value &= (1 << (7 * length)) - 1
        if value == (1 << (7 * length)) - 1:
            value = -1
    return value, at + length


def _matroska_end(head: bytes) -> int | None:
    """Return the byte at which a Matroska segment ends, None when it does not say (a live recording)."""
    try:
        kind, at = _ebml_number(head, 0, keep_marker=True)
        size, at = _ebml_number(head, at, keep_marker=False)
        if kind != _EBML_HEADER:
            return None
        kind, at = _ebml_number(head, at + size, keep_marker=True)
        size, at = _ebml_number(head, at, keep_marker=False)
    except IndexError:
        return None
    return at + size if kind == _EBML_SEGMENT and size >= 0 else None


def _riff_end(head: bytes) -> int | None:
    """Return the byte at which the first RIFF chunk of an AVI file ends."""
    if len(head) < 8 or head[:4] != b"RIFF":  # noqa: PLR2004
        return None
    size = int.from_bytes(head[4:8], "little")
    return size + 8 if 0 < size < 0xFFFFFFFF else None  # noqa: PLR2004


def is_cut_short(path: Path, container: InputContainer, stream: VideoStream) -> bool:
    """Tell whether the file holds fewer bytes than its container promises.

    MP4 and MOV: the index names the place of every sample. Matroska, WebM and AVI: the outermost element states its
    size. Other containers promise nothing, so the answer is False.
    """
    if not path.is_file():
        return False
    size = path.stat().st_size
    formats = set(container.format.name.split(","))
    if formats & {"mov", "mp4"}:
        entries = stream.index_entries
        return any(entry.pos + entry.size > size for entry in (entries[number] for number in range(len(entries))))
    if formats & {"matroska", "webm", "avi"}:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        end = _riff_end(head) if "avi" in formats else _matroska_end(head)
        return end is not None and end > size
    return False
