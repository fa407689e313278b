"""VQGAN: pictures as sequences of codes from a learned codebook (Esser et al., CVPR 2021; van den Oord et al., NeurIPS 2017).

`VQAutoEncoder` is what is trained on good faces; KEEP takes its generator, its codebook and, for its own past output, its encoder.

Convention: pictures are float RGB in [-1, 1], (N, 3, H, W); code indices int64 in reading order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.vqgan_blocks import Encoder, Generator, from_tokens, to_tokens

__all__ = ["Encoder", "Generator", "GumbelQuantizer", "VQAutoEncoder", "VQHQEncoder", "VectorQuantizer"]

CH_MULT = (1, 2, 2, 4, 4, 8)
ATTENTION_AT = (16,)
TINY = 1e-10

QuantizerName = Literal["nearest", "gumbel"]


class VectorQuantizer(nn.Module):
    """Replaces every feature by the nearest row of the codebook; gradients pass straight through.

    Args:
        codebook_size: rows.
        emb_dim: channels of a row.
        beta: weight of the term that holds the encoder to the codebook, against 1 for the term that moves the codebook.
    """

    def __init__(self, codebook_size: int, emb_dim: int, beta: float = 0.25) -> None:
        super().__init__()
        self.codebook_size, self.emb_dim, self.beta = codebook_size, emb_dim, beta
        self.embedding = nn.Embedding(codebook_size, emb_dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / codebook_size, 1.0 / codebook_size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Quantize (N, emb_dim, h, w).

        Returns:
            The codebook's rows in place of the features, the codebook loss (scalar), and statistics: `indices` (N, h * w),
            `margin` (N, h * w), how much farther in squared distance the second nearest row is, `perplexity`, from 1 (one code
            serves all) to `codebook_size`, and `mean_distance`, squared.
        """
        tokens = to_tokens(features)
        distances = self.distances(tokens)
        nearest = distances.detach().topk(2, dim=-1, largest=False)
        indices = nearest.indices[..., 0]
        chosen = self.lookup(indices, (features.shape[2], features.shape[3]))
        loss = F.mse_loss(chosen.detach(), features) * self.beta + F.mse_loss(chosen, features.detach())
        used = torch.bincount(indices.flatten(), minlength=self.codebook_size).to(distances.dtype) / indices.numel()
        stats = {
            "indices": indices,
            "margin": nearest.values[..., 1] - nearest.values[..., 0],
            "perplexity": torch.exp(-(used * torch.log(used + TINY)).sum()),
            "mean_distance": distances.detach().mean(),
        }
        return features + (chosen - features).detach(), loss, stats

    def distances(self, tokens: Tensor) -> Tensor:
        """Return the squared distances of tokens (N, count, emb_dim) to all rows, (N, count, codebook_size), in the rows' precision."""
        rows = self.embedding.weight
        with torch.autocast(tokens.device.type, enabled=False):
            tokens = tokens.to(rows.dtype)
            return tokens.square().sum(-1, keepdim=True) + rows.square().sum(-1) - 2 * tokens @ rows.t()

    def lookup(self, indices: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the rows named by `indices` (N, h * w) as features (N, emb_dim, h, w) of `size` (h, w)."""
        return from_tokens(self.embedding(indices), size)


class GumbelQuantizer(nn.Module):
    """Chooses codes by the Gumbel-softmax (Jang et al., ICLR 2017): samples in training, takes the likeliest in eval mode.

    Args:
        codebook_size: rows.
        emb_dim: channels of the features and of a row.
        straight_through: choose one row even in training, with the soft choice's gradient.
        kl_weight: weight of the divergence of the choice from the uniform one.
        temperature: of the softmax; training may lower it.
    """

    def __init__(
        self, codebook_size: int, emb_dim: int, *, straight_through: bool = False, kl_weight: float = 5e-4, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.codebook_size, self.emb_dim = codebook_size, emb_dim
        self.straight_through, self.kl_weight, self.temperature = straight_through, kl_weight, temperature
        self.proj = nn.Conv2d(emb_dim, codebook_size, 1)
        self.embed = nn.Embedding(codebook_size, emb_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Quantize (N, emb_dim, h, w); returns rows, the divergence (scalar), and {"indices": (N, h * w)}."""
        logits = to_tokens(self.proj(features))
        if self.training:
            choice = F.gumbel_softmax(logits, tau=self.temperature, hard=self.straight_through, dim=-1)
            rows = from_tokens(choice @ self.embed.weight, (features.shape[2], features.shape[3]))
        else:
            rows = self.lookup(logits.argmax(-1), (features.shape[2], features.shape[3]))
        log_chance = F.log_softmax(logits, dim=-1)
        divergence = (log_chance.exp() * (log_chance + math.log(self.codebook_size))).sum(-1).mean()
        return rows, self.kl_weight * divergence, {"indices": logits.argmax(-1)}

    def lookup(self, indices: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the rows named by `indices` (N, h * w) as features (N, emb_dim, h, w) of `size` (h, w)."""
        return from_tokens(self.embed(indices), size)


class VQHQEncoder(nn.Module):
    """A trained VQGAN's encoder and codebook: which codes a good face has. The target when KEEP's code prediction is trained.

    Its keys are those of `VQAutoEncoder` without `generator.*`; `rename_encoder_only` picks them.

    Args:
        img_size: side of the pictures in pixels.
        nf: channels of the first convolution.
        ch_mult: width of each resolution, in multiples of `nf`; the resolution halves from one to the next.
        quantizer: "nearest" or "gumbel".
        res_blocks: residual blocks for each resolution.
        attn_resolutions: sides in pixels at which there is attention.
        codebook_size: codes there are.
        emb_dim: channels of a code.
        beta: commitment weight of the nearest quantizer.
        gumbel_straight_through: as `straight_through` of `GumbelQuantizer`.
        gumbel_kl_weight: as `kl_weight` of `GumbelQuantizer`.

    Raises:
        ValueError: an unknown quantizer, or widths that are no multiples of 32.
    """

    decodes = False

    def __init__(
        self,
        img_size: int = 512,
        nf: int = 64,
        ch_mult: Sequence[int] = CH_MULT,
        quantizer: QuantizerName = "nearest",
        *,
        res_blocks: int = 2,
        attn_resolutions: Sequence[int] = ATTENTION_AT,
        codebook_size: int = 1024,
        emb_dim: int = 256,
        beta: float = 0.25,
        gumbel_straight_through: bool = False,
        gumbel_kl_weight: float = 1e-8,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(3, nf, emb_dim, ch_mult, res_blocks, img_size, attn_resolutions)
        self.quantize: VectorQuantizer | GumbelQuantizer
        if quantizer == "nearest":
            self.quantize = VectorQuantizer(codebook_size, emb_dim, beta)
        elif quantizer == "gumbel":
            straight, weight = gumbel_straight_through, gumbel_kl_weight
            self.quantize = GumbelQuantizer(codebook_size, emb_dim, straight_through=straight, kl_weight=weight)
        else:
            msg = f"quantizer: expected nearest or gumbel, got {quantizer!r}"
            raise ValueError(msg)
        if self.decodes:
            self.generator = Generator(nf, emb_dim, ch_mult, res_blocks, img_size, attn_resolutions)
        self.to(memory_format=torch.channels_last)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Map (N, 3, H, W) to quantized features (N, emb_dim, h, w), the quantizer's loss and its statistics."""
        return self.quantize(self.encoder(picture))


class VQAutoEncoder(VQHQEncoder):
    """Picture to codes and back. Arguments as for `VQHQEncoder`."""

    decodes = True

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the reconstruction (N, 3, H, W), not clamped, the quantizer's loss (scalar) and its statistics."""
        rows, loss, stats = self.quantize(self.encoder(picture))
        return self.generator(rows), loss, stats


def rename_encoder_only(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a `VQAutoEncoder` that `VQHQEncoder` takes."""
    return {key: value for key, value in state.items() if not key.startswith("generator.")}
