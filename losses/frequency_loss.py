"""Distance between the spectra of two pictures: texture that a pixel loss averages away keeps its strength.

Sources: "complex", Cho et al., "Rethinking coarse-to-fine approach in single image deblurring" (MIMO-UNet), ICCV 2021: the mean absolute
difference of real and imaginary parts. "magnitude", Fuoli, Van Gool and Timofte, "Fourier space losses for efficient perceptual image
super-resolution", ICCV 2021: the mean absolute difference of magnitudes, which does not ask for detail to lie in place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from keyframes_gan.errors import OptionsError


class FrequencyLoss(nn.Module):
    """L1 distance between the two-dimensional Fourier transforms of pictures, each channel by itself.

    Transforms are orthonormal, so that the loss does not grow with the picture; of the two halves of the spectrum, which mirror each other,
    one is compared.

    Args:
        loss_weight: factor of the loss.
        kind: "complex" (real and imaginary parts) or "magnitude".

    Raises:
        OptionsError: another kind.
    """

    def __init__(self, loss_weight: float = 1.0, kind: str = "complex") -> None:
        super().__init__()
        kinds: dict[str, Callable[[Tensor], Tensor]] = {"complex": torch.view_as_real, "magnitude": torch.abs}
        if kind not in kinds:
            msg = f"FrequencyLoss: kind: expected one of {', '.join(kinds)}, got {kind!r}"
            raise OptionsError(msg)
        self.loss_weight, self.kind = loss_weight, kind
        self._parts = kinds[kind]

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the weighted scalar loss.

        Args:
            output: pictures (N, C, H, W); half precision is computed in float32.
            target: pictures of the same shape.

        Raises:
            ValueError: another shape.
        """
        if output.shape != target.shape:
            msg = f"FrequencyLoss: expected two equal shapes (N, C, H, W), got {tuple(output.shape)} and {tuple(target.shape)}"
            raise ValueError(msg)
        first, second = (self._parts(torch.fft.rfft2(_wide(pictures), norm="ortho")) for pictures in (output, target))
        return (first - second).abs().mean() * self.loss_weight


def _wide(pictures: Tensor) -> Tensor:
    return pictures.to(torch.promote_types(pictures.dtype, torch.float32))
