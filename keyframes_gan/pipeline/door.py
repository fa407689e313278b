"""What `video_inference.py` calls: command-line values become `Settings`, outcomes become lines on the screen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from keyframes_gan import report
from keyframes_gan.errors import EXIT_USER_ERROR, UserError
from keyframes_gan.pipeline.paper import restore_preprocessed
from keyframes_gan.pipeline.settings import Finish, Settings
from keyframes_gan.pipeline.stream import check_targets, restore_video
from keyframes_gan.video.write import Encoding

if TYPE_CHECKING:
    import argparse


def settings_of(given: argparse.Namespace) -> Settings:
    """Return the checked settings of a command line.

    Raises:
        UserError: a value out of range, named with its flag.
    """
    try:
        encoding = Encoding(codec=given.codec, crf=given.quality, preset=given.preset)
    except UserError as error:
        msg = f"--codec, --quality, --preset: {error}"
        raise UserError(msg) from error
    return Settings(
        restorer=given.restorer,
        weights=given.weights,
        device=given.device,
        precision=given.precision,
        max_keyframes=given.max_keyframes,
        policy=given.policy,
        references=tuple(given.reference),
        detector=given.detector,
        every=given.detect_every,
        max_faces=given.max_faces,
        smoothing=given.smoothing,
        no_face=given.no_face,
        encoding=encoding,
        finish=Finish(
            upscale=given.upscale,
            bg_upsampler=given.bg_upsampler,
            bg_tile=given.bg_tile,
            face_upsample=given.face_upsample,
            strength=given.strength,
            color_match=given.color_match,
            blend=given.blend,
        ),
    )


def restore_file(given: argparse.Namespace) -> int:
    """Restore one video; 0 when it is written."""
    check_targets(given.input, {"-o": given.output, "--compare": given.compare, "--report": given.report})
    outcome = restore_video(given.input, given.output, settings_of(given), compare=given.compare)
    for note in outcome.notes:
        sys.stderr.write(f"note: {note}\n")
    rate = outcome.frames / outcome.seconds
    sys.stdout.write(
        f"{given.output}: {outcome.frames} frames, {outcome.faces} faces of {outcome.people} tracks, "
        f"{outcome.seconds:.1f} s ({rate:.1f} frames/s)\n"
    )
    if given.report:
        report.write_json(given.report, outcome.as_json())
    return 0


def restore_folders(given: argparse.Namespace) -> int:
    """Restore every preprocessed clip; 0 when all are written, 2 when one is not."""
    problems = restore_preprocessed(given.base_path, given.crf, settings_of(given), save_stages=given.save_stages)
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    return EXIT_USER_ERROR if problems else 0
