"""Training samples per second of one loader worker, for every data set, and what reading by seeking saves.

    python benchmarks/bench_data.py [--base_path datasets/train] [--crf 42] [--samples 24] [--rounds 3] [--write]

Without --base_path (a folder that preprocessing.py has worked on) a made portrait clip is preprocessed first. A worker is one thread; its
processor time is counted, so that other work on the machine disturbs the figures least; each is the fastest of several rounds. "cached"
means that all crops are in memory, as `cache_gb` keeps them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.record import circumstances, write  # noqa: E402
from data.clips import read_originals  # noqa: E402
from data.dmsasff_dataset import DMSASFFNetDataset  # noqa: E402
from data.keyframe_clip_dataset import KeyframeClipDataset  # noqa: E402
from data.position import Positioned  # noqa: E402
from data.vfhq_dataset import SingleVFHQDataset, VFHQDataset  # noqa: E402
from keyframes_gan.faces.align import invert, transform_points  # noqa: E402
from keyframes_gan.portrait import portrait_clip  # noqa: E402
from keyframes_gan.preprocess.clip import make_clip  # noqa: E402
from keyframes_gan.preprocess.records import write_list  # noqa: E402
from keyframes_gan.preprocess.settings import Settings  # noqa: E402
from keyframes_gan.video.compress import encode_frames  # noqa: E402
from keyframes_gan.video.read import VideoReader  # noqa: E402
from keyframes_gan.video.seek import SeekingReader  # noqa: E402
from keyframes_gan.video.write import Encoding  # noqa: E402

Dataset = DMSASFFNetDataset | VFHQDataset | SingleVFHQDataset
WIDTH, HEIGHT, RATE, ZOOM = 720, 720, 25, 3.0
CACHE_GB = 8.0
LONG_FRAMES, LONG_GOP, LONG_WINDOW = 1000, 250, 8


def processor_seconds(job: Callable[[], object]) -> float:
    start = time.process_time()
    job()
    return time.process_time() - start


def make_base(base: Path, crf: int) -> None:
    """Preprocess a made portrait clip with a face of about 300 pixels."""
    (base / "original").mkdir()
    encode_frames(portrait_clip(60, (WIDTH, HEIGHT), ZOOM), base / "original" / "clip.mp4", rate=RATE, crf=14)
    settings = Settings(base=base, crfs=(crf,), size=None)
    make_clip(base / "original" / "clip.mp4", crf, settings, lambda _: None, threads=1)
    write_list(base, crf)


def footage_folder(clips: Path, folder: Path) -> None:
    """Put the original videos of a list and their landmarks in frame pixels into a folder, as `data.footage` reads them."""
    for clip in read_originals([str(clips)]):
        with VideoReader(clip.original) as reader:
            frames = [frame.rgb for frame in islice(reader, clip.first, clip.first + len(clip))]
        encode_frames(frames, folder / f"{clip.name}.mp4", rate=clip.rate, crf=14)
        matrices = np.load(clip.folder / "matrices.npy")
        points = [transform_points(points, invert(matrix)) for points, matrix in zip(clip.landmarks, matrices, strict=True)]
        np.save(folder / f"{clip.name}.npy", np.stack(points))


def measure(dataset: Dataset, samples: int, rounds: int) -> dict[str, float]:
    """Return seconds per sample after one untimed round; every round asks for the same samples."""
    stream = Positioned(dataset, 0)
    indices = np.random.default_rng(0).integers(0, len(dataset), samples).tolist()

    def read() -> None:
        for position, index in enumerate(indices):
            _ = stream[index, position]

    read()
    seconds = min(processor_seconds(read) for _ in range(rounds)) / samples
    return {"seconds_per_sample": round(seconds, 5), "samples_per_second": round(1 / seconds, 1)}


def data_sets(clips: Path, videos: Path) -> dict[str, Dataset]:
    """Return the data sets to measure, by what to call them."""
    opt: dict[str, Any] = {"name": "bench", "phase": "train", "dataroot": [str(clips)]}
    film: dict[str, Any] = {"name": "bench", "phase": "train", "dataroot_gt": str(videos)}
    return {
        "DMSASFFNetDataset 128 px": DMSASFFNetDataset(opt),
        "DMSASFFNetDataset 128 px, cached": DMSASFFNetDataset({**opt, "cache_gb": CACHE_GB}),
        "KeyframeClipDataset 128 px": KeyframeClipDataset(opt),
        "KeyframeClipDataset 128 px, cached": KeyframeClipDataset({**opt, "cache_gb": CACHE_GB}),
        "KeyframeClipDataset 128 px, from videos": KeyframeClipDataset({**opt, "source": "video"}),
        "VFHQDataset 8 x 512 px, from crops": VFHQDataset(opt),
        "VFHQDataset 8 x 512 px, from videos": VFHQDataset(film),
        "SingleVFHQDataset 512 px, from crops": SingleVFHQDataset(opt),
        "SingleVFHQDataset 512 px, from videos": SingleVFHQDataset(film),
    }


def seeking(folder: Path, rounds: int) -> dict[str, float]:
    """Return seconds to read a window in the middle of a long video's last group of pictures, by seeking and from the start."""
    path = folder / "long.mp4"
    one_loop = list(portrait_clip(50, (640, 360), 1.5))
    frames = (one_loop[index % 50] for index in range(LONG_FRAMES))
    encode_frames(frames, path, rate=RATE, encoding=Encoding(crf=20, preset="veryfast", threads=1))
    first = LONG_FRAMES - LONG_GOP // 2
    reader = SeekingReader(path)
    len(reader)
    fast = min(processor_seconds(lambda: reader.read(range(first, first + LONG_WINDOW))) for _ in range(rounds))
    slow = min(processor_seconds(lambda: list(islice(VideoReader(path), first, first + LONG_WINDOW))) for _ in range(rounds))
    return {"from_the_start_seconds": round(slow, 4), "by_seeking_seconds": round(fast, 4), "times_faster": round(slow / fast, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Training samples per second and worker of every data set.")
    parser.add_argument("--base_path", type=Path, help="a folder that preprocessing.py has worked on (default: a made portrait clip)")
    parser.add_argument("--crf", type=int, default=42, help="which of its lists (default: 42)")
    parser.add_argument("--samples", type=int, default=24, help="samples per round (default: 24)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; each figure is the fastest of them (default: 3)")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/data.json")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    around = circumstances("1")
    with tempfile.TemporaryDirectory() as name:
        base = arguments.base_path or Path(name) / "base"
        if arguments.base_path is None:
            base.mkdir()
            make_base(base, arguments.crf)
        clips, videos = base / f"clips_{arguments.crf}.jsonl", Path(name) / "videos"
        videos.mkdir()
        footage_folder(clips, videos)
        measured = {label: measure(dataset, arguments.samples, arguments.rounds) for label, dataset in data_sets(clips, videos).items()}
        for label, row in measured.items():
            print(f"{label}: {row['samples_per_second']} samples/s per worker ({row['seconds_per_sample']} s each)")
        found = seeking(Path(name), arguments.rounds)
        print(f"{LONG_WINDOW} frames near the end of a video of {LONG_FRAMES}: {found}")
        sizes = sorted({clip.size for clip in read_originals([str(clips)])})
    if arguments.write:
        source = "made portrait" if arguments.base_path is None else "clips given"
        write("data", around, {"source": source, "crop_sizes": sizes, "per_worker": measured, "seeking": found})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
