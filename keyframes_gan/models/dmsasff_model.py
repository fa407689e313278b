"""The recipe for reference-guided restoration: pixel loss, and on request perceptual, style and adversarial losses.

Follows Keyframes-GAN (Agnolucci et al., IEEE TMM 2023) where the options ask for it; its published weights of the terms stand in
`options/train/keyframes.yml`. Trains `DMSASFFNet` and `DMSASFFNetLite` alike.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from archs.vgg_arch import VGG19Features, rename_torchvision
from keyframes_gan import weights
from keyframes_gan.models.adversarial import AdversarialModel, Terms
from keyframes_gan.models.base import Batch
from keyframes_gan.models.validation import Shown, image_of


class DMSASFFNetModel(AdversarialModel):
    """Trains a generator on (compressed, reference, landmark) -> original, and validates its averaged weights."""

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.takes_valid = "valid" in inspect.signature(self.get_bare_model(self.net_g).forward).parameters

    def initialise(self, label: str, net: nn.Module) -> None:
        """Give a new DMSASFFNet its frozen VGG19."""
        extractor = getattr(net, "vgg_extractor", None)
        if label == "g" and isinstance(extractor, VGG19Features):
            own = extractor.state_dict()
            given = {key: value for key, value in rename_torchvision(self.source("vgg19")).items() if key in own}
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

    def terms(self, chunk: Batch) -> tuple[Terms, Tensor]:
        """Return pixel, perceptual and style terms, and the restored pictures (N, 3, H, W)."""
        with self.autocast():
            output = self.restore(self.net_g, chunk)
        return self.similarity(output, chunk["gt"]), output

    def originals(self, chunk: Batch) -> Tensor:
        """Return the originals (N, 3, H, W)."""
        return chunk["gt"]

    def shown(self, net: nn.Module, data: dict[str, Any]) -> Shown:
        """Run a generator on a whole crop."""
        self.feed_data(data)
        pictures = (self.restore(net, self.batch), self.batch["gt"], self.batch["lq"])
        restored, truth, given = ([image_of(batch[0])] for batch in pictures)
        return Shown(Path(data["lq_path"][0]).stem, restored, truth, given)
