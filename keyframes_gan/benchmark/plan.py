"""What there is to do: every clip of every data set, in every degradation, and where its files lie."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from keyframes_gan.benchmark import cache
from keyframes_gan.errors import OptionsError, UserError
from keyframes_gan.measure.pairs import find_videos
from keyframes_gan.options.benchmark import Benchmark, Degradation, PairedSet, PortraitSet, VideoSet
from keyframes_gan.portrait import portrait_clip
from keyframes_gan.preprocess.layout import save_picture
from keyframes_gan.video.compress import encode_again, encode_frames
from keyframes_gan.video.packets import count_frames
from keyframes_gan.video.read import VideoReader, probe
from keyframes_gan.video.write import Encoding

LOSSLESS = Encoding(codec="ffv1", pixel_format="bgr0")
"""What everything made here is kept in, so that only the method is measured and not one more compression."""
SUFFIX = ".mkv"
PHOTO = "photo.jpg"
PORTRAIT_RATE = Fraction(25)


@dataclass(frozen=True)
class Case:
    """One clip in one degradation.

    `made`: how it is degraded, None where `given` was degraded elsewhere. `folder` holds everything that is made of it. `scale`: how many
    times smaller the degraded clip is. `photo`: a picture of the source video that is not in the clip.
    """

    dataset: str
    clip: str
    degradation: str
    original: Path
    given: Path
    made: Degradation | None
    folder: Path
    scale: int = 1
    photo: Path | None = None

    @property
    def name(self) -> str:
        """Return how messages call it."""
        return f"{self.dataset}/{self.clip}/{self.degradation}"


def find_cases(options: Benchmark, work: Path, root: Path) -> list[Case]:
    """Return all cases, in the order of the options; clips made from the package's own data are made now.

    Args:
        options: the whole file.
        work: folder for what is made.
        root: where relative paths of the options start.

    Raises:
        UserError: a data set is not there or empty, or a degraded version is missing.
    """
    cases = []
    for name, dataset in options.datasets.items():
        if isinstance(dataset, PairedSet):
            cases += _paired(name, dataset, work, root)
            continue
        originals = _portraits(dataset, work / name) if isinstance(dataset, PortraitSet) else _videos(name, dataset, work / name, root)
        for clip, original in originals.items():
            photo = original.with_name(PHOTO)
            for degradation in options.degradations_of(name):
                how, folder = options.degradations[degradation], work / name / clip / degradation
                given = folder / ("given.mp4" if how.codec != "vp9" else "given.webm")
                cases.append(Case(name, clip, degradation, original, given, how, folder, how.scale, photo if photo.is_file() else None))
    for case in cases:
        _check_size(case, options.measure.size)
    return cases


def _videos(name: str, dataset: VideoSet, folder: Path, root: Path) -> dict[str, Path]:
    """Return the videos, those of which a part is wanted cut to that part."""
    found = find_videos(root / Path(dataset.root).expanduser(), f"datasets:{name}:root")
    chosen = dict(list(found.items())[: dataset.limit])
    if dataset.frames is None and not dataset.spare_seconds:
        return chosen
    return {clip: _cut(path, dataset, folder / clip) for clip, path in chosen.items()}


def _cut(source: Path, dataset: VideoSet, folder: Path) -> Path:
    """Write the wanted part of a video, losslessly, and the photo from its end; return the part.

    Raises:
        UserError: nothing is left of it.
    """
    path = folder / "original.mp4"
    asked = {"frames": dataset.frames, "spare_seconds": dataset.spare_seconds}
    wanted = cache.fingerprint({"source": cache.content(source), **asked, "code": cache.code(cache.VIDEO_CODE)})
    if cache.known(path, wanted) is not None:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    count = count_frames(source)
    kept = count - math.ceil(dataset.spare_seconds * probe(source).rate)
    if kept < 1:
        msg = f"spare_seconds: expected less than the length of {source} ({count} frames), got {dataset.spare_seconds}"
        raise OptionsError(msg)
    encode_again(source, path, Encoding(crf=0, preset="ultrafast", threads=1, steady=True), frames=min(kept, dataset.frames or kept))
    if dataset.spare_seconds:
        with VideoReader(source) as reader:
            (last,) = deque(reader, maxlen=1)
        save_picture(folder / PHOTO, last.rgb)
    cache.note(path, wanted, {})
    return path


def _paired(name: str, dataset: PairedSet, work: Path, root: Path) -> list[Case]:
    originals = find_videos(root / Path(dataset.gt).expanduser(), f"datasets:{name}:gt")
    cases = []
    for degradation, place in dataset.lq.items():
        flag = f"datasets:{name}:lq:{degradation}"
        given = find_videos(root / Path(place).expanduser(), flag)
        for clip, original in list(originals.items())[: dataset.limit]:
            if clip not in given:
                msg = f"{flag}: expected a degraded version of {clip}, got none in {place}; add it, or use limit"
                raise UserError(msg)
            cases.append(
                Case(name, clip, degradation, original, given[clip], None, work / name / clip / degradation, _scale(original, given[clip]))
            )
    return cases


def _scale(original: Path, given: Path) -> int:
    """Return how many times smaller a degraded version is.

    Raises:
        UserError: not a whole number of times.
    """
    large, small = probe(original), probe(given)
    scale = large.width // small.width
    if (small.width * scale, small.height * scale) != (large.width, large.height):
        sizes = f"{small.width}x{small.height} in {given} and {large.width}x{large.height} in {original}"
        msg = f"lq: expected the size of the original, or a whole number of times less, got {sizes}"
        raise UserError(msg)
    return scale


def _portraits(dataset: PortraitSet, folder: Path) -> dict[str, Path]:
    """Make the clips that are not there yet, losslessly."""
    found, size = {}, (dataset.size, dataset.height or dataset.size)
    for clip, zoom in dataset.zooms.items():
        path = folder / clip / f"original{SUFFIX}"
        wanted = cache.fingerprint(
            {"frames": dataset.frames, "size": size, "zoom": zoom, "code": cache.code(("keyframes_gan/portrait.py",))}
        )
        if cache.known(path, wanted) is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            pictures = portrait_clip(dataset.frames, size, zoom)
            encode_frames(pictures, path, rate=PORTRAIT_RATE, encoding=LOSSLESS)
            cache.note(path, wanted, {})
        found[clip] = path
    return found


def _check_size(case: Case, size: int | None) -> None:
    """Hold the originals to the size that the protocol asks for, and to one that can be reduced evenly."""
    if size is None and case.scale == 1:
        return
    info = probe(case.original)
    if size is not None and (info.width, info.height) != (size, size):
        msg = f"measure.size: expected originals of {size}x{size}, got {info.width}x{info.height} in {case.original}; crop them first"
        raise OptionsError(msg)
    if info.width % case.scale or info.height % case.scale:
        msg = f"scale: expected sides that are multiples of {case.scale}, got {info.width}x{info.height} in {case.original}"
        raise UserError(msg)
