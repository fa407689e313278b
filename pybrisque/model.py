"""The regression from features to score: an epsilon-SVR with a Gaussian kernel, evaluated as one matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

LIVE_MODEL = Path(__file__).with_name("live_model.npz")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """A trained support vector regression over F features.

    `support_vectors` float64 (V, F) in scaled features; `coefficients` float64 (V,); `gamma` of the kernel exp(-gamma |x - v|^2);
    `rho` is subtracted from the sum; `feature_ranges` float64 (F, 2): the minimum and maximum that scaling maps to -1 and 1.
    """

    support_vectors: Floats
    coefficients: Floats
    gamma: float
    rho: float
    feature_ranges: Floats

    def __post_init__(self) -> None:
        vectors, width = self.support_vectors.shape
        if self.coefficients.shape != (vectors,) or self.feature_ranges.shape != (width, 2):
            msg = (
                f"Model: support_vectors {self.support_vectors.shape} need coefficients ({vectors},) and feature_ranges ({width}, 2), "
                f"got {self.coefficients.shape} and {self.feature_ranges.shape}"
            )
            raise ValueError(msg)

    def predict(self, values: Floats) -> Floats:
        """Return the regression's output, float64 (N,), for unscaled features float64 (N, F)."""
        low, high = self.feature_ranges.T
        scaled = 2.0 * (values - low) / (high - low) - 1.0
        # |x - v|^2 is expanded so that one product serves all support vectors; the scores keep about 1e-9.
        squares = np.square(scaled).sum(axis=1)[:, None] + np.square(self.support_vectors).sum(axis=1)
        distances = np.maximum(squares - 2.0 * scaled @ self.support_vectors.T, 0.0)
        result: Floats = np.exp(-self.gamma * distances) @ self.coefficients - self.rho
        return result


@lru_cache(maxsize=1)
def load_live_model() -> Model:
    """Return the model that LIVE published with its software release (774 support vectors, 36 features)."""
    with np.load(LIVE_MODEL, allow_pickle=False) as stored:
        return Model(
            support_vectors=stored["support_vectors"],
            coefficients=stored["coefficients"],
            gamma=float(stored["gamma"]),
            rho=float(stored["rho"]),
            feature_ranges=stored["feature_ranges"],
        )
