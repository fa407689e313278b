"""Training losses: tensors in, scalars out. Importing this package does not import torch.

`LOSSES` maps every loss's name to its module; a test fails when a file or a name is missing. The pixel losses (`L1Loss`, `MSELoss`,
`CharbonnierLoss`) and the gradient penalties are BasicSR's own and need no entry.
"""

from __future__ import annotations

LOSSES: dict[str, str] = {
    "CodeLoss": "losses.code_loss",
    "FrequencyLoss": "losses.frequency_loss",
    "GANLoss": "losses.gan_loss",
    "LPIPSLoss": "losses.lpips_loss",
    "MultiScaleGANLoss": "losses.gan_loss",
    "PerceptualLoss": "losses.perceptual_loss",
    "EASFFNetPerceptualLoss": "losses.perceptual_loss",
    "TemporalWarpLoss": "losses.temporal_loss",
}
