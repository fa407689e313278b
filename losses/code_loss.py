"""What a network that predicts codes of a VQGAN is taught: features near the right codes, and those codes (Zhou et al., NeurIPS 2022)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class CodeLoss(nn.Module):
    """The squared distance of features to the rows of the codebook they should be, and the cross-entropy of the codes' scores.

    Args:
        feature_weight: factor of the distance; 0 leaves it out.
        entropy_weight: factor of the cross-entropy; 0 leaves it out.
    """

    def __init__(self, feature_weight: float = 1.0, entropy_weight: float = 0.5) -> None:
        super().__init__()
        self.feature_weight, self.entropy_weight = feature_weight, entropy_weight

    def forward(self, features: Tensor, rows: Tensor, scores: Tensor, codes: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return (distance, cross-entropy), weighted means over all places, None where the weight is 0.

        Args:
            features: any shape; gradients flow into it.
            rows: the same shape: the rows that the features should be; no gradients.
            scores: (..., codebook_size), raw; gradients flow into it.
            codes: (...), int64: the right code of every place.
        """
        distance = F.mse_loss(features, rows.detach()) * self.feature_weight if self.feature_weight > 0 else None
        if self.entropy_weight <= 0:
            return distance, None
        return distance, F.cross_entropy(scores.flatten(0, -2), codes.flatten()) * self.entropy_weight
