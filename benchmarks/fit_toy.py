"""A KEEP of toy size fitted for some minutes, for measurements in which random weights would mean nothing.

It is no restorer for use: pictures of 64 px, 64 codes, no flow (aligned faces hardly move). It learns to undo coarse JPEG compression, its
codes those of a VQGAN that learns beside it; KEEP's own training (Feng et al., ECCV 2024) does one after the other.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.keep_arch import KEEP
from benchmarks.bench_keep import TOY

STILL: dict[str, Any] = {**TOY, "flow_type": "none", "fix_modules": ()}
ROWS, LENGTH = 2, 3
"""Clips of a step, and frames of a clip."""
RATE = 1e-3
JPEG_QUALITY = (15, 40)
SHOWN = 25

Crops = npt.NDArray[np.uint8]


def to_tensor(crops: Crops) -> Tensor:
    """Map uint8 (..., H, W, 3) to float (..., 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.moveaxis(crops, -1, -3) / np.float32(127.5) - 1)


def compressed(crops: Crops, draw: np.random.Generator) -> Crops:
    """Return pictures (..., H, W, 3) after JPEG compression; those of one clip are compressed alike."""
    quality = int(draw.integers(*JPEG_QUALITY))
    pictures = crops.reshape(-1, *crops.shape[-3:])
    coded = [cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for picture in pictures]
    return np.stack([cv2.imdecode(data, cv2.IMREAD_COLOR) for data in coded]).reshape(crops.shape)


def fitted(tracks: list[Crops], steps: int) -> tuple[KEEP, float]:
    """Fit a network to tracks of aligned crops, uint8 RGB (T, 64, 64, 3), from the same start every time.

    Returns:
        The network in eval mode, and the mean absolute error of its last steps in training, values 0 to 1.
    """
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    net = KEEP(**STILL).train()
    with torch.no_grad():
        tokens = net.hq_encoder(to_tensor(np.concatenate(tracks)[::8])).movedim(1, -1).flatten(0, -2)
        net.quantize.embedding.weight.copy_(tokens[torch.randperm(len(tokens))[: len(net.quantize.embedding.weight)]])
    adam = torch.optim.Adam((one for one in net.parameters() if one.requires_grad), RATE)
    errors = []
    for step in range(steps):
        places = [(track, int(draw.integers(len(track) - LENGTH))) for track in (tracks[draw.integers(len(tracks))] for _ in range(ROWS))]
        clips = np.stack([track[start : start + LENGTH] for track, start in places])
        loss, error = losses(net, to_tensor(clips), to_tensor(np.stack([compressed(clip, draw) for clip in clips])))
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        errors.append(error)
        if step % SHOWN == 0:
            print(f"fit: step {step}, mean absolute error {np.mean(errors[-SHOWN:]):.4f}", flush=True)
    return net.eval().requires_grad_(requires_grad=False), float(np.mean(errors[-SHOWN:]))


def losses(net: KEEP, clean: Tensor, given: Tensor) -> tuple[Tensor, float]:
    """Return what is minimised for clips (B, T, 3, H, W), and the mean absolute error of the restored ones, values 0 to 1."""
    rows, of_codebook, stats = net.quantize(net.hq_encoder(clean.flatten(0, 1)))
    redrawn = F.l1_loss(net.generator(rows), clean.flatten(0, 1))
    restored, insides = net(given, need_upscale=False, detail=True)
    error = F.l1_loss(restored, clean)
    of_codes = F.cross_entropy(insides.logits.flatten(0, 2), stats["indices"].flatten())
    return error + redrawn + of_codebook + 0.1 * of_codes, float(error.detach()) / 2
