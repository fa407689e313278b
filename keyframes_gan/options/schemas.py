"""What an options file may say: names and types as BasicSR's YAML has them, checked strictly.

Every section is frozen and refuses unknown keys. Networks are in `networks`, data sets in `datasets`, the optimisation in `training`.
Adding a training recipe is adding a class and a row in `TRAININGS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, model_validator
from typing_extensions import Self

from keyframes_gan.options import datasets, networks, training
from keyframes_gan.options.datasets import ClipData, CRFSpan, KeyframeSequenceDataset, PictureData, RateSpan, ReferenceData, SizeSpan, Span
from keyframes_gan.options.networks import (
    KEEP,
    Discriminator,
    Discriminator3D,
    DMSASFFNetLite,
    Generator,
    KeyframeFlowNet,
    SRNet,
    VividKeyframeFlowNet,
    VQAutoEncoder,
    VQGANDiscriminator,
)
from keyframes_gan.options.section import Count, ExistingFile, Fraction, Name, Positive, Section, WeightsSource, refuse, refuse_all
from keyframes_gan.options.training import KEEPGANOptimisation, KEEPOptimisation, LPIPSLoss, SRNetOptimisation, Training, VQGANOptimisation

IMG_SIZE, CFA_SIDES, LPIPS_SMALLEST = 512, (16, 32), 64
"""KEEP's and the VQGAN's defaults, and the smallest picture that LPIPS takes."""


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

    type: Literal["psnr", "ssim", "psnr_y", "ssim_y", "ms_ssim"]
    better: Literal["higher"] = "higher"


class OwnDistance(Section):
    """Metrics of `keyframes_gan.metrics` of which less is better."""

    type: Literal["lpips", "lpips_vgg", "dists", "brisque", "brisque_paper", "niqe", "niqe_paper"]
    better: Literal["lower"] = "lower"


Metric = Annotated[Fidelity | Niqe | OwnFidelity | OwnDistance, Field(discriminator="type")]


class Validation(Section):
    """When and how to validate.

    `val_freq` in iterations; `best`: the score that chooses the weights to keep as best, "DATA SET NAME/METRIC", else the first data set's
    first metric.
    """

    val_freq: Positive = 1000
    save_img: bool = False
    pbar: bool = False
    suffix: str | None = None
    metrics: Annotated[dict[str, Metric], Field(min_length=1)]
    best: str | None = None


class Logger(Section):
    """How often to print and to save, in iterations; `keep_checkpoints` newest are kept, 0 keeps all."""

    print_freq: Positive = 100
    save_checkpoint_freq: Positive
    keep_checkpoints: Count = 0
    use_tb_logger: bool = False
    wandb: None = None


class CommonPaths(Section):
    """Weights to begin with (a file, or a name of pretrained_models/manifest.yml), and where results go; relative to the root."""

    experiments_dir: str = "experiments"
    pretrain_network_g: WeightsSource | None = None
    strict_load_g: bool = True
    param_key_g: str | None = None
    pretrain_network_d: WeightsSource | None = None
    strict_load_d: bool = True
    param_key_d: str | None = None
    resume_state: ExistingFile | None = None


class Paths(CommonPaths):
    """Of the recipe with references. `pretrain_network_vgg19` serves the perceptual loss and a new DMSASFFNet."""

    pretrain_network_vgg19: WeightsSource = "vgg19"


class LPIPSPaths(CommonPaths):
    """Of the recipes for the VQGAN and KEEP: the two parts of the LPIPS loss."""

    pretrain_network_alexnet: WeightsSource = "alexnet"
    pretrain_network_lpips: WeightsSource = "lpips_alexnet"


class KEEPPaths(LPIPSPaths):
    """Of KEEP that begins without weights of its own: from a trained VQGAN, and a flow network's weights."""

    pretrain_network_vqgan: WeightsSource | None = None
    pretrain_network_flow: WeightsSource | None = None


class Distributed(Section):
    """`backend` auto is nccl on GPUs and gloo on CPUs; `timeout_minutes` must exceed the longest validation."""

    backend: Literal["auto", "gloo", "nccl"] = "auto"
    timeout_minutes: Positive = 120


Phase = Annotated[str, Field(pattern=r"^(train|val(_[A-Za-z0-9]+)?|test(_[A-Za-z0-9]+)?)$")]


