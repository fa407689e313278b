"""Every recipe at toy size, as shipped, from crops of a face to a restored video.

Each trains, validates, saves, goes on where it was stopped as if it had not been, is put among the weights and restores a video. Only data,
folders and numbers of iterations are not those of the files. KEEP's stages begin with what the stage before made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import archs
import train
import video_inference
from keyframes_gan import weights, weights_door
from keyframes_gan.errors import run_door

FRAMES, SIZE = 8, 128
RECIPES = ("keyframes", "keyframes_lite", "keep_stage1", "keep_stage2", "keep_stage3", "srnet")
BEFORE = {"keep_stage2": ("pretrain_network_vqgan", "keep_stage1"), "keep_stage3": ("pretrain_network_g", "keep_stage2")}
RESTORERS = {
    "keyframes": "keyframes_lite",
    "keyframes_lite": "keyframes_lite",
    "keep_stage2": "keep",
    "keep_stage3": "keep",
    "srnet": "srnet",
}
TERMS = {
    "keyframes": {"l_pix", "l_g_gan", "l_d_real", "l_d_fake"},
    "keyframes_lite": {"l_pix"},
    "keep_stage1": {"l_pix", "l_codebook", "perplexity", "gan_weight", "l_g_gan", "l_d_real", "l_d_fake"},
    "keep_stage2": {"l_pix", "l_feature", "l_entropy", "right_codes"},
    "keep_stage3": {"l_pix", "l_temporal", "l_g_gan", "l_d_real", "l_d_fake"},
    "srnet": {"l_pix", "l_frequency"},
}

Go = Callable[..., Path]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a `clips_42.jsonl` of two clips that show a public-domain portrait drifting, and itself blurred as the compressed twin.

    Both are cut out of one video, of the portrait without motion.
    """
    from skimage.data import astronaut  # noqa: PLC0415  # slow to import

    base, rows = tmp_path_factory.mktemp("faces"), []
    portrait = cv2.resize(astronaut()[0:224, 110:334], (SIZE + 16, SIZE + 16), interpolation=cv2.INTER_AREA)
    # The 68 points: a ring, and eyes, nose and mouth where the portrait has them, (x, y) in the first crop.
    points = np.stack([64 + 40 * np.cos(np.arange(68)), 64 + 40 * np.sin(np.arange(68))], axis=1)
    points[36:42], points[42:48], points[30], points[48], points[54] = (50, 52), (78, 52), (64, 66), (52, 82), (76, 82)
    with av.open(str(base / "still.mkv"), "w") as output:
        video = output.add_stream("ffv1", rate=25)
        (video.height, video.width), video.pix_fmt = portrait.shape[:2], "bgr0"
        for _ in range(FRAMES):
            output.mux(video.encode(av.VideoFrame.from_ndarray(portrait, format="rgb24")))
        output.mux(video.encode(None))
    for number, name in enumerate(("first", "second")):
        folder = base / "processed_42" / name
        for stream in ("original", "compressed"):
            (folder / stream).mkdir(parents=True)
        for frame in range(FRAMES):
            crop = np.ascontiguousarray(portrait[frame : frame + SIZE, number + frame : number + frame + SIZE, ::-1])
            cv2.imwrite(str(folder / "original" / f"{frame:06d}.png"), crop)
            cv2.imwrite(str(folder / "compressed" / f"{frame:06d}.png"), cv2.GaussianBlur(crop, (9, 9), 3))
        np.save(folder / "landmarks.npy", np.stack([points - frame for frame in range(FRAMES)]).astype(np.float32))
        np.save(folder / "matrices.npy", np.array([[[1.0, 0, -number - frame], [0, 1.0, -frame]] for frame in range(FRAMES)]))
        flags = [frame % 4 == 0 for frame in range(FRAMES)]
        row = {"version": 1, "name": name, "crf": 42, "size": SIZE, "count": FRAMES, "folder": f"processed_42/{name}", "is_key": flags}
        rows.append(json.dumps({**row, "original": "still.mkv", "first": 0, "rate": "25"}) + "\n")
    (base / "clips_42.jsonl").write_text("".join(rows))
    return base / "clips_42.jsonl"


