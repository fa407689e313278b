"""Restore the faces in a video (-i, -o), or in folders that preprocessing.py made (--base_path). See docs/inference.md."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from keyframes_gan import restorers
from keyframes_gan.errors import UserError, run_door


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="restorers: " + "; ".join(f"{k}: {v[1]}" for k, v in restorers.RESTORERS.items())
    )
    source = parser.add_argument_group("one video in, one video out").add_argument
    source("-i", "--input", type=Path, help="video, folder of images, or image")
    source("-o", "--output", type=Path, help="restored video (.mp4, .mkv, .mov, .webm); sound, subtitles and times are kept")
    source("--reference", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos of the people in the video, used as key frames")
    source("--compare", type=Path, metavar="FILE", help="also write input and output side by side")
    source("--report", type=Path, metavar="FILE", help="also write what was done, and the seconds of each stage, as JSON")
    source("--no-face", default="error", help="video without any face: error (default), or copy it through")
    paper = parser.add_argument_group("the paper's protocol, on preprocessed folders").add_argument
    paper("--base_path", "--base-path", type=Path, help="folder that preprocessing.py worked on")
    paper("--crf", type=int, default=42, help="which compressed version (default: 42)")
    paper(
        "--save_stages",
        "--save-stages",
        action="store_true",
        help="save five pictures per frame: crop, key frame, warped, restored, pasted",
    )
    add = parser.add_argument
    add("--restorer", default=restorers.DEFAULT, help=f"{', '.join(restorers.names())} (default: {restorers.DEFAULT})")
    add("--weights", help="other weights: a name from pretrained_models/manifest.yml, or a file")
    add("--max_keyframes", "--max-keyframes", type=int, default=5, help="key frames remembered per person (default: 5)")
    add("--policy", default="lfu", help="which key frame leaves a full memory: lfu (default), lru, or all (none leaves)")
    add("--detector", default="dlib-hog", help="dlib-hog (default) or dlib-cnn")
    add("--detect-every", type=int, default=10, help="search the whole picture for faces every Nth frame (default: 10)")
    add("--max-faces", type=int, help="restore only so many faces at a time, the largest (default: all)")
    add("--smoothing", type=float, default=1.5, help="landmark smoothing, standard deviation in frames (default: 1.5)")
    add("--codec", default="h264", help="h264 (default), hevc, av1, ffv1")
    add("--quality", type=float, default=17.0, help="constant rate factor of the output, lower is better (default: 17)")
    add("--preset", default="medium", help="encoder preset, ultrafast to veryslow (default: medium)")
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    add("--precision", default="fp32", help="fp32 (default) or bf16")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run one of the two forms."""
    given = parse(argv)
    if (given.base_path is None) == (given.input is None) or (given.input is None) != (given.output is None):
        msg = "expected either -i INPUT -o OUTPUT or --base_path FOLDER, got neither or a mixture; see --help"
        raise UserError(msg)
    other = ("--save_stages",) if given.input else ("--reference", "--compare", "--report", "--no-face")
    used = [flag for flag in other if getattr(given, flag.lstrip("-").replace("-", "_")) not in (None, False, [], "error")]
    if used:
        msg = f"{', '.join(used)}: expected only with {'--base_path' if given.input else '-i and -o'}; leave it out"
        raise UserError(msg)
    from keyframes_gan.pipeline import door  # noqa: PLC0415  # after --help has been answered

    return door.restore_file(given) if given.input else door.restore_folders(given)


if __name__ == "__main__":
    raise SystemExit(run_door(main))
