"""Training: time of a step against BasicSR's plain path, two processes against one, and how long a step waits for its data.

    python benchmarks/bench_training.py [step] [keep] [scaling] [waiting] [--threads 1] [--rounds 3] [--device auto] [--write]

step     DMSASFFNetLite as options/train/dmsasff_lite.yml trains it, batch 8 of 128x128, on one and the same batch
           basicsr   BasicSR's own SRModel on that network and loss: float32, contiguous memory, eager, its Adam, its moving average
           fp32      our engine: channels-last memory, clipping, a check of every step for NaN
           recipe    as the options say: bfloat16 besides
           compiled  and compiled, with fused AdamW
keep     KEEP's third stage, options/train/keep_stage3.yml, of published widths, from random weights and without the LPIPS term, whose
         weights would have to be fetched. On a GPU at 512 px with 8 frames; on a CPU at 256 px with 3, which fits into 8 GB (with 2 frames
         the bfloat16 weight gradients of 3-D convolutions are NaN at times, torch 2.15 on CPUs)
           plain     float32, contiguous memory, eager, as BasicSR's loop runs a model
           recipe    channels-last memory and bfloat16
scaling  30 steps of `recipe`, batch 4 a process, in one process and in two (gloo on CPUs, nccl on GPUs)
waiting  30 steps of the lite recipe with its data set and one worker: the share of the time that is spent in the step

The variants take turns, round by round; the figure is the fastest. On a CPU with one thread it is processor time, which other jobs on the
machine hardly change; with more threads, on a GPU and for `scaling` and `waiting` it is time on the wall. `waiting` needs
datasets/train/clips_42.jsonl, which preprocessing.py makes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.record import circumstances, write  # noqa: E402
from keyframes_gan import options, registry  # noqa: E402
from keyframes_gan.models import engine  # noqa: E402
from keyframes_gan.models.processes import joined  # noqa: E402

LITE, KEEP = "dmsasff_lite", "keep_stage3"
VARIANTS = {
    "fp32": ["train:precision=fp32"],
    "recipe": [],
    "compiled": ["compile=true", "train:optim_g:fused=true"],
}
PLAIN = ["train:precision=fp32", "channels_last=false"]
KEEP_SIZES = {"cpu": (256, 3), "cuda": (512, 8)}
GOALS = {"gpu_times_basicsr": 2.0, "share_in_step": 0.9}
STEPS = 30
TRIED = 3
"""So many steps go before those that are timed."""

Step = Callable[[], None]
Batch = dict[str, Any]


def described(recipe: str, overrides: list[str], device: str, launcher: str = "none") -> dict[str, Any]:
    """Return a recipe's options as models take them."""
    # One clip list, as only `waiting` reads it. No weights to begin with: they change no time.
    common = [f"device={device}", "train:warmup_iter=-1", "datasets:train:dataroot=[datasets/train/clips_42.jsonl]"]
    checked = options.load(ROOT / "options" / "train" / f"{recipe}.yml", [*common, *overrides], check_paths=False, processes=2)
    checked = checked.model_copy(update={"path": checked.path.model_copy(update={"pretrain_network_g": None})})
    return engine.to_basicsr(checked, root=ROOT, distributed=launcher != "none", auto_resume=False)


def engine_step(opt: dict[str, Any], batch: Batch) -> Step:
    """Return one step of a model of ours."""
    return step_of(registry.build_model(opt), batch)


def step_of(model: registry.BaseModel, batch: Batch) -> Step:
    """Return one step of a model of BasicSR's kind, always with the same samples."""
    done = itertools.count(1)

    def step() -> None:
        iteration = next(done)
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        model.optimize_parameters(iteration)

    return step


