"""Frames per second with 1, 4 and 9 faces in 1280x720, each to its expert, against all of them through the heavier one, in one run.

    python benchmarks/bench_routed.py CLIPS [--videos VIDEO ...] [--frames 48] [--rounds 2] [--write]

CLIPS is a folder of videos with one face each. Their frames, scaled so that the faces have the widths in `WIDTHS`, are put on one picture,
and that is compressed. Both ways do the same frames in every round, by turns first; the quicker round of each counts, and its profile (see
`--profile`) is kept. Loading does not count. `cpu_ratio` compares processor seconds, which other work on the machine disturbs less.
Identity: cosine similarity of dlib's vectors between the faces of the result and those of the uncompressed picture, at the landmarks that
the pass found, on every eighth frame.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402

from benchmarks.record import circumstances, write  # noqa: E402
from keyframes_gan.faces import detectors  # noqa: E402
from keyframes_gan.faces.identity import embed, similarity  # noqa: E402
from keyframes_gan.faces.landmarks import Landmarker, box_of  # noqa: E402
from keyframes_gan.pipeline.settings import Settings  # noqa: E402
from keyframes_gan.pipeline.stream import build_restorer, restore_video  # noqa: E402
from keyframes_gan.restorers.routed import DEFAULT  # noqa: E402
from keyframes_gan.types import Image, Restorer  # noqa: E402
from keyframes_gan.video.compress import encode_frames  # noqa: E402
from keyframes_gan.video.read import VideoReader  # noqa: E402
from keyframes_gan.video.write import Encoding  # noqa: E402

SIZE = (1280, 720)
CRF = 28
WIDTHS = {1: (120,), 4: (200, 130, 80, 44), 9: (170, 160, 155, 140, 120, 105, 80, 60, 44)}
CELLS = {1: 1, 4: 2, 9: 3}
GOAL = 2.0
LOOK_EVERY = 8
ROUTED, HEAVY = "routed", "every face to T"
FEW = 4


@dataclass(frozen=True)
class Way:
    """What is measured: settings, and the restorer that was built from them."""

    settings: Settings
    restorer: Restorer


@dataclass(frozen=True)
class Run:
    """One pass over one clip: seconds of work, processor seconds, and what else is kept of it."""

    seconds: float
    cpu_seconds: float
    told: dict[str, Any]


def face_frames(path: Path, count: int) -> tuple[list[Image], float]:
    """Return the first frames of a clip and the width of its face."""
    frames = first_frames(path, count)
    box = box_of(Landmarker().points(frames[0], detectors.find("dlib-hog")().detect(frames[0])[0].box, rounds=2))
    return frames, float(box[2] - box[0])


def composed(clips: list[Path], faces: int, count: int) -> list[Image]:
    """Return pictures with `faces` faces on a grid."""
    columns = CELLS[faces]
    width, height = SIZE[0] // columns, SIZE[1] // columns
    whole = [np.full((SIZE[1], SIZE[0], 3), 90, np.uint8) for _ in range(count)]
    for number, wanted in enumerate(WIDTHS[faces]):
        frames, found = face_frames(clips[number % len(clips)], count)
        left, top = number % columns * width, number // columns * height
        for index in range(count):
            rgb = frames[index % len(frames)]
            small = cv2.resize(rgb, None, fx=wanted / found, fy=wanted / found, interpolation=cv2.INTER_AREA)
            y, x = (max((side - room) // 2, 0) for side, room in zip(small.shape, (height, width), strict=False))
            part = small[y : y + height, x : x + width]
            v, u = top + (height - part.shape[0]) // 2, left + (width - part.shape[1]) // 2
            whole[index][v : v + part.shape[0], u : u + part.shape[1]] = part
    return whole


def first_frames(path: Path, count: int) -> list[Image]:
    with VideoReader(path) as reader:
        return [frame.rgb for frame, _ in zip(reader, range(count), strict=False)]


def identity(path: Path, tracks: Path, originals: list[Image]) -> float:
    listed = json.loads(tracks.read_text())["frames"]
    found = []
    with VideoReader(path) as reader:
        for frame in reader:
            if frame.index % LOOK_EVERY == 0:
                for face in listed[frame.index]["faces"]:
                    points = np.array(face["landmarks"], np.float32)
                    found.append(similarity(embed(frame.rgb, points), embed(originals[frame.index], points)))
    return float(np.mean(found))


def ways_in(folder: Path, precision: str) -> dict[str, Way]:
    """Return both ways, their networks loaded."""
    options = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    every = folder / "every.yml"
    every.write_text(yaml.safe_dump({**options, "bands": [{"from_px": 0, "expert": "T"}]}), encoding="utf-8")
    made = {}
    for name, weights in ((ROUTED, None), (HEAVY, str(every))):
        settings = Settings(restorer="routed", weights=weights, precision=precision, encoding=Encoding(codec="ffv1"))
        made[name] = Way(settings, build_restorer(settings))
    return made


def passed(way: Way, source: Path, originals: list[Image]) -> Run:
    """Let one way restore `source`."""
    target, tracks = source.with_name("out.mkv"), source.with_name("tracks.json")
    before = time.process_time()
    outcome = restore_video(source, target, way.settings, tracks=tracks, restorer=way.restorer, progress=False)
    cpu_seconds = time.process_time() - before
    told = {
        "frames_per_second": round(outcome.frames / outcome.profile.work_seconds, 3),
        "cpu_seconds": round(cpu_seconds, 2),
        "identity": round(identity(target, tracks, originals), 4),
        "faces": [{key: one[key] for key in ("expert", "w", "frames")} for one in outcome.routes],
        "profile": outcome.profile.as_json(),
    }
    return Run(outcome.profile.work_seconds, cpu_seconds, told)


def measured(name: str, originals: list[Image], ways: dict[str, Way], folder: Path, rounds: int) -> dict[str, Any]:
    """Return what both ways take for one clip."""
    source = folder / "in.mp4"
    encode_frames(iter(originals[:FEW]), source, rate=Fraction(25), crf=CRF)
    for way in ways.values():  # the first pass loads the models of faces and prepares the networks for this size
        restore_video(source, folder / "few.mkv", way.settings, restorer=way.restorer, progress=False)
    encode_frames(iter(originals), source, rate=Fraction(25), crf=CRF)
    best: dict[str, Run] = {}
    for number in range(rounds):
        for key in list(ways)[:: 1 if number % 2 == 0 else -1]:
            run = passed(ways[key], source, originals)
            print(f"{name}, {key}: {run.told['frames_per_second']} frames/s, {run.cpu_seconds:.1f} s of processor time", flush=True)
            best[key] = min(best.get(key, run), run, key=lambda one: one.seconds)
    routed, heavy = best[ROUTED], best[HEAVY]
    restoring = [one.told["profile"]["stages"]["restore"]["seconds"] for one in (heavy, routed)]
    return {
        "video": name,
        "frames": len(originals),
        "ways": {key: run.told for key, run in best.items()},
        "input_identity": round(identity(source, source.with_name("tracks.json"), originals), 4),
        "ratio": round(heavy.seconds / routed.seconds, 2),
        "cpu_ratio": round(heavy.cpu_seconds / routed.cpu_seconds, 2),
        "restore_ratio": round(restoring[0] / max(restoring[1], 1e-2), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Routed experts against one expert for all.")
    parser.add_argument("clips", type=Path, help="folder of videos with one face each")
    parser.add_argument("--frames", type=int, default=48, help="length of the clips (default: 48)")
    parser.add_argument("--rounds", type=int, default=2, help="how often both ways are measured; the quicker run counts (default: 2)")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="videos of several people to measure too, their first frames")
    parser.add_argument("--faces", type=int, nargs="*", choices=sorted(WIDTHS), default=sorted(WIDTHS), help="how many (default: 1 4 9)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="of the networks (default: fp32)")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/routed.json")
    given = parser.parse_args()
    around = circumstances(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads()))
    clips = sorted(given.clips.glob("*.mp4"))
    with tempfile.TemporaryDirectory() as folder:
        ways = ways_in(Path(folder), given.precision)
        made = ((f"{faces} faces {WIDTHS[faces]}", composed(clips, faces, given.frames)) for faces in given.faces)
        real = ((path.stem, first_frames(path, given.frames)) for path in given.videos)
        results = [measured(name, pictures, ways, Path(folder), given.rounds) for name, pictures in itertools.chain(made, real)]
    for one in results:
        alone = f"{one['cpu_ratio']} by processor time, restoring alone {one['restore_ratio']}"
        print(f"{one['video']}: {one['ratio']} times as many frames/s, {alone} (goal {GOAL:g})")
    if given.write:
        print(f"written: {write('routed', around, {'precision': given.precision, 'rounds': given.rounds, 'clips': results})}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
