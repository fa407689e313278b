"""Time and memory of SRNet on one face of 150x150 pixels, against PyTorch's own transformer encoder, in one run.

    python benchmarks/bench_srnet.py [--size 150] [--windows 32 16] [--write]

Every way has a process of its own, with the same weights and the same picture, and says how much its resident memory grew at most after a
picture of 32x32 pixels had warmed it up. "stock" is `nn.TransformerEncoder` in evaluation, which the public scripts call; "own" is
`archs.srnet_arch`, which gives the same numbers; windows let pixels look at each other only within so many pixels, and give others.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from archs.srnet_arch import HEADS, INNER, LAYERS, WIDTH, SRNet  # noqa: E402
from benchmarks.record import circumstances, write  # noqa: E402

GOAL_SECONDS, GOAL_BYTES = 20.0, 0.6e9
SAME = 1e-4
UNIT = 1 if sys.platform == "darwin" else 1024


class StockEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, batch_first=True, norm_first=True)
        stack = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.layers = stack.layers
        self.run = stack.forward

    def forward(self, tokens: Tensor) -> Tensor:
        made: Tensor = self.run(tokens.flatten(1, 2))
        return made.view_as(tokens)


def network(way: str) -> SRNet:
    torch.manual_seed(0)
    net = SRNet("photo", window=0 if way in ("own", "stock") else int(way))
    if way == "stock":
        stock = StockEncoder()
        stock.load_state_dict(net.body.encoder.state_dict(), strict=True)
        net.body.encoder = stock  # type: ignore[assignment]
    return net.eval()


def child(way: str, size: int, threads: int, target: Path) -> None:
    """Restore one picture and print seconds and bytes; the result goes to `target`."""
    torch.set_num_threads(threads)
    net = network(way)
    picture = torch.rand((1, 3, size, size), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        net(picture[..., :32, :32])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        out, _ = net(picture)
        took = time.perf_counter() - start
    torch.save(out, target)
    print(json.dumps({"seconds": took, "bytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * UNIT}))


def measure(way: str, size: int, threads: int, target: Path) -> dict[str, object]:
    arguments = ["--child", way, "--size", str(size), "--threads", str(threads), "--target", str(target)]
    done = subprocess.run([sys.executable, __file__, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return {
        "way": way if way in ("own", "stock") else f"own, window {way}",
        "size_px": size,
        "seconds": round(found["seconds"], 2),
        "gigabytes": round(found["bytes"] / 1e9, 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Time and memory of SRNet against PyTorch's own transformer encoder.")
    parser.add_argument("--size", type=int, default=150, help="side of the picture in pixels (default: 150)")
    parser.add_argument("--windows", type=int, nargs="*", default=[32, 16], help="sides of windows to measure too (default: 32 16)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads (default: as many as there are cores)")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/srnet.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.size, given.threads, given.target)
        return 0
    around = circumstances(given.threads)
    rows, results = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for way in ("own", *(str(window) for window in given.windows), "stock"):
            target = Path(folder) / f"{way}.pt"
            rows.append(measure(way, given.size, given.threads, target))
            print(json.dumps(rows[-1]))
            results[way] = torch.load(target, weights_only=True)
    largest = float((results["own"] - results["stock"]).abs().max())
    own = rows[0]
    met = own["seconds"] < GOAL_SECONDS and own["gigabytes"] * 1e9 < GOAL_BYTES and largest < SAME  # type: ignore[operator]
    print(
        f"own and stock differ by {largest:.1e}; goal: under {GOAL_SECONDS:g} s and {GOAL_BYTES / 1e9:g} GB: {'met' if met else 'NOT met'}"
    )
    if given.write:
        measured = {"rows": rows, "largest_difference_of_own_and_stock": largest}
        print(f"written: {write('srnet', around, measured)}")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
