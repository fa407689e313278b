"""What a pass writes: the restored video or images and, on request, the input only scaled, both side by side, and the list of faces."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from keyframes_gan import report, upscale
from keyframes_gan.pipeline.tracks import TracksWriter
from keyframes_gan.video.pictures import PictureWriter, picture_paths
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import CONTAINERS, VideoWriter

if TYPE_CHECKING:
    from pathlib import Path

    from keyframes_gan.pipeline.live import Reader
    from keyframes_gan.pipeline.people import Slot
    from keyframes_gan.pipeline.settings import Settings
    from keyframes_gan.types import VideoInfo

LABELS = ("input", "restored")


def is_video(path: Path | None) -> bool:
    """Tell whether an output, if there is one, is called as a video."""
    return path is not None and path.suffix.lower() in CONTAINERS


def as_images(reader: Reader, target: Path) -> bool:
    """Tell whether the input is an image, or a folder of them, and `target` is to be the same."""
    return isinstance(reader, VideoReader) and reader.is_pictures and not is_video(target)


class Output:
    """Writes every finished frame; a context manager. The files appear under their names only after a clean exit.

    Args:
        reader: the input.
        target: the restored video; an image or a folder of images for the same as input.
        settings: what was asked for; the size and the rate of the output.
        baseline: likewise, the input only scaled (Lanczos) to the size of the output.
        compare: likewise, that and the restored picture side by side.
        tracks: every face of every frame as JSON (`TracksWriter`).

    Raises:
        MediaError: a name that no video or image can have, or a size that the codec cannot store; on entry, a file that cannot be written.
    """

    def __init__(
        self,
        reader: Reader,
        target: Path,
        settings: Settings,
        *,
        baseline: Path | None = None,
        compare: Path | None = None,
        tracks: Path | None = None,
    ) -> None:
        info = reader.info
        self._fps, self._finish = settings.fps, settings.finish
        rate, tick = (settings.fps, 1 / settings.fps) if settings.fps else (info.rate, info.time_base)
        streams = None if settings.fps else reader.companions_from
        left_out = streams is None and info.audio_streams + info.subtitle_streams > 0
        self._notes = ["--save_video_fps: sound and subtitles are left out, they would not fit the new times"] if left_out else []
        self._stack = contextlib.ExitStack()
        width, height = self._finish.output_size(info.width, info.height)
        given = reader.source.aspect if isinstance(reader, VideoReader) else None
        aspect = Fraction(1) if self._finish.size else given
        if width * (aspect or 1) * info.height != height * info.width * (given or 1):
            shown = f"{round(info.width * (given or 1))}x{info.height}"
            self._notes.append(f"--size {width}x{height}: not in the proportions of the input, which is shown as {shown}")

        def writer(path: Path, size: tuple[int, int], like: VideoInfo | None) -> VideoWriter | PictureWriter:
            if as_images(reader, path):
                return PictureWriter(path, picture_paths(reader.path))
            timing: dict[str, Any] = {"time_base": tick, "rate": rate, "streams_from": streams}
            return VideoWriter(path, size=size, **timing, like=like, aspect=aspect, encoding=settings.encoding)

        self._main = writer(target, (width, height), info)
        self._plain = writer(baseline, (width, height), info) if baseline else None
        self._pair = writer(compare, (2 * width, height + height % 2), None) if compare else None
        self._tracks = TracksWriter(tracks, info) if tracks else None

    def __enter__(self) -> Output:
        with contextlib.ExitStack() as stack:
            for one in (self._main, self._plain, self._pair, self._tracks):
                if one is not None:
                    stack.enter_context(one)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> bool | None:
        return self._stack.__exit__(*failure)  # type: ignore[arg-type]

    @property
    def notes(self) -> list[str]:
        """What happened to streams that could not be copied as they were."""
        return [*self._notes, *self._main.reencoded]

    def write(self, slot: Slot) -> None:
        """Write one finished frame."""
        time = slot.frame.index / self._fps if self._fps else slot.frame.time
        given = slot.frame.rgb
        size = self._finish.output_size(given.shape[1], given.shape[0])
        restored = upscale.resized(slot.picture, size)
        self._main.write(restored, time)
        if self._tracks is not None:
            self._tracks.write(slot)
        if self._plain is None and self._pair is None:
            return
        plain = upscale.resized(given, size)
        if self._plain is not None:
            self._plain.write(plain, time)
        if self._pair is not None:
            self._pair.write(report.side_by_side([plain, restored], LABELS), time)
