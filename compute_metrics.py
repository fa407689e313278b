"""Measure restored videos against their originals: `python compute_metrics.py --gt_path B/original --inference_path DIR`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from keyframes_gan.errors import EXIT_USER_ERROR, run_door
from keyframes_gan.metrics import DEFAULT, METRICS


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    listed = "\n".join(
        f"  {metric.name:14} {metric.summary}; {'higher' if metric.higher_is_better else 'lower'} is better" for metric in METRICS.values()
    )
    parser = argparse.ArgumentParser(
        description="Measure restored videos against their originals, next to the compressed ones.",
        epilog=f"metrics:\n{listed}\n\nexit status: 0 all measured; 2 a video was missing or could not be measured",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--gt_path", "--gt-path", type=Path, required=True, help="folder of original videos, or one video")
    add("--inference_path", "--inference-path", type=Path, required=True, help="folder of restored videos of the same names, or one")
    add("--compressed_path", "--compressed-path", type=Path, help="folder of compressed videos, to show the gain")
    add("--output", type=Path, help="folder for metrics.csv and metrics.json (default: that of the restored videos)")
    add("--metrics", default=",".join(DEFAULT), help="comma-separated (default: %(default)s)")
    add("--face-region", "--face_region", action="store_true", help="also measure inside the faces of the original only")
    add("--detector", default="dlib-hog", help="face detector for --face-region: dlib-hog (default) or dlib-cnn")
    add("--crop_border", "--crop-border", type=int, default=0, help="pixels left out on every side (default: 0)")
    add("--every", type=int, default=1, help="measure every Nth frame (default: every frame)")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, write the files; 0 when everything was measured, else 2."""
    given = parse(argv)
    from keyframes_gan import measure  # noqa: PLC0415  # after --help has been answered

    settings = measure.Settings(
        gt_path=given.gt_path,
        inference_path=given.inference_path,
        compressed_path=given.compressed_path,
        output=given.output,
        metrics=tuple(name.strip() for name in given.metrics.split(",") if name.strip()),
        face_region=given.face_region,
        detector=given.detector,
        crop_border=given.crop_border,
        every=given.every,
    )
    summary = measure.measure_folders(settings)
    measure.print_summary(summary)
    for path in measure.write_summary(summary, settings.folder):
        print(f"written: {path}")
    return 0 if summary.complete else EXIT_USER_ERROR


if __name__ == "__main__":
    raise SystemExit(run_door(main))
