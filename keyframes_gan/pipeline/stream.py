"""The streaming pass: one video in, one restored video out, decoded once, in memory bounded by look-ahead and clip length."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from keyframes_gan import restorers, weights
from keyframes_gan.errors import FaceError, MediaError, UserError
from keyframes_gan.faces import detectors
from keyframes_gan.faces.smooth import TrackSmoother, half_window
from keyframes_gan.faces.track import FaceStream, FaceTracker
from keyframes_gan.pipeline.cards import FaceCards
from keyframes_gan.pipeline.clock import Stopwatch, TimedDetector, TimedLandmarker
from keyframes_gan.pipeline.compositor import Compositor
from keyframes_gan.pipeline.framing import AlignedStream, WholeFraming
from keyframes_gan.pipeline.keys import OriginalKeys
from keyframes_gan.pipeline.live import Reader, Source, ctrl_c_ends, reader_of
from keyframes_gan.pipeline.outputs import Output, as_images, is_video
from keyframes_gan.pipeline.people import Slot
from keyframes_gan.pipeline.photos import PhotoAlbum
from keyframes_gan.pipeline.profile import LOADING, REST, WAITING, WHOLE, Profile
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.video.camera import CameraReader
from keyframes_gan.video.pictures import picture_paths
from keyframes_gan.video.read import VideoReader

if TYPE_CHECKING:
    from keyframes_gan.faces.detectors import Detector
    from keyframes_gan.types import Restorer, RestorerSpec, Tracking

LOOK_AHEAD = 15
PHOTO_FACE = 40
"""Width in pixels of the smallest face that is looked for in images: there is no other frame in which it may be larger."""


@dataclass
class Outcome:
    """What a pass did.

    Frames written, faces restored (summed over frames), people, frames of a camera that were dropped, the mask that faces were pasted
    with and how they were blended in, seconds in all and where they went; which experts the faces got and how alike they are to their
    inputs, where that is known; how many high-quality key crops were sent beside the stream, and their bits.
    """

    source: Path
    target: Path
    restorer: str
    frames: int = 0
    faces: int = 0
    people: int = 0
    dropped: int = 0
    seconds: float = 0.0
    mask: str = "soft"
    blend: str = "feather"
    profile: Profile = field(default_factory=Profile)
    notes: list[str] = field(default_factory=list)
    routes: list[dict[str, Any]] = field(default_factory=list)
    identity: list[dict[str, Any]] = field(default_factory=list)
    keys_sent: int = 0
    key_bits: int = 0

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds per stage; together they are `seconds`."""
        return self.profile.clock.seconds

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "source": self.source.name,
            "target": self.target.name,
            "restorer": self.restorer,
            "frames": self.frames,
            "faces": self.faces,
            "people": self.people,
            "dropped": self.dropped,
            "mask": self.mask,
            "blend": self.blend,
            "seconds": round(self.seconds, 3),
            "frames_per_second": round(self.frames / self.seconds, 3) if self.seconds else None,
            "stage_seconds": {stage: round(value, 3) for stage, value in self.stage_seconds.items()},
            "notes": self.notes,
            **({"routes": self.routes} if self.routes else {}),
            **({"identity": self.identity} if self.identity else {}),
            **({"keys_sent": self.keys_sent, "key_bits": self.key_bits} if self.keys_sent else {}),
        }


def check_targets(source: Path | None, targets: dict[str, Path | None]) -> None:
    """Refuse outputs that would overwrite the input or one another, and folders that are not there, before any work is done.

    Args:
        source: the input; None when it is no file.
        targets: outputs by flag; None where none is wanted.

    Raises:
        MediaError: one line naming the flag and the file.
    """
    taken = {} if source is None else {source.resolve(): "-i"}
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


def tracking_of(settings: Settings, spec: RestorerSpec) -> Tracking:
    """Return how faces are followed: as `settings` say, else as the restorer asks. Another smoothing leaves out the restorer's region."""
    asked = {"every": settings.every, "smoothing": settings.smoothing, "smoother": settings.smoother}
    wanted: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if wanted.keys() - {"every"}:
        wanted["region"] = None
    return replace(spec.tracking, **wanted)


def look_ahead_of(tracking: Tracking) -> int:
    """Return how many frames are held back: enough for half the smoothing window and the longest gap that is bridged."""
    return max(LOOK_AHEAD, half_window(tracking.smoothing) + tracking.max_gap)


