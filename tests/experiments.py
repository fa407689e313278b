"""What the tests of training share: a tiny options file, and looking into what a run leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

TEXT = """\
name: run
model_type: DMSASFFNetModel
manual_seed: 5
device: cpu
datasets:
  train:
    name: speakers
    type: DMSASFFNetDataset
    dataroot: [{clips}]
    patch_size: 32
    reference_gap: 5
    batch_size_per_gpu: 4
    num_worker_per_gpu: 0
  val_one: {{name: one, type: DMSASFFNetDataset, dataroot: [{clips}], frames_per_clip: 2}}
  val_two: {{name: two, type: DMSASFFNetDataset, dataroot: [{clips}], frames_per_clip: 1, p_hq: 0, p_gop: 0, p_none: 1}}
network_g: {{type: DMSASFFNetLite, widths: [8, 8, 8], landmark_widths: [4, 4, 4], blocks: 1}}
path: {{experiments_dir: {experiments}}}
train:
  total_iter: 9
  warmup_iter: 3
  ema_decay: 0.9
  optim_g: {{type: AdamW, lr: 1e-3}}
  scheduler: {{type: CosineAnnealingLR}}
  pixel_opt: {{type: CharbonnierLoss, eps: 1e-6}}
  clip_grad_norm: 1.0
val: {{val_freq: 3, metrics: {{psnr: {{type: calculate_psnr}}, ssim: {{type: calculate_ssim}}}}}}
logger: {{print_freq: 3, save_checkpoint_freq: 3}}
"""
GAN = (
    "network_d={type: MultiScaleDiscriminator, base_ch: 4, num_layers: 1, num_discriminators: 2}",
    "train:optim_d={type: Adam, lr: 1e-3}",
    "train:gan_opt={type: MultiScaleGANLoss, gan_type: hinge, loss_weight: 0.1}",
)
HALF = ("train:precision=fp16", "train:optim_g:fused=true", "train:skip_nonfinite=1")
UNLIMITED = ("train:clip_grad_norm=null", "train:warmup_iter=-1")

Run = Callable[..., Path]


def final(experiment: Path, tag: str = "latest") -> dict[str, dict[str, torch.Tensor]]:
    states: dict[str, dict[str, torch.Tensor]] = torch.load(experiment / "models" / f"net_g_{tag}.pth", weights_only=True)
    return states


def assert_equal(first: Path, second: Path, tag: str = "latest") -> None:
    ours, theirs = final(first, tag), final(second, tag)
    assert ours.keys() == theirs.keys()
    for key, state in ours.items():
        assert state.keys() == theirs[key].keys()
        for name, value in state.items():
            assert torch.equal(value, theirs[key][name]), f"{key} {name}"


def state(experiment: Path, number: int) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(experiment / "training_states" / f"{number}.state", weights_only=True)
    return loaded


def best(experiment: Path) -> str:
    with safe_open(experiment / "models" / "net_g_latest.safetensors", framework="pt") as stored:
        found: str = stored.metadata()["best"]
    return found
