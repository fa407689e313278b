"""KEEP at 512x512: time of a frame on the CPU against a plain path, frames per second on a GPU, memory over the length of a video.

    python benchmarks/bench_keep.py cpu    [--frames 4] [--threads 1] [--rounds 3] [--weights NAME] [--write]
    python benchmarks/bench_keep.py cuda   [--tracks 1 4 8] [--mode default] [--write]        only where CUDA is
    python benchmarks/bench_keep.py memory [--seconds 60 600] [--write]

cpu     frames of a track that goes on, as the restorer `keep` runs them, in one process and in turn with
          plain  the same network as published: attention at every call with scores written out, one frame at a time, both pictures of a
                 pair through the flow network, upsampling and convolving apart, contiguous memory, float32
          fp32   fused attention, frames encoded together, every frame once through the flow network's backbone, folded upsampling,
                 channels-last memory
          bf16   the same in bfloat16, but for flow, warping and the choice of codes
        The figure is the fastest of the rounds: processor time with one thread, which other jobs hardly change, wall time with several.
        plain and fp32 must agree; how far they and bf16 differ is reported.
cuda    `restore_many` of the restorer, bfloat16, compiled, over successive clips of 20 frames of one or more tracks, pictures in and out
        of the GPU included; and arithmetic per second against the largest matrix product's in the same run.
memory  peak resident memory of a process that restores a 60 s and a 600 s video (256x320, 10 frames a second) through the pipeline with
        a KEEP of toy size: every part of the published one, its state, its clips of 20 frames that look 4 ahead, but pictures of 64 px.

Weights are random unless `--weights` names some: they change neither time nor memory, but how close to each other two codes are.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from archs import gmflow_arch  # noqa: E402
from archs.flow import FlowField  # noqa: E402
from archs.keep_arch import KEEP, rename_v0  # noqa: E402
from benchmarks import bench_pipeline  # noqa: E402
from benchmarks.bench_dmsasffnet import fastest_ms  # noqa: E402
from benchmarks.record import circumstances, write  # noqa: E402
from keyframes_gan import weights  # noqa: E402
from keyframes_gan.restorers.keep import MOST_LOOKED_AT, SPEC, Keep  # noqa: E402
from keyframes_gan.types import FaceClip  # noqa: E402

SIZE = 512
GOALS = {"fp32": 1.25, "bf16": 2.0}
GPU_GOALS = {1: 60.0, 4: 150.0}
EQUAL = 1e-3
"""Largest difference of two float32 paths, of a range of 2, that rounding explains; a flipped code makes hundreds of times as much."""
TOY: dict[str, Any] = {
    "img_size": 64,
    "nf": 32,
    "ch_mult": (1, 1, 2, 2),
    "attn_resolutions": (8,),
    "res_blocks": 1,
    "emb_dim": 32,
    "codebook_size": 64,
    "dim_embd": 64,
    "n_head": 2,
    "n_layers": 2,
    "kalman_attn_head_dim": 8,
    "num_uncertainty_layers": 2,
    "cft_list": ("8", "16", "32"),
    "cfa_list": ("8", "16"),
    "cfa_nhead": 2,
    "cfa_dim": 16,
}
CHILD = """
import resource, sys
from pathlib import Path
from benchmarks.bench_keep import toy_restorer
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import restore_video
outcome = restore_video(Path(sys.argv[1]), Path(sys.argv[2]), Settings(restorer="keep"), restorer=toy_restorer(), progress=False)
unit = 1 if sys.platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, outcome.frames, outcome.faces, outcome.seconds)
"""


def network(source: str | None = None, **arguments: Any) -> KEEP:  # noqa: ANN401
    """Return a KEEP in eval mode, with weights of that name or random ones whose codes differ from each other."""
    torch.manual_seed(0)
    net = KEEP(**arguments)
    if source is None:
        nn.init.normal_(net.quantize.embedding.weight)
    else:
        weights.load_into(net, weights.load_state(source), name=source, rename=rename_v0)
    return net.eval().requires_grad_(requires_grad=False)


def toy_restorer() -> Keep:
    """Return the restorer of the memory measurement."""
    net = network(**TOY).fold()
    return Keep(net, replace(SPEC, name="toy", crop_sizes=(net.img_size,)), device=torch.device("cpu"))


def moving(frames: int, size: int) -> Tensor:
    """Return a smooth random picture that drifts, RGB (1, T, 3, size, size) in [-1, 1]."""
    draw = torch.Generator().manual_seed(0)
    canvas = F.interpolate(torch.rand((1, 3, 24, 24), generator=draw), size + 4 * frames, mode="bicubic").clamp_(0, 1) * 2 - 1
    return torch.stack([canvas[..., 2 * index : 2 * index + size, 4 * index : 4 * index + size] for index in range(frames)], dim=1)


def written_out(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """Attention whose scores are a tensor of their own."""
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    return (scores if attn_mask is None else scores + attn_mask).softmax(dim=-1) @ value


@contextmanager
def written_out_attention() -> Iterator[None]:
    """Within, all attention is `written_out`."""
    fused, weighted = F.scaled_dot_product_attention, gmflow_arch.weighted
    F.scaled_dot_product_attention, gmflow_arch.weighted = written_out, written_out
    try:
        yield
    finally:
        F.scaled_dot_product_attention, gmflow_arch.weighted = fused, weighted


def made_plain(net: KEEP) -> KEEP:
    """Turn a network into the plain one, in place."""
    net.to(memory_format=torch.contiguous_format)
    net.frames_at_once = 1
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.GroupNorm):
            module.register_forward_pre_hook(lambda _module, given: (given[0].contiguous(),))
    net.flownet.look = MethodType(FlowField.look, net.flownet)
    net.flownet.match = MethodType(FlowField.match, net.flownet)
    return net


class Path512:
    """One way to restore the frames of a track that goes on.

    Args:
        net: the network, ready.
        clip: (1, 1 + T, 3, H, W): what came before, and the frames to restore.
        around: what the work is done within.
    """

    def __init__(self, net: KEEP, clip: Tensor, around: Callable[[], Any]) -> None:
        self._net, self._around, self._new = net, around, clip[:, 1:]
        self.codes: list[Tensor] = []
        self._before = self._restored(clip[:, :1], None)[1]
        net.idx_pred_layer.register_forward_hook(lambda _module, _given, scores: self.codes.append(scores.argmax(-1)))

    def _restored(self, frames: Tensor, states: Any) -> Any:  # noqa: ANN401
        with self._around():
            return self._net.restore_clip(frames, states)

    def __call__(self) -> Tensor:
        """Return the restored frames; `codes` are those chosen in this call."""
        self.codes.clear()
        restored: Tensor = self._restored(self._new, self._before)[0]
        return restored


@contextmanager
def nothing() -> Iterator[None]:
    yield


def paths(clip: Tensor, source: str | None) -> dict[str, Path512]:
    """Return the three ways, ready to be called."""
    plain = network(source)
    folded = copy.deepcopy(plain).fold()
    half = copy.deepcopy(folded).reduce_precision(torch.bfloat16)
    return {
        "plain": Path512(made_plain(plain), clip, written_out_attention),
        "fp32": Path512(folded, clip, nothing),
        "bf16": Path512(half, clip, nothing),
    }


def compared(runs: dict[str, Path512]) -> dict[str, dict[str, float]]:
    """Return for each way the work of a frame, and how far its output is from the first one's."""
    rows: dict[str, dict[str, float]] = {}
    first: tuple[Tensor, Tensor] | None = None
    for name, run in runs.items():
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            output = run()
        codes = torch.stack(run.codes)
        first = first or (output, codes)
        difference = (output - first[0]).abs()
        rows[name] = {
            "gmacs_per_frame": round(counter.get_total_flops() / 2e9 / output.shape[1], 1),
            "max_abs_difference_from_plain": float(difference.max()),
            "mean_abs_difference_from_plain": float(difference.mean()),
            "codes_that_differ": int((codes != first[1]).sum()),
            "codes": codes.numel(),
            "output_std": round(float(output.std()), 4),
        }
    return rows


