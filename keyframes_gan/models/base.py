"""What all training recipes share: BasicSR's `BaseModel` with its silent faults put right.

Device and DDP on CPU too, any optimiser of torch, closed-form rates, random numbers that depend on (seed, iteration, rank) only,
an average of the weights that takes the buffers along, and checkpoints that are whole or raise.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from keyframes_gan import weights
from keyframes_gan.models import checkpoints
from keyframes_gan.models.schedule import rate_at
from keyframes_gan.registry import BaseModel, build_network, get_root_logger


class EngineModel(BaseModel):
    """A recipe that BasicSR's loop can drive. Subclasses build their networks with `add_network` and write `optimize_parameters`.

    `opt` is what `keyframes_gan.models.engine` made of the options file.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.networks: dict[str, nn.Module] = {}
        self.averages: dict[str, nn.Module] = {}
        self.losses: dict[str, Tensor] = {}
        self.best: dict[str, dict[str, float]] = {}
        self.base_rates: list[list[float]] = []
        self.iteration = 0
        self.start_iteration = 0
        self.start_samples = 0

    # Networks
    def add_network(self, label: str, *, average: bool = False) -> nn.Module:
        """Build network `label` ("g", "d") from the options, load its first weights, and wrap it for the device and for DDP.

        With `average` an exponential moving average of it is kept in `averages`.
        """
        bare: nn.Module = build_network(self.opt[f"network_{label}"]).to(self.device, memory_format=torch.channels_last)
        source = self.opt["path"].get(f"pretrain_network_{label}")
        if source is not None:
            state = weights.load_state(source, param_key=self.opt["path"].get(f"param_key_{label}"))
            checkpoints.load_into(bare, state, str(source), strict=self.opt["path"].get(f"strict_load_{label}", True))
        else:
            self.initialise(label, bare)
        if average:
            self.averages[label] = copy.deepcopy(bare).requires_grad_(requires_grad=False).eval()
        count = sum(parameter.numel() for parameter in bare.parameters())
        get_root_logger().info("network_%s: %s with %s parameters on %s", label, type(bare).__name__, f"{count:,}", self.device)
        self.networks[label] = self.model_to_device(bare)
        return self.networks[label]

    def initialise(self, label: str, net: nn.Module) -> None:
        """Give parts of a network that starts without weights what they need, for instance a frozen feature extractor."""

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Wrap `net` in DistributedDataParallel when the run is distributed; on the CPU without device ids."""
        if not self.opt["dist"] or not any(parameter.requires_grad for parameter in net.parameters()):
            return net
        devices = [torch.cuda.current_device()] if self.device.type == "cuda" else None
        return DistributedDataParallel(net, device_ids=devices, find_unused_parameters=self.opt.get("find_unused_parameters", False))

    def model_ema(self, decay: float = 0.999) -> None:
        """Move the averages towards the networks by 1 - decay; buffers (batch statistics) are copied.

        While a run is young the decay is (1 + iteration) / (10 + iteration), so that the average does not remember the initial weights.
        """
        decay = min(decay, (1 + self.iteration) / (10 + self.iteration))
        with torch.no_grad():
            for label, average in self.averages.items():
                bare = self.get_bare_model(self.networks[label])
                for slow, fast in zip(average.parameters(), bare.parameters(), strict=True):
                    slow.lerp_(fast, 1 - decay)
                for kept, current in zip(average.buffers(), bare.buffers(), strict=True):
                    kept.copy_(current)

    # Optimisation
    def add_optimizer(self, parameters: Iterable[nn.Parameter], options: dict[str, Any]) -> torch.optim.Optimizer:
        """Build any optimiser of `torch.optim` for the parameters that want gradients."""
        settings = {key: value for key, value in options.items() if key != "type"}
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        optimizer: torch.optim.Optimizer = getattr(torch.optim, options["type"])(wanted, **settings)
        self.optimizers.append(optimizer)
        self.base_rates.append([float(group["lr"]) for group in optimizer.param_groups])
        return optimizer

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Set the rates of iteration `current_iter` and seed all random numbers for it."""
        self.iteration = current_iter
        train = self.opt["train"]
        for optimizer, bases in zip(self.optimizers, self.base_rates, strict=True):
            for group, base in zip(optimizer.param_groups, bases, strict=True):
                group["lr"] = rate_at(base, current_iter, train["scheduler"], total=train["total_iter"], warmup=warmup_iter)
        seed_everything(self.opt["manual_seed"], current_iter, self.opt["rank"])

    def clip(self, net: nn.Module) -> None:
        """Limit the norm of the gradients when the options ask for it."""
        limit = self.opt["train"].get("clip_grad_norm")
        if limit is not None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), limit)

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
        network = self.opt["network_g"]
        metadata = {
            "arch": str(network["type"]),
            "kwargs": json.dumps({key: value for key, value in network.items() if key != "type"}, sort_keys=True),
            "name": str(self.opt["name"]),
            "iteration": str(self.iteration),
            "options_sha256": str(self.opt["options_sha256"]),
            "commit": str(self.opt["commit"]),
            "best": json.dumps(self.best, sort_keys=True),
        }
        checkpoints.export(states.get("params_ema", states["params"]), models / f"net_g_{tag}.safetensors", metadata)

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
        self.iteration = self.start_iteration = resume_state["iter"]
        self.start_samples = resume_state["samples"]


def seed_everything(*words: int) -> None:
    """Seed Python's, NumPy's and torch's generators (all devices) from `words`."""
    seeds = np.random.SeedSequence(words).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1]))
    torch.manual_seed(int(seeds[2]))
