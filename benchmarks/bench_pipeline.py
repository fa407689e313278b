"""Frames per second and peak memory of whole-video restoration with the default weights, on made portrait clips.

    python benchmarks/bench_pipeline.py speed  [--rounds 3] [--write]
    python benchmarks/bench_pipeline.py memory [--seconds 60 600] [--write]

speed   a 390x512 and a 1280x720 clip with one face, through the streaming pass and, in turn in the same run, through the plain method:
        the same network at the same crop size, but a face search on every frame, the network in float32 and contiguous memory, and the
        crop blended over the whole frame. Both include decoding and encoding.
memory  peak resident memory of a process that restores a 60 s and a 600 s video (256x320, 10 frames a second, with restored faces).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from archs.keyframe_flow_arch import AHEAD, KEY_CHANNELS, Made, carried  # noqa: E402
from benchmarks.record import circumstances, write  # noqa: E402
from keyframes_gan import weights  # noqa: E402
from keyframes_gan.faces import align, detectors  # noqa: E402
from keyframes_gan.faces.landmarks import Landmarker  # noqa: E402
from keyframes_gan.keyframes.flow import FlowGuides  # noqa: E402
from keyframes_gan.pipeline.settings import Settings  # noqa: E402
from keyframes_gan.pipeline.stream import restore_video  # noqa: E402
from keyframes_gan.portrait import portrait_clip  # noqa: E402
from keyframes_gan.restorers.keyframes_lite import flow_network  # noqa: E402
from keyframes_gan.types import CROP_SIZES, Image  # noqa: E402
from keyframes_gan.video.compress import encode_frames  # noqa: E402
from keyframes_gan.video.read import VideoReader  # noqa: E402
from keyframes_gan.video.write import Encoding, VideoWriter  # noqa: E402

SIZES = ((390, 512), (1280, 720))
ZOOM = 1.75
CRF = 42
GOAL_FPS = 8.0
GOAL_RATIO, GOAL_BYTES = 1.10, 1.5e9
CHILD = """
import resource, sys
from pathlib import Path
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import restore_video
outcome = restore_video(Path(sys.argv[1]), Path(sys.argv[2]), Settings(), progress=False)
unit = 1 if sys.platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, outcome.frames, outcome.faces, outcome.seconds)
"""


class PlainMethod:
    """The same network without the pipeline's care: every frame by itself, in float32, contiguous, pasted over the whole picture."""

    def __init__(self) -> None:
        self.network = flow_network("keyframes_lite", weights.load_state("keyframes_lite")).eval()
        self.detector, self.landmarker, self.guides = detectors.find("dlib-hog")(), Landmarker(), FlowGuides()
        self.past: tuple[Image, Made] | None = None

    def frame(self, rgb: Image, following: Sequence[Image]) -> Image:
        points = self.landmarker.points(rgb, self.detector.detect(rgb)[0].box, rounds=2)
        size = align.native_size(points, CROP_SIZES)
        matrix = align.CropSpec("paper", size).to_crop(points)
        given = align.crop(rgb, matrix, size)
        compressed, key, known = planes(given).div(255), torch.zeros(1, KEY_CHANNELS, size, size), None
        after = planes(self.guides.following(given, [align.crop(one, matrix, size) for one in following]))
        with torch.inference_mode():
            if self.past is not None and len(self.past[0]) == size:
                before, made = self.past
                known = carried(made, planes(before).div(255), compressed, planes(self.guides.flow(given, before)))
            restored = self.network(compressed, key, known, after)
        self.past = given, restored
        levels = restored.shown.clamp(0, 1).mul(255).round().byte()[0].permute(1, 2, 0).numpy()
        return align.paste_paper(rgb, np.ascontiguousarray(levels), matrix)

    def restore(self, source: Path, target: Path, limit: int) -> float:
        """Return seconds per frame over the first `limit` frames."""
        start, count = time.perf_counter(), 0
        with VideoReader(source) as reader:
            info = reader.info
            size = (info.width, info.height)
            with VideoWriter(target, size=size, time_base=info.time_base, rate=info.rate, like=info, encoding=Encoding()) as writer:
                self.past = None
                frames = list(islice(reader, limit + AHEAD))
                for number, frame in enumerate(frames[:limit]):
                    after = [one.rgb for one in frames[number + 1 : number + 1 + AHEAD]]
                    writer.write(self.frame(frame.rgb, after), frame.time)
                    count += 1
        return (time.perf_counter() - start) / count


