"""The flags of `video_inference.py`. Importing this must stay cheap, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

from keyframes_gan import restorers
from keyframes_gan.faces import detectors

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
    "--mask",
    "--max_length",
    "--overlap",
    "--protocol",
    "--only_center_face",
    "--has_aligned",
    "--min-identity",
    "--draw_box",
    "--save_video_fps",
    "--tracks",
    "--suffix",
    "--resume",
    "--dry-run",
)
ONLY_CAMERA = ("--seconds", "--max-frames")
NOT_CAMERA = ("--resume", "--dry-run")
"""Flags that belong to one form alone, by the name their value has in the result."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of the command line, with every flag and its default."""
    epilog = "restorers: " + "; ".join(f"{name}: {row[1]}" for name, row in restorers.RESTORERS.items())
    made = argparse.ArgumentParser(description=description, epilog=epilog)
    _add_video(made.add_argument_group("one video in, one video out"))
    _add_clips(made.add_argument_group("faces and clips, for one video in, one video out"))
    _add_finish(made.add_argument_group("the output picture, for one video in, one video out"))
    _add_paper(made.add_argument_group("the paper's protocol, on preprocessed folders"))
    _add_shared(made)
    return made


def _add_video(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-i", "--input", type=Path, help="video, folder of images, image, or folder of videos")
    add("--camera", metavar="N", help="live input instead of -i: 0 is the first camera; Ctrl-C ends the recording")
    add("--seconds", type=float, help="of a camera: end after so long")
    add("--max-frames", "--max_frames", type=int, help="of a camera: end after so many frames")
    add(
        "-o",
        "--output",
        type=Path,
        help="restored video (.mp4, .mkv, .mov, .webm); an image for an image; a folder for a folder of videos or images",
    )
    add("--suffix", default="", help="appended, after an underscore, to the name of every output video")
    add("--resume", action="store_true", help="folder of videos: leave alone what is finished, with the same input and settings")
    add("--dry-run", "--dry_run", action="store_true", help="write nothing; say how many frames, how much memory, about how long")
    add("--reference", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos of the people in the video, used as key frames")
    add("--compare", type=Path, metavar="FILE", help="also write input and output side by side")
    add("--report", type=Path, metavar="FILE", help="also write what was done, and the seconds of each stage, as JSON")
    add("--tracks", type=Path, metavar="FILE", help="also write every face of every frame, and what was done with it, as JSON")
    add("--no-face", default="error", help="video without any face: error (default), or copy it through")


def _rate(text: str) -> Fraction:
    """Read frames per second: 25, 29.97 or 30000/1001."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        msg = f"expected frames per second, such as 25 or 30000/1001, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from error


def _add_clips(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--max_length", "--max-length", type=int, help="most frames of a clip (default: as the restorer asks; keep: 20)")
    add("--overlap", type=int, help="frames that neighbouring clips share (default: as the restorer asks; keep: 4, others 0)")
    add("--protocol", default="stream", help="stream (default): memory goes from clip to clip; paper: every clip begins anew")
    which = group.add_mutually_exclusive_group()
    centre = "restore only the face nearest to the picture's centre"
    which.add_argument("--only_center_face", "--only-center-face", dest="only_center_face", action="store_true", help=centre)
    which.add_argument("--all-faces", "--all_faces", dest="only_center_face", action="store_false", default=False, help="the default")
    add("--has_aligned", "--has-aligned", action="store_true", help="every input frame is an aligned, square face already")
    add("--min-identity", "--min_identity", type=float, default=0.0, help="weaken restored faces less alike than that, 0 to 1 (default: 0)")
    add("--draw_box", "--draw-box", action="store_true", help="draw a box around every restored face")
    add("--save_video_fps", "--save-video-fps", type=_rate, help="frames per second of the output (default: the input's own times)")


def _add_finish(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--upscale", type=int, default=1, help="the output is so many times as large as the input, 1 (default) to 4")
    add("--bg_upsampler", "--bg-upsampler", default="none", help="enlarges the background: none (default, Lanczos), bicubic, realesrgan")
    add("--bg_tile", "--bg-tile", type=int, default=400, help="tiles in which a network sees it, in pixels (default: 400); 0 for the whole")
    add("--face_upsample", "--face-upsample", action="store_true", help="enlarge the restored faces with Real-ESRGAN too")
    add("--strength", type=float, default=1.0, help="how much of the restored face to show, 0 to 1 (default: 1)")
    add("--color-match", "--color_match", action="store_true", help="give restored faces the colours they had")
    add("--blend", default="feather", help="how faces are blended in: feather (default), poisson, multiband")
    add("--mask", default="auto", help="what of a restored face is shown: auto (default), parse, soft, bisenet, parsenet")


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
    known = ", ".join(detectors.names())
    add("--detector", "--detection_model", default="dlib-hog", help=f"what finds faces (default: dlib-hog); one of {known}")
    add("--detect-every", type=int, default=10, help="search the whole picture for faces every Nth frame (default: 10)")
    add("--max-faces", type=int, help="restore only so many faces at a time, the largest (default: all)")
    smoothing = "landmark smoothing, standard deviation in frames (default: 1.5; --protocol paper: 5)"
    add("--smoothing", type=float, help=smoothing)
    add("--smoother", default="gaussian", help="gaussian (default), or one-euro, which lets fast movements through")
    add("--codec", default="h264", help="h264 (default), hevc, av1, ffv1")
    add("--quality", type=float, default=17.0, help="constant rate factor of the output, lower is better (default: 17)")
    add("--preset", default="medium", help="encoder preset, ultrafast to veryslow (default: medium)")
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    add("--precision", default="fp32", help="fp32 (default) or bf16")
