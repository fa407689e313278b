"""Time of one DMSASFFNet frame: the plain network against the prepared one, in one run; and of DMSASFFNetLite.

    python benchmarks/bench_dmsasffnet.py [--threads 1] [--size 256] [--rounds 5] [--write]

plain      spectral norms and BatchNorms computed at every call, one VGG pass for each of the three pictures, contiguous memory, float32
folded     spectral norms and BatchNorms folded into the convolutions
prepared   folded, the three VGG passes as one batch, channels-last memory
bf16       prepared, in bfloat16

Every round runs the variants in turn, so that a disturbance meets all of them; the figure is the fastest round. With one thread it is the
processor time of the process, which other jobs on the machine hardly change; with several it is the time on the wall. Weights are random:
they change no time. `--write` puts the figures into benchmarks/results/dmsasffnet.json.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from archs.dmsasff_arch import DMSASFFNet  # noqa: E402
from archs.dmsasff_lite_arch import DMSASFFNetLite  # noqa: E402
from benchmarks.record import circumstances, write  # noqa: E402

LITE_SIZES = (256, 384, 512)
Runs = dict[str, Callable[[], Tensor]]


def pictures(size: int, landmark_channels: int, *, channels_last: bool) -> list[Tensor]:
    """Return compressed, reference and landmarks of one frame."""
    draw = torch.Generator().manual_seed(0)
    made = [torch.rand((1, channels, size, size), generator=draw) for channels in (3, 3, landmark_channels)]
    return [picture.to(memory_format=torch.channels_last) for picture in made] if channels_last else made


def random_network() -> DMSASFFNet:
    """Return a network whose BatchNorms and spectral norms do something, in eval mode."""
    torch.manual_seed(0)
    net = DMSASFFNet(joint_vgg=False)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
                module.running_mean.normal_(std=0.05)
                module.running_var.uniform_(0.5, 1.5)
            if hasattr(module, "weight_orig"):
                for _ in range(10):
                    module.weight()
    return net.eval()


def full_runs(size: int) -> Runs:
    """Return the four variants of DMSASFFNet, ready to be called."""
    plain = random_network()
    folded = copy.deepcopy(plain).fold()
    prepared = copy.deepcopy(folded).to(memory_format=torch.channels_last)
    prepared.joint_vgg = True
    half = copy.deepcopy(prepared).bfloat16()
    apart, last = pictures(size, 3, channels_last=False), pictures(size, 3, channels_last=True)
    return {
        "plain": lambda: plain(*apart),
        "folded": lambda: folded(*apart),
        "prepared": lambda: prepared(*last),
        "bf16": lambda: half(*last),
    }


def lite_runs(size: int) -> Runs:
    """Return the variants of DMSASFFNetLite, ready to be called."""
    single = DMSASFFNetLite().eval().to(memory_format=torch.channels_last)
    half = copy.deepcopy(single).bfloat16()
    compressed, reference, landmark = pictures(size, 1, channels_last=True)
    return {
        "fp32": lambda: single(compressed, reference, landmark),
        "fp32 without reference": lambda: single(compressed, None, landmark),
        "bf16": lambda: half(compressed, reference, landmark),
    }


def fastest_ms(runs: Runs, rounds: int) -> dict[str, float]:
    """Return the fastest of `rounds` calls of each, in milliseconds, after one call to warm up; the runs take turns."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        for run in runs.values():
            run()
        for _ in range(rounds):
            for name, run in runs.items():
                start = clock()
                run()
                best[name] = min(best[name], (clock() - start) * 1e3)
    return {name: round(value, 2) for name, value in best.items()}


def differences(runs: Runs) -> dict[str, float]:
    """Return the largest absolute difference of each variant's output from the first one's."""
    with torch.inference_mode():
        outputs = {name: run() for name, run in runs.items()}
    first = next(iter(outputs.values()))
    return {name: float((output - first).abs().max()) for name, output in outputs.items()}


def gmacs(run: Callable[[], Tensor]) -> float:
    """Return the multiply-accumulates of one call, in thousands of millions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return round(counter.get_total_flops() / 2e9, 2)


def measure(threads: int, size: int, rounds: int, full: Runs) -> dict[str, Any]:
    """Return all times with so many threads, and print them."""
    torch.set_num_threads(threads)
    times = fastest_ms(full, rounds)
    ratios = {name: round(times["plain"] / value, 2) for name, value in times.items()}
    for name, value in times.items():
        print(f"{threads} threads  DMSASFFNet {size}  {name:<10} {value:9.1f} ms   {ratios[name]:.2f} x plain")
    lite = {}
    for lite_size in LITE_SIZES:
        lite[str(lite_size)] = fastest_ms(lite_runs(lite_size), 2 * rounds)
        print(
            f"{threads} threads  DMSASFFNetLite {lite_size}  "
            + "  ".join(f"{name} {value:.1f} ms" for name, value in lite[str(lite_size)].items())
        )
    return {"dmsasffnet_ms": times, "times_faster_than_plain": ratios, "lite_ms": lite}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    around = circumstances(", ".join(str(threads) for threads in given.threads))
    full = full_runs(given.size)
    apart = differences(full)
    cost = {"dmsasffnet": gmacs(full["plain"]), "lite_256": gmacs(lite_runs(256)["fp32"])}
    print("GMACs", cost, " largest difference from plain", apart)
    by_threads = {str(threads): measure(threads, given.size, given.rounds, full) for threads in given.threads}
    measured = {
        "clock": "processor time with 1 thread, wall time with more",
        "size": given.size,
        "gmacs": cost,
        "max_abs_difference_from_plain": apart,
        "goal": "bf16 at least 1.5 times as fast as plain, folded output equal",
        "threads": by_threads,
    }
    if given.write:
        print(f"written: {write('dmsasffnet', around, measured)}")


if __name__ == "__main__":
    main()
