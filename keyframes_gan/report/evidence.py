"""What a page shows of several versions of one video: moments, close-ups, a scan line over time, and a comparison video.

Everything is taken from the files in two passes, in step, one frame of each version in memory at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from keyframes_gan.errors import MediaError
from keyframes_gan.report.pictures import side_by_side
from keyframes_gan.types import Frame, Image
from keyframes_gan.video.packets import stream_cost
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding, VideoWriter

MOMENTS = 4
CLOSE_UPS = 2
CLOSE_UP_SHARE = 0.2
"""Side of a close-up as a share of the picture's shorter side."""
CLOSE_UP_MIN_PX = 32
PROFILE_FRAMES = 300
PROFILE_PX = 512
COMPARISON_PX = 1280
"""Most pixels across in the comparison video."""
COMPARISON_CRF = 23.0

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Moment:
    """One frame of every version; `is_key`: the judged stream's own key frame."""

    index: int
    time: Fraction
    is_key: bool
    pictures: dict[str, Image]


@dataclass(frozen=True)
class CloseUp:
    """The same box (x0, y0, x1, y1) of every version at one moment."""

    index: int
    box: Box
    pictures: dict[str, Image]


@dataclass(frozen=True)
class Profile:
    """One scan line, `y`, over time: per version uint8 (frames, width, 3), row t being the line in frame t."""

    y: int
    x0: int
    pictures: dict[str, Image]


@dataclass(frozen=True)
class Evidence:
    """Pictures of the versions of one video, by the versions' names; `video` is an MP4 of some of them side by side."""

    versions: tuple[str, ...]
    before: str
    after: str
    frames: int
    key_frames: tuple[int, ...]
    moments: tuple[Moment, ...]
    close_ups: tuple[CloseUp, ...]
    profile: Profile
    video: bytes
    shown: tuple[str, ...]


def gather(versions: Mapping[str, Path], *, before: str, after: str, moments: int = MOMENTS) -> Evidence:
    """Collect the evidence.

    Args:
        versions: video files or folders of pictures by name, of as many frames. Other sizes are brought to that of `after`.
        before: the version that was given; its key frames are the moments shown.
        after: what became of it; the close-ups are where it differs most from `before`.
        moments: how many frames to show; where there are fewer key frames, frames between them fill up.

    Raises:
        MediaError: a version cannot be read, or has another number of frames.
    """
    cost = stream_cost(versions[before])
    wanted = choose_moments(cost.frames, cost.key_frames, moments)
    kept = [
        Moment(frames[after].index, frames[after].time, frames[after].index in cost.key_frames, _pictures(frames, after))
        for frames in _together(versions)
        if frames[after].index in wanted
    ]
    at, boxes = find_differences([(one.pictures[before], one.pictures[after]) for one in kept])
    close_ups = tuple(CloseUp(kept[at].index, box, {name: _cut(kept[at].pictures[name], box) for name in versions}) for box in boxes)
    shown = tuple(dict.fromkeys((before, after, *(name for name in versions if name == "original"))))
    profile, video = _profile_and_video(versions, after, close_ups[0].box, shown)
    return Evidence(tuple(versions), before, after, cost.frames, cost.key_frames, tuple(kept), close_ups, profile, video, shown)


def choose_moments(frames: int, key_frames: Sequence[int], count: int) -> tuple[int, ...]:
    """Return up to `count` frame numbers, ascending: key frames, evenly chosen; then those farthest from all chosen before."""
    if len(key_frames) >= count:
        places = np.linspace(0, len(key_frames) - 1, count).round().astype(int)
        return tuple(key_frames[place] for place in places)
    chosen = list(key_frames) or [0]
    while len(chosen) < min(count, frames):
        distances = np.abs(np.arange(frames)[:, None] - np.asarray(chosen)).min(axis=1)
        chosen.append(int(distances.argmax()))
    return tuple(sorted(chosen))