@pytest.fixture(scope="module")
def go(faces: Path, repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Go:
    """Give `go(recipe, *overrides, name=, words=, processes=)`: trains, and returns the experiment's folder.

    With nothing but the recipe it trains only the first time. The stages before it are trained first.
    """
    experiments = tmp_path_factory.mktemp("experiments")

    def run(recipe: str, *overrides: str, name: str | None = None, words: tuple[str, ...] = (), processes: int = 0) -> Path:
        given = [f"datasets:{phase}:dataroot=[{faces}]" for phase in ("train", "val")]
        given += [f"path:experiments_dir={experiments}", "train:total_iter=4", "val:val_freq=2", "logger:save_checkpoint_freq=2"]
        given += ["datasets:train:num_worker_per_gpu=0", "logger:print_freq=1", f"name={name or recipe}"]
        if recipe in BEFORE:
            key, stage = BEFORE[recipe]
            given.append(f"path:{key}={trained(stage) / 'models' / 'net_g_latest.pth'}")
        if recipe == "keep_stage1":
            given.append("train:net_d_start_iter=3")
        if recipe == "keyframes_lite":
            given += [f"datasets:{phase}:cache={experiments / 'streams'}" for phase in ("train", "val")]
        file = repo_root / "options" / "train" / "tiny" / f"{recipe}.yml"
        line = ["-opt", str(file), *words, "--force_yml", *given, *overrides]
        if processes:
            torchrun(processes, line)
        else:
            assert run_door(train.main, line) == 0
        return experiments / (name or recipe)

    def torchrun(processes: int, line: list[str]) -> None:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "train.py"]
        surroundings = {**os.environ, "OMP_NUM_THREADS": "1"}
        whole = [*start, "--launcher", "pytorch", *line]
        done = subprocess.run(whole, check=False, capture_output=True, text=True, cwd=repo_root, env=surroundings, timeout=300)
        assert done.returncode == 0, done.stderr

    def trained(recipe: str) -> Path:
        folder = experiments / recipe
        return folder if (folder / "models" / "net_g_latest.pth").is_file() else run(recipe)

    def either(recipe: str, *overrides: str, **settings: Any) -> Path:
        return run(recipe, *overrides, **settings) if overrides or settings else trained(recipe)

    return either


@pytest.fixture
def own_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder of weights with a copy of the manifest, in place of the repository's."""
    folder = tmp_path / "pretrained_models"
    folder.mkdir()
    shutil.copy(weights.FOLDER / weights.MANIFEST, folder)
    monkeypatch.setattr(weights, "FOLDER", folder)
    return folder


