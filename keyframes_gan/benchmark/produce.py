"""Degraded clips, and what each method makes of them: lossless videos of the original's size and times."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2

from keyframes_gan import weights
from keyframes_gan.benchmark import cache
from keyframes_gan.benchmark.apart import Cost, restore_apart, restore_here
from keyframes_gan.benchmark.plan import LOSSLESS, SUFFIX, Case
from keyframes_gan.errors import UserError
from keyframes_gan.keyframes.sent import KeyPlan
from keyframes_gan.measure.pairs import SUFFIXES
from keyframes_gan.options import plain
from keyframes_gan.options.benchmark import BicubicMethod, Degradation, FilterMethod, FolderMethod, InputMethod, Method, RestorerMethod
from keyframes_gan.pipeline.settings import Finish, Settings
from keyframes_gan.types import Frame
from keyframes_gan.upscale import resized
from keyframes_gan.video.compress import encode_again
from keyframes_gan.video.filters import filtered
from keyframes_gan.video.read import VideoReader, probe
from keyframes_gan.video.write import Encoding, VideoWriter

BITS_PER_BYTE = 8
PHOTO_MARK = "{photo}"


@dataclass(frozen=True)
class Product:
    """What a method made of a case.

    `photo_bits`: of the photos that the receiver was given beside the video, `sent_bits`: of the high-quality key frames. `notes`: what the
    pipeline had to say.
    """

    path: Path
    cost: Cost = field(default_factory=Cost)
    photo_bits: int = 0
    sent_bits: int = 0
    notes: tuple[str, ...] = ()


def degrade(case: Case) -> None:
    """Make the degraded clip of a case, if it is to be made and not there yet.

    Raises:
        UserError: the original cannot be read, or the clip not written.
    """
    if case.made is None:
        return
    wanted = cache.fingerprint({"original": cache.content(case.original), "how": plain(case.made), "code": cache.code(cache.VIDEO_CODE)})
    if cache.known(case.given, wanted) is not None:
        return
    case.folder.mkdir(parents=True, exist_ok=True)
    if case.scale == 1:
        encode_again(case.original, case.given, _encoding(case.made, case.original))
    else:
        with VideoReader(case.original) as reader:
            size = reader.info.width // case.scale, reader.info.height // case.scale
            _write(_sized(reader, size, cv2.INTER_AREA), case.given, reader, _encoding(case.made, case.original))
    cache.note(case.given, wanted, {})


def _encoding(made: Degradation, original: Path) -> Encoding:
    """Return how the encoder is set; a limited rate goes by the pictures' size."""
    common = Encoding(codec=made.codec, preset=made.preset, threads=1, steady=True, gop=made.gop)
    if made.crf is not None:
        return replace(common, crf=made.crf)
    info = probe(original)
    pixels = (info.width // made.scale) * (info.height // made.scale)
    return replace(common, bitrate=round((made.bits_per_pixel or 0) * pixels * info.rate))


def produce(case: Case, name: str, method: Method, *, device: str, root: Path, costs: bool = True) -> Product:
    """Return what the method `name` makes of a degraded case; made now, unless it is there already.

    Args:
        case: degraded.
        name: of the method, and of the file.
        method: what to do.
        device: where restorers run.
        root: where relative paths of the options start.
        costs: give a restorer a process of its own, to tell what it takes besides time.

    Raises:
        UserError: it cannot be done; the message says why.
    """
    if isinstance(method, FolderMethod):
        return Product(_made_elsewhere(case, method, root))
    if isinstance(method, InputMethod | BicubicMethod) and case.scale == 1:
        return Product(case.given)
    target = case.folder / f"{name}{SUFFIX}"
    wanted = cache.fingerprint(_ingredients(case, method, root))
    told = cache.known(target, wanted)
    if told is None:
        told = _make(case, method, target, device=device, root=root, costs=costs)
        cache.note(target, wanted, told)
    bits = sum(path.stat().st_size * BITS_PER_BYTE for path in photos_of(case, method, root))
    return Product(target, Cost(**told["cost"]), bits, told.get("sent_bits", 0), tuple(told["notes"]))


def photos_of(case: Case, method: Method, root: Path) -> tuple[Path, ...]:
    """Return the photos that a method is given for a case.

    Raises:
        UserError: one is not there.
    """
    if not isinstance(method, RestorerMethod):
        return ()
    if case.photo is None and any(PHOTO_MARK in pattern for pattern in method.photos):
        msg = f"photos: expected the data set {case.dataset} to have spare_seconds, which {PHOTO_MARK} comes from"
        raise UserError(msg)
    paths = tuple(root / Path(_filled(pattern, case)).expanduser() for pattern in method.photos)
    for path in paths:
        if not path.is_file():
            msg = f"photos: expected a picture for {case.clip}, got {path}, which does not exist"
            raise UserError(msg)
    return paths


def _ingredients(case: Case, method: Method, root: Path) -> dict[str, object]:
    """Return what the product depends on."""
    parts: dict[str, object] = {"given": cache.content(case.given), "method": plain(method), "scale": case.scale}
    if not isinstance(method, RestorerMethod):
        return {**parts, "code": cache.code(cache.VIDEO_CODE)}
    file = Path(method.weights).expanduser() if method.weights else None
    own = weights.digest(root / file) if file is not None and (root / file).is_file() else None
    photos = [weights.digest(path) for path in photos_of(case, method, root)]
    original = cache.content(case.original) if method.keys else None
    return {**parts, "weights": own, "photos": photos, "original": original, "code": cache.code(cache.RESTORING_CODE)}


def _make(case: Case, method: Method, target: Path, *, device: str, root: Path, costs: bool) -> dict[str, Any]:
    """Write the product, and return what that cost, and what there is to say."""
    if isinstance(method, RestorerMethod):
        restore = restore_apart if costs else restore_here
        cost, outcome = restore(case.given, target, settings_of(method, case, device=device, root=root))
        return {"cost": asdict(cost), "notes": outcome.notes, "sent_bits": outcome.key_bits}
    start = time.perf_counter()
    with VideoReader(case.given) as reader:
        frames = filtered(case.given, method.filter) if isinstance(method, FilterMethod) else reader
        size = reader.info.width * case.scale, reader.info.height * case.scale
        flag = cv2.INTER_NEAREST if isinstance(method, InputMethod) else cv2.INTER_CUBIC
        _write(_sized(frames, size, flag), target, reader, LOSSLESS)
    return {"cost": asdict(Cost(time.perf_counter() - start)), "notes": []}


def settings_of(method: RestorerMethod, case: Case, *, device: str, root: Path) -> Settings:
    """Return what the pipeline is asked for."""
    file = root / Path(method.weights).expanduser() if method.weights else None
    return Settings(
        restorer=method.restorer,
        weights=str(file) if file is not None and file.is_file() else method.weights,
        device=method.device or device,
        precision=method.precision,
        max_keyframes=method.max_keyframes,
        policy=method.policy,
        references=photos_of(case, method, root),
        keys=KeyPlan(Fraction(str(method.keys.every)), method.keys.quality_in(case.degradation)) if method.keys else None,
        key_source=case.original if method.keys else None,
        detector=method.detector,
        every=method.detect_every,
        smoothing=method.smoothing,
        max_length=method.max_length,
        overlap=method.overlap,
        protocol=method.protocol,
        has_aligned=method.has_aligned,
        only_center_face=method.only_center_face,
        no_face=method.no_face,
        encoding=LOSSLESS,
        finish=Finish(upscale=case.scale, strength=method.strength, mask=method.mask),
    )


def _sized(frames: Iterable[Frame], size: tuple[int, int], flag: int) -> Iterator[Frame]:
    """Yield the frames at `size` (width, height)."""
    for frame in frames:
        yield replace(frame, rgb=resized(frame.rgb, size, flag))


def _write(frames: Iterable[Frame], target: Path, reader: VideoReader, encoding: Encoding) -> None:
    """Write frames, in step, with their own times."""
    stream = iter(frames)
    first = next(stream)
    height, width = first.rgb.shape[:2]
    with VideoWriter(target, size=(width, height), time_base=reader.info.time_base, rate=reader.info.rate, encoding=encoding) as writer:
        writer.write(first.rgb, first.time)
        for frame in stream:
            writer.write(frame.rgb, frame.time)


def _made_elsewhere(case: Case, method: FolderMethod, root: Path) -> Path:
    """Return the video or folder of pictures that a pattern means for a case."""
    path = root / Path(_filled(method.path, case)).expanduser()
    for one in (path, *(path.with_name(path.name + suffix) for suffix in SUFFIXES)):
        if one.exists():
            return one
    msg = f"path: expected results of {case.name} at {path}, got nothing there"
    raise UserError(msg)


def _filled(pattern: str, case: Case) -> str:
    pattern = pattern.replace(PHOTO_MARK, str(case.photo))
    for name in ("dataset", "degradation", "clip"):
        pattern = pattern.replace(f"{{{name}}}", getattr(case, name))
    return pattern