def smoother_of(tracking: Tracking) -> TrackSmoother:
    """Return the landmark smoother."""
    return TrackSmoother(
        sigma=tracking.smoothing,
        look_ahead=look_ahead_of(tracking),
        max_gap=tracking.max_gap,
        kind=tracking.smoother,
        region=tracking.region,
    )


def build_restorer(settings: Settings) -> Restorer:
    """Return the restorer that `settings` ask for.

    Raises:
        UserError: there is none of that name, it cannot be built, or key frames are given that it would not look at.
    """
    restorer = restorers.find(settings.restorer, device=settings.device, precision=settings.precision, weights=settings.weights)
    settings.check_used(restorer.spec)
    return restorer


def weights_digest(settings: Settings, restorer: Restorer) -> str | None:
    """Return the SHA-256 of the weights that `restorer` was built from, None when it needs none."""
    if restorer.spec.weights is None:
        return None
    return weights.digest(weights.locate(settings.weights or restorer.spec.weights))


def build_detector(settings: Settings, tracking: Tracking | None = None, *, photos: bool = False) -> Detector:
    """Return what finds faces as `tracking` wants them found, in `photos` smaller ones too.

    Raises:
        UserError: there is none of that name.
    """
    make = detectors.find(settings.detector)
    least = PHOTO_FACE if photos else None if tracking is None else tracking.min_face
    most = None if photos or tracking is None else tracking.max_pixels
    wanted = {name: value for name, value in (("min_face", least), ("max_pixels", most)) if value is not None}
    return make(**wanted, device=settings.device)


def face_stream(settings: Settings, spec: RestorerSpec, detector: Detector, clock: Stopwatch) -> FaceStream:
    """Return tracker and smoother as asked for; `clock` counts searches and landmarks."""
    tracking = tracking_of(settings, spec)
    tracker = FaceTracker(
        TimedDetector(detector, clock),
        every=tracking.every,
        max_faces=settings.max_faces,
        max_gap=tracking.max_gap,
        landmarker=TimedLandmarker(clock),
    )
    return FaceStream(tracker, smoother_of(tracking))


def original_keys(settings: Settings, reader: Reader) -> contextlib.AbstractContextManager[OriginalKeys | None]:
    """Return where high-quality key frames come from; a context without any when none are asked for.

    Raises:
        MediaError: the original is not there, or does not fit the video.
        UserError: there is none.
    """
    if settings.keys is None:
        return contextlib.nullcontext()
    if settings.key_source is None:
        msg = "--key_interval: expected the original video that key frames come from; add --key_source VIDEO, or use --base_path"
        raise UserError(msg)
    return OriginalKeys(settings.key_source, settings.keys, reader.info)


def cards_of(reader: Reader, folder: Path, settings: Settings) -> FaceCards:
    """Return what writes the faces of images.

    Raises:
        MediaError: the input is a video, or the folder cannot be made.
    """
    if not isinstance(reader, VideoReader) or not reader.is_pictures:
        msg = f"--faces: expected an image or a folder of images as -i, got {reader.path}; leave it out, or see --tracks"
        raise MediaError(msg)
    return FaceCards(folder, [path.stem for path in picture_paths(reader.path)], settings.restorer)


