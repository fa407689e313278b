"""The flags of `video_inference.py`. Importing this must stay cheap, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from keyframes_gan import restorers

ONLY_FOLDERS = ("--save_stages",)
ONLY_VIDEO = (
    "--reference",
    "--compare",
    "--report",
    "--no-face",
    "--upscale",
    "--bg_upsampler",
    "--bg_tile",
    "--face_upsample",
    "--strength",
    "--color-match",
    "--blend",
)
"""Flags that belong to one form alone, by the name their value has in the result."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of the command line, with every flag and its default."""
    epilog = "restorers: " + "; ".join(f"{name}: {row[1]}" for name, row in restorers.RESTORERS.items())
    made = argparse.ArgumentParser(description=description, epilog=epilog)
    _add_video(made.add_argument_group("one video in, one video out"))
    _add_finish(made.add_argument_group("the output picture, for one video in, one video out"))
    _add_paper(made.add_argument_group("the paper's protocol, on preprocessed folders"))
    _add_shared(made)
    return made


def _add_video(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-i", "--input", type=Path, help="video, folder of images, or image")
    add("-o", "--output", type=Path, help="restored video (.mp4, .mkv, .mov, .webm); sound, subtitles and times are kept")
    add("--reference", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos of the people in the video, used as key frames")
    add("--compare", type=Path, metavar="FILE", help="also write input and output side by side")
    add("--report", type=Path, metavar="FILE", help="also write what was done, and the seconds of each stage, as JSON")
    add("--no-face", default="error", help="video without any face: error (default), or copy it through")


def _add_finish(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--upscale", type=int, default=1, help="the output is so many times as large as the input, 1 (default) to 4")
    add("--bg_upsampler", "--bg-upsampler", default="none", help="enlarges the background: none (default, Lanczos), bicubic, realesrgan")
    add("--bg_tile", "--bg-tile", type=int, default=400, help="tiles in which a network sees it, in pixels (default: 400); 0 for the whole")
    add("--face_upsample", "--face-upsample", action="store_true", help="enlarge the restored faces with Real-ESRGAN too")
    add("--strength", type=float, default=1.0, help="how much of the restored face to show, 0 to 1 (default: 1)")
    add("--color-match", "--color_match", action="store_true", help="give restored faces the colours they had")
    add("--blend", default="feather", help="how faces are blended in: feather (default), poisson, multiband")


def _add_paper(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--base_path", "--base-path", type=Path, help="folder that preprocessing.py worked on")
    add("--crf", type=int, default=42, help="which compressed version (default: 42)")
    add(
        "--save_stages",
        "--save-stages",
        action="store_true",
        help="save five pictures per frame: crop, key frame, warped, restored, pasted",
    )


def _add_shared(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
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
