"""tracks.json: every face of every frame, and what was done with it, written frame by frame."""

from __future__ import annotations

import contextlib
import json
from typing import IO, TYPE_CHECKING, Any

from keyframes_gan.atomic import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from keyframes_gan.pipeline.people import Slot
    from keyframes_gan.types import VideoInfo

VERSION = 1


class TracksWriter:
    """Writes one JSON document as frames are finished, holding none of them; the file appears only when complete.

    A frame is one line: `index`, `time` (seconds as a fraction), `cut` (begins a shot), `faces`. A face: `person` (null when it was not
    asked for), `track`, `box` (x0, y0, x1, y1) and `landmarks` (68 x 2) in pixels of the input frame, `score` of the detector,
    `seen` (false: bridged over a gap), `done` ("restored", "weakened", "left" or "passed"), `why`, `strength` (how much of the restored
    face shows), `identity` where the guard looked (how alike that is to the input), and with a restorer that chooses `route` (`w`, `q`,
    `noise`, `expert`, `reason`, `ms`).

    Args:
        path: the file.
        info: of the input video.

    Raises:
        MediaError: on entry, when the file cannot be written.
    """

    def __init__(self, path: Path, info: VideoInfo) -> None:
        self._path, self._info = path, info
        self._stack = contextlib.ExitStack()
        self._first = True

    def __enter__(self) -> TracksWriter:
        with contextlib.ExitStack() as stack:
            part = stack.enter_context(atomic_write(self._path))
            self._file: IO[str] = stack.enter_context(part.open("w", encoding="utf-8"))
            about = {"version": VERSION, "source": self._info.path.name, "width": self._info.width, "height": self._info.height}
            self._file.write(json.dumps(about, ensure_ascii=False)[:-1] + ', "frames": [')
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> bool | None:  # noqa: ANN401  # as the protocol has it
        if kind is not None:
            return self._stack.__exit__(kind, *rest)
        with self._stack:
            self._file.write("\n]}\n")
        return None

    def write(self, slot: Slot) -> None:
        """Write one finished frame."""
        frame = {"index": slot.frame.index, "time": str(slot.frame.time), "cut": slot.cut, "faces": [fate.as_json() for fate in slot.fates]}
        self._file.write(("\n" if self._first else ",\n") + json.dumps(frame, allow_nan=False))
        self._first = False
