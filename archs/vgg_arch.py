"""Features of VGG19 (Simonyan and Zisserman, ICLR 2015, configuration E), by the name of the layer.

Key names: `vgg_net.conv1_1.weight` and so on, with the ImageNet constants as buffers `mean` and `std`, as published
Keyframes-GAN checkpoints carry them. Torchvision's own file (`features.0.weight`, ...) goes through `rename_torchvision`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""(channels, convolutions) between one pooling and the next."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def layer_names() -> list[str]:
    """Return VGG19's layers in order: conv1_1, relu1_1, conv1_2, relu1_2, pool1, conv2_1, ... pool5."""
    names = []
    for block, (_, count) in enumerate(BLOCKS, start=1):
        for index in range(1, count + 1):
            names += [f"conv{block}_{index}", f"relu{block}_{index}"]
        names.append(f"pool{block}")
    return names


def rename_torchvision(state: Mapping[str, Tensor], prefix: str = "vgg_net.") -> dict[str, Tensor]:
    """Return torchvision's VGG19 `state` under this module's key names; classifier entries are left out.

    Args:
        state: keys `features.N.weight` and `features.N.bias`, N counting the layers of `layer_names`.
        prefix: what stands before `conv1_1.weight`.
    """
    names = layer_names()
    renamed = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part == "features":
            number, _, kind = rest.partition(".")
            renamed[f"{prefix}{names[int(number)]}.{kind}"] = value
    return renamed


class VGG19Features(nn.Module):
    """The outputs of chosen VGG19 layers. Frozen: parameters take no gradient, inputs do.

    Args:
        layers: names as in `layer_names`; nothing deeper than the deepest is built.
        use_input_norm: normalise by ImageNet's mean and standard deviation, which are then buffers.
        range_norm: map the input x to (x + 1) / 2 first: meant for [-1, 1] pictures. Published Keyframes-GAN weights
            were trained with it on [0, 1] pictures and need it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[str], *, use_input_norm: bool = True, range_norm: bool = False) -> None:
        super().__init__()
        names = layer_names()
        unknown = [layer for layer in layers if layer not in names]
        if unknown or not layers:
            msg = f"layers: expected some of {', '.join(names)}, got {', '.join(unknown) or 'none'}"
            raise ValueError(msg)
        self.layers = tuple(layers)
        self.range_norm = range_norm
        self.vgg_net = _vgg19(names[: max(map(names.index, layers)) + 1], set(layers))
        self.vgg_net.requires_grad_(requires_grad=False)
        self.use_input_norm = use_input_norm
        if use_input_norm:
            self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        """Map (N, 3, H, W), RGB, to {layer: (N, C, H / 2**k, W / 2**k)}, k the number of poolings before the layer."""
        if self.range_norm:
            picture = (picture + 1) / 2
        if self.use_input_norm:
            picture = (picture - self.mean) / self.std
        features: dict[str, Tensor] = {}
        for name, layer in self.vgg_net.named_children():
            picture = layer(picture)
            if name in self.layers:
                features[name] = picture
        return features


def _vgg19(names: Sequence[str], wanted: set[str]) -> nn.Sequential:
    """Return the layers `names`; a ReLU works in place unless the convolution before it is wanted too."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for name in names:
        kind, block = name[:4], int(name[4])
        if kind == "conv":
            outputs = BLOCKS[block - 1][0]
            layers[name] = nn.Conv2d(inputs, outputs, 3, padding=1)
            inputs = outputs
        elif kind == "relu":
            layers[name] = nn.ReLU(inplace=name.replace("relu", "conv") not in wanted)
        else:
            layers[name] = nn.MaxPool2d(2)
    return nn.Sequential(layers)
