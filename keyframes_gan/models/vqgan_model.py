"""The recipe for the VQGAN of good faces, KEEP's first stage: reconstruction, codebook and adversarial losses.

Source: Esser, Rombach and Ommer, "Taming transformers for high-resolution image synthesis", CVPR 2021.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config

from keyframes_gan.models.adversarial import SignedModel, Terms
from keyframes_gan.models.base import Batch
from keyframes_gan.models.validation import Shown, image_of
from losses.gan_loss import adaptive_weight


class VQGANModel(SignedModel):
    """Trains a `VQAutoEncoder` on good pictures, and validates how well it gives them back."""

    def optimize_parameters(self, current_iter: int) -> None:
        """Make one step, in which gradients are asked for twice: once at the last layer, for the adaptive weight."""
        with config.patch(donated_buffer=False):  # else a compiled backward pass overwrites what the second one needs
            super().optimize_parameters(current_iter)

    def terms(self, chunk: Batch) -> tuple[Terms, Tensor]:
        """Return pixel, perceptual and codebook terms, and the reconstruction (N, 3, H, W)."""
        with self.autocast():
            output, codebook, stats = self.net_g(chunk["gt"])
        output = output.float()
        terms = self.similarity(output, chunk["gt"])
        terms["l_codebook"] = codebook.float() * self.train_options.get("codebook_weight", 1.0)
        if "perplexity" in stats:
            self.note({"perplexity": stats["perplexity"].float()}, self.parts)
        return terms, output

    def originals(self, chunk: Batch) -> Tensor:
        """Return the originals (N, 3, H, W)."""
        return chunk["gt"]

    def adversarial(self, output: Tensor, terms: Terms) -> Tensor:
        """Return the adversarial term, weighted so that it pulls at the last layer as hard as pixels and perception do.

        The gradients compared are those of the whole batch over all processes, but of one chunk where it is cut into several.
        """
        term = super().adversarial(output, terms)
        cap = self.train_options.get("adaptive_gan_cap")
        if cap is None:
            return term
        last: nn.Parameter = self.get_bare_model(self.net_g).generator.blocks[-1].weight
        likeness = torch.stack([terms[name] for name in ("l_pix", "l_percep") if name in terms]).sum()
        gradients = torch.stack([torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (likeness, term)])
        if self.opt["dist"]:
            torch.distributed.all_reduce(gradients)
        factor = adaptive_weight(gradients[0], gradients[1], cap=cap)
        self.note({"gan_weight": factor}, self.parts)
        return factor * term

    def shown(self, net: nn.Module, data: dict[str, Any]) -> Shown:
        """Give a whole picture back."""
        self.feed_data(data)
        restored = image_of(net(self.batch["gt"])[0][0] / 2 + 0.5)
        return Shown(Path(data["gt_path"][0]).stem, [restored], [image_of(self.batch["gt"][0] / 2 + 0.5)], [])