class Recipe(Section):
    """A whole options file. Without `train` it describes an evaluation. A subclass narrows the data sets, the networks and `train`.

    `device` auto takes the quickest that is there; `channels_last`: memory order of pictures and their weights; `compile`: networks through
    torch.compile while they train.
    """

    name: Name
    model_type: str
    manual_seed: Count = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    num_gpu: Literal["auto"] | Count = "auto"
    channels_last: bool = True
    compile: bool = False
    dist_params: Distributed = Distributed()
    find_unused_parameters: bool = False
    datasets: dict[Phase, Any]
    network_g: Any
    network_d: Any = None
    path: CommonPaths = CommonPaths()
    train: Training | None = None
    val: Validation | None = None
    logger: Logger | None = None

    @model_validator(mode="after")
    def _whole(self, info: ValidationInfo) -> Self:
        refuse_all([*self._about_processes((info.context or {}).get("processes", 1)), *self._about_sections(), *self._about_values()])
        return self

    def _about_processes(self, processes: int) -> Iterator[tuple[str, str]]:
        wanted = self.num_gpu
        if isinstance(wanted, int) and wanted > 1 and processes == 1:
            start = f"torchrun --nproc_per_node={wanted} train.py --launcher pytorch"
            yield "num_gpu", f"expected 0, 1 or auto in one process; start {start}"
        elif isinstance(wanted, int) and wanted > 1 and processes % wanted:
            yield "num_gpu", f"expected a divisor of the {processes} processes that were started, or auto"

    def _about_sections(self) -> Iterator[tuple[str, str]]:
        if self.val is None and set(self.datasets) - {"train"}:
            yield "val", "expected a val section for the data sets to validate on"
        if self.train is None:
            if self.val is None or self.path.pretrain_network_g is None:
                yield "train", "expected a train section; or, to evaluate, val and path.pretrain_network_g"
            return
        if "train" not in self.datasets or self.logger is None:
            yield "logger" if self.logger is None else "datasets", "expected for training: datasets.train and a logger section"
        if (self.train.gan_opt is None) != (self.network_d is None):
            yield "network_d", "expected network_d and train.gan_opt together, or neither"

    def _about_values(self) -> Iterator[tuple[str, str]]:
        if self.val is not None and self.val.best is not None:
            known = [f"{data.name}/{metric}" for phase, data in self.datasets.items() if phase != "train" for metric in self.val.metrics]
            if self.val.best not in known:
                yield "val.best", f"expected one of {', '.join(known)}"
        if self.train is not None and "train" in self.datasets:
            batch = self.datasets["train"].batch_size_per_gpu
            if batch % self.train.accumulate:
                yield "train.accumulate", f"expected a divisor of batch_size_per_gpu {batch}"


class DMSASFFNetTraining(Recipe):
    """An options file with model_type DMSASFFNetModel."""

    model_type: Literal["DMSASFFNetModel"]
    train: training.DMSASFFNetOptimisation | None = None
    datasets: dict[Phase, ReferenceData]
    network_g: Generator
    network_d: Discriminator | None = None
    path: Paths = Paths()

    @model_validator(mode="after")
    def _landmarks(self) -> Self:
        if isinstance(self.network_g, DMSASFFNetLite):
            wanted = self.network_g.landmark_channels or 1
            for phase, dataset in self.datasets.items():
                if dataset.landmark_channels != wanted:
                    refuse(f"datasets.{phase}.landmark_channels", f"expected {wanted}, as {self.network_g.type} takes them")
        return self


class AlignedRecipe(Recipe):
    """What the recipes on aligned faces share: data as large as the network wants them."""

    path: LPIPSPaths = LPIPSPaths()

    def _about_values(self) -> Iterator[tuple[str, str]]:
        yield from super()._about_values()
        side = self.network_g.img_size or IMG_SIZE
        for phase, dataset in self.datasets.items():
            if dataset.gt_size != side:
                yield f"datasets.{phase}.gt_size", f"expected {side}, network_g.img_size"
        if self.train is not None and isinstance(self.train.perceptual_opt, LPIPSLoss) and side < LPIPS_SMALLEST:
            yield "train.perceptual_opt", f"expected none for pictures below {LPIPS_SMALLEST} pixels"


class VQGANTraining(AlignedRecipe):
    """An options file with model_type VQGANModel: KEEP's first stage."""

    model_type: Literal["VQGANModel"]
    datasets: dict[Phase, PictureData]
    network_g: VQAutoEncoder
    network_d: VQGANDiscriminator | None = None
    train: VQGANOptimisation | None = None


class ClipRecipe(AlignedRecipe):
    """What KEEP's second and third stage share: clips of two frames at least, as one frame has none before it."""

    datasets: dict[Phase, ClipData]
    network_g: KEEP
    network_d: Discriminator3D | None = None

    def _about_values(self) -> Iterator[tuple[str, str]]:
        yield from super()._about_values()
        if "train" in self.datasets and self.datasets["train"].num_frame == 1:
            yield "datasets.train.num_frame", "expected 2 at least"


