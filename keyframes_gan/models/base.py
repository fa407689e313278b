"""What all training recipes share: BasicSR's `BaseModel` with its silent faults put right.

Device and DDP on CPU too, any optimiser of torch, closed-form rates, random numbers that depend on (seed, iteration, rank) only,
an average of the weights that takes the buffers along, and checkpoints that are whole or raise.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from keyframes_gan import weights
from keyframes_gan.models import checkpoints, soundness
from keyframes_gan.models.muon import Muon
from keyframes_gan.models.schedule import rate_at
from keyframes_gan.registry import BaseModel, build_loss, build_network, get_root_logger

PICTURE_AXES = 4
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
LEAST_SCALE = 1.0
"""Gradients that overflow float16 at this scale are no matter of the scale."""

Batch = dict[str, Tensor]


class EngineModel(BaseModel):
    """A recipe that BasicSR's loop can drive. Subclasses build their networks with `add_network` and write `optimize_parameters`.

    A step is: `chunks` of the batch; for each a forward pass under `autocast` and `synchronised`, `note` of its loss terms, `backward` of
    their sum; then one call of `step` with all optimisers, and `model_ema`. `opt` is what `keyframes_gan.models.engine` made of the options
    file; its `train` section is `train_options`, empty in an evaluation.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.device = torch.device(opt["device"])
        self.train_options: dict[str, Any] = opt.get("train") or {}
        self.ema_decay = float(self.train_options.get("ema_decay", 0.0))
        self.networks: dict[str, nn.Module] = {}
        self.averages: dict[str, nn.Module] = {}
        self.batch: Batch = {}
        self.files: list[str] = []
        self.losses: dict[str, Tensor] = {}
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.train_options.get("precision") == "fp16")
        self.skipped = 0
        self.buffers: dict[str, list[Tensor]] = {}
        self.base_rates: list[list[float]] = []
        self.iteration = 0
        self.start_iteration = 0
        self.start_samples = 0

    # Networks
    def add_network(self, label: str, *, average: bool = False) -> nn.Module:
        """Build network `label` ("g", "d") from the options, load its first weights, and wrap it for the device and for DDP.

        With `average`, in a training whose `ema_decay` is above 0, an exponential moving average of it is kept in `averages`.
        """
        bare: nn.Module = build_network(self.opt[f"network_{label}"]).to(self.device)
        if self.opt.get("channels_last", True):
            to_channels_last(bare)
        source = self.opt["path"].get(f"pretrain_network_{label}")
        if source is not None:
            state = self.adapt(label, bare, weights.load_state(source, param_key=self.opt["path"].get(f"param_key_{label}")))
            checkpoints.load_into(bare, state, str(source), strict=self.opt["path"].get(f"strict_load_{label}", True))
        else:
            self.initialise(label, bare)
        if average and self.is_train and self.ema_decay > 0:
            self.averages[label] = copy.deepcopy(bare).requires_grad_(requires_grad=False).eval()
        count = sum(parameter.numel() for parameter in bare.parameters())
        get_root_logger().info("network_%s: %s with %s parameters on %s", label, type(bare).__name__, f"{count:,}", self.device)
        self.networks[label] = self.model_to_device(bare)
        if self.is_train and self.opt.get("compile", False):
            self.compile_network(self.networks[label])
        return self.networks[label]

    def initialise(self, label: str, net: nn.Module) -> None:
        """Give parts of a network that starts without weights what they need, for instance a frozen feature extractor."""

    def adapt(self, label: str, net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights that a network starts with under its own names, and with what they may lack taken from `net`."""
        return state

    def compile_network(self, net: nn.Module) -> None:
        """Let torch.compile have a network that trains, in place: the names of its parameters stay as they are."""
        net.compile()

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Wrap `net` in DistributedDataParallel when the run is distributed; on the CPU without device ids."""
        if not self.opt["dist"] or not any(parameter.requires_grad for parameter in net.parameters()):
            return net
        devices = [torch.cuda.current_device()] if self.device.type == "cuda" else None
        return DistributedDataParallel(net, device_ids=devices, find_unused_parameters=self.opt.get("find_unused_parameters", False))

    def model_ema(self, decay: float | None = None) -> None:
        """Move the averages towards the networks by 1 - decay (default: the options' `ema_decay`); buffers (batch statistics) are copied.

        While a run is young the decay is (1 + iteration) / (10 + iteration), so that the average does not remember the initial weights.
        """
        decay = min(self.ema_decay if decay is None else decay, (1 + self.iteration) / (10 + self.iteration))
        with torch.no_grad():
            for label, average in self.averages.items():
                bare = self.get_bare_model(self.networks[label])
                torch._foreach_lerp_(list(average.parameters()), list(bare.parameters()), 1 - decay)
                for kept, current in zip(average.buffers(), bare.buffers(), strict=True):
                    kept.copy_(current)

    # One step
    def feed_data(self, data: dict[str, Any]) -> None:
        """Move a batch's tensors to the device; pictures (N, C, H, W) in the networks' memory order."""
        self.batch = {}
        self.files = list(data.get("lq_path", data.get("gt_path", [])))
        for name, tensor in data.items():
            if isinstance(tensor, Tensor):
                last = tensor.ndim == PICTURE_AXES and self.opt.get("channels_last", True)
                layout = torch.channels_last if last else torch.preserve_format
                self.batch[name] = tensor.to(self.device, memory_format=layout, non_blocking=True)

    def chunks(self, batch: Batch) -> list[Batch]:
        """Cut a batch into `accumulate` equal parts, whose mean gradient is that of the whole."""
        count = int(self.train_options.get("accumulate", 1))
        return [dict(zip(batch, parts, strict=True)) for parts in zip(*(tensor.chunk(count) for tensor in batch.values()), strict=True)]

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the options' `precision`; losses belong outside, in float32."""
        half = HALVES.get(self.train_options.get("precision", "fp32"))
        return torch.autocast(self.device.type, half, enabled=half is not None)

    @staticmethod
    def synchronised(net: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Exchange gradients between processes in the last backward pass only; the forward pass belongs inside, too."""
        return net.no_sync() if isinstance(net, DistributedDataParallel) and not last else contextlib.nullcontext()

    def note(self, terms: dict[str, Tensor], count: int = 1) -> None:
        """Add loss terms, scalars of one of `count` chunks, to those that are logged. `losses` is to be emptied before a step."""
        for name, term in terms.items():
            part = term.detach() / count
            self.losses[name] = self.losses[name] + part if name in self.losses else part

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a scalar; in fp16 they are scaled until `step`."""
        self.scaler.scale(loss).backward()

    def step(self, *optimizers: torch.optim.Optimizer) -> bool:
        """Clip the gradients and move all networks of this iteration, after all backward passes; return whether that was done.

        It is not done where a noted loss term or a gradient is not finite, in any process: the step is then left out whole, and the buffers
        (batch statistics) are put back. The options' `skip_nonfinite` says how often that may happen. Gradients that overflow in fp16 are
        part of finding the scale and do not count.

        Raises:
            NonFiniteError: it happened once too often; what the step was made of is kept in the experiment's folder.
        """
        parameters = [[parameter for group in optimizer.param_groups for parameter in group["params"]] for optimizer in optimizers]
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
        norms = [torch.nn.utils.get_total_norm([each.grad for each in part if each.grad is not None]) for part in parameters]
        loss_bad, gradient_bad = soundness.unsound(self.losses, norms, distributed=self.opt["dist"])
        if loss_bad or gradient_bad:
            self._leave_out(finding_scale=self.scaler.is_enabled() and not loss_bad and self.scaler.get_scale() > LEAST_SCALE)
        else:
            limit = self.train_options.get("clip_grad_norm")
            for optimizer, part, norm in zip(optimizers, parameters, norms, strict=True):
                if limit is not None:
                    torch.nn.utils.clip_grads_with_norm_(part, limit, norm)
                self.scaler.step(optimizer)
        self.scaler.update()
        return not (loss_bad or gradient_bad)

    def _leave_out(self, *, finding_scale: bool) -> None:
        """Put the buffers back and count; raise when that was one too many."""
        for label, buffers in self.buffers.items():
            for buffer, kept in zip(self.get_bare_model(self.networks[label]).buffers(), buffers, strict=True):
                buffer.copy_(kept)
        if finding_scale:
            return
        self.skipped += 1
        term = soundness.culprit(self.losses, self.networks)
        said = soundness.said_by_all(f"{term} ({soundness.listed(self.files)})" if term else "", distributed=self.opt["dist"])
        said = said or "the norm of the gradients overflows"
        allowed = int(self.train_options.get("skip_nonfinite", 0))
        if self.skipped <= allowed:
            get_root_logger().warning("iteration %d left out (%d of %d that may be): %s", self.iteration, self.skipped, allowed, said)
            return
        ending = f"_process{self.opt['rank']}" if self.opt["dist"] else ""
        path = Path(self.opt["path"]["experiments_root"]) / f"nonfinite_{self.iteration}{ending}.pt"
        soundness.keep(path, self.iteration, term, self.files, self.losses, self.batch)
        advice = f"lower the learning rate, set train.clip_grad_norm, or let train.skip_nonfinite (now {allowed}) leave out such steps"
        msg = f"iteration {self.iteration}: {said}; batch and loss terms are in {path}; {advice}"
        raise soundness.NonFiniteError(msg)

    # Losses and optimisers
    def build_loss(self, key: str) -> nn.Module | None:
        """Build the loss that the options' `train` section describes under `key`, on the device; None where it has none."""
        options = self.train_options.get(key)
        if options is None:
            return None
        loss: nn.Module = build_loss(options)
        return loss.to(self.device)

    def add_optimizer(self, parameters: Iterable[nn.Parameter], options: dict[str, Any]) -> torch.optim.Optimizer:
        """Build any optimiser of `torch.optim`, or `Muon`, for the parameters that want gradients."""
        settings = {key: value for key, value in options.items() if key != "type"}
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        optimizer: torch.optim.Optimizer = (Muon if options["type"] == "Muon" else getattr(torch.optim, options["type"]))(
            wanted, **settings
        )
        self.optimizers.append(optimizer)
        self.base_rates.append([float(group["lr"]) for group in optimizer.param_groups])
        return optimizer

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Set the rates of iteration `current_iter` and seed all random numbers for it."""
        self.iteration = current_iter
        train = self.train_options
        for optimizer, bases in zip(self.optimizers, self.base_rates, strict=True):
            for group, base in zip(optimizer.param_groups, bases, strict=True):
                group["lr"] = rate_at(base, current_iter, train["scheduler"], total=train["total_iter"], warmup=warmup_iter)
        seed_everything(self.opt["manual_seed"], current_iter, self.opt["rank"])
        if self.scaler.is_enabled() or train.get("skip_nonfinite", 0):
            bare = {label: self.get_bare_model(net) for label, net in self.networks.items()}
            self.buffers = {label: [buffer.clone() for buffer in net.buffers()] for label, net in bare.items()}

    def get_current_log(self) -> dict[str, float]:
        """Return the last losses, averaged over all processes; every process must call it."""
        if not self.losses:
            return {}
        stacked = torch.stack([value.detach().float().mean() for value in self.losses.values()])
        if self.opt["dist"]:
            torch.distributed.all_reduce(stacked)
            stacked /= self.opt["world_size"]
        return dict(zip(self.losses, stacked.tolist(), strict=True))

    # Checkpoints
    @property
    def samples_seen(self) -> int:
        """Samples that the run has used so far, over all processes and restarts."""
        batch = int(self.opt["datasets"]["train"]["batch_size_per_gpu"]) * int(self.opt["world_size"])
        return self.start_samples + (self.iteration - self.start_iteration) * batch

    def save(self, epoch: int, current_iter: int) -> None:
        """Write networks and state of this iteration; at the end (-1) also the final weights as safetensors.

        Raises:
            UserError: something cannot be written.
        """
        if self.opt["rank"] != 0:
            return
        models, states = (Path(self.opt["path"][key]) for key in ("models", "training_states"))
        names = {label: f"net_{label}_{self.iteration}.pth" for label in self.networks}
        for label, name in names.items():
            checkpoints.save_torch(self._network_states(label), models / name)
        checkpoints.save_torch(self._state(names), states / f"{self.iteration}.state")
        checkpoints.prune(states, models, int(self.opt["logger"].get("keep_checkpoints", 0)))
        if current_iter == -1:
            self.save_final("latest")

    def save_final(self, tag: str) -> None:
        """Write `net_g_TAG.pth` and, of the average where there is one, `net_g_TAG.safetensors` with metadata."""
        models = Path(self.opt["path"]["models"])
        states = self._network_states("g")
        checkpoints.save_torch(states, models / f"net_g_{tag}.pth")
        checkpoints.export(states.get("params_ema", states["params"]), models / f"net_g_{tag}.safetensors", self.about())

    def about(self) -> dict[str, str]:
        """Return what is stored with the final weights."""
        network = self.opt["network_g"]
        return {
            "arch": str(network["type"]),
            "kwargs": json.dumps({key: value for key, value in network.items() if key != "type"}, sort_keys=True),
            "name": str(self.opt["name"]),
            "iteration": str(self.iteration),
            "options_sha256": str(self.opt["options_sha256"]),
            "commit": str(self.opt["commit"]),
        }

    def _network_states(self, label: str) -> dict[str, dict[str, Tensor]]:
        states = {"params": checkpoints.cpu_state(self.get_bare_model(self.networks[label]))}
        if label in self.averages:
            states["params_ema"] = checkpoints.cpu_state(self.averages[label])
        return states

    def _state(self, networks: dict[str, str]) -> dict[str, Any]:
        """Return all that an exact continuation needs besides the networks; random numbers follow from seed and iteration."""
        return {
            "format": checkpoints.STATE_FORMAT,
            "epoch": 0,
            "iter": self.iteration,
            "samples": self.samples_seen,
            "networks": networks,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "skipped": self.skipped,
            "seed": self.opt["manual_seed"],
            "world_size": self.opt["world_size"],
            "options_sha256": self.opt["options_sha256"],
            "commit": self.opt["commit"],
        }

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Continue from a state: networks, averages, optimisers, position in the data.

        Raises:
            WeightsError: a network of the state is missing or of another shape.
        """
        models = Path(resume_state["folder"]) / "models"
        for label, net in self.networks.items():
            source = models / resume_state["networks"][label]
            stored = checkpoints.load_torch(source)
            checkpoints.load_into(self.get_bare_model(net), stored["params"], str(source))
            if label in self.averages:
                checkpoints.load_into(self.averages[label], stored.get("params_ema", stored["params"]), str(source))
        for optimizer, state in zip(self.optimizers, resume_state["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        if resume_state.get("scaler"):
            self.scaler.load_state_dict(resume_state["scaler"])
        self.skipped = resume_state.get("skipped", 0)
        self.iteration = self.start_iteration = resume_state["iter"]
        self.start_samples = resume_state["samples"]


def to_channels_last(net: nn.Module) -> None:
    """Put the parameters and buffers of four axes into channels-last memory; those of others (Conv3d) stay as they are."""
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.ndim == PICTURE_AXES:
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def seed_everything(*words: int) -> None:
    """Seed Python's, NumPy's and torch's generators (all devices) from `words`."""
    seeds = np.random.SeedSequence(words).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1]))
    torch.manual_seed(int(seeds[2]))
