"""Scores of video files: checks that they belong together, reads them in step, finds the faces of the original."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

from keyframes_gan import metrics
from keyframes_gan.errors import UserError
from keyframes_gan.measure.spaces import CROP, FACE, WHOLE, Boxes, People, Region
from keyframes_gan.measure.streams import RegionScores, measure_streams
from keyframes_gan.metrics import Begin, Box
from keyframes_gan.metrics.regions import face_box
from keyframes_gan.types import FaceTrack, Frame, Image, Points
from keyframes_gan.video import pictures
from keyframes_gan.video.packets import count_frames
from keyframes_gan.video.read import VideoReader

REGIONS = (WHOLE, FACE, CROP)
SHARE_OF_FRAME = Fraction(1, 4)
"""Frames belong together when their times differ by less than this part of the original's nominal interval between frames."""


def measure_files(
    original: Path | str,
    versions: Mapping[str, Path | str],
    scorers: Mapping[str, Begin],
    *,
    regions: Sequence[str] = (WHOLE,),
    detector: str = "dlib-hog",
    crop_border: int = 0,
    every: int = 1,
    clip_length: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> RegionScores:
    """Score versions of a video against the original, by region and version.

    Memory holds a few frames of each file, and a few numbers per frame. Frames are matched by their times; those of folders of pictures,
    which have none, by their order. Where a region or a metric needs faces, they are found in the original, in a pass of its own, of
    which only the landmarks are kept.

    Args:
        original: a video, or a folder of pictures.
        versions: files or folders to judge, by name ("compressed", "restored").
        scorers: metrics by name, from `load_scorers`.
        regions: some of "whole", "face" (inside the boxes of all faces) and "crop" (the aligned crops of the main person).
        detector: the face detector's name.
        crop_border: pixels left out on every side.
        every: score every Nth frame.
        clip_length: frames restored together; every so many frames there is a seam.
        progress: called with 1 for each frame done.

    Raises:
        MediaError: a file is missing, damaged or not a video.
        UserError: sizes, times or numbers of frames differ (the message names both files and the frame), or "crop" is asked for and
            the original shows no face.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(original))
        others = {name: stack.enter_context(VideoReader(path)) for name, path in versions.items()}
        for other in others.values():
            _check_alike(reader, other)
        needs_faces = set(regions) != {WHOLE} or any(metrics.find(name).uses_faces for name in scorers)
        tracks = find_faces(reader, detector=detector) if needs_faces else []
        labels = {"original": str(original), **{name: str(path) for name, path in versions.items()}}
        return measure_streams(
            _counted(reader, progress),
            others,
            scorers,
            regions={name: _region(name, tracks, reader) for name in regions},
            people=people_of(tracks),
            seams=range(clip_length, count_frames(reader.path), clip_length) if clip_length else (),
            crop_border=crop_border,
            every=every,
            tolerance=_tolerance(reader) if _timed(reader, *others.values()) else None,
            labels=labels,
        )


def find_faces(reader: VideoReader, *, detector: str = "dlib-hog") -> list[FaceTrack]:
    """Return the faces of a video, followed and smoothed."""
    from keyframes_gan.faces.track import FaceStream, FaceTracker, track_video  # noqa: PLC0415  # loads dlib's models

    return track_video(reader, FaceStream(FaceTracker(detector)))


def people_of(tracks: Sequence[FaceTrack], *, bridged: bool = False) -> People:
    """Return per frame the landmarks of its faces by track, up to the last frame with a face.

    Args:
        tracks: the faces of a video.
        bridged: also where a face was not seen and its place was bridged from before and after.
    """
    people: list[dict[int, Points]] = [{} for _ in range(max((track.first + len(track) for track in tracks), default=0))]
    for track in tracks:
        for offset, (points, seen) in enumerate(zip(track.points, track.seen, strict=True)):
            if seen or bridged:
                people[track.first + offset][track.id] = points
    return people


def boxes_of(tracks: Sequence[FaceTrack], width: int, height: int) -> Boxes:
    """Return per frame the boxes of its faces, up to the last frame with a face; `metrics.regions.face_box` says how large they are."""
    found = ([face_box(points, width, height) for points in faces.values()] for faces in people_of(tracks, bridged=True))
    boxes: list[list[Box]] = [[box for box in frame if box is not None] for frame in found]
    return boxes


def _region(name: str, tracks: Sequence[FaceTrack], reader: VideoReader) -> Region:
    """Return the region `name` of a video with these faces."""
    if name == WHOLE:
        return Region()
    if name == FACE:
        return Region(boxes_of(tracks, reader.info.width, reader.info.height))
    from keyframes_gan.faces.track import main_track  # noqa: PLC0415  # loads dlib's models

    if not tracks:
        msg = f"{reader.path}: expected a face for --region crop, got none; use --region full, or another --detector"
        raise UserError(msg)
    return Region(person=main_track(list(tracks)).id)


def _check_alike(original: VideoReader, other: VideoReader) -> None:
    """Compare sizes, numbers of frames and times before anything is measured."""
    one, two = original.info, other.info
    if (two.width, two.height) != (one.width, one.height):
        msg = f"{two.path}: expected {one.width}x{one.height} as {one.path}, got {two.width}x{two.height}; measure videos of one size"
        raise UserError(msg)
    count, got = count_frames(one.path), count_frames(two.path)
    if got != count:
        where = _first_apart(original, other) if _timed(original, other) else _first_name_apart(one.path, two.path)
        msg = f"{two.path}: expected {count} frames as {one.path}, got {got}{where}; measure versions of the same video"
        raise UserError(msg)


def _timed(*readers: VideoReader) -> bool:
    """Tell whether the frames of all readers have times of their own; pictures have not."""
    return not any(reader.is_pictures for reader in readers)


def _tolerance(reader: VideoReader) -> Fraction:
    """Return by how many seconds the times of frames that belong together may differ."""
    return SHARE_OF_FRAME / reader.info.rate


def _first_apart(original: VideoReader, other: VideoReader) -> str:
    """Return in words which is the first frame without a counterpart."""
    for index, (one, two) in enumerate(zip_longest(_times(original), _times(other))):
        if one is None:
            return f": frame {index} at {float(two):.3f} s is not in the original"
        if two is None or two - one > _tolerance(original):
            return f": frame {index} of the original at {float(one):.3f} s is not in it"
        if one - two > _tolerance(original):
            return f": frame {index} at {float(two):.3f} s is not in the original"
    return ""


def _first_name_apart(one: Path, two: Path) -> str:
    """Return in words which is the first picture of two folders that the other one has not, by their names; "" where that does not tell."""
    if not one.is_dir() or not two.is_dir():
        return ""
    names, others = ([path.stem for path in pictures.picture_paths(folder)] for folder in (one, two))
    missing, added = [name for name in names if name not in others], [name for name in others if name not in names]
    if missing and len(missing) < len(names):
        return f": picture {missing[0]} of the original is not in it"
    return f": picture {added[0]} is not in the original" if added and len(added) < len(others) else ""


def _times(reader: VideoReader) -> Iterator[Fraction]:
    """Yield the frames' times without converting their pictures."""
    return (one.time for one in reader.stored_pictures())


def _counted(frames: VideoReader, progress: Callable[[int], None] | None) -> Iterator[Frame | Image]:
    """Yield the frames, or the mere pictures of a folder, and report each after it has been used."""
    for frame in frames:
        yield frame.rgb if frames.is_pictures else frame
        if progress is not None:
            progress(1)
