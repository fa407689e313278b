"""The protocol of Keyframes-GAN (IEEE TMM 2023) on folders that preprocessing.py made.

Key frames come in high quality, from the original video; crops, landmarks and matrices are the stored ones. Results:

    B/inference/RESTORER/max_keyframes_N/POLICY/output_video/NAME.mp4           whole frames, compressed but for the face
                                               /cropped_output_video/NAME.mp4   the restored crops
                                               /stacked_output_video/NAME.mp4   compressed and restored crops side by side
                                               /NAME/1_compressed_crop ... 5_restored_frame   on request
                                               /NAME/done.json                  last of all; a clip that has it is not done again
                                               /timing.csv                      seconds a frame and stage, a line a clip
"""

from __future__ import annotations

import glob
import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from data.clips import ClipRecord, read_clips, read_crop
from keyframes_gan import report
from keyframes_gan.atomic import PART_PREFIX, unwritable
from keyframes_gan.errors import MediaError, UserError
from keyframes_gan.faces import align, blend
from keyframes_gan.keyframes.fit import fit
from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.keyframes.sent import EverySoOften, KeyChannel
from keyframes_gan.keyframes.warp import warp
from keyframes_gan.pipeline.clock import Stopwatch
from keyframes_gan.pipeline.settings import Finish
from keyframes_gan.pipeline.stream import build_restorer, weights_digest
from keyframes_gan.preprocess.layout import PART, publish, save_picture, temporary_folder
from keyframes_gan.preprocess.records import read_record
from keyframes_gan.types import FaceClip, Frame, Image, Reference
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import VideoWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyframes_gan.pipeline.settings import Settings
    from keyframes_gan.types import Restorer

STAGES = ("1_compressed_crop", "2_key_frame", "3_warped_key_frame", "4_restored_crop", "5_restored_frame")
VIDEOS = ("output_video", "cropped_output_video", "stacked_output_video")
DONE = "done.json"


