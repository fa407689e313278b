"""Fixtures shared by all tests: where the external test material lies, and made checkpoints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C, and so would what tests start

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    folder = SHARED / "parity"
    if not folder.is_dir():
        pytest.skip("the parity fixtures are not beside the checkout (../shared/parity)")
    return folder


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    folder = SHARED / "data" / "clips"
    if not folder.is_dir():
        pytest.skip("the face clips are not beside the checkout (../shared/data/clips)")
    return folder


@pytest.fixture(scope="session")
def made_checkpoint(parity_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give `made(name, seed=0)`: a checkpoint file with a public model's key names, written once per session."""
    folder = tmp_path_factory.mktemp("checkpoints")
    made: dict[tuple[str, int], Path] = {}

    def make(name: str, seed: int = 0) -> Path:
        if (name, seed) not in made:
            target = folder / f"{name}_{seed}.pth"
            command = [sys.executable, str(parity_dir / "make_checkpoint.py"), name, str(target), "--seed", str(seed)]
            subprocess.run(command, check=True, capture_output=True)
            made[name, seed] = target
        return made[name, seed]

    return make


@pytest.fixture(scope="session")
def synthetic_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a `clips_42.jsonl` in preprocessing.py's layout: 2 clips of 24 crops of 96 px, every 10th a key frame.

    Pixel values tell where a crop comes from: red is the frame's number, green the clip's, blue 10 in the originals and 200 in the
    compressed twins, but for a smooth texture of +-8 levels in all channels. Landmarks drift by half a pixel per frame.
    """
    base = tmp_path_factory.mktemp("clips")
    rows, size, count = [], 96, 24
    for number, name in enumerate(("first", "second")):
        folder = base / "processed_42" / name
        rng = np.random.default_rng(number)
        texture = cv2.resize(rng.integers(0, 17, (12, 12, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR) - 8
        for stream, blue in (("original", 10), ("compressed", 200)):
            (folder / stream).mkdir(parents=True)
            for frame in range(count):
                rgb = np.clip(texture + np.float32([10 * frame + 8, 100 * number + 50, blue]), 0, 255).round().astype(np.uint8)
                cv2.imwrite(str(folder / stream / f"{frame:06d}.png"), rgb[:, :, ::-1])
        points = rng.uniform(10, size - 30, (68, 2))
        np.save(folder / "landmarks.npy", np.stack([points + 0.5 * frame for frame in range(count)]).astype(np.float32))
        flags = [frame % 10 == 0 for frame in range(count)]
        rows.append({"name": name, "crf": 42, "size": size, "count": count, "folder": f"processed_42/{name}", "is_key": flags})
    target = base / "clips_42.jsonl"
    target.write_text("".join(json.dumps({"version": 1, **row}) + "\n" for row in rows))
    return target


@pytest.fixture(scope="session")
def portrait_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a video made with PyAV alone: a public-domain portrait that drifts, 12 frames of 224x224 at 25/s, and a tone.

    Its key frames are 0, 5 and 10.
    """
    from skimage.data import astronaut  # noqa: PLC0415  # slow to import

    path, portrait = tmp_path_factory.mktemp("portrait") / "portrait.mp4", astronaut()
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", rate=25, options={"crf": "16", "g": "5", "bf": "0", "sc_threshold": "0", "preset": "fast"})
        picture.width, picture.height, picture.pix_fmt = 224, 224, "yuv420p"
        sound = output.add_stream("aac", rate=48000, layout="mono", bit_rate=64000)
        for index in range(12):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(portrait[0:224, 106 + index : 330 + index]), format="rgb24")
            frame.pts = index
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        for first in range(0, 48000 * 12 // 25, 1024):
            wave = np.sin(2 * np.pi * 440 * (first + np.arange(1024)) / 48000).astype(np.float32) * 0.3
            samples = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 48000, first, Fraction(1, 48000)
            output.mux(sound.encode(samples))
        output.mux(sound.encode(None))
    return path


@pytest.fixture(scope="session")
def identity_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a weights file of a `DMSASFFNetLite` as it is made: its residual output is zero, it changes nothing."""
    from safetensors.torch import save_file  # noqa: PLC0415  # imports torch

    import archs  # noqa: PLC0415

    path = tmp_path_factory.mktemp("weights") / "identity.safetensors"
    save_file({key: value.contiguous() for key, value in archs.build("DMSASFFNetLite").state_dict().items()}, path)
    return path


@pytest.fixture(scope="session")
def lpips_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the options' keys of LPIPS's two files, made with random numbers (the heads positive, as they are)."""
    import torch  # noqa: PLC0415  # slow to import

    from archs.lpips_arch import LPIPS  # noqa: PLC0415

    torch.manual_seed(0)
    state, folder = LPIPS().state_dict(), tmp_path_factory.mktemp("lpips")
    torch.save({key: value for key, value in state.items() if key.startswith("features")}, folder / "alexnet.pth")
    torch.save({key: value.abs() for key, value in state.items() if key.startswith("lin")}, folder / "heads.pth")
    return {"pretrain_network_alexnet": str(folder / "alexnet.pth"), "pretrain_network_lpips": str(folder / "heads.pth")}
