"""The flags of `video_inference.py`. Importing this must stay cheap, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from fractions import Fraction

from keyframes_gan import restorers
from keyframes_gan.errors import DoorParser, UserError, path_of
from keyframes_gan.faces import detectors

Actions = list[argparse.Action]


def read(argv: Sequence[str], description: str | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: none of the forms, or a flag of another form.
    """
    parser, foreign = _parser(description)
    given = parser.parse_args(argv)
    sources = [one for one in (given.input, given.camera, given.base_path) if one is not None]
    misplaced = given.output is None if given.camera is not None else given.output is not None and given.base_path is not None
    if len(sources) != 1 or misplaced:
        msg = "expected -i INPUT [-o OUTPUT], --camera N -o OUTPUT, or --base_path FOLDER, got none of them or a mixture; see --help"
        raise UserError(msg)
    forms = {
        "-i or --camera": given.base_path is None,
        "-i": given.input is not None,
        "--camera": given.camera is not None,
        "--base_path": given.base_path is not None,
    }
    for form, chosen in forms.items():
        used = [action.option_strings[0] for action in foreign[form] if getattr(given, action.dest) != action.default]
        if used and not chosen:
            msg = f"{', '.join(used)}: expected only with {form}; leave it out"
            raise UserError(msg)
    return given


def _parser(description: str | None) -> tuple[argparse.ArgumentParser, dict[str, Actions]]:
    """Return the parser, with every flag and its default, and the flags that belong to one form alone, by that form."""
    epilog = "restorers: " + "; ".join(f"{name}: {row[1]}" for name, row in restorers.RESTORERS.items())
    made = DoorParser(description=description, epilog=epilog)
    group = made.add_argument_group
    _add_places(group("what goes in and where it comes out"))
    only = {
        "-i or --camera": [
            *_add_products(group("more outputs; not with --base_path")),
            *_add_clips(group("faces and clips; not with --base_path")),
            *_add_finish(group("the output picture; not with --base_path")),
        ],
        "-i": _add_files(group("videos; only with -i")),
        "--camera": _add_camera(group("cameras; only with --camera")),
        "--base_path": _add_paper(group("the paper's protocol, on preprocessed folders; only with --base_path")),
    }
    _add_shared(made)
    return made, only


def _weights(text: str) -> str:
    """Read a name or a file; an empty one would otherwise mean the default."""
    if not text:
        msg = "expected a name or a file, got nothing"
        raise argparse.ArgumentTypeError(msg)
    return text


def _add_places(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-i", "--input", type=path_of, help="video, folder of images, image, or folder of videos")
    add("--camera", metavar="N", help="live input instead of -i: 0 is the first camera; Ctrl-C ends the recording")
    add("--base_path", "--base-path", type=path_of, help="folder that preprocessing.py worked on, instead of -i")
    outputs = "restored video (.mp4, .mkv, .mov, .webm); an image for an image; a folder for a folder of videos or images"
    add("-o", "--output", type=path_of, help=f"{outputs} (default: beside -i, called NAME_restored)")


def _add_files(group: argparse._ArgumentGroup) -> Actions:
    add = group.add_argument
    return [
        add("--resume", action="store_true", help="folder of videos: leave alone what is finished, with the same input and settings"),
        add("--dry-run", "--dry_run", action="store_true", help="write nothing; say how many frames, how much memory, about how long"),
    ]


def _add_camera(group: argparse._ArgumentGroup) -> Actions:
    add = group.add_argument
    return [
        add("--seconds", type=float, help="end after so long"),
        add("--max-frames", "--max_frames", type=int, help="end after so many frames"),
    ]


def _add_products(group: argparse._ArgumentGroup) -> Actions:
    add = group.add_argument
    photos = "photos of the people in the video, used as key frames"
    profile = (
        "also print milliseconds per stage and expert (median, 95th percentile), and the real-time factor: seconds of video per second "
        "of work, so from 1 on it keeps up; also in the --report"
    )
    return [
        add("--suffix", default="", help="appended, after an underscore, to the name of every output (without -o: restored)"),
        add("--reference", type=path_of, nargs="+", default=[], metavar="PHOTO", help=photos),
        add("--baseline", type=path_of, metavar="FILE", help="also write the input, only scaled to the output's size"),
        add("--compare", type=path_of, metavar="FILE", help="also write that and the output side by side"),
        add("--report", type=path_of, metavar="FILE", help="also write what was done: a page to look at (.html), or numbers (.json)"),
        add("--gt", type=path_of, metavar="VIDEO", help="the original, if there is one, for --report FILE.html to measure against"),
        add("--key_source", "--key-source", type=path_of, metavar="VIDEO", help="the original, for --key_interval"),
        add("--tracks", type=path_of, metavar="FILE", help="also write every face of every frame, and what was done with it, as JSON"),
        add("--faces", type=path_of, metavar="DIR", help="images: also write every face before and after, and all on one sheet"),
        add("--profile", action="store_true", help=profile),
        add("--no-face", "--no_face", default="error", help="video without any face: error (default), or copy it through"),
    ]


class _Once(argparse.Action):
    """A flag with several names, which must not say different things."""

    said: object = None

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option_string: str | None = None
    ) -> None:
        """Take the value, or refuse a second one."""
        if self.said not in (None, values):
            msg = f"{' and '.join(self.option_strings[:2])} are one flag: expected one value, got {self.said} and {values}; leave one out"
            raise UserError(msg)
        self.said = values
        setattr(namespace, self.dest, values)


