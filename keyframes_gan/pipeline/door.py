"""What `video_inference.py` calls: command-line values become `Settings`, outcomes become lines on the screen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from keyframes_gan import report
from keyframes_gan.atomic import check_writable
from keyframes_gan.errors import EXIT_USER_ERROR, UserError
from keyframes_gan.keyframes.sent import KeyPlan
from keyframes_gan.pipeline import batch
from keyframes_gan.pipeline.paper import restore_preprocessed
from keyframes_gan.pipeline.plan import plan_of
from keyframes_gan.pipeline.settings import SMOOTHING, Finish, Settings, preset_weights
from keyframes_gan.pipeline.stream import build_restorer, check_targets, restore_video
from keyframes_gan.video import pictures
from keyframes_gan.video.camera import Camera
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    PageWriter = Callable[..., list[Path]]

    from keyframes_gan.pipeline.live import Source

PAGE_SUFFIX = ".html"


def settings_of(given: argparse.Namespace) -> Settings:
    """Return the checked settings of a command line.

    Raises:
        UserError: a value out of range, named with its flag.
    """
    try:
        encoding = Encoding(codec=given.codec, crf=given.quality, preset=given.encoder_preset)
    except UserError as error:
        msg = f"--codec, --quality, --encoder_preset: {error}"
        raise UserError(msg) from error
    return Settings(
        restorer=given.restorer,
        weights=_weights_of(given),
        device=given.device,
        precision=given.precision,
        max_keyframes=given.max_keyframes,
        policy=given.policy,
        references=tuple(given.reference),
        keys=_keys_of(given),
        key_source=given.key_source,
        detector=given.detector,
        every=given.detect_every,
        max_faces=given.max_faces,
        smoothing=SMOOTHING.get(given.protocol) if given.smoothing is None else given.smoothing,
        smoother=given.smoother,
        max_length=given.max_length,
        overlap=given.overlap,
        protocol=given.protocol,
        only_center_face=given.only_center_face,
        has_aligned=given.has_aligned,
        min_identity=given.min_identity,
        draw_box=given.draw_box,
        fps=given.save_video_fps,
        no_face=given.no_face,
        encoding=encoding,
        finish=Finish(
            upscale=given.upscale,
            size=_size_of(given),
            background=given.background,
            bg_tile=given.bg_tile,
            face_upsample=given.face_upsample,
            strength=given.strength,
            color_match=given.color_match,
            blend=given.blend,
            mask=given.mask,
        ),
    )


def _size_of(given: argparse.Namespace) -> tuple[int, int] | None:
    if given.size is not None and given.upscale != 1:
        msg = f"--size: expected without --upscale, which follows from it, got --upscale {given.upscale}; leave one of them out"
        raise UserError(msg)
    size: tuple[int, int] | None = given.size
    return size


def _keys_of(given: argparse.Namespace) -> KeyPlan | None:
    if given.key_interval is not None:
        return KeyPlan(given.key_interval, given.key_quality)
    if given.key_quality is not None:
        msg = "--key_quality: expected --key_interval beside it, got none; add it"
        raise UserError(msg)
    return None


def _weights_of(given: argparse.Namespace) -> str | None:
    if given.preset is None:
        return cast("str | None", given.weights)
    chosen = preset_weights(given.restorer, given.preset)
    if given.weights is not None:
        msg = f"--preset: expected without --weights, got --preset {given.preset} and --weights {given.weights}; leave one of them out"
        raise UserError(msg)
    return chosen


def restore_source(given: argparse.Namespace, *, write_page: PageWriter) -> int:
    """Restore one video, what a camera sees, or every video of a folder; 0 when all are written, 2 when one of a folder is not.

    Args:
        given: the command line.
        write_page: writes a report that ends in .html, see `keyframes_gan.benchmark.video_report`; it lies above this layer.
    """
    settings = settings_of(given)
    _check_page(given)
    if given.camera is not None:
        camera = Camera.called(given.camera, seconds=given.seconds, max_frames=given.max_frames)
        return _restore_one(given, camera, settings, write_page)
    if given.dry_run and given.profile:
        msg = "--profile: expected without --dry-run, which restores nothing that could be measured; leave one of them out"
        raise UserError(msg)
    videos = _videos_in(given.input)
    if given.dry_run:
        return _plan(videos or [given.input], settings)
    return _restore_videos(given, settings) if videos else _restore_one(given, given.input, settings, write_page)


def _plan(sources: list[Path], settings: Settings) -> int:
    """Print the plan of every video; 0 when there is one for each, 2 when one of several has none."""
    restorer, failed = build_restorer(settings), False
    for source in sources:
        try:
            sys.stdout.write(str(plan_of(source, settings, restorer=restorer)))
        except UserError as error:
            if len(sources) == 1:
                raise
            sys.stderr.write(f"error: {error}\n")
            failed = True
    return EXIT_USER_ERROR if failed else 0


def _videos_in(source: Path) -> list[Path]:
    """Return the videos of a folder of videos, nothing for any other input.

    Raises:
        UserError: there is no input, or a folder without videos and images.
    """
    if not source.exists():
        msg = f"{source}: no such file; expected a video, an image, or a folder of either"
        raise UserError(msg)
    videos = batch.videos_in(source)
    if source.is_dir() and not videos and not pictures.has_pictures(source):
        msg = f"{source}: expected videos or images in the folder, got neither; change -i"
        raise UserError(msg)
    return videos


def _check_page(given: argparse.Namespace) -> None:
    """Refuse, before any work, what a page cannot be made of.

    Raises:
        UserError: --gt without a page, not there or not to be read, or a page of a camera's pictures, which are gone afterwards.
    """
    page = given.report is not None and given.report.suffix.lower() == PAGE_SUFFIX
    if given.gt is not None and not page:
        msg = f"--gt: expected only with --report FILE{PAGE_SUFFIX}, which shows what it is for; add that, or leave it out"
        raise UserError(msg)
    if given.gt is not None and not given.gt.exists():
        msg = f"--gt: expected the original video, got {given.gt}, which does not exist"
        raise UserError(msg)
    if given.gt is not None:
        try:
            VideoReader(given.gt).close()
        except UserError as error:
            msg = f"--gt: {error}"
            raise UserError(msg) from error
    if page and given.camera is not None:
        msg = f"--report: expected a .json file with --camera, whose pictures are not kept, got {given.report}"
        raise UserError(msg)


def _restore_one(given: argparse.Namespace, source: Source, settings: Settings, write_page: PageWriter) -> int:
    if given.resume:
        msg = f"--resume: expected only with a folder of videos, got {given.input}; leave it out"
        raise UserError(msg)
    target = _target_of(given)
    check_targets(
        given.input,
        {"-o": target, **{f"--{name}": getattr(given, name) for name in ("baseline", "compare", "report", "tracks", "faces")}},
    )
    if given.report:
        check_writable(given.report)
    more = {name: getattr(given, name) for name in ("baseline", "compare", "tracks", "faces")}
    outcome = restore_video(source, target, settings, **more)
    for note in outcome.notes:
        sys.stderr.write(f"note: {note}\n")
    sys.stdout.write(f"{target}: {batch.summary(outcome)}\n")
    about = outcome.as_json()
    if given.profile:
        sys.stdout.write(f"{outcome.profile}\n")
        about["profile"] = outcome.profile.as_json()
    if given.report and given.report.suffix.lower() == PAGE_SUFFIX:
        for path in write_page(given.report, given.input, target, original=given.gt, about=about, device=given.device):
            sys.stdout.write(f"written: {path}\n")
    elif given.report:
        report.write_json(given.report, about)
    return 0


def _target_of(given: argparse.Namespace) -> Path:
    if given.output is None:
        return batch.beside(given.input, given.suffix)
    return batch.named(given.output, given.suffix)


def _restore_videos(given: argparse.Namespace, settings: Settings) -> int:
    single = ("key_source", "baseline", "compare", "report", "tracks", "faces")
    used = [f"--{name}" for name in single if getattr(given, name)]
    if used:
        msg = f"{', '.join(used)}: expected only with one video, {given.input} is a folder of videos; leave it out"
        raise UserError(msg)
    target = batch.beside(given.input, given.suffix) if given.output is None else given.output
    suffix = "" if given.output is None else given.suffix
    outcome = batch.restore_batch(given.input, target, settings, suffix=suffix, resume=given.resume)
    for problem in outcome.problems:
        sys.stderr.write(f"error: {problem}\n")
    for name, profile in outcome.profiles.items() if given.profile else ():
        sys.stdout.write(f"{name}: {profile}\n")
    sys.stdout.write(
        f"{target}: {len(outcome.restored)} restored, {len(outcome.skipped)} finished before, {len(outcome.problems)} failed\n"
    )
    return EXIT_USER_ERROR if outcome.problems else 0


def restore_folders(given: argparse.Namespace) -> int:
    """Restore every preprocessed clip; 0 when all are written, 2 when one is not."""
    problems = restore_preprocessed(given.base_path, given.crf, settings_of(given), save_stages=given.save_stages)
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    return EXIT_USER_ERROR if problems else 0
