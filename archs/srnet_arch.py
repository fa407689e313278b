"""SRNet: four times as large, face by face. Residual dense blocks, four transformer layers over all pixels, a detail head.

Sources: Lim et al., CVPRW 2017 (residual scaling); Wang et al., ECCVW 2018 (residual in residual dense blocks); Xiong et al., ICML 2020
(norms before the layers); Shi et al., CVPR 2016 (pixel shuffle); Liu et al., ICCV 2021 (windows that shift from layer to layer).
Key names are those of the published checkpoints, which know two variants (`VARIANTS`).

Convention: pictures are float32 RGB in [0, 1], (N, 3, H, W); tokens (N, H, W, C), one for each pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.keep_attention import SelfAttention, attend
from archs.layouts import without_parallel_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

Variant = Literal["video", "photo"]
VARIANTS: dict[str, str] = {"video": "detail.", "photo": "detail_head."}
"""How the keys of each variant's detail head begin."""
SCALE = 4
MULTIPLE = 4
"""`SRNet.enlarge` brings pictures to a multiple of this many pixels."""
WIDTH, GROWTH, HEADS, INNER, LAYERS, BLOCKS = 64, 32, 4, 256, 4, 2
SLOPE, RESIDUAL, GATE = 0.2, 0.2, 0.3
LAPLACIAN = ((0.0, -1.0, 0.0), (-1.0, 4.0, -1.0), (0.0, -1.0, 0.0))


class DenseBlock(nn.Module):
    """Three convolutions, each of which sees all before it, added to the input at a fifth."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(WIDTH, GROWTH, 3, padding=1)
        self.c2 = nn.Conv2d(WIDTH + GROWTH, GROWTH, 3, padding=1)
        self.c3 = nn.Conv2d(WIDTH + 2 * GROWTH, WIDTH, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, (N, 64, H, W)."""
        first = F.leaky_relu(self.c1(features), SLOPE)
        second = F.leaky_relu(self.c2(torch.cat((features, first), 1)), SLOPE)
        return features + RESIDUAL * self.c3(torch.cat((features, first, second), 1))