def cpu(frames: int, threads: int, rounds: int, source: str | None) -> dict[str, Any]:
    """Measure the three ways in turn."""
    torch.set_num_threads(threads)
    with torch.inference_mode():
        runs = paths(moving(1 + frames, SIZE), source)
    rows = compared(runs)
    for name, value in fastest_ms(dict(runs), rounds).items():
        rows[name]["seconds_per_frame"] = round(value / 1000 / frames, 3)
    for name, row in rows.items():
        row["times_faster_than_plain"] = round(rows["plain"]["seconds_per_frame"] / row["seconds_per_frame"], 2)
        print(name, row)
    equal = rows["fp32"]["max_abs_difference_from_plain"] <= EQUAL
    print(f"fp32 equal to plain: {'yes' if equal else 'NO'}")
    for name, goal in GOALS.items():
        met = rows[name]["times_faster_than_plain"] >= goal
        print(f"goal: {name} at least {goal} times as fast as plain: {'met' if met else 'NOT met'}")
    return {
        "frames": frames,
        "clock": "processor time" if threads == 1 else "wall time",
        "weights": source or "random",
        "goals": GOALS,
        "paths": rows,
    }


def clips_of(track: int, crops: np.ndarray[Any, Any], length: int, ahead: int) -> Iterator[FaceClip]:
    """Give successive clips of a track without end, running through `crops` (N, S, S, 3) over and over."""
    first = 0
    while True:
        taken = crops[np.arange(first, first + length) % len(crops)]
        still, points = np.tile(np.eye(2, 3), (length, 1, 1)), np.zeros((length, 68, 2), np.float32)
        yield FaceClip(track, first, taken, still, points, ahead=ahead)
        first += length - ahead


