"""GMFlow: optical flow as global matching (Xu et al., CVPR 2022), the one-scale model at 1/8 resolution.

A convolutional backbone gives both pictures' features, six transformer layers (shifted windows, as in Swin) let each look at
itself and at the other, and a softmax over all positions of the other picture matches them. Flow then spreads by the picture's
similarity to itself and is upsampled by learnt convex combinations. Key names are those of the published checkpoints.

Convention: `forward(picture, other)` gives a field on the grid of `picture` that says where to look in `other`: displacement in
pixels, channel 0 to the right, channel 1 down.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 8
CHANNELS = 128
LAYERS = 6
SPLITS = 2
"""Windows per side of the feature map."""
MASKED = -100.0
"""What is added to the score of two positions that the shift has brought into one window from different parts of the picture."""
TEMPERATURE = 10000.0

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance normalisation (no parameters), and a shortcut, projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.InstanceNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride), nn.InstanceNorm2d(outputs)) if changes else None

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        change = F.relu(self.norm(self.conv1(features)))
        change = F.relu(self.norm(self.conv2(change)))
        shortcut = features if self.downsample is None else self.downsample(features)
        return F.relu(shortcut + change)


class Backbone(nn.Module):
    """The convolutional encoder: (N, 3, H, W) to (N, 128, H / 8, W / 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.norm1 = nn.InstanceNorm2d(64)
        self.layer1 = nn.Sequential(ResidualBlock(64, 64), ResidualBlock(64, 64))
        self.layer2 = nn.Sequential(ResidualBlock(64, 96, stride=2), ResidualBlock(96, 96))
        self.layer3 = nn.Sequential(ResidualBlock(96, CHANNELS, stride=2), ResidualBlock(CHANNELS, CHANNELS))
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map normalised RGB (N, 3, H, W) to features (N, 128, H / 8, W / 8)."""
        features = F.relu(self.norm1(self.conv1(pictures)))
        return self.conv2(self.layer3(self.layer2(self.layer1(features))))


class WindowAttention(nn.Module):
    """One-head attention inside windows, a merging projection and a norm; with `feed_forward`, a wide perceptron after it.

    Args:
        feed_forward: mix the message with the source through an MLP of width 8 x 128, and normalise again.
    """

    def __init__(self, *, feed_forward: bool) -> None:
        super().__init__()
        self.q_proj = nn.Linear(CHANNELS, CHANNELS, bias=False)
        self.k_proj = nn.Linear(CHANNELS, CHANNELS, bias=False)
        self.v_proj = nn.Linear(CHANNELS, CHANNELS, bias=False)
        self.merge = nn.Linear(CHANNELS, CHANNELS, bias=False)
        self.norm1 = nn.LayerNorm(CHANNELS)
        self.feed_forward = feed_forward
        if feed_forward:
            self.mlp = nn.Sequential(
                nn.Linear(2 * CHANNELS, 8 * CHANNELS, bias=False), nn.GELU(), nn.Linear(8 * CHANNELS, CHANNELS, bias=False)
            )
            self.norm2 = nn.LayerNorm(CHANNELS)

    def forward(self, source: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        """Return `source` (N, windows, tokens, C) after it has looked at `target`, of the same shape.

        `mask` (windows, tokens, tokens), or None, is added to the scores.
        """
        mask = mask if mask is None else mask[None].to(source.dtype)  # the fused kernels take no mask of three axes
        message = F.scaled_dot_product_attention(self.q_proj(source), self.k_proj(target), self.v_proj(target), attn_mask=mask)
        message = self.norm1(self.merge(message))
        if self.feed_forward:
            message = self.norm2(self.mlp(torch.cat((source, message), dim=-1)))
        return source + message


class TransformerLayer(nn.Module):
    """Attention of a picture to itself, then to the other one."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = WindowAttention(feed_forward=False)
        self.cross_attn_ffn = WindowAttention(feed_forward=True)

    def forward(self, source: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        """Return `source`, changed; shapes as for `WindowAttention`."""
        return self.cross_attn_ffn(self.self_attn(source, source, mask), target, mask)


class FeatureTransformer(nn.Module):
    """Six layers in 2x2 windows, which every second layer shifts by half a window."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer() for _ in range(LAYERS))

    def forward(self, picture: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return both features (N, h, w, C), each changed by the other; in every layer both read what was before that layer."""
        height, width = picture.shape[1:3]
        shift = height // SPLITS // 2, width // SPLITS // 2
        mask = shift_mask(height, width, picture.device)
        both = torch.cat((picture, other))
        for index, layer in enumerate(self.layers):
            shifted = index % 2 == 1
            source = torch.roll(both, (-shift[0], -shift[1]), (1, 2)) if shifted else both
            tokens = to_windows(source)
            swapped = torch.cat(tokens.chunk(2)[::-1])
            source = from_windows(layer(tokens, swapped, mask if shifted else None), height, width)
            both = torch.roll(source, shift, (1, 2)) if shifted else source
        first, second = both.chunk(2)
        return first, second


class SelfSimilarity(nn.Module):
    """Spreads flow to where matching fails (occlusions) by the picture's similarity to itself.

    As in the published weights, the key is projected from the projected query.
    """

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(CHANNELS, CHANNELS)
        self.k_proj = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, features: Tensor, flow: Tensor) -> Tensor:
        """Return `flow` (N, tokens, 2) after spreading it along `features` (N, tokens, C)."""
        query = self.q_proj(features)
        return weighted(query, self.k_proj(query), flow)


class GMFlow(nn.Module):
    """Optical flow between pictures of any size whose sides are multiples of 16."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.transformer = FeatureTransformer()
        self.feature_flow_attn = SelfSimilarity()
        self.upsampler = nn.Sequential(nn.Conv2d(2 + CHANNELS, 256, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(256, 9 * STRIDE**2, 1))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, picture: Tensor, other: Tensor) -> Tensor:
        """Return the flow from `picture` to `other`.

        Args:
            picture: RGB, (N, 3, H, W), values 0..255; H and W multiples of 16.
            other: the same shape.

        Returns:
            (N, 2, H, W): pixels to the right and down from each pixel of `picture` to its match in `other`.

        Raises:
            ValueError: the shapes differ or do not fit.
        """
        if picture.shape != other.shape:
            msg = f"GMFlow: expected two pictures of one shape, got {tuple(picture.shape)} and {tuple(other.shape)}"
            raise ValueError(msg)
        first, second = self.features(torch.cat((picture, other))).chunk(2)
        return self.match(first, second)

    def features(self, pictures: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W), 0..255, to backbone features (N, 128, H / 8, W / 8), which `match` takes.

        In a clip every frame belongs to two pairs but needs its features only once.

        Raises:
            ValueError: H or W is not a multiple of 16.
        """
        height, width = pictures.shape[-2:]
        step = STRIDE * SPLITS
        if pictures.ndim != 4 or pictures.shape[1] != 3 or height % step or width % step:  # noqa: PLR2004
            msg = f"GMFlow: expected (N, 3, H, W) with H and W multiples of {step}, got {tuple(pictures.shape)}; pad the pictures"
            raise ValueError(msg)
        return self.backbone((pictures - self.mean) / self.std)

    def match(self, picture: Tensor, other: Tensor) -> Tensor:
        """Return the flow (N, 2, H, W) from the backbone features (N, 128, H / 8, W / 8) of both pictures."""
        height, width = picture.shape[-2:]
        position = sine_position(height // SPLITS, width // SPLITS, picture.device).repeat(SPLITS, SPLITS, 1).to(picture.dtype)
        first, second = self.transformer(picture.permute(0, 2, 3, 1) + position, other.permute(0, 2, 3, 1) + position)
        grid = coordinates(height, width, picture.device)
        tokens = first.flatten(1, 2)
        flow = weighted(tokens, second.flatten(1, 2), grid.expand(len(picture), -1, -1)) - grid
        flow = self.feature_flow_attn(tokens, flow).transpose(1, 2).unflatten(2, (height, width))
        return self._upsampled(flow, first.permute(0, 3, 1, 2))

    def _upsampled(self, flow: Tensor, features: Tensor) -> Tensor:
        """Return `flow` (N, 2, h, w) at eight times the size: every pixel a convex combination of the 3x3 coarse ones around it."""
        count, _, height, width = flow.shape
        choice = self.upsampler(torch.cat((flow.to(features.dtype), features), dim=1)).to(flow.dtype)
        choice = choice.view(count, 1, 9, STRIDE, STRIDE, height, width).softmax(dim=2)
        around = F.unfold(STRIDE * flow, 3, padding=1).view(count, 2, 9, 1, 1, height, width)
        fine = (choice * around).sum(dim=2)
        return fine.permute(0, 1, 4, 2, 5, 3).reshape(count, 2, STRIDE * height, STRIDE * width)


def weighted(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax(query key' / sqrt(C)) value, in float32 at least.

    The two columns of `value` are padded to C: only then do the fused kernels apply, which keep no tokens x tokens scores and sum
    thousands of coordinates up to ten times as exactly as a product with so narrow a matrix.

    Args:
        query: (N, tokens, C).
        key: (N, tokens, C).
        value: (N, tokens, 2).
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    wide = F.pad(value, (0, query.shape[-1] - value.shape[-1]))
    with torch.autocast(query.device.type, enabled=False):
        heads = [part.to(dtype).unsqueeze(1) for part in (query, key, wide)]
        return F.scaled_dot_product_attention(heads[0], heads[1], heads[2])[:, 0, :, : value.shape[-1]]


def to_windows(features: Tensor) -> Tensor:
    """Cut (N, h, w, C) into 2x2 windows: (N, 4, h * w / 4, C)."""
    count, height, width, channels = features.shape
    split = features.view(count, SPLITS, height // SPLITS, SPLITS, width // SPLITS, channels)
    return split.transpose(2, 3).reshape(count, SPLITS**2, -1, channels)


def from_windows(tokens: Tensor, height: int, width: int) -> Tensor:
    """Undo `to_windows`: (N, 4, h * w / 4, C) to (N, h, w, C)."""
    count, _, _, channels = tokens.shape
    split = tokens.view(count, SPLITS, SPLITS, height // SPLITS, width // SPLITS, channels)
    return split.transpose(2, 3).reshape(count, height, width, channels)


def shift_mask(height: int, width: int, device: torch.device) -> Tensor:
    """Return (4, tokens, tokens): `MASKED` between positions that were not neighbours before the shift, 0 elsewhere."""

    def parts(length: int) -> Tensor:
        window = length // SPLITS
        place = torch.arange(length, device=device)
        return (place >= length - window).int() + (place >= length - window // 2).int()

    labels = to_windows((3 * parts(height)[:, None] + parts(width)).view(1, height, width, 1))[0, :, :, 0]
    return MASKED * (labels[:, :, None] != labels[:, None, :]).float()


def sine_position(height: int, width: int, device: torch.device) -> Tensor:
    """Return sines and cosines of the position, (height, width, 128): 64 channels for y, then 64 for x (as in DETR)."""
    quarter = CHANNELS // 4
    rate = TEMPERATURE ** (-torch.arange(quarter, device=device) / quarter)

    def encoded(length: int) -> Tensor:
        phase = torch.arange(1, length + 1, device=device) / (length + 1e-6) * 2 * math.pi
        angles = phase[:, None] * rate
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)

    down = encoded(height)[:, None].expand(-1, width, -1)
    right = encoded(width)[None].expand(height, -1, -1)
    return torch.cat((down, right), dim=-1)


def coordinates(height: int, width: int, device: torch.device) -> Tensor:
    """Return the (x, y) of all positions in reading order, float32 (height * width, 2)."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack((x, y), dim=-1).flatten(0, 1).float()
