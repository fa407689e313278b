"""`train.py --dry-run`: two steps, a checkpoint, a short validation, all in a folder that is gone afterwards; and what the run will take.

The steps carry the numbers of the run's last ones, so that losses and networks which join later are measured, too. Streams that a data set
encodes into its cache stay there, as the run would make the same.
"""

from __future__ import annotations

import datetime
import itertools
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from keyframes_gan import options as gate
from keyframes_gan import registry
from keyframes_gan.errors import OptionsError
from keyframes_gan.models import engine
from keyframes_gan.models.base import seed_everything
from keyframes_gan.models.processes import joined

STEPS = 2
SAMPLES = 2
"""So many samples of each validation set are measured; the time for all is extrapolated."""

KIBI, GIGA, MEGA = 1024, 1e9, 1e6


@dataclass
class Measured:
    """Seconds and bytes of a rehearsal. `step` and `wait` are of the last step: the first one also sets things up."""

    first: float = 0.0
    step: float = 0.0
    wait: float = 0.0
    save: float = 0.0
    saved_bytes: int = 0
    memory_bytes: int = 0
    validation: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def each(self) -> float:
        """Seconds from one step to the next."""
        return self.step + self.wait


class Few:
    """The first samples of a validation set's loader."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        dataset: Any = loader.dataset
        self.loader, self.dataset = loader, dataset
        self.name = str(dataset.opt["name"])

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self.loader), SAMPLES)


def run(options: gate.Options, *, launcher: str = "none", root: Path = gate.ROOT) -> int:
    """Rehearse a training and print what it found; return the exit status, 0.

    Raises:
        OptionsError: options without a `train` section, or what a training would raise.
        UserError: what a training would raise.
    """
    if options.train is None:
        msg = "--dry-run: expected options with a train section; an evaluation needs no rehearsal"
        raise OptionsError(msg)
    registry.register_all()
    engine.silence_logger()
    with joined(options, launcher), tempfile.TemporaryDirectory(prefix="dry-run-") as folder:
        elsewhere = options.model_copy(update={"path": options.path.model_copy(update={"experiments_dir": folder})})
        opt = engine.to_basicsr(elsewhere, root=root, distributed=launcher != "none", auto_resume=False)
        try:
            seed_everything(options.manual_seed, 0)
            model = registry.build_model(opt)
            measured = _measure(opt, model)
        finally:
            engine.silence_logger()
        if opt["rank"] == 0:
            sys.stdout.write(report(opt, model, measured, datetime.datetime.now().astimezone()))
    return 0


def _measure(opt: dict[str, Any], model: Any) -> Measured:  # noqa: ANN401
    found, total = Measured(), int(opt["train"]["total_iter"])
    logger = logging.getLogger(engine.LOGGER)
    logger.setLevel(logging.WARNING)
    batches = iter(engine.loaders(opt, logger, None)[0])
    for iteration in range(max(1, total - STEPS + 1), total + 1):
        begun = time.perf_counter()
        batch = next(batches)
        given = time.perf_counter()
        model.update_learning_rate(iteration, warmup_iter=opt["train"]["warmup_iter"])
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        _wait_for(model.device)
        found.wait, found.step = given - begun, time.perf_counter() - given
        found.first = found.first or found.each
    begun = time.perf_counter()
    model.save(0, total)
    found.save = time.perf_counter() - begun
    found.saved_bytes = sum(path.stat().st_size for path in Path(opt["path"]["experiments_root"]).rglob("*") if path.is_file())
    for loader in engine.validation_loaders(opt):
        begun, few = time.perf_counter(), Few(loader)
        model.validation([few], total, None, save_img=False)
        count = len(loader)
        found.validation[few.name] = count, (time.perf_counter() - begun) * count / min(SAMPLES, count)
    found.memory_bytes = _peak(model.device)
    return found


def _wait_for(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def _peak(device: torch.device) -> int:
    """Return the most memory that was in use so far: of a CUDA device, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * KIBI


def report(opt: dict[str, Any], model: Any, found: Measured, now: datetime.datetime) -> str:  # noqa: ANN401
    """Write what was measured, and what follows for the whole run if it began now."""
    train, logger, val = opt["train"], opt["logger"], opt.get("val") or {}
    total, samples = train["total_iter"], opt["datasets"]["train"]["batch_size_per_gpu"] * opt["world_size"]
    saves, validations = total // logger["save_checkpoint_freq"] + 1, -(-total // val["val_freq"]) if found.validation else 0
    validation = sum(seconds for _, seconds in found.validation.values())
    whole = found.first + (total - 1) * found.each + saves * found.save + validations * validation
    lines = {f"network_{label}": _size(net) for label, net in model.networks.items()}
    lines |= {
        "device": f"{model.device}, {opt['world_size']} process(es), {train['precision']}",
        "one step": f"{found.each:.3g} s for {samples} samples ({samples / found.each:.3g}/s)",
        "waiting for data": f"{found.wait / found.each:.0%} of it",
        "peak memory": f"{found.memory_bytes / GIGA:.3g} GB of {'the GPU' if model.device.type == 'cuda' else 'this process'}",
        "checkpoint": f"{found.saved_bytes / MEGA:.3g} MB in {found.save:.2g} s, {saves} of them",
    }
    for name, (count, seconds) in found.validation.items():
        lines[f"validation {name}"] = f"{count} samples in about {_time(seconds)}, {validations} times"
    lines |= {
        "whole run": f"{total} steps in about {_time(whole)}",
        "expected end": f"{now + datetime.timedelta(seconds=whole):%Y-%m-%d %H:%M}, if it began now",
    }
    width = max(map(len, lines)) + 2
    caches = " and ".join(dict.fromkeys(data["cache"] for data in opt["datasets"].values() if "cache" in data))
    kept = f"nothing was kept but the encoded streams in {caches}" if caches else "nothing was kept"
    return f"{opt['name']}: everything works; {kept}\n" + "".join(f"  {name:<{width}}{text}\n" for name, text in lines.items())


def _size(net: torch.nn.Module) -> str:
    counts = [sum(each.numel() for each in net.parameters() if each.requires_grad or frozen) for frozen in (True, False)]
    return f"{counts[0]:,} parameters" + ("" if counts[0] == counts[1] else f" ({counts[1]:,} trained)")


def _time(seconds: float) -> str:
    """Write a duration in its two largest units."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.2g} s"
    minutes, hours, days = (int(seconds // unit) for unit in (60, 3600, 86400))
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {int(seconds % 60)} s"