def streamed(restorer: Keep, tracks: int, clips: int, warm_up: int) -> float:
    """Return frames per second, all tracks together, over so many successive clips of each, after as many as `warm_up`."""
    spec = restorer.spec
    crops = moving(3 * spec.clip_length, spec.crop_sizes[0])[0].add(1).mul(127.5).byte().permute(0, 2, 3, 1).contiguous().numpy()
    rows = [clips_of(track, np.roll(crops, track, axis=0), spec.clip_length, spec.overlap) for track in range(tracks)]
    states = [restorer.start(track) for track in range(tracks)]
    start = 0.0
    for index in range(warm_up + clips):
        if index == warm_up:
            start = time.perf_counter()
        restorer.restore_many([next(row) for row in rows], states)
    return tracks * clips * (spec.clip_length - spec.overlap) / (time.perf_counter() - start)


def matmul_tflops(device: torch.device, side: int = 8192, calls: int = 50) -> float:
    """Return 10^12 operations per second of a bfloat16 product of square matrices."""
    one, other = (torch.randn((side, side), device=device, dtype=torch.bfloat16) for _ in range(2))

    def seconds() -> float:
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(calls):
            torch.mm(one, other)
        torch.cuda.synchronize(device)
        return time.perf_counter() - start

    seconds()
    return 2 * side**3 * calls / seconds() / 1e12


def cuda(tracks: list[int], mode: str, source: str | None, clips: int = 20, warm_up: int = 6) -> dict[str, Any]:
    """Measure the restorer on the GPU."""
    device = torch.device("cuda")
    net = network(source).fold()
    frames = moving(5, SIZE).to(device)
    with torch.inference_mode():
        states = net.to(device).restore_clip(frames[:, :1])[1]
        with FlopCounterMode(display=False) as counter:
            net.restore_clip(frames[:, 1:], states)
    gflops = counter.get_total_flops() / 1e9 / 4
    net.reduce_precision(torch.bfloat16).compile_parts(mode=mode)
    net.frames_at_once = MOST_LOOKED_AT
    restorer = Keep(net, SPEC, device=device)
    peak = matmul_tflops(device)
    rows = []
    for count in tracks:
        rate = streamed(restorer, count, clips, warm_up)
        goal = GPU_GOALS[max(key for key in GPU_GOALS if key <= count)]
        row = {
            "tracks": count,
            "frames_per_second": round(rate, 1),
            "goal": goal,
            "tflops": round(rate * gflops / 1e3, 1),
            "matmul_tflops": round(peak, 1),
            "part_of_matmul_peak": round(rate * gflops / 1e3 / peak, 3),
        }
        print(row, "goal met" if rate >= goal else "goal NOT met")
        rows.append(row)
    return {"gpu": torch.cuda.get_device_name(device), "mode": mode, "gflops_per_frame": round(gflops, 1), "tracks": rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cpu", "cuda", "memory"))
    parser.add_argument("--frames", type=int, default=4, help="cpu: frames of the clip that is timed (default: 4)")
    parser.add_argument("--threads", type=int, default=1, help="cpu: threads (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="cpu: rounds; each figure is the fastest of them (default: 3)")
    parser.add_argument("--weights", help="cpu, cuda: a manifest name or a file of weights instead of random ones")
    parser.add_argument("--tracks", type=int, nargs="+", default=[1, 4, 8], help="cuda: tracks at a time (default: 1 4 8)")
    parser.add_argument("--mode", default="default", help="cuda: of torch.compile, for instance reduce-overhead (default: default)")
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 600], help="memory: lengths of the videos (default: 60 600)")
    parser.add_argument("--rate", type=int, default=10, help="memory: frames per second of the videos (default: 10)")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/keep_*.json")
    given = parser.parse_args()
    if given.what == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: nothing measured")
        return 2
    measures: dict[str, Callable[[], object]] = {
        "cpu": partial(cpu, given.frames, given.threads, given.rounds, given.weights),
        "cuda": partial(cuda, given.tracks, given.mode, given.weights),
        "memory": partial(bench_pipeline.memory, given.seconds, given.rate, CHILD),
    }
    threads = given.threads if given.what == "cpu" else os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())
    around = circumstances(threads)
    measured = measures[given.what]()
    if given.write:
        print(f"written: {write(f'keep_{given.what}', around, measured)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
