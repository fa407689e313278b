"""The recipe for SRNet: small faces are made of good ones on the fly, and the network is to give the good ones back, four times as large.

As in Real-ESRGAN (Wang et al., ICCVW 2021) the bad pictures are made by the model and not by the data set; what is done to them is
`data.degradation`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.srnet_arch import SCALE, SRNet, as_photo, variant_of
from data.degradation import Degradation
from data.samples import unit
from keyframes_gan.models.adversarial import SignedModel, Terms
from keyframes_gan.models.base import Batch
from keyframes_gan.models.validation import Shown, image_of
from keyframes_gan.types import Image

HALF = 0.5
COARSER = (2, SCALE)
"""By how much `train.coarse_opt` makes pictures smaller first: what stays is what people are told apart by, and what a small face shows."""
VALIDATION_SEED = 0


class SRNetModel(SignedModel):
    """Trains an SRNet on patches of faces, and validates it on whole faces against bicubic interpolation ("compressed" in the scores)."""

    def __init__(self, opt: dict[str, Any]) -> None:
        settings = opt["degradation"]
        self.far = Degradation.of({**settings, "scale": SCALE})
        self.patch = int(settings["patch_size"]) * SCALE
        self.sizes = tuple(settings.get("size_range", (1.0, 1.0)))
        self.clean, self.mild = float(settings.get("clean", 0.0)), float(settings.get("mild", 0.0))
        super().__init__(opt)

    def prepare_training(self) -> None:
        """Build the losses on spectra and on coarser versions, too."""
        super().prepare_training()
        self.cri_coarse = self.build_loss("coarse_opt")
        self.cri_frequency = self.build_loss("frequency_opt")

    def initialise(self, label: str, net: nn.Module) -> None:
        """Begin as interpolation."""
        if isinstance(net, SRNet):
            net.begin_as_interpolation()

    def adapt(self, label: str, net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Let the variant "photo" begin with weights of "video"."""
        other = isinstance(net, SRNet) and net.variant == "photo" and variant_of(state) == "video"
        return as_photo(state) if other else state

    def feed_data(self, data: dict[str, Any]) -> None:
        """Cut a patch out of every picture of a batch and make a bad one of it, a fourth as large."""
        rng = np.random.default_rng(np.random.randint(0, 2**32, size=4, dtype=np.uint32))
        good = [self._patch(image_of(picture), rng) for picture in data["gt"]]
        bad = [self._bad(picture, rng) for picture in good]
        pairs = {name: torch.stack([unit(picture, flip=False) for picture in pictures]) for name, pictures in (("gt", good), ("lq", bad))}
        super().feed_data({**data, **pairs})

    def _patch(self, picture: Image, rng: np.random.Generator) -> Image:
        most = min(length - length % SCALE for length in picture.shape[:2])
        wanted = min(self.patch, most)
        side = min(round(wanted / rng.uniform(*self.sizes)), most)
        top, left = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
        way = cv2.INTER_AREA if side > wanted else cv2.INTER_CUBIC
        patch: Image = cv2.resize(picture[top : top + side, left : left + side], (wanted, wanted), interpolation=way)
        return patch

    def _bad(self, picture: Image, rng: np.random.Generator) -> Image:
        kind = rng.random()
        strength = 0.0 if kind < self.clean else rng.random() if kind < self.clean + self.mild else 1.0
        return self.far.apply([picture], self.far.weaker(strength).draw(rng), rng)[0]

    def terms(self, chunk: Batch) -> tuple[Terms, Tensor]:
        """Return the terms of pixels, coarser versions and spectra, and the enlarged pictures (N, 3, 4H, 4W)."""
        with self.autocast():
            output, _ = self.net_g(chunk["lq"] / 2 + HALF)
        output = output.float() * 2 - 1
        terms = self.similarity(output, chunk["gt"])
        if self.cri_coarse is not None:
            pairs = ((F.avg_pool2d(output, side), F.avg_pool2d(chunk["gt"], side)) for side in COARSER)
            terms["l_coarse"] = torch.stack([self.cri_coarse(*pair) for pair in pairs]).sum()
        if self.cri_frequency is not None:
            terms["l_frequency"] = self.cri_frequency(output, chunk["gt"])
        return terms, output

    def originals(self, chunk: Batch) -> Tensor:
        """Return the originals (N, 3, 4H, 4W)."""
        return chunk["gt"]

    def shown(self, net: nn.Module, data: dict[str, Any]) -> Shown:
        """Enlarge a whole picture, made small in the same way every time."""
        truth = image_of(data["gt"][0])
        truth = truth[: truth.shape[0] // SCALE * SCALE, : truth.shape[1] // SCALE * SCALE]
        key = data["gt_path"][0]
        bad = self._bad(truth, np.random.default_rng([VALIDATION_SEED, *key.encode()]))
        output, _ = net(unit(bad, flip=False)[None].to(self.device))
        plain: Image = cv2.resize(bad, truth.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        return Shown(Path(key).as_posix(), [image_of(output[0])], [truth], [plain])
