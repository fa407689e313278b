"""Measure restored videos against their originals: `python compute_metrics.py --gt FILE|DIR --restored FILE|DIR [--lq FILE|DIR]`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from keyframes_gan.errors import EXIT_USER_ERROR, DoorParser, path_of, run_door
from keyframes_gan.faces import detectors
from keyframes_gan.metrics import DEFAULT, METRICS

FORMS = (("--gt", "--gt_path", "--gt-path"), ("--restored", "--inference_path", "--inference-path"))
LOW_QUALITY = ("--lq", "--compressed_path", "--compressed-path")
REGIONS = {"full": "whole", "face": "face", "crop": "crop"}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    listed = "\n".join(f"  {metric.name:18} {metric.summary}; {metric.better} is better" for metric in METRICS.values())
    parser = DoorParser(
        description="Measure restored videos against their originals, next to the low-quality input. "
        "Paths are videos, folders of pictures, or trees of those, paired by name.",
        epilog=f"metrics:\n{listed}\n\nexit status: 0 all measured; 2 a video or a metric asked for was not; it is listed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, known = parser.add_argument, ", ".join(detectors.names())
    add(*FORMS[0], dest="gt", type=path_of, required=True, help="the originals")
    add(*FORMS[1], dest="restored", type=path_of, required=True, help="the restored versions, of the same names")
    add(*LOW_QUALITY, dest="lq", type=path_of, help="the low-quality versions, to show the gain")
    add("--output", type=path_of, help="folder for metrics.csv and metrics.json (default: that of the restored videos)")
    add("--metrics", help=f"comma-separated, or all (default: {','.join(DEFAULT)}); those named here must be available")
    add("--region", default="full", help="comma-separated: full (default), face (all faces' boxes), crop (the main face, aligned)")
    add("--face-region", "--face_region", action="store_true", help="the same as --region full,face")
    add("--detector", default="dlib-hog", help=f"what finds faces in the original (default: %(default)s); one of {known}")
    add("--crop_border", "--crop-border", type=int, default=0, help="pixels left out on every side (default: 0)")
    add("--every", type=int, default=1, help="measure every Nth frame (default: every frame)")
    add("--clip_length", "--clip-length", type=int, help="frames that were restored together, for seam_ratio")
    add("--jobs", type=int, default=1, help="videos at a time (default: 1)")
    add("--device", default="auto", help="where networks run: auto (default), cpu, cuda, ...")
    return parser.parse_args(argv)


def _used(form: Sequence[str], argv: Sequence[str]) -> str:
    """Return by which of its names an argument was given."""
    words = [word.partition("=")[0] for word in argv]
    return next((flag for flag in form if flag in words), form[0])


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, write the files; 0 when everything that was asked for was measured, else 2."""
    given = parse(argv)
    from keyframes_gan import measure  # noqa: PLC0415  # after --help has been answered

    asked = ["full", "face"] if given.face_region else [name.strip() for name in given.region.split(",")]
    named = given.metrics is not None and given.metrics.strip() != "all"
    listed = DEFAULT if given.metrics is None else METRICS
    names = [name.strip() for name in given.metrics.split(",") if name.strip()] if named else listed
    settings = measure.Settings(
        gt_path=given.gt,
        inference_path=given.restored,
        compressed_path=given.lq,
        output=given.output,
        metrics=tuple(names),
        regions=tuple(REGIONS.get(name, name) for name in asked),
        detector=given.detector,
        crop_border=given.crop_border,
        every=given.every,
        clip_length=given.clip_length,
        jobs=given.jobs,
        device=given.device,
        flags=(_used(FORMS[0], argv), _used(FORMS[1], argv), _used(LOW_QUALITY, argv)),
    )
    settings.check()
    measure.check_output(settings.folder)
    summary = measure.measure_folders(settings)
    measure.print_summary(summary)
    for path in measure.write_summary(summary, settings.folder):
        print(f"written: {path}")
    return 0 if summary.complete and not (named and summary.unavailable) else EXIT_USER_ERROR


if __name__ == "__main__":
    raise SystemExit(run_door(main))
