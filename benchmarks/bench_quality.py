"""What the shipped weights gain on videos they have not seen: compress, restore through the whole-frame pipeline, measure.

    python benchmarks/bench_quality.py --videos ../shared/data/clips/val [--crf 42] [--restorer keyframes_lite] [--write]

The restored video is measured as written to disk, its own encoding included; no key frame is sent, and no photo given.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.record import circumstances, write  # noqa: E402
from keyframes_gan import measure  # noqa: E402
from keyframes_gan.measure.results import as_json  # noqa: E402
from keyframes_gan.pipeline.settings import Settings  # noqa: E402
from keyframes_gan.pipeline.stream import restore_video  # noqa: E402
from keyframes_gan.preprocess.settings import SUFFIXES  # noqa: E402
from keyframes_gan.video.compress import compress  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what a restorer gains on compressed videos.")
    parser.add_argument("--videos", type=Path, required=True, help="folder of high-quality videos with faces")
    parser.add_argument("--crf", type=int, default=42, help="x264 constant rate factor of the compressed twins (default: 42)")
    parser.add_argument("--restorer", default="keyframes_lite", help="default: keyframes_lite")
    parser.add_argument("--weights", help="other weights than the restorer's own")
    parser.add_argument("--metrics", default="psnr,ssim,brisque", help="default: psnr,ssim,brisque")
    parser.add_argument("--every", type=int, default=2, help="measure every Nth frame (default: 2)")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/quality.json")
    given = parser.parse_args()
    around = circumstances(torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        compressed, restored = Path(folder) / "compressed", Path(folder) / "restored"
        compressed.mkdir()
        restored.mkdir()
        for video in sorted(path for path in given.videos.iterdir() if path.suffix in SUFFIXES):
            compress(video, compressed / f"{video.stem}.mp4", crf=given.crf)
            settings = Settings(restorer=given.restorer, weights=given.weights)
            restore_video(compressed / f"{video.stem}.mp4", restored / f"{video.stem}.mp4", settings)
        summary = measure.measure_folders(
            measure.Settings(
                gt_path=given.videos,
                inference_path=restored,
                compressed_path=compressed,
                metrics=tuple(given.metrics.split(",")),
                regions=("whole", "face"),
                every=given.every,
            )
        )
    measure.print_summary(summary)
    if given.write:
        measured = as_json(summary)
        kept = {"videos": [{key: row[key] for key in row if key != "files"} for row in measured["videos"]], "total": measured["total"]}
        print(f"written: {write('quality', around, {'crf': given.crf, 'restorer': given.restorer, 'every': given.every, **kept})}")
    return 0 if summary.complete else 1


if __name__ == "__main__":
    raise SystemExit(main())