@dataclass(frozen=True)
class Job:
    """One preprocessed clip: what its record says, and where it is."""

    record: ClipRecord
    base: Path
    compressed: Path
    first: int
    times: tuple[Fraction, ...]
    fingerprint: dict[str, Any]
    matrices: Any = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the clip."""
        return self.record.name


def jobs_of(base: Path, crf: int, asked: dict[str, Any]) -> list[Job]:
    """Return the clips in B/clips_CRF.jsonl; `asked` is all that shapes the results besides the clips.

    Raises:
        UserError: there is no such list, or something it names is missing.
    """
    listing = base / f"clips_{crf}.jsonl"
    if not listing.is_file():
        msg = f"--base_path: expected {listing}, got no such file; run python preprocessing.py --base_path {base} --crf {crf} first"
        raise UserError(msg)
    records = read_clips(listing)
    rows = [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [_job(base, row, record, asked) for row, record in zip(rows, records, strict=True)]


def _job(base: Path, row: dict[str, Any], record: ClipRecord, asked: dict[str, Any]) -> Job:
    try:
        matrices = np.load(record.folder / "matrices.npy", allow_pickle=False)
        job = Job(
            record=record,
            base=base,
            compressed=base / row["compressed"],
            first=int(row["first"]),
            times=tuple(Fraction(each) for each in row["times"]),
            fingerprint={**asked, "clip_sha256": row["sha256"]},
            matrices=matrices,
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        msg = f"{record.folder}: its record or matrices.npy cannot be read (an error on {error}); run preprocessing.py again"
        raise UserError(msg) from error
    if matrices.shape != (len(record), 2, 3) or len(job.times) != len(record):
        msg = f"{record.folder}: {len(record)} frames, but matrices {matrices.shape} and {len(job.times)} times; run preprocessing.py again"
        raise UserError(msg)
    return job


def _asked(settings: Settings, restorer: Restorer, *, save_stages: bool) -> dict[str, Any]:
    """Return, as plain JSON values, what the results depend on besides the clip: a change of it means doing the clip again."""
    return {
        "restorer": settings.restorer,
        "weights_sha256": weights_digest(settings, restorer),
        "precision": settings.precision,
        "save_stages": save_stages,
        "keys": None if settings.keys is None else {"seconds": str(settings.keys.seconds), "quality": settings.keys.quality},
        "encoding": asdict(settings.encoding),
    }


def restore_preprocessed(base: Path, crf: int, settings: Settings, *, save_stages: bool = False, progress: bool = True) -> list[str]:
    """Restore every clip of `base` at `crf`, leaving alone what is complete; return one line per clip that failed.

    Raises:
        UserError: there are no preprocessed clips, the restorer cannot be built, or the results cannot be written.
    """
    restorer = build_restorer(settings)
    if settings.finish != Finish():
        msg = f"expected the paper's way of putting pictures together, got {settings.finish}; use -i and -o"
        raise UserError(msg)
    jobs = jobs_of(base, crf, _asked(settings, restorer, save_stages=save_stages))
    for job in jobs:
        _check_template(job, restorer)
    root = base / "inference" / settings.restorer / f"max_keyframes_{settings.max_keyframes}" / settings.policy.upper()
    waiting = [job for job in jobs if _done(root, job) is None]
    problems = []
    with tqdm(total=sum(len(job.record) for job in waiting), unit="frame", disable=not progress) as bar:
        for job in waiting:
            bar.set_description(job.name)
            try:
                _Run(job, restorer, settings, root, save_stages=save_stages).go(bar)
            except UserError as error:
                problems.append(f"{job.name}: {error}")
            except OSError as error:
                problems.append(f"{job.name}: {unwritable(root / job.name, error)}")
    if any(_done(root, job) for job in jobs):
        _write_timing(root, jobs)
    return problems


def _check_template(job: Job, restorer: Restorer) -> None:
    """Refuse crops in which faces do not lie as the restorer wants them."""
    wanted = restorer.spec.template
    if job.record.template == wanted or (job.record.template == "paper" and wanted == "eyes") or restorer.spec.any_template:
        return
    got = f"expected crops of the template {wanted}, got {job.record.template} in {job.record.folder}"
    msg = f"--restorer {restorer.spec.name}: {got}; use -i and -o, or cut them by preprocessing.py --template {wanted}"
    raise UserError(msg)


def _done(root: Path, job: Job) -> dict[str, Any] | None:
    """Return what was noted when the clip was finished with the same inputs and settings, else None."""
    path = root / job.name / DONE
    if not path.is_file() or not all((root / video / f"{job.name}.mp4").is_file() for video in VIDEOS):
        return None
    noted = read_record(path)
    return noted if noted is not None and noted.get("fingerprint") == job.fingerprint else None


def _write_timing(root: Path, jobs: list[Job]) -> None:
    """Write timing.csv: seconds a frame in every stage, a line for every finished clip."""
    noted = [(job.name, done) for job in jobs if (done := _done(root, job)) is not None]
    stages = list(dict.fromkeys(stage for _, done in noted for stage in done["stage_seconds"]))
    rows = [
        [name, done["frames"], round(done["seconds"] / done["frames"], 5)]
        + [round(done["stage_seconds"].get(stage, 0.0) / done["frames"], 5) for stage in stages]
        for name, done in noted
    ]
    report.write_csv(root / "timing.csv", ["name", "frames", "seconds_per_frame", *(f"{stage}_seconds" for stage in stages)], rows)


class _Run:
    """One clip on its way through."""

    def __init__(self, job: Job, restorer: Restorer, settings: Settings, root: Path, *, save_stages: bool) -> None:
        self._job, self._restorer, self._settings, self._root = job, restorer, settings, root
        self._save_stages = save_stages
        sizes = restorer.spec.crop_sizes
        self._size = min((size for size in sizes if size >= job.record.size), default=sizes[-1])
        self._memory = KeyframeMemory(settings.max_keyframes, settings.policy)
        self._state = restorer.start(0)
        self._clock = Stopwatch()
        self._factor = self._size / job.record.size
        self._matrices = np.stack([align.rescaled(matrix, crop=self._factor) for matrix in job.matrices])
        self._is_key = job.record.is_key
        if settings.keys is not None:
            is_due = EverySoOften(settings.keys.seconds)
            self._is_key = np.array([is_due(time) for time in job.times], np.bool_)
        self._channel = KeyChannel(None if settings.keys is None else settings.keys.quality)
        self._landmarks = ((job.record.landmarks + 0.5) * self._factor - 0.5).astype(np.float32)

    def go(self, bar: Any) -> None:  # noqa: ANN401  # tqdm has no useful type
        """Restore the clip, write its videos, and then the folder that says it is complete."""
        start = time.perf_counter()
        final = self._root / self._job.name
        self._remove_leftovers()
        work = temporary_folder(final)
        try:
            for stage in STAGES if self._save_stages else ():
                (work / stage).mkdir()
            with VideoReader(self._job.compressed) as reader, ExitStack() as stack:
                writers = [stack.enter_context(writer) for writer in self._writers(reader)]
                for frame in self._frames(reader, work, writers):
                    bar.update(int(frame is not None))
            noted = {
                "fingerprint": self._job.fingerprint,
                "frames": len(self._job.record),
                "seconds": time.perf_counter() - start,
                "stage_seconds": self._clock.seconds,
                "keys_sent": self._channel.sent,
                "key_bits": self._channel.bits,
            }
            report.write_json(work / DONE, noted)
            publish(work, final)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Remove what a killed run left of this clip."""
        name = glob.escape(self._job.name)
        for folder in self._root.glob(f".{name}.*{PART}"):
            shutil.rmtree(folder)
        for video in VIDEOS:
            for part in (self._root / video).glob(f"{PART_PREFIX}*-{name}.mp4"):
                part.unlink()

    def _writers(self, reader: VideoReader) -> list[VideoWriter]:
        info, size = reader.info, self._size
        sizes = ((info.width, info.height), (size, size), (2 * size, size))
        writers = []
        for video, shape in zip(VIDEOS, sizes, strict=True):
            (self._root / video).mkdir(exist_ok=True)
            sound = self._job.compressed if video == "output_video" else None
            like = info if video == "output_video" else None
            writers.append(
                VideoWriter(
                    self._root / video / f"{self._job.name}.mp4",
                    size=shape,
                    time_base=info.time_base,
                    rate=info.rate,
                    like=like,
                    streams_from=sound,
                    encoding=self._settings.encoding,
                )
            )
        return writers

    def _frames(self, reader: VideoReader, work: Path, writers: list[VideoWriter]) -> Iterator[Frame | None]:
        """Write every frame of the video; yield the frame when it had a face, else None."""
        first, count = self._job.first, len(self._job.record)
        waiting: list[Frame] = []
        index = -1
        for frame in reader:
            index = frame.index
            if first <= frame.index < first + count:
                waiting.append(frame)
                if len(waiting) == self._restorer.spec.clip_length or frame.index == first + count - 1:
                    self._clip(waiting, work, writers)
                    yield from waiting
                    waiting = []
            else:
                writers[0].write(frame.rgb, frame.time)
                yield None
        if index < first + count - 1:
            msg = f"{self._job.compressed}: expected at least {first + count} frames, got {index + 1}; run preprocessing.py again"
            raise MediaError(msg)

    def _clip(self, frames: list[Frame], work: Path, writers: list[VideoWriter]) -> None:
        indices = [frame.index - self._job.first for frame in frames]
        with self._clock("read"):
            crops = [self._crop("compressed", index) for index in indices]
            references = tuple(self._reference(index, given) for index, given in zip(indices, crops, strict=True))
        clip = FaceClip(0, indices[0], np.stack(crops), self._matrices[indices], self._landmarks[indices], references)
        with self._clock("restore"):
            restored = self._restorer.restore(clip, self._state)
        if restored.shape != clip.crops.shape:
            got = f"expected a restorer that leaves crops their size, {self._size} pixels, got {restored.shape[1]} from"
            msg = f"--restorer: {got} {self._settings.restorer}; use -i and -o"
            raise UserError(msg)
        restored = blend.without_colour(restored, clip.crops)
        for position, (frame, picture) in enumerate(zip(frames, restored, strict=True)):
            with self._clock("paste"):
                original = clip.crops[position] if self._restorer.spec.residual else None
                whole = align.paste(frame.rgb, picture, clip.to_crop[position], original=original)
            with self._clock("write"):
                for writer, image in zip(writers, (whole, picture, np.hstack([clip.crops[position], picture])), strict=True):
                    writer.write(np.ascontiguousarray(image), frame.time)
                if self._save_stages:
                    self._write_stages(work, clip, position, picture, whole)

    def _crop(self, stream: str, index: int) -> Image:
        """Return a stored crop at the restorer's size."""
        record = self._job.record
        picture = read_crop(record.path(stream, index), record.size)
        return fit(Reference(picture, None, record.landmarks[index], None), self._size).picture

    def _reference(self, index: int, given: Image) -> Reference | None:
        """Choose frame `index`'s key frame; when it is one itself it joins the memory first."""
        landmarks = self._landmarks[index]
        if self._is_key[index]:
            picture = self._channel.send(self._crop("original", index))
            self._memory.add(Reference(picture, given, landmarks, self._job.times[index]), index)
        return self._memory.choose(landmarks)

    def _write_stages(self, work: Path, clip: FaceClip, position: int, restored: Image, whole: Image) -> None:
        """Write the five pictures of one frame; a frame without a key frame has no second and third."""
        reference = clip.references[position]
        pictures: list[Image | None] = [clip.crops[position], None, None, restored, whole]
        if reference is not None:
            pictures[1] = reference.picture
            pictures[2] = warp(reference.picture, reference.landmarks, clip.landmarks[position])
        for stage, picture in zip(STAGES, pictures, strict=True):
            if picture is not None:
                save_picture(work / stage / f"{clip.first + position:06d}.png", picture)