class KEEPTraining(ClipRecipe):
    """An options file with model_type KEEPModel: KEEP's second stage."""

    model_type: Literal["KEEPModel"]
    path: KEEPPaths = KEEPPaths()
    train: KEEPOptimisation | None = None

    def _about_values(self) -> Iterator[tuple[str, str]]:
        yield from super()._about_values()
        if self.path.pretrain_network_g is None:
            if self.path.pretrain_network_vqgan is None:
                yield "path.pretrain_network_vqgan", "expected the VQGAN of stage 1 (or all of KEEP, as pretrain_network_g)"
            if self.path.pretrain_network_flow is None and self.network_g.flow_type != "none":
                yield "path.pretrain_network_flow", "expected weights of the flow network (gmflow_sintel), or network_g.flow_type none"


class KEEPGANTraining(ClipRecipe):
    """An options file with model_type KEEPGANModel: KEEP's third stage. `path.pretrain_network_g` may lack CFT and CFA."""

    model_type: Literal["KEEPGANModel"]
    train: KEEPGANOptimisation | None = None

    def _about_values(self) -> Iterator[tuple[str, str]]:
        yield from super()._about_values()
        if self.path.pretrain_network_g is None:
            yield "path.pretrain_network_g", "expected what stage 2 made"
        if self.train is not None and self.train.temporal_opt is not None:
            given = self.network_g.cross_fuse_list if self.network_g.cfa_list is None else self.network_g.cfa_list
            sides = list(CFA_SIDES) if given is None else [int(side) for side in given]
            if self.train.temporal_side not in sides:
                yield "train.temporal_side", f"expected one of network_g.cfa_list {sides}"


class Degradations(Section):
    """`data.degradation.Degradation` at a fourth of the size.

    `patch_size` is in pixels of the small picture; `size_range`: how large pictures are, in units of `gt_size`, when patches are cut;
    `clean` and `mild`: parts of the samples that only become small, or become bad by a drawn part of the strength.
    """

    patch_size: Annotated[int, Field(ge=8, multiple_of=2)] = 32
    size_range: SizeSpan = Field(default=[1.0, 1.0])
    clean: Fraction = 0.0
    mild: Fraction = 0.0
    blur_kernel_size: Annotated[int, Field(ge=1, le=101)] = 21
    blur_sigma: RateSpan = Field(default=[0.2, 4.0])
    noise_range: Span = Field(default=[0.0, 6.0])
    crf_range: CRFSpan = Field(default=[15, 35])

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.clean + self.mild > 1:
            refuse("mild", f"expected clean and mild to add up to 1 at most, these make {self.clean + self.mild:g}")
        return self


class SRNetTraining(Recipe):
    """An options file with model_type SRNetModel."""

    model_type: Literal["SRNetModel"]
    datasets: dict[Phase, PictureData]
    network_g: SRNet
    degradation: Degradations = Degradations()
    train: SRNetOptimisation | None = None


class KeyframeFlowTraining(Recipe):
    """An options file with model_type KeyframeFlowModel."""

    model_type: Literal["KeyframeFlowModel"]
    datasets: dict[Phase, KeyframeSequenceDataset]
    network_g: KeyframeFlowNet
    network_d: Discriminator | None = None
    path: Paths = Paths()
    train: training.KeyframeFlowOptimisation | None = None


class VividFlowTraining(Recipe):
    """An options file with model_type VividFlowModel."""

    model_type: Literal["VividFlowModel"]
    datasets: dict[Phase, KeyframeSequenceDataset]
    network_g: VividKeyframeFlowNet
    network_d: Discriminator | None = None
    path: Paths
    train: training.KeyframeFlowOptimisation | None = None

    @model_validator(mode="after")
    def _faithful(self) -> Self:
        if self.path.pretrain_network_g is None:
            refuse("path", "expected pretrain_network_g, the weights of the KeyframeFlowNet whose pictures get details")
        return self


# model_type -> schema of the whole file.
TRAININGS: dict[str, type[Recipe]] = {
    "DMSASFFNetModel": DMSASFFNetTraining,
    "KEEPGANModel": KEEPGANTraining,
    "KEEPModel": KEEPTraining,
    "KeyframeFlowModel": KeyframeFlowTraining,
    "SRNetModel": SRNetTraining,
    "VividFlowModel": VividFlowTraining,
    "VQGANModel": VQGANTraining,
}


def known_keys() -> set[str]:
    """Return every key that any section knows, to guess what a misspelt one was meant to be."""
    places = (vars(datasets), vars(networks), vars(training), globals())
    sections = [thing for place in places for thing in place.values() if isinstance(thing, type) and issubclass(thing, Section)]
    return {key for section in sections for key in section.model_fields}


def plain(section: Section) -> dict[str, Any]:
    """Return the section as nested dicts and lists; what was not given and has no default is left out."""
    return section.model_dump(mode="python", exclude_none=True)
