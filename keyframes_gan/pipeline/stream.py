"""The streaming pass: one video in, one restored video out, decoded once, in memory bounded by look-ahead and clip length."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from keyframes_gan import report, restorers, upscale
from keyframes_gan.errors import FaceError, MediaError
from keyframes_gan.faces.smooth import TrackSmoother, half_window
from keyframes_gan.faces.track import FaceStream, FaceTracker
from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.pipeline.canvas import Canvas
from keyframes_gan.pipeline.clock import Stopwatch
from keyframes_gan.pipeline.people import Person, Slot
from keyframes_gan.pipeline.photos import PhotoAlbum
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import VideoWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyframes_gan.faces.smooth import SmoothFrame
    from keyframes_gan.types import Restorer, VideoInfo

LABELS = ("input", "restored")
LOOK_AHEAD = 15
MAX_GAP = 10
"""Frames without the face that are bridged."""
FORGET_FRAMES = 50
"""Frames of absence after which a person's key frames are let go."""


@dataclass
class Outcome:
    """What a pass did: frames written, faces restored (summed over frames), people, seconds in all and per stage."""

    source: Path
    target: Path
    restorer: str
    frames: int = 0
    faces: int = 0
    people: int = 0
    seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "source": self.source.name,
            "target": self.target.name,
            "restorer": self.restorer,
            "frames": self.frames,
            "faces": self.faces,
            "people": self.people,
            "seconds": round(self.seconds, 3),
            "frames_per_second": round(self.frames / self.seconds, 3) if self.seconds else None,
            "stage_seconds": {stage: round(value, 3) for stage, value in self.stage_seconds.items()},
            "notes": self.notes,
        }


class Compositor:
    """Holds the frames in flight and hands them out in order when all their faces are pasted.

    Args:
        restorer: restores the crops.
        settings: the size and policy of the key-frame memories, and how the output picture is put together.
        album: photos of the people.
        clock: counts seconds per stage.
    """

    def __init__(self, restorer: Restorer, settings: Settings, album: PhotoAlbum, clock: Stopwatch) -> None:
        self._restorer, self._settings, self._album, self._clock = restorer, settings, album, clock
        self.canvas = Canvas(settings.finish, device=settings.device, precision=settings.precision)
        self._slots: deque[Slot] = deque()
        self._by_index: dict[int, Slot] = {}
        self._people: dict[int, Person] = {}
        self._last_seen: dict[int, int] = {}
        self._ids: set[int] = set()
        self.faces = 0

    @property
    def people(self) -> int:
        """How many tracks there have been."""
        return len(self._ids)

    def take(self, slot: Slot) -> None:
        """Take the next decoded frame."""
        self._slots.append(slot)
        self._by_index[slot.frame.index] = slot

    def place(self, found: SmoothFrame) -> None:
        """Take the final faces of a frame that was taken before."""
        slot = self._by_index.pop(found.index)
        slot.placed = True
        for face in found.faces:
            person = self._people.get(face.track_id) or self._meet(face.track_id)
            self._last_seen[face.track_id] = found.index
            if face.seen:
                with self._clock("photos"):
                    self._album.offer(face.track_id, found.index, person.memory, slot.frame.rgb, face.points, size=person.size)
            person.add(slot, face)
        self.faces += len(found.faces)
        here = {face.track_id for face in found.faces}
        for track_id in [known for known in self._people if known not in here]:
            self._people[track_id].restore()
            if found.index - self._last_seen[track_id] > FORGET_FRAMES:
                del self._people[track_id], self._last_seen[track_id]
                self._album.forget(track_id)

    def _meet(self, track_id: int) -> Person:
        memory = KeyframeMemory(self._settings.max_keyframes, self._settings.policy)
        person = Person(track_id, self._restorer, memory, self._clock)
        self._people[track_id] = person
        self._ids.add(track_id)
        return person

    def finish(self) -> None:
        """The video has ended: restore what still waits."""
        for person in self._people.values():
            person.restore()

    def ready(self) -> Iterator[Slot]:
        """Give the frames that are finished, in order."""
        while self._slots and self._slots[0].placed and not self._slots[0].waiting:
            yield self._slots.popleft()


