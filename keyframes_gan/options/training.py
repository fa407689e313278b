"""The `train` section of an options file: losses, optimisers, schedules, and how they are used.

Values that a loss takes are its constructor's keyword arguments; a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from keyframes_gan.options.section import Count, Fraction, Positive, Rate, Section, Weight, refuse


class PixelLoss(Section):
    """BasicSR's L1Loss and MSELoss."""

    type: Literal["L1Loss", "MSELoss"]
    loss_weight: Weight = 1.0
    reduction: Literal["mean", "sum"] = "mean"


class CharbonnierLoss(Section):
    """BasicSR's CharbonnierLoss: sqrt(difference^2 + eps), pictures in [0, 1]."""

    type: Literal["CharbonnierLoss"]
    loss_weight: Weight = 1.0
    reduction: Literal["mean", "sum"] = "mean"
    eps: Rate = 1e-12


class PerceptualLoss(Section):
    """`losses.perceptual_loss`: perceptual and style terms on VGG19 features; at least one of the two weights above 0."""

    type: Literal["PerceptualLoss", "EASFFNetPerceptualLoss"]
    layer_weights: Annotated[dict[str, Weight], Field(min_length=1)]
    vgg_type: Literal["vgg19"] = "vgg19"
    use_input_norm: bool = True
    perceptual_weight: Weight = 1.0
    style_weight: Weight = 0.0
    criterion: Literal["l1", "l2", "fro"] | None = None
    range_norm: bool | None = None


class GANLoss(Section):
    """`losses.gan_loss`; `scale_weights`: one per scale of the discriminator."""

    type: Literal["GANLoss", "MultiScaleGANLoss"]
    gan_type: Literal["vanilla", "lsgan", "wgan", "wgan_softplus", "hinge"]
    loss_weight: Weight = 1.0
    real_label_val: float = 1.0
    fake_label_val: float = 0.0
    scale_weights: Annotated[list[Weight], Field(min_length=1)] | None = None


class LPIPSLoss(Section):
    """`losses.lpips_loss`: the learned distance on AlexNet's features, of pictures in [-1, 1]; the last two keys have one value only."""

    type: Literal["LPIPSLoss"]
    loss_weight: Weight = 1.0
    net: Literal["alex"] = "alex"
    use_input_norm: Literal[True] = True
    range_norm: Literal[True] = True


class CodeLoss(Section):
    """`losses.code_loss`: squared distance of features to the right rows of the codebook, and cross-entropy of the codes' scores."""

    type: Literal["CodeLoss"] = "CodeLoss"
    feature_weight: Weight = 1.0
    entropy_weight: Weight = 0.5


class TemporalWarpLoss(Section):
    """`losses.temporal_loss`: Charbonnier distance of a frame's features to those of the frame before, moved along the originals' flow."""

    type: Literal["TemporalWarpLoss"] = "TemporalWarpLoss"
    loss_weight: Weight = 1.0
    eps: Rate = 1e-12


class FrequencyLoss(Section):
    """`losses.frequency_loss`: L1 distance of spectra, "complex" or of "magnitude"."""

    type: Literal["FrequencyLoss"] = "FrequencyLoss"
    loss_weight: Weight = 1.0
    kind: Literal["complex", "magnitude"] = "complex"


Pixel = Annotated[PixelLoss | CharbonnierLoss, Field(discriminator="type")]


class AdamOptimizer(Section):
    """`torch.optim.Adam` and `AdamW`; `fused`: one kernel for the whole step."""

    type: Literal["Adam", "AdamW"]
    lr: Rate
    weight_decay: Weight = 0.0
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = Field(default=[0.9, 0.999])
    eps: Rate = 1e-8
    fused: bool | None = None


class SGDOptimizer(Section):
    """`torch.optim.SGD`."""

    type: Literal["SGD"]
    lr: Rate
    weight_decay: Weight = 0.0
    momentum: Fraction = 0.0


class MuonOptimizer(Section):
    """`keyframes_gan.models.muon.Muon`: Muon inside a network, AdamW at its ends; at AdamW's rates."""

    type: Literal["Muon"]
    lr: Rate
    weight_decay: Weight = 0.0
    momentum: Fraction = 0.95
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = Field(default=[0.9, 0.999])
    eps: Rate = 1e-8


Optimizer = Annotated[AdamOptimizer | MuonOptimizer | SGDOptimizer, Field(discriminator="type")]