def find_differences(pairs: Sequence[tuple[Image, Image]], count: int = CLOSE_UPS) -> tuple[int, list[Box]]:
    """Return the number of the pair in which two pictures differ most in one place, and the `count` places there, none overlapping.

    A place is a square of `CLOSE_UP_SHARE` of the shorter side, judged by the mean absolute difference inside it.
    """
    maps = [_differences(first, second) for first, second in pairs]
    number = max(range(len(maps)), key=lambda one: float(maps[one][1].max()))
    side, means = maps[number]
    boxes: list[Box] = []
    while len(boxes) < count:
        y, x = (int(one) for one in np.unravel_index(int(means.argmax()), means.shape))
        if means[y, x] < 0:
            break
        boxes.append((x, y, x + side, y + side))
        means[max(0, y - side + 1) : y + side, max(0, x - side + 1) : x + side] = -1.0
    return number, boxes


def _differences(first: Image, second: Image) -> tuple[int, npt.NDArray[np.float32]]:
    """Return the side of a square, and the mean absolute difference inside the square whose top left pixel is (x, y), at [y, x]."""
    difference = np.abs(first.astype(np.float32) - second.astype(np.float32)).mean(axis=2)
    height, width = difference.shape
    side = min(max(CLOSE_UP_MIN_PX, round(CLOSE_UP_SHARE * min(height, width))), height, width)
    means = cv2.blur(difference, (side, side), anchor=(0, 0))
    return side, np.ascontiguousarray(means[: height - side + 1, : width - side + 1])


def _together(versions: Mapping[str, Path]) -> Iterator[dict[str, Frame]]:
    """Yield the frames of all versions in step."""
    with ExitStack() as stack:
        streams = {name: iter(stack.enter_context(VideoReader(path))) for name, path in versions.items()}
        while True:
            frames = {name: next(stream, None) for name, stream in streams.items()}
            ended = [name for name, frame in frames.items() if frame is None]
            if ended:
                if len(ended) < len(frames):
                    goes_on = next(versions[name] for name in frames if name not in ended)
                    msg = f"{versions[ended[0]]}: expected as many frames as {goes_on}, but it ends first; compare versions of one video"
                    raise MediaError(msg)
                return
            yield {name: frame for name, frame in frames.items() if frame is not None}


def _pictures(frames: Mapping[str, Frame], like: str) -> dict[str, Image]:
    """Return the pictures at the size of the version `like`, smaller ones enlarged by cubic interpolation."""
    height, width = frames[like].rgb.shape[:2]
    return {name: _sized(frame.rgb, width, height) for name, frame in frames.items()}


def _sized(picture: Image, width: int, height: int) -> Image:
    if picture.shape[:2] == (height, width):
        return picture
    method = cv2.INTER_CUBIC if width > picture.shape[1] else cv2.INTER_AREA
    sized: Image = cv2.resize(picture, (width, height), interpolation=method)
    return sized


def _cut(picture: Image, box: Box) -> Image:
    x0, y0, x1, y1 = box
    return np.ascontiguousarray(picture[y0:y1, x0:x1])


def _profile_and_video(versions: Mapping[str, Path], after: str, focus: Box, shown: Sequence[str]) -> tuple[Profile, bytes]:
    """Collect the scan line through the middle of `focus`, and write the comparison, in one pass."""
    lines: dict[str, list[Image]] = {name: [] for name in versions}
    with VideoReader(versions[after]) as reader:
        info = reader.info
    y = (focus[1] + focus[3]) // 2
    x0 = min(max(0, (focus[0] + focus[2] - PROFILE_PX) // 2), max(0, info.width - PROFILE_PX))
    width, height = _fitted_size(info.width, info.height, len(shown))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "comparison.mp4"
        size = (width * len(shown), height)
        encoding = Encoding(crf=COMPARISON_CRF)
        with VideoWriter(path, size=size, time_base=info.time_base, rate=info.rate, encoding=encoding) as writer:
            for frames in _together(versions):
                pictures = _pictures(frames, after)
                if frames[after].index < PROFILE_FRAMES:
                    for name, picture in pictures.items():
                        lines[name].append(picture[y, x0 : x0 + PROFILE_PX].copy())
                small = [np.ascontiguousarray(_sized(pictures[name], width, height)) for name in shown]
                writer.write(side_by_side(small, shown), frames[after].time)
        return Profile(y, x0, {name: np.stack(rows) for name, rows in lines.items()}), path.read_bytes()


def _fitted_size(width: int, height: int, count: int) -> tuple[int, int]:
    """Return an even size for each of `count` pictures side by side within `COMPARISON_PX`."""
    factor = min(1.0, COMPARISON_PX / (width * count))
    return max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2)
