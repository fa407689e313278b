"""Frames per second with 1, 4 and 9 faces in 1280x720, each to its expert, against all of them through the heaviest, in one run.

    python benchmarks/bench_routed.py CLIPS [--videos VIDEO ...] [--frames 24] [--write]

CLIPS is a folder of videos with one face each. Their frames, scaled so that the faces have the widths in `WIDTHS`, are put on one picture,
and that is compressed. Identity: cosine similarity of dlib's vectors between the faces of the result and those of the uncompressed
picture, at the landmarks that the pass found, on every eighth frame.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

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
from keyframes_gan.pipeline.stream import Outcome, restore_video  # noqa: E402
from keyframes_gan.restorers.routed import DEFAULT  # noqa: E402
from keyframes_gan.types import Image  # noqa: E402
from keyframes_gan.video.compress import encode_frames  # noqa: E402
from keyframes_gan.video.read import VideoReader  # noqa: E402
from keyframes_gan.video.write import Encoding  # noqa: E402

SIZE = (1280, 720)
CRF = 28
WIDTHS = {1: (120,), 4: (200, 130, 80, 44), 9: (170, 160, 155, 140, 120, 105, 80, 60, 44)}
CELLS = {1: 1, 4: 2, 9: 3}
GOAL = 2.0
LOOK_EVERY = 8


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


def measured(name: str, outcome: Outcome, same: float) -> dict[str, object]:
    return {
        "way": name,
        "frames_per_second": round(outcome.frames / outcome.seconds, 3),
        "restore_seconds": round(outcome.stage_seconds["restore"], 2),
        "identity": round(same, 4),
        "stage_ms_per_frame": {stage: round(1000 * value / outcome.frames, 1) for stage, value in outcome.stage_seconds.items()},
        "ms_per_face": {f"{one['expert']}, w {one['w']:.0f}": one["ms"] for one in outcome.as_json()["routes"]},
    }


def run(name: str, originals: list[Image], folder: Path) -> dict[str, object]:
    source = folder / "in.mp4"
    encode_frames(iter(originals), source, rate=Fraction(25), crf=CRF)
    options = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    every = folder / "every.yml"
    every.write_text(yaml.safe_dump({**options, "bands": [{"from_px": 0, "expert": "T"}]}), encoding="utf-8")
    target, tracks, rows = folder / "out.mkv", folder / "tracks.json", []
    lossless = Encoding(codec="ffv1")
    restore_video(source, target, Settings(restorer="none", encoding=lossless), progress=False)  # loads the models of faces
    for way, weights in (("routed", None), ("every face to T", str(every))):
        settings = Settings(restorer="routed", weights=weights, encoding=lossless)
        outcome = restore_video(source, target, settings, tracks=tracks, progress=False)
        rows.append(measured(way, outcome, identity(target, tracks, originals)))
        print(json.dumps({"video": name, **rows[-1]}))
    restoring = float(str(rows[1]["restore_seconds"])) / max(float(str(rows[0]["restore_seconds"])), 1e-2)
    whole = float(str(rows[0]["frames_per_second"])) / float(str(rows[1]["frames_per_second"]))
    found: dict[str, object] = {"video": name, "frames": len(originals), "rows": rows}
    return {
        **found,
        "input_identity": round(identity(source, tracks, originals), 4),
        "restore_ratio": round(restoring, 2),
        "ratio": round(whole, 2),
    }


def first_frames(path: Path, count: int) -> list[Image]:
    with VideoReader(path) as reader:
        return [frame.rgb for frame, _ in zip(reader, range(count), strict=False)]


def main() -> int:
    parser = argparse.ArgumentParser(description="Routed experts against one expert for all.")
    parser.add_argument("clips", type=Path, help="folder of videos with one face each")
    parser.add_argument("--frames", type=int, default=24, help="length of the clips (default: 24)")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="videos of several people to measure too, their first frames")
    parser.add_argument("--faces", type=int, nargs="+", choices=sorted(WIDTHS), default=sorted(WIDTHS), help="how many (default: 1 4 9)")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/routed.json")
    given = parser.parse_args()
    around = circumstances(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads()))
    clips = sorted(given.clips.glob("*.mp4"))
    with tempfile.TemporaryDirectory() as folder:
        made = ((f"{faces} faces {WIDTHS[faces]}", composed(clips, faces, given.frames)) for faces in given.faces)
        real = ((path.stem, first_frames(path, given.frames)) for path in given.videos)
        results = [run(name, pictures, Path(folder)) for name, pictures in itertools.chain(made, real)]
    for one in results:
        alone = f"restoring alone {one['restore_ratio']} times as fast"
        print(f"{one['video']}: {one['ratio']} times as many frames/s, {alone} (goal {GOAL:g})")
    if given.write:
        print(f"written: {write('routed', around, results)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
