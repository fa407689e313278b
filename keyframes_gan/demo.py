"""`make demo`: a short face video is compressed hard, restored with the default weights, and measured.

Without an input the clip is `keyframes_gan.portrait.portrait_clip`, so that the demonstration needs nothing from outside.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from keyframes_gan import measure, report
from keyframes_gan.atomic import unwritable
from keyframes_gan.benchmark import video_report
from keyframes_gan.errors import DoorParser, FaceError, MediaError, path_of, run_door
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.portrait import portrait_clip
from keyframes_gan.video.compress import compress
from keyframes_gan.video.packets import count_frames
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding, VideoWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyframes_gan.pipeline.stream import Outcome

CLIP_SIZE = 384
CLIP_FRAMES = 75
CLIP_RATE = Fraction(25)
CRF = 42
SHEET_ROWS = 4
METRICS = ("psnr", "ssim")
LABELS = ("original", f"compressed, CRF {CRF}", "restored")


def make_clip(path: Path) -> None:
    """Write the portrait clip, losslessly but for 4:2:0."""
    encoding = Encoding(crf=0)
    with VideoWriter(path, size=(CLIP_SIZE, CLIP_SIZE), time_base=1 / CLIP_RATE, rate=CLIP_RATE, encoding=encoding) as writer:
        for index, picture in enumerate(portrait_clip(CLIP_FRAMES, (CLIP_SIZE, CLIP_SIZE))):
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
    parser = DoorParser(description="Compress a face video, restore it with the default weights, and show the gain.")
    parser.add_argument("--input", type=path_of, help="a video of your own (default: a clip made from a public-domain portrait)")
    parser.add_argument("--output", type=path_of, default=Path("demo"), help="folder for the results (default: demo)")
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
    try:
        outcome = restore_video(compressed, restored, Settings(), compare=comparison)
    except FaceError as error:
        msg = f"--input: expected a video with a face, found none in {original}; choose another, or see python video_inference.py --help"
        raise FaceError(msg) from error
    write_sheet((original, compressed, restored), folder / "contact_sheet.png")
    show(original, compressed, outcome, folder)
    for path, what in (
        (restored, "the restored video"),
        (comparison, "before and after, side by side"),
        (folder / "contact_sheet.png", "a few moments, with the original"),
        (folder / "report.html", "the report: open it in a browser"),
        (folder / "metrics.json", "the numbers, also by frame in metrics.csv"),
    ):
        sys.stdout.write(f"written: {path}: {what}\n")
    return 0


def show(original: Path, compressed: Path, outcome: Outcome, folder: Path) -> None:
    """Measure what was restored, print the gains, and write them and the report into `folder`."""
    settings = measure.Settings(
        gt_path=original,
        inference_path=outcome.target,
        compressed_path=compressed,
        output=folder,
        metrics=METRICS,
        regions=("whole", "face"),
    )
    summary = measure.measure_folders(settings)
    measure.print_summary(summary)
    measure.write_summary(summary, folder)
    page = folder / "report.html"
    video_report(page, compressed, outcome.target, original=original, metrics=METRICS, about=outcome.as_json())
    sys.stdout.write(f"{outcome.frames} frames in {outcome.seconds:.1f} s ({outcome.frames / outcome.seconds:.1f} frames/s)\n")


if __name__ == "__main__":
    raise SystemExit(run_door(main))
