"""`make demo`: a short face video is compressed hard, restored with the default weights, and measured.

Without an input the clip is made from scikit-image's public-domain portrait (`skimage.data.astronaut()`, NASA), moved and zoomed
smoothly, so that the demonstration needs nothing from outside.
"""

from __future__ import annotations

import argparse
import math
import sys
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from keyframes_gan import measure, report
from keyframes_gan.atomic import unwritable
from keyframes_gan.errors import MediaError, run_door
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.types import Image
from keyframes_gan.video.compress import compress
from keyframes_gan.video.read import VideoReader, count_frames
from keyframes_gan.video.write import Encoding, VideoWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLIP_SIZE = 384
CLIP_FRAMES = 100
CLIP_RATE = Fraction(25)
CRF = 42
FACE_CENTRE = (224.0, 118.0)
SHEET_ROWS = 4
LABELS = ("original", f"compressed, CRF {CRF}", "restored")


def portrait_clip(frames: int = CLIP_FRAMES, size: tuple[int, int] = (CLIP_SIZE, CLIP_SIZE), zoom: float = 1.45) -> Iterator[Image]:
    """Yield `frames` pictures, uint8 RGB, of `size` (width, height): the portrait drifting, turning by a few degrees and coming nearer.

    `zoom` is the mean magnification; the face is about 100 px wide times `zoom`.
    """
    from skimage.data import astronaut  # noqa: PLC0415  # slow to import, and only the demonstration needs it

    portrait = np.ascontiguousarray(astronaut())
    for index in range(frames):
        phase = 2.0 * math.pi * index / frames
        matrix = cv2.getRotationMatrix2D(FACE_CENTRE, 3.0 * math.sin(2.0 * phase), zoom * (1.0 + 0.17 * math.sin(phase)))
        drift = 0.057 * min(size) * math.sin(phase + 0.7), 0.036 * min(size) * math.cos(phase)
        matrix[:, 2] += [side / 2 + moved - centre for side, moved, centre in zip(size, drift, FACE_CENTRE, strict=True)]
        yield cv2.warpAffine(portrait, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def make_clip(path: Path) -> None:
    """Write the portrait clip, losslessly but for 4:2:0."""
    encoding = Encoding(crf=0)
    with VideoWriter(path, size=(CLIP_SIZE, CLIP_SIZE), time_base=1 / CLIP_RATE, rate=CLIP_RATE, encoding=encoding) as writer:
        for index, picture in enumerate(portrait_clip(CLIP_FRAMES)):
            writer.write(picture, index / CLIP_RATE)


def write_sheet(versions: Sequence[Path], path: Path) -> None:
    """Write a contact sheet: a few moments of the video, original, compressed and restored side by side."""
    count = count_frames(versions[0])
    step = max(count // SHEET_ROWS, 1)
    columns = []
    for version in versions:
        with VideoReader(version) as reader:
            columns.append([frame.rgb for frame in islice(reader, step // 2, None, step)][:SHEET_ROWS])
    report.contact_sheet(list(zip(*columns, strict=True)), LABELS, path, cell_height_px=CLIP_SIZE)


def main(argv: Sequence[str]) -> int:
    """Compress, restore, measure, and leave videos and pictures in the output folder."""
    parser = argparse.ArgumentParser(description="Compress a face video, restore it with the default weights, and show the gain.")
    parser.add_argument("--input", type=Path, help="a video of your own (default: a clip made from a public-domain portrait)")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the results (default: demo)")
    given = parser.parse_args(argv)
    folder: Path = given.output
    original = given.input or folder / "original.mp4"
    compressed, restored, comparison = (folder / f"{name}.mp4" for name in ("compressed", "restored", "comparison"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    if original.resolve() in {path.resolve() for path in (compressed, restored, comparison)}:
        msg = f"--input: expected a video that the demonstration does not write itself, got {original}; rename it or change --output"
        raise MediaError(msg)
    if given.input is None:
        make_clip(original)
    compress(original, compressed, crf=CRF)
    outcome = restore_video(compressed, restored, Settings(), compare=comparison)
    write_sheet((original, compressed, restored), folder / "contact_sheet.png")
    settings = measure.Settings(
        gt_path=original,
        inference_path=restored,
        compressed_path=compressed,
        output=folder,
        metrics=("psnr", "ssim"),
        regions=("whole", "face"),
    )
    summary = measure.measure_folders(settings)
    measure.print_summary(summary)
    measure.write_summary(summary, folder)
    sys.stdout.write(f"{outcome.frames} frames in {outcome.seconds:.1f} s ({outcome.frames / outcome.seconds:.1f} frames/s)\n")
    for path in (restored, comparison, folder / "contact_sheet.png", folder / "metrics.json"):
        sys.stdout.write(f"written: {path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_door(main))