def restore_video(
    source: Source,
    target: Path,
    settings: Settings,
    *,
    baseline: Path | None = None,
    compare: Path | None = None,
    tracks: Path | None = None,
    faces: Path | None = None,
    restorer: Restorer | None = None,
    progress: bool = True,
) -> Outcome:
    """Restore every face in `source` and write `target`: same frames, times, colours, sound and subtitles.

    Args:
        source: a video, a folder of images, an image, or a `Camera`: then Ctrl-C ends the recording.
        target: .mp4, .m4v, .mov, .mkv or .webm; for an image also an image, for a folder of images also a folder (`PictureWriter`).
            It appears only when complete.
        settings: what to do.
        baseline: also write the input, only scaled to the size of the output.
        compare: also write that and the output side by side.
        tracks: also write every face of every frame as JSON (`TracksWriter`).
        faces: a folder into which to write the faces of images before and after (`FaceCards`).
        restorer: built as `settings` say, for several videos; None builds one.
        progress: draw a progress bar on standard error.

    Raises:
        MediaError: `source` cannot be read to its end, or an output cannot be written.
        UserError: key frames are to be sent, but not from which original; or they, or photos, are given to a restorer that looks at none.
        FaceError: no face in the video (unless it is a camera's or `settings.no_face` is "copy"), or none in a photo.
        WeightsError: the restorer's weights cannot be had.
    """
    clock, start = Stopwatch(), time.perf_counter()
    targets = {"-o": target, "--baseline": baseline, "--compare": compare, "--tracks": tracks, "--faces": faces}
    check_targets(source if isinstance(source, Path) else None, targets)
    reader = reader_of(source, any_size=not settings.has_aligned and not any(map(is_video, (target, baseline, compare))))
    restorer = restorer or build_restorer(settings)
    settings.check_used(restorer.spec)
    photos = as_images(reader, target)
    if photos and settings.every is None:
        settings = replace(settings, every=1)  # one photo says little about where the faces of the next are
    detector = build_detector(settings, restorer.spec.tracking, photos=photos)
    stream = AlignedStream() if settings.has_aligned else face_stream(settings, restorer.spec, detector, clock)
    album = PhotoAlbum(settings.references, detector)
    outcome = Outcome(reader.path, target, settings.restorer)
    with reader, ctrl_c_ends(reader):
        settings = replace(settings, finish=settings.finish.settled(restorer.spec, reader.info, photos=photos))
        framing = WholeFraming.of(restorer.spec, reader.info) if settings.has_aligned else None
        cards = None if faces is None else cards_of(reader, faces, settings)
        compositor = Compositor(restorer, settings, album, clock, framing=framing, cards=cards)
        with (
            Output(reader, target, settings, baseline=baseline, compare=compare, tracks=tracks) as output,
            original_keys(settings, reader) as keys,
        ):
            clock.add(LOADING, time.perf_counter() - start, unit=WHOLE)
            last = _run(reader, stream, compositor, output, clock, outcome, keys=keys, progress=progress)
            if not compositor.faces and isinstance(reader, CameraReader):
                outcome.notes.append("no face was seen; the recording is as the camera gave it")
            elif not compositor.faces and settings.no_face == "error":
                msg = f"{source}: expected a face, found none in {outcome.frames} frames; try --detector dlib-cnn, or --no-face copy"
                raise FaceError(msg)
            closing = time.perf_counter()
        clock.add("finish", time.perf_counter() - closing, unit=WHOLE)
        if cards is not None:
            cards.finish()
        outcome.notes += [*album.notes(), *compositor.notes, *output.notes, *reader.notes]
        if isinstance(reader, CameraReader):
            outcome.dropped = reader.dropped
    _account(outcome, compositor)
    outcome.seconds = time.perf_counter() - start
    clock.add(REST, outcome.seconds - sum(clock.seconds.values()), unit=WHOLE)
    has_duration = not (isinstance(reader, VideoReader) and reader.is_pictures)
    outcome.profile = Profile.of(clock, outcome.frames, last if has_duration else Fraction(0))
    return outcome


def _account(outcome: Outcome, compositor: Compositor) -> None:
    """Note what became of the faces."""
    outcome.faces, outcome.people, outcome.mask = compositor.faces, compositor.people, compositor.mask
    outcome.blend, outcome.routes, outcome.identity = compositor.canvas.blend, compositor.routes.as_json(), compositor.identities
    if compositor.channel is not None:
        outcome.keys_sent, outcome.key_bits = compositor.channel.sent, compositor.channel.bits


def _run(
    reader: Reader,
    stream: FaceStream | AlignedStream,
    compositor: Compositor,
    output: Output,
    clock: Stopwatch,
    outcome: Outcome,
    *,
    keys: OriginalKeys | None,
    progress: bool,
) -> Fraction:
    """Move every frame through the stages; return the last one's time."""
    frames, last = iter(reader), Fraction(0)
    arrival = WAITING if isinstance(reader, CameraReader) else "decode"
    with tqdm(total=reader.info.frames, unit="frame", disable=not progress, desc=reader.path.name) as bar:
        while True:
            start = time.perf_counter()
            frame = next(frames, None)
            clock.add(arrival, time.perf_counter() - start, int(frame is not None))
            if frame is not None:
                compositor.take(Slot(frame, compositor.canvas, None if keys is None else keys.take(frame)))
            with clock("track", int(frame is not None)):
                final = stream.flush() if frame is None else stream.update(frame)
            for found in final:
                compositor.place(found)
            if frame is None:
                compositor.finish()
            for slot in compositor.ready():
                with clock("encode"):
                    output.write(slot)
                last = slot.frame.time
                outcome.frames += 1
                bar.update()
            if frame is None:
                return last
