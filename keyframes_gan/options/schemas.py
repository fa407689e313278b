"""What an options file may say: names and types as BasicSR's YAML has them, checked strictly.

Every section is frozen and refuses unknown keys. Networks are in `networks`, data sets in `datasets`, the optimisation in `training`.
Adding a training recipe is adding a class and a row in `TRAININGS`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, model_validator
from typing_extensions import Self

from keyframes_gan.options import datasets, networks, training
from keyframes_gan.options.datasets import ReferenceData
from keyframes_gan.options.networks import Discriminator, DMSASFFNetLite, Generator
from keyframes_gan.options.section import Count, ExistingFile, Name, Positive, Section, WeightsSource, refuse
from keyframes_gan.options.training import Training


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
    path: Paths = Paths()
    train: Training | None = None
    val: Validation | None = None
    logger: Logger | None = None

    @model_validator(mode="after")
    def _devices(self, info: ValidationInfo) -> Self:
        processes, wanted = (info.context or {}).get("processes", 1), self.num_gpu
        if isinstance(wanted, int) and wanted > 1 and processes == 1:
            refuse("num_gpu", f"expected 0, 1 or auto in one process; start torchrun --nproc_per_node={wanted} train.py --launcher pytorch")
        if isinstance(wanted, int) and wanted > 1 and processes % wanted:
            refuse("num_gpu", f"expected a divisor of the {processes} processes that were started, or auto")
        return self

    @model_validator(mode="after")
    def _best(self) -> Self:
        if self.val is not None and self.val.best is not None:
            known = [f"{data.name}/{metric}" for phase, data in self.datasets.items() if phase != "train" for metric in self.val.metrics]
            if self.val.best not in known:
                refuse("val.best", f"expected one of {', '.join(known)}")
        return self

    @model_validator(mode="after")
    def _whole(self) -> Self:
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


class DMSASFFNetTraining(Recipe):
    """An options file with model_type DMSASFFNetModel."""

    model_type: Literal["DMSASFFNetModel"]
    train: training.DMSASFFNetOptimisation | None = None
    datasets: dict[Phase, ReferenceData]
    network_g: Generator
    network_d: Discriminator | None = None

    @model_validator(mode="after")
    def _landmarks(self) -> Self:
        if isinstance(self.network_g, DMSASFFNetLite):
            wanted = self.network_g.landmark_channels or 1
            for phase, dataset in self.datasets.items():
                if dataset.landmark_channels != wanted:
                    refuse(f"datasets.{phase}.landmark_channels", f"expected {wanted}, as {self.network_g.type} takes them")
        return self


# model_type -> schema of the whole file.
TRAININGS: dict[str, type[Recipe]] = {"DMSASFFNetModel": DMSASFFNetTraining}


def known_keys() -> set[str]:
    """Return every key that any section knows, to guess what a misspelt one was meant to be."""
    places = (vars(datasets), vars(networks), vars(training), globals())
    sections = [thing for place in places for thing in place.values() if isinstance(thing, type) and issubclass(thing, Section)]
    return {key for section in sections for key in section.model_fields}


def plain(section: Section) -> dict[str, Any]:
    """Return the section as nested dicts and lists; what was not given and has no default is left out."""
    return section.model_dump(mode="python", exclude_none=True)
