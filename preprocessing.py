"""Make clips of aligned faces from high-quality videos: `python preprocessing.py --base_path B --crf 42`. See docs/preprocessing.md."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fractions import Fraction

from keyframes_gan.errors import EXIT_USER_ERROR, DoorParser, UserError, path_of, run_door
from keyframes_gan.faces import detectors


def seconds(text: str) -> Fraction:
    """Read a number of seconds exactly."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        msg = f"expected a number of seconds, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from error


def side(text: str) -> int | None:
    """Read a crop size; None for native."""
    return None if text == "native" else int(text)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = DoorParser(description="Compress the videos in BASE_PATH/original, find the main face, and cut aligned crops.")
    add = parser.add_argument
    add("--base_path", "--base-path", type=path_of, required=True, help="folder that holds original/*.{mp4,mkv,mov,avi,webm}")
    add("--crf", type=int, action="append", help="x264 constant rate factor, 0 to 51; may be repeated (default: 42)")
    add("--layout", default="default", help="default, or official: the folders that the published inference script reads")
    add("--size", type=side, default=256, help="side of the crops in pixels (default: 256), or native: as large as the face needs")
    add("--template", help="how faces lie in the crops: eyes (default), ffhq, or upright: windows of the frame, nothing turned or enlarged")
    add("--detector", default="dlib-hog", help=f"what finds faces (default: %(default)s); one of {', '.join(detectors.names())}")
    add("--detect-every", "--detect_every", type=int, default=5, help="detect on every Nth frame, follow in between (default: 5)")
    add("--landmarks-from", "--landmarks_from", default="compressed", help="compressed (default, as at inference) or original")
    add("--keyframes", default="gop", help="gop: the stream's I-frames (default), or a number of seconds between key frames")
    add("--smoothing", type=float, help="landmark smoothing, standard deviation in frames, 0 to 10 (default: 1.5; official layout: 0)")
    add(
        "--lossless", action=argparse.BooleanOptionalAction, default=None, help="PNG crops, else JPEG (default: PNG; official layout: JPEG)"
    )
    add("--seconds-limit", "--seconds_limit", type=seconds, help="take only so many seconds of each video (default: all)")
    add("--overwrite", action="store_true", help="make complete clips again")
    add("--jobs", type=int, default=1, help="videos at a time, one process of one thread each (default: 1)")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run preprocessing; 0 when every video became a clip, 2 when one did not."""
    given = parse(argv)
    from keyframes_gan.preprocess import Settings, run  # noqa: PLC0415  # after --help has been answered

    official = given.layout == "official"
    try:
        key_seconds = None if given.keyframes == "gop" else seconds(given.keyframes)
    except argparse.ArgumentTypeError as error:
        msg = f"--keyframes: expected gop or a number of seconds, got {given.keyframes!r}"
        raise UserError(msg) from error
    settings = Settings(
        base=given.base_path,
        crfs=tuple(dict.fromkeys(given.crf or [42])),
        layout=given.layout,
        size=given.size,
        crop_template=given.template,
        detector=given.detector,
        every=given.detect_every,
        landmarks_from=given.landmarks_from,
        key_seconds=key_seconds,
        smoothing=given.smoothing if given.smoothing is not None else (0.0 if official else 1.5),
        lossless=given.lossless if given.lossless is not None else not official,
        limit=given.seconds_limit,
        overwrite=given.overwrite,
    )
    summary = run(settings, jobs=given.jobs)
    print(f"{len(summary.made)} clips made, {len(summary.kept)} complete before, {len(summary.problems)} problems")
    return EXIT_USER_ERROR if summary.problems else 0


if __name__ == "__main__":
    raise SystemExit(run_door(main))
