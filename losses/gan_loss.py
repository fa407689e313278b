"""Adversarial losses on one score map or on those of several scales.

Sources: vanilla, Goodfellow et al., NIPS 2014, generator in its non-saturating form; lsgan, Mao et al., ICCV 2017; wgan, Arjovsky et al.,
ICML 2017; wgan_softplus, Karras et al., CVPR 2020; hinge, Miyato et al., ICLR 2018. Several scales: Wang et al., CVPR 2018.
The adaptive weight: Esser, Rombach and Ommer, CVPR 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyframes_gan.errors import OptionsError

STEADY = 1e-6
"""Added to the divisor of `adaptive_weight`, as in the paper."""

Criterion = Callable[[Tensor, bool, bool], Tensor]


class GANLoss(nn.Module):
    """The adversarial loss of score maps, of any shape; for several scales the weighted mean of theirs.

    Args:
        gan_type: "vanilla" (cross-entropy on logits), "lsgan", "wgan", "wgan_softplus" or "hinge".
        real_label_val: target of real scores for vanilla and lsgan.
        fake_label_val: target of generated scores for vanilla and lsgan.
        loss_weight: factor of the generator's loss; the discriminator's is never weighted.
        scale_weights: one weight per scale, in the discriminator's order; only their ratios count. None weighs all scales equally.

    Raises:
        OptionsError: unknown `gan_type`, or weights that are negative or all zero.
    """

    def __init__(
        self,
        gan_type: str,
        real_label_val: float = 1.0,
        fake_label_val: float = 0.0,
        loss_weight: float = 1.0,
        scale_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        criteria: dict[str, Criterion] = {
            "vanilla": self._vanilla,
            "lsgan": self._lsgan,
            "wgan": _wgan,
            "wgan_softplus": _wgan_softplus,
            "hinge": _hinge,
        }
        if gan_type not in criteria:
            msg = f"gan_type: expected one of {', '.join(criteria)}, got {gan_type}"
            raise OptionsError(msg)
        if scale_weights is not None and (min(scale_weights, default=0) < 0 or sum(scale_weights) <= 0):
            msg = f"scale_weights: expected weights of at least 0 with a positive sum, got {list(scale_weights)}"
            raise OptionsError(msg)
        self.gan_type = gan_type
        self.labels = {True: real_label_val, False: fake_label_val}
        self.loss_weight = loss_weight
        self.scale_weights = None if scale_weights is None else tuple(scale_weights)
        self._criterion = criteria[gan_type]

    def forward(self, scores: Tensor | Sequence[Tensor], target_is_real: bool, is_disc: bool = False) -> Tensor:
        """Return the scalar loss.

        Args:
            scores: the discriminator's output: one tensor, or one per scale.
            target_is_real: what the scores should say. The generator's hinge loss knows only "real" and ignores it.
            is_disc: the loss of the discriminator, not of the generator.

        Raises:
            ValueError: another number of scales than of `scale_weights`, or none.
        """
        scales = [scores] if isinstance(scores, Tensor) else list(scores)
        weights = self.scale_weights or (1.0,) * len(scales)
        if not scales or len(weights) != len(scales):
            msg = f"GANLoss: {len(weights)} scale_weights do not fit {len(scales)} scales"
            raise ValueError(msg)
        terms = [weight * self._criterion(scale, target_is_real, is_disc) for weight, scale in zip(weights, scales, strict=True)]
        loss = torch.stack(terms).sum() / sum(weights)
        return loss if is_disc else loss * self.loss_weight

    def _vanilla(self, scores: Tensor, target_is_real: bool, is_disc: bool) -> Tensor:
        return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, self.labels[target_is_real]))

    def _lsgan(self, scores: Tensor, target_is_real: bool, is_disc: bool) -> Tensor:
        return F.mse_loss(scores, torch.full_like(scores, self.labels[target_is_real]))


class MultiScaleGANLoss(GANLoss):
    """`GANLoss` under the name that options of multi-scale discriminators use."""


def _wgan(scores: Tensor, target_is_real: bool, is_disc: bool) -> Tensor:
    return -scores.mean() if target_is_real else scores.mean()


def _wgan_softplus(scores: Tensor, target_is_real: bool, is_disc: bool) -> Tensor:
    return F.softplus(-scores if target_is_real else scores).mean()


def _hinge(scores: Tensor, target_is_real: bool, is_disc: bool) -> Tensor:
    if not is_disc:
        return -scores.mean()
    return F.relu(1 - scores if target_is_real else 1 + scores).mean()


def adaptive_weight(wanted: Tensor, adversarial: Tensor, *, cap: float = 1e4) -> Tensor:
    """Return the factor that makes an adversarial loss pull as hard as the other losses do (Esser et al., CVPR 2021, eq. 7).

    Args:
        wanted: the gradient of the other losses at the generator's last layer, any shape.
        adversarial: the adversarial loss's gradient there.
        cap: the factor's upper limit, for when the adversarial gradient vanishes.

    Returns:
        A scalar without gradient, in [0, cap].
    """
    ratio = torch.linalg.vector_norm(wanted) / (torch.linalg.vector_norm(adversarial) + STEADY)
    return ratio.clamp(max=cap).detach()