def basicsr_step(opt: dict[str, Any], batch: Batch) -> Step:
    """Return one step of BasicSR's SRModel, whose network here takes four inputs instead of one."""
    inputs = ("lq", "reference", "landmark", "valid")

    class Plain(registry.MODEL_REGISTRY.get("SRModel")):  # type: ignore[misc]
        def feed_data(self, data: Batch) -> None:
            self.given = [data[name].to(self.device) for name in inputs]
            self.lq, self.gt = self.given[0], data["gt"].to(self.device)

        def optimize_parameters(self, current_iter: int) -> None:
            net, self.net_g = self.net_g, lambda _lq: net(*self.given)
            try:
                super().optimize_parameters(current_iter)
            finally:
                self.net_g = net

        def model_ema(self, decay: float = 0.999) -> None:
            net = self.net_g
            self.net_g = self.bare
            super().model_ema(decay)
            self.net_g = net

        def model_to_device(self, net: torch.nn.Module) -> torch.nn.Module:
            self.bare: torch.nn.Module = net.to(self.device)
            return self.bare

    train = {**opt["train"], "optim_g": {"type": "Adam", "lr": 4e-4}, "scheduler": {"type": "MultiStepLR", "milestones": [10**6]}}
    return step_of(Plain({**opt, "path": {}, "train": train}), batch)


def lite_batch(count: int) -> Batch:
    """Return random pictures as the lite recipe's data set gives them."""
    draw = torch.Generator().manual_seed(0)
    pictures = {name: torch.rand(count, 3, 128, 128, generator=draw) for name in ("lq", "gt", "reference")}
    return {**pictures, "landmark": torch.rand(count, 1, 128, 128, generator=draw), "valid": torch.ones(count)}


def fastest_seconds(steps: dict[str, Step], rounds: int, device: str) -> dict[str, float]:
    """Return the fastest of `rounds` rounds of each; the variants take turns."""
    alone = device == "cpu" and torch.get_num_threads() == 1
    clock, repeats = time.process_time if alone else time.perf_counter, 1 if device == "cpu" else 10
    best = dict.fromkeys(steps, float("inf"))
    for step in steps.values():
        for _ in range(TRIED if device == "cuda" else 1):
            step()
    for _ in range(rounds):
        for name, step in steps.items():
            settle(device)
            begun = clock()
            for _ in range(repeats):
                step()
            settle(device)
            best[name] = min(best[name], (clock() - begun) / repeats)
    return best


def settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def compared(seconds: dict[str, float], samples: int, plain: str) -> dict[str, Any]:
    """Return samples a second and the ratio to the plain path, and print them."""
    rates = {name: round(samples / value, 3) for name, value in seconds.items()}
    ratios = {name: round(seconds[plain] / value, 2) for name, value in seconds.items()}
    for name, rate in rates.items():
        print(f"  {name:<9} {rate:9.2f} samples/s   {ratios[name]:.2f} x {plain}")
    return {"samples_per_second": rates, f"times_{plain}": ratios}


def measure_step(rounds: int, device: str) -> dict[str, Any]:
    opt = described(LITE, PLAIN, device)
    count = int(opt["datasets"]["train"]["batch_size_per_gpu"])
    batch = lite_batch(count)
    steps = {"basicsr": basicsr_step(opt, batch)}
    steps |= {name: engine_step(described(LITE, overrides, device), batch) for name, overrides in VARIANTS.items()}
    print(f"step of {LITE}, batch {count} of 128x128")
    return {"batch": count, "size": 128, **compared(fastest_seconds(steps, rounds, device), count, "basicsr")}


def measure_keep(rounds: int, device: str) -> dict[str, Any]:
    size, frames = KEEP_SIZES[device]
    sizes = [
        f"network_g:img_size={size}",
        f"datasets:train:gt_size={size}",
        f"datasets:val:gt_size={size}",
        f"datasets:train:num_frame={frames}",
        "train:perceptual_opt=null",
    ]
    draw = torch.Generator().manual_seed(0)
    clips: dict[str, Tensor] = {name: torch.rand(1, frames, 3, size, size, generator=draw) for name in ("lq", "gt")}
    # Each in turn and then let go, as two of them would not fit.
    seconds: dict[str, float] = {}
    for name, overrides in {"plain": PLAIN, "recipe": ["train:precision=bf16"]}.items():
        step = engine_step(described(KEEP, [*sizes, *overrides], device), clips)
        seconds |= fastest_seconds({name: step}, rounds, device)
        del step
    print(f"step of {KEEP}, one clip of {frames} frames of {size}x{size}")
    return {"frames": frames, "size": size, "left_out": "LPIPS term", **compared(seconds, 1, "plain")}


