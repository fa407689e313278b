"""Distances between VGG19 features (perceptual) and between their Gram matrices (style).

Sources: Johnson, Alahi and Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016;
Gatys, Ecker and Bethge, CVPR 2016, for the Gram matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.vgg_arch import VGG19Features, rename_torchvision
from keyframes_gan.errors import OptionsError, WeightsError


def _frobenius(first: Tensor, second: Tensor) -> Tensor:
    return torch.linalg.vector_norm(first - second)


CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "l2": F.mse_loss, "fro": _frobenius}


class PerceptualLoss(nn.Module):
    """Perceptual and style loss on chosen VGG19 layers.

    Args:
        layer_weights: weight per layer, names as `conv5_4` (before its ReLU) or `relu2_2`.
        vgg_type: only "vgg19" exists.
        use_input_norm: normalise pictures by ImageNet's mean and deviation.
        range_norm: map x to (x + 1) / 2 first, for pictures in [-1, 1].
        perceptual_weight: factor of the perceptual term; 0 leaves it out.
        style_weight: factor of the style term; 0 leaves it out.
        criterion: "l1" (mean absolute difference), "l2" (mean squared difference) or "fro" (Frobenius norm of the difference).

    The extractor needs its weights before the first call: `load_vgg`. A loss opens no files, so whoever builds it hands them over.

    Raises:
        OptionsError: unknown `vgg_type`, criterion or layer.
    """

    def __init__(
        self,
        layer_weights: Mapping[str, float],
        vgg_type: str = "vgg19",
        use_input_norm: bool = True,
        range_norm: bool = False,
        perceptual_weight: float = 1.0,
        style_weight: float = 0.0,
        criterion: str = "l1",
    ) -> None:
        super().__init__()
        if vgg_type != "vgg19" or criterion not in CRITERIA:
            msg = f"PerceptualLoss: expected vgg_type vgg19 and criterion {', '.join(CRITERIA)}, got {vgg_type} and {criterion}"
            raise OptionsError(msg)
        try:
            self.vgg = VGG19Features(list(layer_weights), use_input_norm=use_input_norm, range_norm=range_norm)
        except ValueError as error:
            msg = f"PerceptualLoss: layer_weights: {error}"
            raise OptionsError(msg) from error
        self.layer_weights = dict(layer_weights)
        self.perceptual_weight = perceptual_weight
        self.style_weight = style_weight
        self._criterion = CRITERIA[criterion]
        self._loaded = False

    def load_vgg(self, state: Mapping[str, Tensor], *, name: str = "vgg19") -> None:
        """Copy torchvision's VGG19 weights (`features.0.weight`, ...) into the extractor; layers deeper than it are left out.

        Raises:
            WeightsError: a layer is missing or of another shape.
        """
        own = {key: value for key, value in self.vgg.state_dict().items() if key.startswith("vgg_net.")}
        given = rename_torchvision(state)
        bad = [key for key, value in own.items() if key not in given or given[key].shape != value.shape]
        if bad:
            msg = (
                f"{name}: expected torchvision's VGG19 weights, but {len(bad)} of {len(own)} are missing or misshapen: {', '.join(bad[:4])}"
            )
            raise WeightsError(msg)
        self.vgg.load_state_dict({key: given[key] for key in own}, strict=False)
        self._loaded = True

    def forward(self, picture: Tensor, target: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return (perceptual, style), weighted scalars, None where the weight is 0.

        Args:
            picture: (N, 3, H, W) RGB in [0, 1]; gradients flow into it.
            target: the same shape; no gradients.

        Raises:
            RuntimeError: the extractor has no weights yet.
        """
        if not self._loaded:
            msg = "PerceptualLoss: call load_vgg(weights) before the first use; random features would train the wrong thing"
            raise RuntimeError(msg)
        features = self.vgg(picture)
        with torch.no_grad():
            wanted = self.vgg(target)
        perceptual = self._sum(features, wanted) * self.perceptual_weight if self.perceptual_weight > 0 else None
        if self.style_weight <= 0:
            return perceptual, None
        style = self._sum({name: gram(value) for name, value in features.items()}, {name: gram(value) for name, value in wanted.items()})
        return perceptual, style * self.style_weight

    def _sum(self, features: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the criterion over the layers."""
        terms = [weight * self._criterion(features[name], wanted[name]) for name, weight in self.layer_weights.items()]
        return torch.stack(terms).sum()


class EASFFNetPerceptualLoss(PerceptualLoss):
    """`PerceptualLoss` under its older public name, with the squared difference as default criterion."""

    def __init__(self, layer_weights: Mapping[str, float], *, criterion: str = "l2", **options: float | str | None) -> None:
        super().__init__(layer_weights, criterion=criterion, **options)  # type: ignore[arg-type]


def gram(features: Tensor) -> Tensor:
    """Return the Gram matrices (N, C, C) of features (N, C, H, W), divided by C H W."""
    count, channels, height, width = features.shape
    flat = features.reshape(count, channels, height * width)
    return flat @ flat.transpose(1, 2) / (channels * height * width)
