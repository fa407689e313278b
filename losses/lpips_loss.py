"""LPIPS as a loss: the learned perceptual distance (Zhang et al., CVPR 2018; network: `archs.lpips_arch`) between pictures."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from archs.lpips_arch import LPIPS, MINIMUM_PX, keep_convolutions
from keyframes_gan.errors import OptionsError, WeightsError

NETWORKS = ("alex",)


class LPIPSLoss(nn.Module):
    """The mean LPIPS distance of pictures.

    Args:
        loss_weight: factor of the loss.
        net: the feature network; only "alex", version 0.1, exists.
        use_input_norm: accepted because published options have it: pictures are always normalised as the distance defines it.
        range_norm: map x to (x + 1) / 2 first, for pictures in [-1, 1].

    The network needs its weights before the first call: `load`. A loss opens no files, so whoever builds it hands them over.

    Raises:
        OptionsError: unknown `net`, or `use_input_norm` is False.
    """

    def __init__(self, loss_weight: float = 1.0, net: str = "alex", use_input_norm: bool = True, range_norm: bool = False) -> None:
        super().__init__()
        if net not in NETWORKS or not use_input_norm:
            msg = f"LPIPSLoss: expected net {', '.join(NETWORKS)} and use_input_norm true, got {net} and {use_input_norm}"
            raise OptionsError(msg)
        self.loss_weight = loss_weight
        self.range_norm = range_norm
        self.network = LPIPS().eval()
        self._loaded = False

    def load(self, backbone: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        """Copy torchvision's AlexNet weights (`features.0.weight`, ...) and the published heads (`lin0.model.1.weight`, ...).

        Raises:
            WeightsError: a tensor is missing or of another shape.
        """
        own = self.network.state_dict()
        given = {**keep_convolutions(backbone), **heads}
        bad = [key for key, value in own.items() if key not in given or given[key].shape != value.shape]
        if bad:
            which = f"{len(bad)} of {len(own)} are missing or misshapen: {', '.join(bad[:4])}"
            msg = f"LPIPSLoss: expected torchvision's AlexNet and the LPIPS 0.1 heads for it, but {which}"
            raise WeightsError(msg)
        self.network.load_state_dict({key: given[key] for key in own})
        self._loaded = True

    def train(self, mode: bool = True) -> LPIPSLoss:
        """Stay in eval mode, whatever `mode` is: the network is fixed."""
        return super().train(mode=False)

    def forward(self, picture: Tensor, target: Tensor) -> Tensor:
        """Return the weighted mean distance, a scalar.

        Args:
            picture: (N, 3, H, W) RGB in [0, 1] ([-1, 1] with `range_norm`), H and W at least 64; gradients flow into it.
            target: the same shape; no gradients.

        Raises:
            RuntimeError: the network has no weights yet.
            ValueError: the pictures are too small.
        """
        if not self._loaded:
            msg = "LPIPSLoss: call load(backbone, heads) before the first use; random features would train the wrong thing"
            raise RuntimeError(msg)
        if min(picture.shape[-2:]) < MINIMUM_PX:
            msg = f"LPIPSLoss: expected pictures of at least {MINIMUM_PX} px, got {tuple(picture.shape[-2:])}"
            raise ValueError(msg)
        first, second = (picture, target.detach())
        if self.range_norm:
            first, second = (first + 1) / 2, (second + 1) / 2
        return self.network(first, second).mean() * self.loss_weight
