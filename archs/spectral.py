"""Convolution with spectral normalisation (Miyato et al., ICLR 2018), and folding it and BatchNorm into plain convolutions.

The parameter names (`weight_orig`, `weight_u`, `weight_v`) are those of PyTorch's first spectral norm, which published
checkpoints carry. Written here, because PyTorch has deprecated that one and its successor names things differently.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-12

PaddingMode = Literal["zeros", "circular"]


def wrap(features: Tensor, margin: int) -> Tensor:
    """Pad (N, C, H, W) circularly by `margin` pixels on every side.

    The same as `F.pad(mode="circular")`, which is slow in channels-last memory: it leaves it.
    """
    tall = torch.cat((features[:, :, -margin:], features, features[:, :, :margin]), dim=2)
    return torch.cat((tall[..., -margin:], tall, tall[..., :margin]), dim=3)


class CircularConv2d(nn.Conv2d):
    """A convolution that sees the picture as a torus; `padding` is the margin on every side, the same in both directions."""

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H', W')."""
        return F.conv2d(wrap(features, int(self.padding[0])), self.weight, self.bias, self.stride, 0, self.dilation)


class SpectralConv2d(nn.Module):
    """A convolution whose weight is divided by an estimate of its largest singular value, u' W v.

    In training mode every forward pass takes one power-iteration step on u and v; in eval mode they rest.

    Args:
        inputs: input channels.
        outputs: output channels.
        kernel: side of the square kernel.
        stride: step in pixels.
        padding: pixels on every side.
        dilation: distance between kernel taps.
        padding_mode: "zeros" or "circular".
        bias: whether there is one.
    """

    weight_u: Tensor
    weight_v: Tensor
    bias: nn.Parameter | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        padding_mode: PaddingMode = "zeros",
        bias: bool = True,
    ) -> None:
        super().__init__()
        like = nn.Conv2d(inputs, outputs, kernel, bias=bias)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.padding_mode: PaddingMode = padding_mode
        self.register_parameter("bias", nn.Parameter(like.bias.detach().clone()) if like.bias is not None else None)
        self.weight_orig = nn.Parameter(like.weight.detach().clone())
        self.register_buffer("weight_u", F.normalize(torch.randn(outputs), dim=0, eps=EPS))
        self.register_buffer("weight_v", F.normalize(torch.randn(inputs * kernel**2), dim=0, eps=EPS))

    def weight(self) -> Tensor:
        """Return the normalised weight, after one power step if training."""
        matrix = self.weight_orig.flatten(1)
        if self.training:
            with torch.no_grad():
                self.weight_v.copy_(F.normalize(matrix.t() @ self.weight_u, dim=0, eps=EPS))
                self.weight_u.copy_(F.normalize(matrix @ self.weight_v, dim=0, eps=EPS))
        left, right = self.weight_u.clone(), self.weight_v.clone()
        return self.weight_orig / torch.dot(left, torch.mv(matrix, right))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H', W')."""
        padding = self.padding
        if self.padding_mode == "circular" and padding:
            features, padding = wrap(features, padding), 0
        return F.conv2d(features, self.weight(), self.bias, self.stride, padding, self.dilation)


def fold_spectral(conv: SpectralConv2d) -> nn.Conv2d:
    """Return the plain convolution that does what `conv` does in eval mode."""
    outputs, inputs, kernel, _ = conv.weight_orig.shape
    kind = CircularConv2d if conv.padding_mode == "circular" else nn.Conv2d
    plain = kind(inputs, outputs, kernel, conv.stride, conv.padding, conv.dilation, bias=conv.bias is not None)
    plain = plain.to(device=conv.weight_orig.device, dtype=conv.weight_orig.dtype)
    with torch.no_grad():
        matrix = conv.weight_orig.flatten(1).double()
        sigma = conv.weight_u.double() @ matrix @ conv.weight_v.double()
        plain.weight.copy_(conv.weight_orig.double() / sigma)
        if plain.bias is not None and conv.bias is not None:
            plain.bias.copy_(conv.bias)
    return plain.train(conv.training)


def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return the convolution that does what `norm(conv(x))` does in eval mode (running statistics).

    Raises:
        ValueError: `norm` keeps no running statistics.
    """
    if norm.running_mean is None or norm.running_var is None:
        msg = "fold_batch_norm: expected a BatchNorm with running statistics, got one without"
        raise ValueError(msg)
    folded = copy.deepcopy(conv)
    folded.bias = nn.Parameter(torch.zeros_like(norm.running_mean, dtype=conv.weight.dtype))
    with torch.no_grad():
        scale = (norm.running_var.double() + norm.eps).rsqrt() * norm.weight.double()
        bias = torch.zeros_like(scale) if conv.bias is None else conv.bias.double()
        folded.weight.copy_(conv.weight.double() * scale.view(-1, 1, 1, 1))
        folded.bias.copy_((bias - norm.running_mean.double()) * scale + norm.bias.double())
    return folded


def fold_spectral_in(module: nn.Module) -> None:
    """Replace, in place, every `SpectralConv2d` inside `module` by its plain convolution."""
    for name, child in module.named_children():
        if isinstance(child, SpectralConv2d):
            setattr(module, name, fold_spectral(child))
        else:
            fold_spectral_in(child)