class MultiStepSchedule(Section):
    """Multiply the rate by `gamma` at every milestone (iterations)."""

    type: Literal["MultiStepLR", "MultiStepRestartLR"]
    milestones: list[Positive]
    gamma: Rate = 0.1


class CosineRestartSchedule(Section):
    """Cosine periods (iterations), each beginning at its weight times the rate and ending at `eta_min`."""

    type: Literal["CosineAnnealingRestartLR"]
    periods: Annotated[list[Positive], Field(min_length=1)]
    restart_weights: list[Weight] = Field(default=[1.0])
    eta_min: Weight = 0.0

    @model_validator(mode="after")
    def _lengths(self) -> CosineRestartSchedule:
        if len(self.periods) != len(self.restart_weights):
            refuse("restart_weights", f"expected as many weights as periods ({len(self.periods)})")
        return self


class CosineSchedule(Section):
    """One cosine from the rate down to `eta_min` over the whole run, whatever `total_iter` is."""

    type: Literal["CosineAnnealingLR"]
    eta_min: Weight = 0.0


Schedule = Annotated[MultiStepSchedule | CosineRestartSchedule | CosineSchedule, Field(discriminator="type")]


class Training(Section):
    """The optimisation.

    `warmup_iter`: linear warm-up in iterations; `accumulate`: chunks that a batch is cut into; `skip_nonfinite`: so many steps with a loss
    or gradient that is NaN or infinite are left out before the run stops.
    """

    total_iter: Positive
    warmup_iter: Annotated[int, Field(ge=-1)] = -1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    optim_g: Optimizer
    optim_d: Optimizer | None = None
    scheduler: Schedule
    pixel_opt: Pixel | None = None
    perceptual_opt: PerceptualLoss | None = None
    gan_opt: GANLoss | None = None
    net_d_iters: Positive = 1
    net_d_init_iters: Count = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: Positive = 1
    clip_grad_norm: Rate | None = None
    skip_nonfinite: Count = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.pixel_opt is None and self.perceptual_opt is None:
            refuse("pixel_opt", "expected a pixel_opt or a perceptual_opt")
        if isinstance(self.scheduler, CosineRestartSchedule) and sum(self.scheduler.periods) < self.total_iter:
            refuse("scheduler.periods", f"expected periods that add up to total_iter {self.total_iter} at least")
        if (self.gan_opt is None) != (self.optim_d is None):
            refuse("gan_opt", "expected gan_opt and optim_d together, or neither")
        return self


class DMSASFFNetOptimisation(Training):
    """Of `DMSASFFNetModel`.

    `legacy`: as the published Keyframes-GAN training ran: the discriminator learns from originals only, and the generator's target is the
    label of generated pictures.
    """

    legacy: bool = False

    @model_validator(mode="after")
    def _adversarial(self) -> DMSASFFNetOptimisation:
        if self.legacy and self.gan_opt is None:
            refuse("legacy", "expected false without a gan_opt, whose training it changes")
        return self


class VQGANOptimisation(Training):
    """Of `VQGANModel`.

    `codebook_weight`: of the quantizer's own loss; `net_d_start_iter`: the first iteration with an adversarial loss; `adaptive_gan_cap`:
    the adversarial loss is weighted so that it pulls as hard as the others, at most this much (null: not weighted so).
    """

    perceptual_opt: LPIPSLoss | None = None  # type: ignore[assignment]
    codebook_weight: Weight = 1.0
    net_d_start_iter: Positive = 1
    adaptive_gan_cap: Rate | None = 1e4


class KEEPOptimisation(Training):
    """Of `KEEPModel`."""

    code_opt: CodeLoss = CodeLoss()
    perceptual_opt: LPIPSLoss | None = None  # type: ignore[assignment]


class KEEPGANOptimisation(Training):
    """Of `KEEPGANModel`. `temporal_side`: the resolution, one of `cfa_list`, whose features the temporal loss looks at."""

    perceptual_opt: LPIPSLoss | None = None  # type: ignore[assignment]
    temporal_opt: TemporalWarpLoss | None = None
    temporal_side: Positive = 32


class SRNetOptimisation(Training):
    """Of `SRNetModel`."""

    perceptual_opt: None = None
    coarse_opt: Pixel | None = None
    frequency_opt: FrequencyLoss | None = None


class KeyframeFlowOptimisation(Training):
    """Of `KeyframeFlowModel`. `gradient_weight`: of the L1 distance between the slopes of output and original, beside `pixel_opt`."""

    gradient_weight: Weight = 0.0
