"""The patch discriminator that a VQGAN is trained with (Isola et al., CVPR 2017; Esser et al., CVPR 2021).

Convention: pictures are float RGB in [-1, 1], (N, 3, H, W). Scores are raw logits, unbounded.
"""

from __future__ import annotations

from torch import Tensor, nn

SLOPE = 0.2
WIDEST = 8


class VQGANDiscriminator(nn.Module):
    """One score for every patch: strided 4x4 convolutions with BatchNorm, the last two not strided.

    Args:
        nc: channels of the picture.
        ndf: channels after the first convolution; doubled by each further one, up to 8 times as many.
        n_layers: halvings of the resolution.
    """

    def __init__(self, nc: int = 3, ndf: int = 64, n_layers: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(nc, ndf, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
        width = ndf
        for level in range(1, n_layers + 1):
            outputs = ndf * min(2**level, WIDEST)
            stride = 2 if level < n_layers else 1
            layers += [
                nn.Conv2d(width, outputs, 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
            width = outputs
        layers.append(nn.Conv2d(width, 1, 4, padding=1))
        self.main = nn.Sequential(*layers)

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, nc, H, W) to scores (N, 1, H', W'); H' = H / 2**n_layers - 2 for H a multiple of 2**n_layers."""
        return self.main(picture)