def _size(text: str) -> tuple[int, int]:
    """Read width and height: 1280x720."""
    found = re.fullmatch(r"(\d+)x(\d+)", text.strip().lower())
    if found is None:
        msg = f"expected width and height in pixels, such as 1280x720, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(found[1]), int(found[2])


def _fraction(text: str) -> Fraction:
    """Read frames per second or seconds: 25, 29.97 or 30000/1001."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        msg = f"expected a number, such as 25, 0.5 or 30000/1001, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from error


def _add_clips(group: argparse._ArgumentGroup) -> Actions:
    add, which = group.add_argument, group.add_mutually_exclusive_group()
    centre = "restore only the face nearest to the picture's centre"
    identity = "weaken restored faces less alike than that, 0 to 1 (default: 0; routed: as its options say)"
    return [
        add("--max_length", "--max-length", type=int, help="most frames of a clip (default: as the restorer asks; keep: 20)"),
        add("--overlap", type=int, help="frames that neighbouring clips share (default: as the restorer asks; keep: 4, keyframes_lite: 5)"),
        add("--protocol", default="stream", help="stream (default): memory goes from clip to clip; paper: every clip begins anew"),
        which.add_argument("--only_center_face", "--only-center-face", dest="only_center_face", action="store_true", help=centre),
        which.add_argument("--all-faces", "--all_faces", dest="only_center_face", action="store_false", default=False, help="the default"),
        add("--has_aligned", "--has-aligned", action="store_true", help="every input frame is an aligned, square face already"),
        add("--min-identity", "--min_identity", type=float, help=identity),
        add("--draw_box", "--draw-box", action="store_true", help="draw a box around every restored face"),
        add(
            "--save_video_fps", "--save-video-fps", type=_fraction, help="frames per second of the output (default: the input's own times)"
        ),
    ]


def _add_finish(group: argparse._ArgumentGroup) -> Actions:
    add = group.add_argument
    size = "exactly this size, such as 1280x720, whatever the input's proportions (default: the input's size times --upscale)"
    background = "what enlarges the background: none or lanczos (the default: interpolation, nothing at 1), bicubic, model (Real-ESRGAN)"
    blend = "how faces are blended in: feather, poisson, multiband (default: feather; routed: multiband, for images poisson)"
    tile = "tiles in which a network sees it, in pixels (default: 400); 0 for the whole"
    return [
        add("--upscale", type=int, default=1, help="the output is so many times as large as the input, 1 (default) to 4"),
        add("--size", type=_size, metavar="WxH", help=size),
        add("--background", "--bg_upsampler", "--bg-upsampler", default="none", action=_Once, help=background),
        add("--bg_tile", "--bg-tile", type=int, default=400, help=tile),
        add("--face_upsample", "--face-upsample", action="store_true", help="enlarge the restored faces with Real-ESRGAN too"),
        add("--strength", type=float, default=1.0, help="how much of the restored face to show, 0 to 1 (default: 1)"),
        add("--color-match", "--color_match", action="store_true", help="give restored faces the colours they had"),
        add("--blend", help=blend),
        add("--mask", default="auto", help="what of a restored face is shown: auto (default), parse, soft, bisenet, parsenet"),
    ]


def _add_paper(group: argparse._ArgumentGroup) -> Actions:
    add = group.add_argument
    stages = "save five pictures per frame: crop, key frame, warped, restored, pasted"
    return [
        add("--crf", type=int, default=42, help="which compressed version (default: 42)"),
        add("--save_stages", "--save-stages", action="store_true", help=stages),
    ]


def _add_shared(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add("--restorer", default=restorers.DEFAULT, help=f"{', '.join(restorers.names())} (default: {restorers.DEFAULT})")
    add("--preset", help="which weights of keyframes_lite: faithful (default) or vivid")
    add("--weights", type=_weights, help="other weights: a name from pretrained_models/manifest.yml, or a file (routed: of options)")
    add("--max_keyframes", "--max-keyframes", type=int, default=5, help="key frames remembered per person (default: 5)")
    interval = "a high-quality key frame, from the original, every so many seconds, in place of the stream's own"
    add("--key_interval", "--key-interval", type=_fraction, metavar="SECONDS", help=interval)
    quality = "how --key_interval's key frames are coded before they serve: AV1 pictures of 1 (best) to 63 (default: without loss)"
    add("--key_quality", "--key-quality", type=int, metavar="CRF", help=quality)
    add("--policy", default="lfu", help="which key frame leaves a full memory: lfu (default), lru, or all (none leaves)")
    known = ", ".join(detectors.names())
    add("--detector", "--detection_model", default="dlib-hog", help=f"what finds faces (default: dlib-hog); one of {known}")
    add("--detect-every", "--detect_every", type=int, help="search the whole picture for faces every Nth frame (default: 10; routed: 12)")
    add("--max-faces", "--max_faces", type=int, help="restore only so many faces at a time, the largest (default: all)")
    smoothing = "landmark smoothing, standard deviation in frames (default: 1.5; --protocol paper: 5)"
    add("--smoothing", type=float, help=smoothing)
    add("--smoother", help="gaussian (default), or one-euro, which lets fast movements through")
    add("--codec", default="auto", help="h264, hevc, av1, vp9, ffv1 (default: h264; av1 in .webm)")
    add("--quality", type=float, default=17.0, help="constant rate factor of the output, lower is better (default: 17)")
    add("--encoder_preset", "--encoder-preset", default="medium", help="of the encoder, ultrafast to veryslow (default: medium)")
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    add("--precision", default="auto", help="fp32, bf16, or auto (default): fp32, but for keyframes_lite bf16 where that is faster")
