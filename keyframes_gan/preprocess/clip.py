"""One video at one CRF: compress it, follow the main face, cut the crops, and write the clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile, zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keyframes_gan.errors import FaceError, MediaError
from keyframes_gan.faces.align import native_size
from keyframes_gan.faces.smooth import TrackSmoother, half_window
from keyframes_gan.faces.track import FaceStream, FaceTracker, main_track, track_video
from keyframes_gan.keyframes.sent import EverySoOften
from keyframes_gan.preprocess.layout import DefaultLayout, Layout, OfficialLayout, clip_folder
from keyframes_gan.preprocess.records import RECORD, VERSION, hash_file, read_record, why_incomplete
from keyframes_gan.preprocess.settings import Settings
from keyframes_gan.types import CROP_SIZES, FaceTrack, Frame
from keyframes_gan.video.compress import compress
from keyframes_gan.video.packets import count_frames
from keyframes_gan.video.read import VideoReader

Step = Callable[[int], None]
STAGES = 3
MAX_GAP = 10
"""Frames without the face that are bridged."""


@dataclass(frozen=True)
class Outcome:
    """What became of one clip: `frames` of it, and whether it was complete before (`kept`)."""

    name: str
    crf: int
    frames: int
    kept: bool


def make_clip(source: Path, crf: int, settings: Settings, step: Step, *, threads: int = 0) -> Outcome:
    """Make the clip of one video at one CRF, or leave it alone when it is complete and unchanged.

    Args:
        source: The original video.
        crf: x264's constant rate factor.
        settings: What the user asked for.
        step: Called with the number of frames done since the last call; `STAGES` times the number of frames in all.
        threads: Of the encoder; 0 for as many as there are cores.

    Raises:
        MediaError: The video cannot be read, or a file cannot be written.
        FaceError: No face anywhere in it.
    """
    name = source.stem
    record = read_record(clip_folder(settings, name, crf) / RECORD)
    if not settings.overwrite and record is not None and not why_incomplete(record, settings):
        return Outcome(name, crf, int(record["count"]), kept=True)
    try:
        compressed = compressed_twin(source, crf, settings, step, threads)
        track = main_face(source if settings.landmarks_from == "original" else compressed, settings, step)
        return Outcome(name, crf, write_clip(source, compressed, crf, track, settings, step), kept=False)
    except OSError as error:
        msg = f"expected to write in {settings.base}, got {error.strerror or error}; free space or choose another --base_path"
        raise MediaError(msg) from error


def compressed_twin(source: Path, crf: int, settings: Settings, step: Step, threads: int) -> Path:
    """Return the compressed twin, made now unless a current one with as many frames is there."""
    target = settings.base / f"compressed_{crf}" / f"{source.stem}.mp4"
    if not settings.overwrite and _is_current(target, source):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    compress(source, target, crf=crf, progress=lambda _: step(1), threads=threads)
    return target


def _is_current(target: Path, source: Path) -> bool:
    """Whether a finished compressed video is younger than its source's last change or move, and has as many frames."""
    if not target.is_file() or target.stat().st_mtime < max(source.stat().st_mtime, source.stat().st_ctime):
        return False
    try:
        return count_frames(target) == count_frames(source)
    except MediaError:
        return False


def _frames(reader: VideoReader, limit: Fraction | None) -> Iterator[Frame]:
    """Yield the frames before the time limit."""
    return iter(reader) if limit is None else takewhile(lambda frame: frame.time < limit, reader)


def _stream(settings: Settings) -> FaceStream:
    """Return what follows faces, smoothing as asked."""
    smoother = TrackSmoother(sigma=settings.smoothing, look_ahead=half_window(settings.smoothing) + MAX_GAP, max_gap=MAX_GAP)
    return FaceStream(FaceTracker(settings.detector, every=settings.every, max_gap=MAX_GAP), smoother)


def main_face(video: Path, settings: Settings, step: Step) -> FaceTrack:
    """Return the longest and largest face of the video, smoothed as asked."""

    def counted(frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            yield frame
            step(1)

    with VideoReader(video) as reader:
        tracks = track_video(counted(_frames(reader, settings.limit)), _stream(settings))
    if not tracks:
        msg = "expected a face, got none in the whole video; leave it out, or try --detector dlib-cnn"
        raise FaceError(msg)
    return main_track(tracks)


def write_clip(source: Path, compressed: Path, crf: int, track: FaceTrack, settings: Settings, step: Step) -> int:
    """Write the clip's files from both videos read in step, and return its number of frames."""
    kind: type[DefaultLayout | OfficialLayout] = OfficialLayout if settings.layout == "official" else DefaultLayout
    layout = kind(settings, source.stem, crf, settings.size or native_size(track.points, CROP_SIZES, template=settings.template))
    try:
        times, keys, rate = _write_frames(layout, source, compressed, track, settings, step)
        layout.finish(
            {
                "version": VERSION,
                "name": source.stem,
                "crf": crf,
                "size": layout.spec.size,
                "count": len(times),
                "first": 0 if layout.covers_all_frames else track.first,
                "rate": str(rate),
                "times": [str(time) for time in times],
                "is_key": keys,
                "seen": track.seen.tolist(),
                "folder": layout.finals[0].relative_to(settings.base).as_posix(),
                "original": source.relative_to(settings.base).as_posix(),
                "compressed": compressed.relative_to(settings.base).as_posix(),
                "options": settings.options(),
                "sha256": {path.relative_to(settings.base).as_posix(): hash_file(path) for path in (source, compressed)},
            }
        )
    finally:
        layout.abandon()
    return len(times)


def _write_frames(
    layout: Layout, source: Path, compressed: Path, track: FaceTrack, settings: Settings, step: Step
) -> tuple[list[Fraction], list[bool], Fraction]:
    """Write every frame of the clip; return their times, their key flags, and the nominal rate."""
    times: list[Fraction] = []
    keys: list[bool] = []
    with VideoReader(source) as one, VideoReader(compressed) as other:
        rate = one.info.rate
        is_key = _key_rule(settings, rate, count_frames(compressed))
        for first, second in zip_longest(_frames(one, settings.limit), _frames(other, settings.limit)):
            if first is None or second is None or first.rgb.shape != second.rgb.shape:
                msg = f"{compressed} does not show the same frames as the original; remove it and start again"
                raise MediaError(msg)
            step(1)
            index = first.index - track.first
            if not layout.covers_all_frames and not 0 <= index < len(track):
                continue
            times.append(first.time)
            keys.append(is_key(second))
            layout.add(first.rgb, second.rgb, _points(track, index), is_key=keys[-1])
    return times, keys, rate


def _points(track: FaceTrack, index: int) -> npt.NDArray[np.float32]:
    """Return the landmarks of the track's frame `index`, or of its nearest one."""
    points: npt.NDArray[np.float32] = track.points[min(max(index, 0), len(track) - 1)]
    return points


def _key_rule(settings: Settings, rate: Fraction, count: int) -> Callable[[Frame], bool]:
    """Return what decides whether a frame of the compressed video counts as a key frame."""
    if settings.layout == "official":
        distance = max(round(rate), 1)
        return lambda frame: frame.index % distance == 0 and frame.index + 1 < count
    seconds = settings.key_seconds
    if seconds is None:
        return lambda frame: frame.is_key
    is_due = EverySoOften(seconds)
    return lambda frame: is_due(frame.time)