def child(device: str) -> None:
    """One of the processes of `scaling`: print samples a second, over all of them."""
    torch.set_num_threads(1)
    registry.register_all()
    checked = options.load(ROOT / "options" / "train" / f"{LITE}.yml", [f"device={device}"], check_paths=False, processes=2)
    with joined(checked, "pytorch"):
        opt = described(LITE, ["datasets:train:batch_size_per_gpu=4"], device, "pytorch")
        step = engine_step(opt, lite_batch(4))
        for _ in range(TRIED):
            step()
        torch.distributed.barrier()
        begun = time.perf_counter()
        for _ in range(STEPS):
            step()
        torch.distributed.barrier()
        settle(device)
        if opt["rank"] == 0:
            print(json.dumps({"samples_per_second": 4 * STEPS * opt["world_size"] / (time.perf_counter() - begun)}))


def measure_scaling(rounds: int, device: str) -> dict[str, Any]:
    rates = {"1": 0.0, "2": 0.0}
    for _ in range(rounds):
        for count, best in rates.items():
            line = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", __file__, "child"]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run([*line, "--device", device], check=True, capture_output=True, text=True, env=environment)
            rates[count] = max(best, round(json.loads(done.stdout.splitlines()[-1])["samples_per_second"], 2))
    ratio = round(rates["2"] / rates["1"], 2)
    print(f"scaling: {rates['1']} samples/s in one process, {rates['2']} in two: {ratio} times")
    return {"samples_per_second": rates, "times_one_process": ratio, "load_meanwhile": round(os.getloadavg()[0], 2)}


def measure_waiting(device: str) -> dict[str, Any]:
    opt = described(LITE, [f"train:total_iter={STEPS}", "datasets:train:cache_gb=0"], device)
    batches = iter(engine.loaders(opt, logging.getLogger("basicsr"), None)[0])
    model = registry.build_model(opt)
    waited = stepped = 0.0
    for iteration in range(1, STEPS + 1):
        begun = time.perf_counter()
        batch = next(batches)
        given = time.perf_counter()
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        settle(device)
        if iteration > TRIED:
            waited, stepped = waited + given - begun, stepped + time.perf_counter() - given
    share = round(stepped / (waited + stepped), 3)
    print(f"waiting: {share:.1%} of the time in the step, {waited / (STEPS - TRIED):.3f} s a step waiting for one worker")
    return {"share_in_step": share, "steps": STEPS - TRIED, "workers": opt["datasets"]["train"]["num_worker_per_gpu"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="step, keep, scaling, waiting; default: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--write", action="store_true", help="put the figures into benchmarks/results/training_DEVICE.json")
    given = parser.parse_args()
    device = ("cuda" if torch.cuda.is_available() else "cpu") if given.device == "auto" else given.device
    logging.getLogger("basicsr").setLevel(logging.ERROR)
    if "child" in given.parts:
        child(device)
        return
    torch.set_num_threads(given.threads)
    registry.register_all()
    around = circumstances(given.threads)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "step": lambda: measure_step(given.rounds, device),
        "keep": lambda: measure_keep(given.rounds, device),
        "scaling": lambda: measure_scaling(given.rounds, device),
        "waiting": lambda: measure_waiting(device),
    }
    wanted = given.parts or list(parts)
    if not set(wanted) <= set(parts):
        parser.error(f"expected parts of {', '.join(parts)}, got {', '.join(wanted)}")
    clock = "processor time for step and keep" if device == "cpu" and given.threads == 1 else "time on the wall"
    measured = {"device": device, "clock": clock, "goals": GOALS, **{name: parts[name]() for name in parts if name in wanted}}
    if given.write:
        print(f"written: {write(f'training_{device}', around, measured)}")


if __name__ == "__main__":
    main()
