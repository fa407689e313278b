"""Scores of video files: checks that they belong together, reads them in step, finds the faces of the original."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from keyframes_gan.errors import UserError
from keyframes_gan.measure.streams import FACE, WHOLE, Boxes, RegionScores, measure_streams
from keyframes_gan.metrics import Box, Scorer
from keyframes_gan.metrics.regions import face_box
from keyframes_gan.types import FaceTrack, Frame, VideoInfo
from keyframes_gan.video.read import VideoReader, count_frames


def measure_files(
    original: Path | str,
    versions: Mapping[str, Path | str],
    scorers: Mapping[str, Scorer],
    *,
    face_region: bool = False,
    detector: str = "dlib-hog",
    crop_border: int = 0,
    every: int = 1,
    progress: Callable[[int], None] | None = None,
) -> RegionScores:
    """Score versions of a video against the original, by region ("whole", and "face" on request) and version.

    Memory holds one frame of each file. Faces are found in the original, in a pass of their own, and only their boxes are kept.

    Args:
        original: a video, or a folder of pictures.
        versions: files or folders to judge, by name ("compressed", "restored").
        scorers: metrics by name, from `load_scorers`.
        face_region: measure inside the faces' boxes too.
        detector: the face detector's name.
        crop_border: pixels left out on every side.
        every: score every Nth frame.
        progress: called with 1 for each frame done.

    Raises:
        MediaError: a file is missing, damaged or not a video.
        UserError: sizes or numbers of frames differ; the message names both files.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(original))
        others = {name: stack.enter_context(VideoReader(path)) for name, path in versions.items()}
        _check_alike(reader.info, {name: other.info for name, other in others.items()})
        regions: dict[str, Boxes | None] = {WHOLE: None}
        if face_region:
            regions[FACE] = face_boxes(reader, detector=detector)
        labels = {"original": str(original), **{name: str(path) for name, path in versions.items()}}
        frames = _counted(reader, progress)
        return measure_streams(frames, others, scorers, regions=regions, crop_border=crop_border, every=every, labels=labels)


def face_boxes(reader: VideoReader, *, detector: str = "dlib-hog") -> list[list[Box]]:
    """Return the boxes of all faces for every frame of a video; see `keyframes_gan.metrics.regions.face_box` for their size."""
    from keyframes_gan.faces.track import FaceStream, FaceTracker, track_video  # noqa: PLC0415  # loads dlib's models

    tracks = track_video(reader, FaceStream(FaceTracker(detector)))
    return boxes_of(tracks, reader.info.width, reader.info.height)


def boxes_of(tracks: Sequence[FaceTrack], width: int, height: int) -> list[list[Box]]:
    """Return the boxes per frame of face tracks, up to the last frame with a face."""
    boxes: list[list[Box]] = [[] for _ in range(max((track.first + len(track) for track in tracks), default=0))]
    for track in tracks:
        for offset, points in enumerate(track.points):
            box = face_box(points, width, height)
            if box is not None:
                boxes[track.first + offset].append(box)
    return boxes


def _check_alike(original: VideoInfo, versions: Mapping[str, VideoInfo]) -> None:
    """Compare sizes and numbers of frames before anything is decoded."""
    count = count_frames(original.path)
    for info in versions.values():
        if (info.width, info.height) != (original.width, original.height):
            msg = (
                f"{info.path}: expected {original.width}x{original.height} as {original.path}, got {info.width}x{info.height}; "
                "measure videos of one size"
            )
            raise UserError(msg)
        other = count_frames(info.path)
        if other != count:
            msg = f"{info.path}: expected {count} frames as {original.path}, got {other}; measure versions of the same video"
            raise UserError(msg)


def _counted(frames: VideoReader, progress: Callable[[int], None] | None) -> Iterator[Frame]:
    """Yield the frames and report each after it has been used."""
    for frame in frames:
        yield frame
        if progress is not None:
            progress(1)