def final(folder: Path) -> dict[str, dict[str, Tensor]]:
    states: dict[str, dict[str, Tensor]] = torch.load(folder / "models" / "net_g_latest.pth", weights_only=True)
    return states


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_trains_validates_and_saves(recipe: str, go: Go) -> None:
    folder = go(recipe)
    rows = [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [2, 4]
    assert all(np.isfinite(row["restored"]["psnr"]) for row in rows)
    log = next(folder.glob("train_*.log")).read_text()
    last = next(line for line in reversed(log.splitlines()) if "iter:" in line).rpartition("]")[2].split()
    assert set(part.removesuffix(":") for part in last if part.endswith(":")) == TERMS[recipe]
    made = {path.name for path in (folder / "models").iterdir()}
    assert {"net_g_2.pth", "net_g_4.pth", "net_g_latest.pth", "net_g_latest.safetensors", "net_g_best.safetensors"} <= made
    states = final(folder)
    assert any(not torch.equal(value, states["params_ema"][key]) for key, value in states["params"].items())


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_goes_on_as_if_it_had_not_been_stopped(recipe: str, go: Go) -> None:
    straight = go(recipe)
    stopped = straight.with_name(f"{recipe}_stopped")
    shutil.copytree(straight, stopped)
    (stopped / "training_states" / "4.state").unlink()
    for path in (stopped / "models").glob("net_g_latest.*"):
        path.unlink()
    assert go(recipe, name=stopped.name, words=("--auto_resume",)) == stopped
    wanted, found = final(straight), final(stopped)
    for key, state in wanted.items():
        assert all(torch.equal(value, found[key][name]) for name, value in state.items())


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_it_made_can_be_used_by_name(recipe: str, go: Go, own_manifest: Path, portrait_video: Path, tmp_path: Path) -> None:
    source = go(recipe) / "models" / "net_g_latest.pth"
    assert run_door(weights_door.main, ["add", "tiny", "--from", str(source), "--licence", "CC0-1.0"]) == 0
    row = weights.entry("tiny")
    assert (own_manifest / row.file).is_file()
    if recipe not in RESTORERS:  # a VQGAN restores nothing; it gives good pictures back
        network = archs.build(row.arch, **row.kwargs)
        weights.load_into(network, weights.load_state("tiny"), name="tiny")
        assert network(torch.zeros(1, 3, 64, 64))[0].shape == (1, 3, 64, 64)
        return
    output = tmp_path / "out.mkv"
    words = ["-i", portrait_video, "-o", output, "--restorer", RESTORERS[recipe], "--weights", "tiny", "--device", "cpu", "--codec", "ffv1"]
    assert run_door(video_inference.main, [str(word) for word in words]) == 0
    before, after = pictures(portrait_video), pictures(output)
    assert len(after) == len(before) == 12
    assert all(one.shape == other.shape and not np.array_equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("recipe", ["keep_stage1", "keep_stage3"])
def test_perception_joins_in_with_its_weights(recipe: str, go: Go, lpips_files: dict[str, str]) -> None:
    given = [f"path:{key}={file}" for key, file in lpips_files.items()]
    folder = go(recipe, *given, "train:perceptual_opt={type: LPIPSLoss, range_norm: true}", "train:total_iter=1", name=f"{recipe}_lpips")
    assert "l_percep:" in next(folder.glob("train_*.log")).read_text()


def test_two_processes_have_the_gradient_of_one_with_twice_the_batch(go: Go) -> None:
    """Of KEEP's third stage. One step of SGD at rate 1: what guides the generator moves by just the gradient."""
    options = ["train:total_iter=1", "val:val_freq=100", "train:ema_decay=0", "train:optim_d={type: SGD, lr: 1e-30}"]
    moves = []
    for settings in ({"name": "one"}, {"name": "two", "processes": 2}):
        samples = 1 if "processes" in settings else 2
        given = [*options, "train:optim_g={type: SGD, lr: 1}", f"datasets:train:batch_size_per_gpu={samples}"]
        moves.append(final(go("keep_stage3", *given, **settings))["params"])
    begun = final(go("keep_stage3", *options, "train:optim_g={type: SGD, lr: 1e-30}", name="begun"))["params"]
    for name, start in begun.items():
        ours, theirs = (start - moved[name] for moved in moves)
        torch.testing.assert_close(theirs, ours, atol=1e-3 * float(ours.abs().max()) + 2**-22 * float(start.abs().max()), rtol=0, msg=name)
        assert name.startswith(("cft.", "cfa.")) is bool(ours.any()), name


def test_two_processes_weigh_the_adversarial_term_together(go: Go) -> None:
    # The discriminator has batch statistics of its own in each process, so there is no equality to ask for: only that they go in step.
    folder = go("keep_stage1", name="together", processes=2)
    assert "gan_weight:" in next(folder.glob("train_*.log")).read_text()
    assert (folder / "training_states" / "4.state").is_file()