def planes(picture: np.ndarray) -> torch.Tensor:
    """Return (H, W, C) as contiguous float32 (1, C, H, W)."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float().contiguous()


def speed(frames: int, plain_frames: int, rounds: int) -> list[dict[str, object]]:
    measured = []
    plain = PlainMethod()
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            source, target = Path(folder) / f"{width}.mp4", Path(folder) / "restored.mp4"
            encode_frames(portrait_clip(frames, (width, height), ZOOM), source, rate=Fraction(25), crf=CRF)
            best, slow = None, float("inf")
            for _ in range(rounds):
                outcome = restore_video(source, target, Settings(), progress=False)
                if best is None or outcome.seconds < best.seconds:
                    best = outcome
                slow = min(slow, plain.restore(source, target, plain_frames))
            if best is None:
                raise RuntimeError("expected at least one round")
            fps = best.frames / best.seconds
            row = {
                "size": f"{width}x{height}",
                "frames": best.frames,
                "faces": best.faces,
                "frames_per_second": round(fps, 2),
                "plain_frames_per_second": round(1 / slow, 2),
                "ratio": round(fps * slow, 2),
                "stage_ms_per_frame": {name: round(1000 * value / best.frames, 1) for name, value in best.stage_seconds.items()},
            }
            print(json.dumps(row))
            measured.append(row)
    print(f"goal: at least {GOAL_FPS} frames/s at 390x512: {'met' if measured[0]['frames_per_second'] >= GOAL_FPS else 'NOT met'}")
    return measured


def memory(lengths: list[int], rate: int, child: str = CHILD) -> list[dict[str, object]]:
    """Return the peak memory of the Python program `child`, which restores its first argument, for videos of so many seconds."""
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in lengths:
            source, target = Path(folder) / f"{seconds}.mp4", Path(folder) / "restored.mp4"
            beat = list(portrait_clip(10 * rate, (256, 320), 1.3))
            pictures = (beat[index % len(beat)] for index in range(seconds * rate))
            encode_frames(pictures, source, rate=Fraction(rate), crf=35)
            done = subprocess.run(
                [sys.executable, "-c", child, str(source), str(target)], cwd=ROOT, capture_output=True, text=True, check=True
            )
            peak, frames, faces, took = done.stdout.split()
            row = {"video_seconds": seconds, "frames": int(frames), "faces": int(faces), "peak_bytes": int(peak), "seconds": float(took)}
            print(json.dumps(row))
            measured.append(row)
    ratio = measured[-1]["peak_bytes"] / measured[0]["peak_bytes"]
    met = ratio <= GOAL_RATIO and measured[-1]["peak_bytes"] < GOAL_BYTES
    print(f"peak of the longest over the shortest: {ratio:.3f} (goal: at most {GOAL_RATIO}, under 1.5 GB): {'met' if met else 'NOT met'}")
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure whole-video restoration with the default weights.")
    parser.add_argument("what", choices=("speed", "memory"))
    parser.add_argument("--frames", type=int, default=120, help="length of the clips for speed (default: 120)")
    parser.add_argument("--plain-frames", type=int, default=12, help="frames for the plain method (default: 12)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; each figure is the fastest of them (default: 3)")
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 600], help="lengths of the videos for memory (default: 60 600)")
    parser.add_argument("--rate", type=int, default=10, help="frames per second of the videos for memory (default: 10)")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/pipeline_*.json")
    given = parser.parse_args()
    around = circumstances(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads()))
    measured = speed(given.frames, given.plain_frames, given.rounds) if given.what == "speed" else memory(given.seconds, given.rate)
    if given.write:
        print(f"written: {write(f'pipeline_{given.what}', around, measured)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