class Output:
    """The restored video and, on request, the comparison video beside it."""

    def __init__(self, reader: VideoReader, target: Path, compare: Path | None, settings: Settings) -> None:
        info = reader.info
        streams = None if reader.is_pictures else reader.path
        self._stack = contextlib.ExitStack()

        def writer(path: Path, size: tuple[int, int], like: VideoInfo | None) -> VideoWriter:
            return VideoWriter(
                path, size=size, time_base=info.time_base, rate=info.rate, like=like, streams_from=streams, encoding=settings.encoding
            )

        width, height = info.width * settings.finish.upscale, info.height * settings.finish.upscale
        self._main = writer(target, (width, height), info)
        self._pair = writer(compare, (2 * width, height + height % 2), None) if compare else None

    def __enter__(self) -> Output:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._main)
            if self._pair is not None:
                stack.enter_context(self._pair)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> bool | None:
        return self._stack.__exit__(*failure)  # type: ignore[arg-type]

    @property
    def notes(self) -> list[str]:
        """What happened to streams that could not be copied as they were."""
        return self._main.reencoded

    def write(self, slot: Slot) -> None:
        """Write one finished frame."""
        self._main.write(slot.picture, slot.frame.time)
        if self._pair is not None:
            before = upscale.resized(slot.frame.rgb, (slot.picture.shape[1], slot.picture.shape[0]))
            self._pair.write(report.side_by_side([before, slot.picture], LABELS), slot.frame.time)


def check_targets(source: Path, targets: dict[str, Path | None]) -> None:
    """Refuse outputs that would overwrite the input or one another, and folders that are not there, before any work is done.

    Args:
        source: the input.
        targets: outputs by flag; None where none is wanted.

    Raises:
        MediaError: one line naming the flag and the file.
    """
    taken = {source.resolve(): "-i"}
    for flag, path in targets.items():
        if path is None:
            continue
        other = taken.setdefault(path.resolve(), flag)
        if other != flag:
            msg = f"{flag}: expected another file than that of {other}, got {path} for both"
            raise MediaError(msg)
        if not path.parent.is_dir():
            msg = f"{flag}: cannot write {path}, the folder {path.parent} does not exist; make it or choose another output path"
            raise MediaError(msg)


def smoother_of(settings: Settings) -> TrackSmoother:
    """Return the landmark smoother; its look-ahead covers half the smoothing window and the longest gap that is bridged."""
    return TrackSmoother(sigma=settings.smoothing, look_ahead=max(LOOK_AHEAD, half_window(settings.smoothing) + MAX_GAP), max_gap=MAX_GAP)


def restore_video(source: Path, target: Path, settings: Settings, *, compare: Path | None = None, progress: bool = True) -> Outcome:
    """Restore every face in `source` and write `target`: same frames, times, colours, sound and subtitles.

    Args:
        source: a video, a folder of images or an image.
        target: .mp4, .m4v, .mov, .mkv or .webm; appears only when complete.
        settings: what to do.
        compare: also write input and output side by side.
        progress: draw a progress bar on standard error.

    Raises:
        MediaError: `source` cannot be read to its end, or an output cannot be written.
        FaceError: no face in the video (unless `settings.no_face` is "copy"), or none in a photo.
        WeightsError: the restorer's weights cannot be had.
    """
    clock, start = Stopwatch(), time.perf_counter()
    check_targets(source, {"-o": target, "--compare": compare})
    outcome = Outcome(source, target, settings.restorer)
    with VideoReader(source) as reader:
        restorer = restorers.find(settings.restorer, device=settings.device, precision=settings.precision, weights=settings.weights)
        tracker = FaceTracker(settings.detector, every=settings.every, max_faces=settings.max_faces)
        stream = FaceStream(tracker, smoother_of(settings))
        album = PhotoAlbum(settings.references, settings.detector)
        compositor = Compositor(restorer, settings, album, clock)
        with Output(reader, target, compare, settings) as output:
            _run(reader, stream, compositor, output, clock, outcome, progress=progress)
            if not compositor.faces and settings.no_face == "error":
                msg = f"{source}: expected a face, found none in {outcome.frames} frames; try --detector dlib-cnn, or --no-face copy"
                raise FaceError(msg)
        outcome.notes += [*album.notes(), *output.notes]
    outcome.faces, outcome.people = compositor.faces, compositor.people
    outcome.seconds, outcome.stage_seconds = time.perf_counter() - start, clock.seconds
    return outcome


def _run(
    reader: VideoReader,
    stream: FaceStream,
    compositor: Compositor,
    output: Output,
    clock: Stopwatch,
    outcome: Outcome,
    *,
    progress: bool,
) -> None:
    """Move every frame through the stages."""
    frames = iter(reader)
    with tqdm(total=reader.info.frames, unit="frame", disable=not progress, desc=reader.path.name) as bar:
        while True:
            with clock("decode"):
                frame = next(frames, None)
            if frame is not None:
                compositor.take(Slot(frame, compositor.canvas))
            with clock("track"):
                final = stream.flush() if frame is None else stream.update(frame)
            for found in final:
                compositor.place(found)
            if frame is None:
                compositor.finish()
            for slot in compositor.ready():
                with clock("background"):
                    slot.prepare()
                with clock("encode"):
                    output.write(slot)
                outcome.frames += 1
                bar.update()
            if frame is None:
                return
