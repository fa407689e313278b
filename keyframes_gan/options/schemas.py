"""What an options file may say: names and types as BasicSR's YAML has them, checked strictly.

Every section is frozen and refuses unknown keys. Networks are in `networks`. Adding a loss or a data set is adding a class here and
naming it in the union below it; adding a training recipe is adding a class and a row in `TRAININGS`. Values that a network or a loss
takes are its constructor's keyword arguments; a test holds the two together.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from keyframes_gan.options.networks import NETWORKS, Discriminator, DMSASFFNetLite, Generator
from keyframes_gan.options.section import (
    Count,
    ExistingFile,
    Fraction,
    Name,
    Positive,
    Rate,
    Section,
    Weight,
    WeightsSource,
    refuse,
)

PROBABILITY_TOLERANCE = 1e-6
PATCH_MULTIPLE = 16


# Losses.
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


Pixel = Annotated[PixelLoss | CharbonnierLoss, Field(discriminator="type")]


# Optimisers and schedules.
class AdamOptimizer(Section):
    """`torch.optim.Adam` and `AdamW`."""

    type: Literal["Adam", "AdamW"]
    lr: Rate
    weight_decay: Weight = 0.0
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = Field(default=[0.9, 0.999])
    eps: Rate = 1e-8


class SGDOptimizer(Section):
    """`torch.optim.SGD`."""

    type: Literal["SGD"]
    lr: Rate
    weight_decay: Weight = 0.0
    momentum: Fraction = 0.0


Optimizer = Annotated[AdamOptimizer | SGDOptimizer, Field(discriminator="type")]


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


# Data.
class DMSASFFNetDataset(Section):
    """`data.dmsasff_dataset.DMSASFFNetDataset`; batch and worker keys count in phase train only."""

    name: Name
    type: Literal["DMSASFFNetDataset"]
    dataroot: Annotated[list[ExistingFile], Field(min_length=1)]
    exclude: list[str] = Field(default=[])
    patch_size: Annotated[int, Field(ge=PATCH_MULTIPLE, multiple_of=PATCH_MULTIPLE)] = 128
    p_hq: Fraction = 0.4
    p_gop: Fraction = 0.4
    p_none: Fraction = 0.2
    reference_candidates: Positive = 5
    reference_gap: Positive = 10
    landmark_channels: Literal[1, 3] = 1
    use_hflip: bool = True
    frames_per_clip: Positive = 8
    cache_gb: Weight = 0.0
    batch_size_per_gpu: Positive = 8
    num_worker_per_gpu: Count = 1
    pin_memory: bool = False
    prefetch_mode: Literal["cuda"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> DMSASFFNetDataset:
        if not math.isclose(self.p_hq + self.p_gop + self.p_none, 1.0, abs_tol=PROBABILITY_TOLERANCE):
            refuse("p_none", "expected p_hq + p_gop + p_none to be 1")
        if self.prefetch_mode == "cuda" and not self.pin_memory:
            refuse("pin_memory", "expected true with prefetch_mode cuda")
        return self


# What all recipes share.
class Fidelity(Section):
    """PSNR and SSIM of BasicSR, by their registry names."""

    type: Literal["calculate_psnr", "calculate_ssim"]
    crop_border: Count = 0
    test_y_channel: bool = False
    better: Literal["higher"] = "higher"


class Niqe(Section):
    """NIQE of BasicSR."""

    type: Literal["calculate_niqe"]
    crop_border: Count = 0
    better: Literal["lower"] = "lower"


class OwnFidelity(Section):
    """Metrics of `keyframes_gan.metrics` of which more is better."""

    type: Literal["psnr", "ssim"]
    better: Literal["higher"] = "higher"


class OwnDistance(Section):
    """Metrics of `keyframes_gan.metrics` of which less is better."""

    type: Literal["lpips", "brisque", "brisque_paper", "niqe"]
    better: Literal["lower"] = "lower"


Metric = Annotated[Fidelity | Niqe | OwnFidelity | OwnDistance, Field(discriminator="type")]


class Validation(Section):
    """When and how to validate. `val_freq` in iterations."""

    val_freq: Positive = 1000
    save_img: bool = False
    pbar: bool = False
    suffix: str | None = None
    metrics: Annotated[dict[str, Metric], Field(min_length=1)]


class Logger(Section):
    """How often to print and to save, in iterations; `keep_checkpoints` newest are kept, 0 keeps all."""

    print_freq: Positive = 100
    save_checkpoint_freq: Positive
    keep_checkpoints: Count = 0
    use_tb_logger: bool = False
    wandb: None = None


class Paths(Section):
    """Weights to begin with (a file, or a name of pretrained_models/manifest.yml), and where results go.

    Relative paths start at the repository's root. `pretrain_network_vgg19` serves the perceptual loss and a new DMSASFFNet.
    """

    experiments_dir: str = "experiments"
    pretrain_network_g: WeightsSource | None = None
    strict_load_g: bool = True
    param_key_g: str | None = None
    pretrain_network_d: WeightsSource | None = None
    strict_load_d: bool = True
    param_key_d: str | None = None
    pretrain_network_vgg19: WeightsSource = "vgg19"
    resume_state: ExistingFile | None = None


class Training(Section):
    """The optimisation. `warmup_iter`: linear warm-up in iterations; `accumulate`: chunks that a batch is cut into."""

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
    precision: Literal["fp32", "bf16"] = "fp32"
    accumulate: Positive = 1
    clip_grad_norm: Rate | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if self.pixel_opt is None and self.perceptual_opt is None:
            refuse("pixel_opt", "expected a pixel_opt or a perceptual_opt")
        if isinstance(self.scheduler, CosineRestartSchedule) and sum(self.scheduler.periods) < self.total_iter:
            refuse("scheduler.periods", f"expected periods that add up to total_iter {self.total_iter} at least")
        if (self.gan_opt is None) != (self.optim_d is None):
            refuse("gan_opt", "expected gan_opt and optim_d together, or neither")
        return self


class Distributed(Section):
    """`backend` auto is nccl on GPUs and gloo on CPUs; `timeout_minutes` must exceed the longest validation."""

    backend: Literal["auto", "gloo", "nccl"] = "auto"
    timeout_minutes: Positive = 120


class DMSASFFNetTraining(Section):
    """A whole options file with model_type DMSASFFNetModel. Without `train` it describes an evaluation."""

    name: Name
    model_type: Literal["DMSASFFNetModel"]
    manual_seed: Count = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_gpu: Literal["auto"] | Count = "auto"
    dist_params: Distributed = Distributed()
    find_unused_parameters: bool = False
    datasets: dict[Annotated[str, Field(pattern=r"^(train|val(_[A-Za-z0-9]+)?|test(_[A-Za-z0-9]+)?)$")], DMSASFFNetDataset]
    network_g: Generator
    network_d: Discriminator | None = None
    path: Paths = Paths()
    train: Training | None = None
    val: Validation | None = None
    logger: Logger | None = None

    @model_validator(mode="after")
    def _consistent(self) -> DMSASFFNetTraining:
        self._check_landmarks()
        if self.val is None and set(self.datasets) - {"train"}:
            refuse("val", "expected a val section for the data sets to validate on")
        if self.train is None:
            if self.val is None or self.path.pretrain_network_g is None:
                refuse("train", "expected a train section; or, to evaluate, val and path.pretrain_network_g")
            return self
        if "train" not in self.datasets or self.logger is None:
            refuse("logger" if self.logger is None else "datasets", "expected for training: datasets.train and a logger section")
        if (self.train.gan_opt is None) != (self.network_d is None):
            refuse("network_d", "expected network_d and train.gan_opt together, or neither")
        if self.datasets["train"].batch_size_per_gpu % self.train.accumulate:
            refuse("train.accumulate", f"expected a divisor of batch_size_per_gpu {self.datasets['train'].batch_size_per_gpu}")
        return self

    def _check_landmarks(self) -> None:
        if not isinstance(self.network_g, DMSASFFNetLite):
            return
        wanted = self.network_g.landmark_channels or 1
        for phase, dataset in self.datasets.items():
            if dataset.landmark_channels != wanted:
                refuse(f"datasets.{phase}.landmark_channels", f"expected {wanted}, as {self.network_g.type} takes them")


# model_type -> schema of the whole file.
TRAININGS: dict[str, type[DMSASFFNetTraining]] = {"DMSASFFNetModel": DMSASFFNetTraining}


def known_keys() -> set[str]:
    """Return every key that any section knows, to guess what a misspelt one was meant to be."""
    found: set[str] = set()
    for thing in (*globals().values(), *NETWORKS.values()):
        if isinstance(thing, type) and issubclass(thing, Section):
            found |= set(thing.model_fields)
    return found


def plain(section: Section) -> dict[str, Any]:
    """Return the section as nested dicts and lists; what was not given and has no default is left out."""
    return section.model_dump(mode="python", exclude_none=True)