class PlainSelfAttention(SelfAttention):
    """Self-attention without positions: one product makes queries, keys and values."""

    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        """Return tokens of the same shape, (N, count, C)."""
        query, key, value = F.linear(tokens, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        return self.out_proj(attend(query, key, value, self.heads))


class EncoderLayer(nn.Module):
    """`nn.TransformerEncoderLayer` with norms first, on fused attention, within windows where asked for.

    PyTorch's own layer, in evaluation, writes down the weights of every pair of pixels: 8 GB for a face of 150 pixels.

    Args:
        dropout: part of the values that training drops after the attention and inside and after the feed-forward; not of the attention's
            weights, which would have to be written down.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.self_attn = PlainSelfAttention(WIDTH, HEADS)
        self.linear1 = nn.Linear(WIDTH, INNER)
        self.linear2 = nn.Linear(INNER, WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, window: int, *, shifted: bool) -> Tensor:
        """Return tokens of the same shape, (N, H, W, C); `window` 0 lets all pixels look at each other."""
        seen = self._looked(self.norm1(tokens), window, shifted=shifted)
        tokens = tokens + self.dropout(seen)
        inner = self.dropout(F.relu(self.linear1(self.norm2(tokens)), inplace=True))
        return tokens + self.dropout(self.linear2(inner))

    def _looked(self, tokens: Tensor, window: int, *, shifted: bool) -> Tensor:
        height, width = tokens.shape[1:3]
        if not window or max(height, width) <= window:
            return self.self_attn(tokens.flatten(1, 2)).view_as(tokens)
        sides = min(window, height), min(window, width)
        before = [side // 2 if shifted and side < length else 0 for side, length in zip(sides, (height, width), strict=True)]
        after = [-(length + first) % side for length, first, side in zip((height, width), before, sides, strict=True)]
        padded = F.pad(tokens.permute(0, 3, 1, 2), (before[1], after[1], before[0], after[0]), mode="reflect")
        rows, columns = padded.shape[2] // sides[0], padded.shape[3] // sides[1]
        cut = padded.unflatten(3, (columns, sides[1])).unflatten(2, (rows, sides[0]))  # (N, C, rows, side, columns, side)
        windows = cut.permute(0, 2, 4, 3, 5, 1).reshape(-1, sides[0] * sides[1], tokens.shape[3])
        seen = self.self_attn(windows).view(len(tokens), rows, columns, *sides, -1).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return seen[:, before[0] : before[0] + height, before[1] : before[1] + width]


class Encoder(nn.Module):
    """Transformer layers, one after the other.

    Args:
        dropout: as for `EncoderLayer`.
        window: side in pixels of the windows within which pixels look at each other; every other layer's are shifted by half a window. 0:
            the whole picture is one window.
    """

    def __init__(self, dropout: float, window: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(dropout) for _ in range(LAYERS))
        self.window = window

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape, (N, H, W, C)."""
        for number, layer in enumerate(self.layers):
            tokens = layer(tokens, self.window, shifted=bool(number % 2))
        return tokens


class Body(nn.Module):
    """Transformer over all pixels, then four times as many of them in each direction.

    In training the last two convolutions are joined as by `SRNet.fold`: a step takes two thirds of the time.
    """

    def __init__(self, dropout: float, window: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.encoder = Encoder(dropout, window)
        self.conv_pre = nn.Conv2d(WIDTH, WIDTH * SCALE**2, 3, padding=1)
        self.conv_out: nn.Module = nn.Conv2d(WIDTH, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, 64, H, W) to pictures (N, 3, 4H, 4W)."""
        seen = self.encoder(self.conv_in(features).permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2)
        if self.training and isinstance(self.conv_out, nn.Conv2d):
            return F.pixel_shuffle(F.conv2d(seen, *_joined(self.conv_pre, self.conv_out), padding=2), SCALE)
        return self.conv_out(F.pixel_shuffle(self.conv_pre(seen), SCALE))


class LaplacianHead(nn.Module):
    """Edges of the picture, each channel's Laplacian times a gate between -0.3 and 0.3 that is learned from all three."""

    hp: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("hp", torch.tensor(LAPLACIAN).expand(3, 1, 3, 3).clone())
        self.gate = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Tanh())

    def forward(self, base: Tensor) -> Tensor:
        """Return what is to be added to `base`, of its shape (N, 3, H, W)."""
        edges = F.conv2d(base, self.hp, padding=1, groups=3)
        return GATE * self.gate(edges) * edges


class SRNet(nn.Module):
    """Enlarges pictures of faces by 4.

    Args:
        variant: "video" adds a 1x1 convolution of the result to it, "photo" gated edges.
        window: side in pixels of the windows within which pixels look at each other; 0, as published: the whole picture.
        dropout: part of the transformer's values that training drops.

    Raises:
        ValueError: another variant, a negative window, or a window of one pixel.
    """

    def __init__(self, variant: Variant = "video", *, window: int = 0, dropout: float = 0.1) -> None:
        super().__init__()
        if variant not in VARIANTS or window < 0 or window == 1:
            msg = f"SRNet: expected a variant of {', '.join(VARIANTS)} and a window of 0 or at least 2, got {variant!r} and {window}"
            raise ValueError(msg)
        self.variant = variant
        self.head = nn.Sequential(nn.Conv2d(3, WIDTH, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.rrdb = nn.Sequential(*(DenseBlock() for _ in range(BLOCKS)))
        self.body = Body(dropout, window)
        if variant == "video":
            self.detail = nn.Conv2d(3, 3, 1)
        else:
            self.detail_head = LaplacianHead()

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return the enlarged pictures, (N, 3, 4H, 4W), not clamped, with and without the detail head's part."""
        base = self.body(self.rrdb(self.head(pictures)))
        detail = self.detail if self.variant == "video" else self.detail_head
        return base + detail(base), base

    def enlarge(self, pictures: Tensor) -> Tensor:
        """Return (N, 3, 4H, 4W), made from `pictures` mirrored at their borders to a multiple of `MULTIPLE` pixels.

        The public script takes as many pixels off the result as it had added to the input; here it is four times as many.
        """
        height, width = pictures.shape[-2:]
        top, left = (-height % MULTIPLE) // 2, (-width % MULTIPLE) // 2
        bottom, right = -height % MULTIPLE - top, -width % MULTIPLE - left
        enlarged, _ = self(F.pad(pictures, (left, right, top, bottom), mode="reflect"))
        return enlarged[..., top * SCALE : (top + height) * SCALE, left * SCALE : (left + width) * SCALE]

    @torch.no_grad()
    def fold(self) -> SRNet:
        """Join, in place, the two convolutions around the pixel shuffle, between which nothing bends, and return the network.

        Half of the work and most of the memory is saved. The outermost pixels of the result change, as the second convolution saw zeros
        beyond them.
        """
        pre, out = self.body.conv_pre, self.body.conv_out
        if isinstance(out, nn.Conv2d):
            weight, bias = _joined(pre, out)
            made = nn.utils.skip_init(nn.Conv2d, WIDTH, len(bias), 5, padding=2, device=weight.device, dtype=weight.dtype)
            made.weight.copy_(weight)
            made.get_parameter("bias").copy_(bias)
            self.body.conv_pre, self.body.conv_out = made, nn.Identity()
        return self

    @torch.no_grad()
    def begin_as_interpolation(self) -> None:
        """Change the weights so that the network enlarges bilinearly, from where training begins sooner to help than from noise.

        Three channels carry the picture through all layers, which add nothing to it yet; the others stay as they were drawn.
        """
        _begin(self.head[0], torch.eye(3, 3))
        _begin(self.body.conv_in, torch.eye(3, WIDTH))
        _begin(self.body.conv_out, torch.eye(3, WIDTH))
        # Part k of a pixel lies (k + 0.5) / 4 - 0.5 pixels right of (or below) its centre.
        offset = (torch.arange(SCALE) + 0.5) / SCALE - 0.5
        taps = torch.stack(((-offset).clamp(min=0), 1 - offset.abs(), offset.clamp(min=0)), 1)
        parts = torch.einsum("ya,xb->yxab", taps, taps).flatten(0, 1)
        _begin(self.body.conv_pre, torch.einsum("cd,kab->ckdab", torch.eye(3, WIDTH), parts).flatten(0, 1))
        for block in self.rrdb:
            _begin(block.get_submodule("c3"), torch.zeros(WIDTH, 1))
        for layer in self.body.encoder.layers:
            for name in ("self_attn.out_proj", "linear2"):
                _begin(layer.get_submodule(name), torch.zeros(WIDTH, 1))
        _begin(self.get_submodule("detail" if self.variant == "video" else "detail_head.gate.0"), torch.zeros(3, 1))


def _joined(first: nn.Conv2d, second: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the 5x5 convolution that gives, before a shuffle, what `first`, the shuffle and `second` give together.

    Both are 3x3. What they make of a single lit pixel is the kernel, back to front.
    """
    lit = F.pad(first.weight.flip(2, 3).transpose(0, 1), (1, 1, 1, 1))
    kernel = F.pixel_unshuffle(F.conv2d(F.pixel_shuffle(lit, SCALE), second.weight, padding=1), SCALE)
    plain = F.pixel_shuffle(first.get_parameter("bias")[None, :, None, None].expand(-1, -1, 3, 3), SCALE)
    bias = F.pixel_unshuffle(F.conv2d(plain, second.weight, second.bias, padding=1), SCALE)
    return kernel.transpose(0, 1).flip(2, 3), bias[0, :, 1, 1]


def _begin(layer: nn.Module, rows: Tensor) -> None:
    """Set the first rows of a layer's weight, and of its bias to 0.

    Args:
        layer: a linear layer or a convolution.
        rows: (R, C) for the middle of a kernel, the rest of which is 0, or (R, C, 3, 3); C may be 1, for all.
    """
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    spatial = weight.shape[2:]
    if rows.ndim < weight.ndim:
        rows = F.pad(rows[..., None, None], [side // 2 for side in spatial for _ in range(2)])
    weight[: len(rows)] = rows
    bias[: len(rows)] = 0


def variant_of(state: Mapping[str, Tensor]) -> Variant:
    """Return the variant whose keys a checkpoint has; what fits neither is called "video", and loading it strictly says what is wrong."""
    names = without_parallel_prefix(state)
    return "photo" if any(name.startswith(VARIANTS["photo"]) for name in names) else "video"


def as_photo(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of the variant "photo" that give the same pictures as these of "video": its 1x1 layer goes into the one before it."""
    given = without_parallel_prefix(state)
    detail, bias = given.pop("detail.weight")[:, :, 0, 0], given.pop("detail.bias")
    mix = torch.eye(3, dtype=detail.dtype) + detail
    given["body.conv_out.weight"] = torch.einsum("oc,cikl->oikl", mix, given["body.conv_out.weight"])
    given["body.conv_out.bias"] = mix @ given["body.conv_out.bias"] + bias
    head = LaplacianHead()
    for name, value in head.state_dict().items():
        given[f"detail_head.{name}"] = value if name == "hp" else torch.zeros_like(value)
    return given
