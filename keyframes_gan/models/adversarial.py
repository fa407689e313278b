"""What the recipes share: a generator's step and, on request, that of a discriminator against it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from keyframes_gan import weights
from keyframes_gan.models.base import Batch
from keyframes_gan.models.validation import ValidatedModel
from losses.lpips_loss import LPIPSLoss
from losses.perceptual_loss import PerceptualLoss

Terms = dict[str, Tensor]


class AdversarialModel(ValidatedModel):
    """Trains network "g" and, where the options have `gan_opt`, network "d" against it. Subclasses write `terms` and `originals`.

    With `train.legacy` the discriminator scores what is generated but learns nothing from it, and the generator's adversarial loss has the
    target "generated", as in the published code of Keyframes-GAN.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.parts = int(self.train_options.get("accumulate", 1))
        self.legacy = bool(self.train_options.get("legacy", False))
        self.net_g = self.add_network("g", average=True)
        if self.is_train:
            self.prepare_training()

    def prepare_training(self) -> None:
        """Build losses, optimisers and the discriminator."""
        self.net_g.train()
        self.cri_pix = self.build_loss("pixel_opt")
        self.cri_perceptual = self.build_loss("perceptual_opt")
        if isinstance(self.cri_perceptual, LPIPSLoss):
            self.cri_perceptual.load(self.source("alexnet"), self.source("lpips"))
        elif isinstance(self.cri_perceptual, PerceptualLoss):
            self.cri_perceptual.load_vgg(self.source("vgg19"))
        self.cri_gan = self.build_loss("gan_opt")
        self.optimizer_g = self.add_optimizer(self.net_g.parameters(), self.train_options["optim_g"])
        if self.cri_gan is not None:
            self.net_d = self.add_network("d")
            self.net_d.train()
            self.optimizer_d = self.add_optimizer(self.net_d.parameters(), self.train_options["optim_d"])

    def source(self, name: str) -> dict[str, Tensor]:
        """Return the weights that the options call `path.pretrain_network_NAME`."""
        return weights.load_state(self.opt["path"][f"pretrain_network_{name}"])

    @abstractmethod
    def terms(self, chunk: Batch) -> tuple[Terms, Tensor]:
        """Run the generator on a chunk of the batch; return the terms of its loss but for the adversarial one, and its output."""

    @abstractmethod
    def originals(self, chunk: Batch) -> Tensor:
        """Return what the discriminator sees as real, of the shape of the generator's output."""

    def similarity(self, output: Tensor, truth: Tensor) -> Terms:
        """Return the pixel, perceptual and style terms of pictures (N, 3, H, W), as far as the options have them."""
        terms: Terms = {}
        if self.cri_pix is not None:
            terms["l_pix"] = self.cri_pix(output, truth)
        if self.cri_perceptual is not None:
            with self.autocast():
                found = self.cri_perceptual(output, truth)
            named = zip(("l_percep", "l_style"), found if isinstance(found, tuple) else (found,), strict=False)
            terms |= {name: term for name, term in named if term is not None}
        return terms

    def optimize_parameters(self, current_iter: int) -> None:
        """Make one step of the generator and, from iteration `net_d_start_iter` on, one of the discriminator.

        The batch is cut into `accumulate` chunks whose gradients add up to those of the whole batch.
        """
        train = self.train_options
        against = self.cri_gan is not None and current_iter >= train.get("net_d_start_iter", 1)
        turn = not against or (current_iter % train.get("net_d_iters", 1) == 0 and current_iter > train.get("net_d_init_iters", 0))
        chunks = self.chunks(self.batch)
        self.losses = {}
        outputs = self._generator_gradients(chunks, against=against, update=turn)
        if against:
            self._discriminator_gradients(chunks, outputs)
        moved = [self.optimizer_g] if turn else []
        if self.step(*moved, *([self.optimizer_d] if against else [])) and turn:
            self.model_ema()

    def _generator_gradients(self, chunks: list[Batch], *, against: bool, update: bool) -> list[Tensor]:
        """Find the generator's gradients, with `update`; return its (detached) outputs."""
        if against:
            self.net_d.requires_grad_(requires_grad=False)
        self.optimizer_g.zero_grad(set_to_none=True)
        outputs = []
        for number, chunk in enumerate(chunks, start=1):
            with self.synchronised(self.net_g, last=number == len(chunks)), torch.set_grad_enabled(update):
                terms, output = self.terms(chunk)
                if update:
                    if against:
                        terms["l_g_gan"] = self.adversarial(output, terms)
                    self.backward(torch.stack(list(terms.values())).sum().div(len(chunks)))
                    self.note(terms, len(chunks))
            outputs.append(output.detach())
        return outputs

    def adversarial(self, output: Tensor, terms: Terms) -> Tensor:
        """Return the generator's adversarial term; `terms` are its others."""
        return self._judged(self.get_bare_model(self.net_d), output, real=not self.legacy, discriminator=False)

    def _judged(self, judge: nn.Module, pictures: Tensor, *, real: bool, discriminator: bool) -> Tensor:
        """Let the discriminator score `pictures`, at one scale or several, and return the adversarial loss of that, in float32."""
        criterion: nn.Module = self.cri_gan  # type: ignore[assignment]  # asked for only where there is one
        with self.autocast():
            scores = judge(pictures)
        scores = [score.float() for score in scores] if isinstance(scores, list) else scores.float()
        term: Tensor = criterion(scores, target_is_real=real, is_disc=discriminator)
        return term

    def _discriminator_gradients(self, chunks: list[Batch], outputs: list[Tensor]) -> None:
        """Find the discriminator's gradients on originals and outputs, one after the other, as its batch statistics are their own."""
        self.net_d.requires_grad_(requires_grad=True)
        self.optimizer_d.zero_grad(set_to_none=True)
        for number, (chunk, output) in enumerate(zip(chunks, outputs, strict=True), start=1):
            for name, pictures in (("real", self.originals(chunk)), ("fake", output)):
                teaches = name == "real" or not self.legacy
                last = number == len(chunks) and name == ("real" if self.legacy else "fake")
                with self.synchronised(self.net_d, last=last), torch.set_grad_enabled(teaches):
                    term = self._judged(self.net_d, pictures, real=name == "real", discriminator=True)
                    if teaches:
                        self.backward(term.div(len(chunks)))
                self.note({f"l_d_{name}": term}, len(chunks))


class SignedModel(AdversarialModel):
    """An `AdversarialModel` whose networks take pictures in [-1, 1]. Data are in [0, 1]; from `feed_data` on all is in that range."""

    def feed_data(self, data: dict[str, Any]) -> None:
        """Move a batch's pictures to the device and to [-1, 1]."""
        super().feed_data(data)
        self.batch = {name: self.batch[name] * 2 - 1 for name in ("lq", "gt") if name in self.batch}
