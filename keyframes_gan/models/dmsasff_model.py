"""The recipe for reference-guided restoration: pixel loss, and on request perceptual, style and adversarial losses.

Follows Keyframes-GAN (Agnolucci et al., IEEE TMM 2023) where the options ask for it; its published weights of the terms stand in
`options/train/keyframes.yml`. Trains `DMSASFFNet` and `DMSASFFNetLite` alike.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archs.vgg_arch import VGG19Features, rename_torchvision
from keyframes_gan import weights
from keyframes_gan.models.base import Batch
from keyframes_gan.models.validation import Shown, ValidatedModel, image_of
from losses.perceptual_loss import PerceptualLoss


class DMSASFFNetModel(ValidatedModel):
    """Trains a generator on (compressed, reference, landmark) -> original, and validates its averaged weights."""

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.legacy = bool(self.train_options.get("legacy", False))
        self.net_g = self.add_network("g", average=True)
        self.takes_valid = "valid" in inspect.signature(self.get_bare_model(self.net_g).forward).parameters
        if self.is_train:
            self._prepare_training()

    def _prepare_training(self) -> None:
        self.net_g.train()
        self.cri_pix = self.build_loss("pixel_opt")
        self.cri_perceptual = self.build_loss("perceptual_opt")
        if isinstance(self.cri_perceptual, PerceptualLoss):
            self.cri_perceptual.load_vgg(self._vgg19())
        self.cri_gan = self.build_loss("gan_opt")
        self.optimizer_g = self.add_optimizer(self.net_g.parameters(), self.train_options["optim_g"])
        if self.cri_gan is not None:
            self.net_d = self.add_network("d")
            self.net_d.train()
            self.optimizer_d = self.add_optimizer(self.net_d.parameters(), self.train_options["optim_d"])

    def _vgg19(self) -> dict[str, Tensor]:
        """Return torchvision's VGG19 weights."""
        return weights.load_state(self.opt["path"]["pretrain_network_vgg19"])

    def initialise(self, label: str, net: nn.Module) -> None:
        """Give a new DMSASFFNet its frozen VGG19."""
        extractor = getattr(net, "vgg_extractor", None)
        if label == "g" and isinstance(extractor, VGG19Features):
            own = extractor.state_dict()
            given = {key: value for key, value in rename_torchvision(self._vgg19()).items() if key in own}
            buffers = {key: value for key, value in own.items() if not key.startswith("vgg_net.")}
            weights.load_into(extractor, {**buffers, **given}, name=str(self.opt["path"]["pretrain_network_vgg19"]))

    def restore(self, net: nn.Module, batch: Batch) -> Tensor:
        """Run a generator on a batch: float32 (N, 3, H, W), not clamped.

        A network that takes no `valid` mask gets the compressed picture as reference where there is none, as at inference.
        """
        if self.takes_valid:
            output: Tensor = net(batch["lq"], batch["reference"], batch["landmark"], batch["valid"])
        else:
            absent = 1.0 - batch["valid"].reshape(-1, 1, 1, 1)
            output = net(batch["lq"], batch["reference"] + absent * batch["lq"], batch["landmark"])
        return output.float()

    def optimize_parameters(self, current_iter: int) -> None:
        """Make one step of the generator and, with an adversarial loss, one of the discriminator.

        The batch is cut into `accumulate` chunks whose gradients add up to those of the whole batch.
        """
        train, adversarial = self.train_options, self.cri_gan is not None
        turn = not adversarial or (current_iter % train.get("net_d_iters", 1) == 0 and current_iter > train.get("net_d_init_iters", 0))
        chunks = self.chunks(self.batch)
        self.losses = {}
        outputs = self._generator_gradients(chunks, update=turn)
        if adversarial:
            self._discriminator_gradients(chunks, outputs)
        moved = [self.optimizer_g] if turn else []
        if self.step(*moved, *([self.optimizer_d] if adversarial else [])) and turn:
            self.model_ema()

    def _generator_gradients(self, chunks: list[Batch], *, update: bool) -> list[Tensor]:
        """Find the generator's gradients, with `update`; return its (detached) outputs."""
        if self.cri_gan is not None:
            self.net_d.requires_grad_(requires_grad=False)
        self.optimizer_g.zero_grad(set_to_none=True)
        outputs = []
        for number, chunk in enumerate(chunks, start=1):
            with self.synchronised(self.net_g, last=number == len(chunks)), torch.set_grad_enabled(update):
                with self.autocast():
                    output = self.restore(self.net_g, chunk)
                if update:
                    terms = self._generator_losses(output, chunk["gt"])
                    self.backward(torch.stack(list(terms.values())).sum().div(len(chunks)))
                    self.note(terms, len(chunks))
            outputs.append(output.detach())
        return outputs

    def _generator_losses(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        if self.cri_pix is not None:
            terms["l_pix"] = self.cri_pix(output, truth)
        if self.cri_perceptual is not None:
            with self.autocast():
                perceptual, style = self.cri_perceptual(output, truth)
            terms |= {name: term for name, term in (("l_percep", perceptual), ("l_style", style)) if term is not None}
        if self.cri_gan is not None:
            with self.autocast():
                scores = self.get_bare_model(self.net_d)(output)
            terms["l_g_gan"] = self.cri_gan(_float(scores), target_is_real=not self.legacy, is_disc=False)
        return terms

    def _discriminator_gradients(self, chunks: list[Batch], outputs: list[Tensor]) -> None:
        """Find the discriminator's gradients on originals and outputs, one after the other, as its batch statistics are their own.

        With `legacy` the outputs are scored but teach nothing.
        """
        if self.cri_gan is None:
            return
        self.net_d.requires_grad_(requires_grad=True)
        self.optimizer_d.zero_grad(set_to_none=True)
        for number, (chunk, output) in enumerate(zip(chunks, outputs, strict=True), start=1):
            for name, picture in (("real", chunk["gt"]), ("fake", output)):
                teaches = name == "real" or not self.legacy
                last = number == len(chunks) and name == ("real" if self.legacy else "fake")
                with self.synchronised(self.net_d, last=last), torch.set_grad_enabled(teaches):
                    with self.autocast():
                        scores = self.net_d(picture)
                    term = self.cri_gan(_float(scores), target_is_real=name == "real", is_disc=True)
                    if teaches:
                        self.backward(term.div(len(chunks)))
                self.note({f"l_d_{name}": term}, len(chunks))

    def shown(self, net: nn.Module, data: dict[str, Any]) -> Shown:
        """Run a generator on a whole crop."""
        self.feed_data(data)
        pictures = (self.restore(net, self.batch), self.batch["gt"], self.batch["lq"])
        restored, truth, given = ([image_of(batch[0])] for batch in pictures)
        return Shown(Path(data["lq_path"][0]).stem, restored, truth, given)


def _float(scores: Any) -> Any:  # noqa: ANN401
    """Turn one score map or a list of them into float32, for the loss."""
    return [score.float() for score in scores] if isinstance(scores, list) else scores.float()
