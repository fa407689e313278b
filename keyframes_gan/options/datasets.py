"""The data sets of an options file. Values are those that the data set of that name takes; a test holds the two together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo, model_validator
from typing_extensions import Self

from keyframes_gan.options.section import Count, ExistingFile, Fraction, Name, Positive, Rate, Section, Weight, refuse

PROBABILITY_TOLERANCE = 1e-6
PATCH_MULTIPLE = 16
SMALLEST_GT = 32


def _folder(path: str, info: ValidationInfo) -> str:
    """Check that a folder is there; paths are relative to the root that the gate was given."""
    context = info.context or {}
    if context.get("check_paths", False) and not (Path(context["root"]) / Path(path).expanduser()).is_dir():
        msg = "no such folder (relative paths start at the repository's root)"
        raise ValueError(msg)
    return path


def _ascending(values: list[Any]) -> list[Any]:
    """Check a range."""
    if values[0] > values[1]:
        msg = "expected the smaller value first"
        raise ValueError(msg)
    return values


def _odd(value: int) -> int:
    if value % 2 == 0:
        msg = "expected an odd number"
        raise ValueError(msg)
    return value


def check_probabilities(key: str, chances: Sequence[float], kinds: Sequence[object]) -> None:
    """Fail unless there is one probability for each kind, and they add up to 1."""
    if len(chances) != len(kinds):
        refuse(key, f"expected {len(kinds)} probabilities, one for each of {list(kinds)}")
    if not math.isclose(sum(chances), 1.0, abs_tol=PROBABILITY_TOLERANCE):
        refuse(key, f"expected probabilities that add up to 1, these make {sum(chances):g}")


ExistingFolder = Annotated[str, AfterValidator(_folder)]
Span = Annotated[list[Weight], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
CRFSpan = Annotated[list[Annotated[int, Field(ge=0, le=51)]], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
CountSpan = Annotated[list[Count], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
GOPSpan = Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
FractionSpan = Annotated[list[Fraction], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
SizeSpan = Annotated[list[Annotated[float, Field(gt=0, le=4)]], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
RateSpan = Annotated[list[Rate], Field(min_length=2, max_length=2), AfterValidator(_ascending)]


class Data(Section):
    """What every data set has. Batch and worker keys count in phase train only.

    `paths` names the keys whose values are files or folders (or lists of them); relative ones start at the repository's root.
    """

    paths: ClassVar[tuple[str, ...]] = ("dataroot",)

    name: Name
    type: str
    batch_size_per_gpu: Positive = 8
    num_worker_per_gpu: Count = 1
    pin_memory: bool = False
    prefetch_mode: Literal["cuda"] | None = None

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.prefetch_mode == "cuda" and not self.pin_memory:
            refuse("pin_memory", "expected true with prefetch_mode cuda")
        return self


class Referenced(Data):
    """What the data sets of crops with a reference have."""

    dataroot: Annotated[list[ExistingFile], Field(min_length=1)]
    exclude: list[str] = Field(default=[])
    patch_size: Annotated[int, Field(ge=PATCH_MULTIPLE, multiple_of=PATCH_MULTIPLE)] = 128
    p_hq: Fraction = 0.4
    p_gop: Fraction = 0.4
    p_none: Fraction = 0.2
    landmark_channels: Literal[1, 3] = 1
    use_hflip: bool = True
    frames_per_clip: Positive = 8
    cache_gb: Weight = 0.0

    @model_validator(mode="after")
    def _probabilities(self) -> Self:
        if not math.isclose(self.p_hq + self.p_gop + self.p_none, 1.0, abs_tol=PROBABILITY_TOLERANCE):
            refuse("p_none", "expected p_hq + p_gop + p_none to be 1")
        return self


class DMSASFFNetDataset(Referenced):
    """`data.dmsasff_dataset.DMSASFFNetDataset`."""

    type: Literal["DMSASFFNetDataset"]
    reference_candidates: Positive = 5
    reference_gap: Positive = 10
    reference_offset: Positive | None = None


Encoder = Literal["libx264", "libx265", "mpeg4", "libvpx-vp9", "libsvtav1"]
QUALITIES = {"libx264": (0, 51), "libx265": (0, 51), "mpeg4": (1, 31), "libvpx-vp9": (0, 63), "libsvtav1": (1, 63)}
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]


class KeyframeClipDataset(Referenced):
    """`data.keyframe_clip_dataset.KeyframeClipDataset`. Both ends of a range are drawn too."""

    paths: ClassVar[tuple[str, ...]] = ("dataroot", "dataroot_gt", "meta_info_file")

    type: Literal["KeyframeClipDataset"]
    dataroot: list[ExistingFile] = Field(default=[])
    dataroot_gt: ExistingFolder | None = None
    meta_info_file: ExistingFile | None = None
    source: Literal["crops", "video"] = "crops"
    memory_size: Positive = 5
    margin: Count = 16
    codecs: Annotated[list[Encoder], Field(min_length=1)] = Field(default=["libx264", "libx265", "mpeg4", "libvpx-vp9", "libsvtav1"])
    codec_prob: list[Fraction] = Field(default=[0.5, 0.15, 0.1, 0.15, 0.1])
    crf_range: dict[Encoder, CountSpan] = Field(
        default={"libx264": [25, 45], "libx265": [27, 45], "mpeg4": [6, 31], "libvpx-vp9": [46, 63], "libsvtav1": [48, 63]}
    )
    presets: Annotated[list[Preset], Field(min_length=1)] = Field(default=["ultrafast", "superfast", "veryfast", "fast", "medium"])
    gop_range: GOPSpan = Field(default=[25, 250])
    p_bitrate: Fraction = 0.3
    bpp_range: RateSpan = Field(default=[0.02, 0.2])
    p_drop: Fraction = 0.2
    drop_range: FractionSpan = Field(default=[0.1, 0.5])
    p_scale: Fraction = 0.2
    scale_range: FractionSpan = Field(default=[0.5, 0.9])
    p_switch: Fraction = 0.5
    window: Positive = 8
    ahead: Count = 2

    @model_validator(mode="after")
    def _encoders(self) -> Self:
        check_sources(self)
        check_probabilities("codec_prob", self.codec_prob, self.codecs)
        for codec in self.codecs:
            best, worst = QUALITIES[codec]
            low, high = self.crf_range.get(codec, (-1, -1))
            if not best <= low <= high <= worst:
                refuse(f"crf_range.{codec}", f"expected [lowest, highest] from {best} to {worst}, the scale of {codec}")
        if self.scale_range[0] <= 0:
            refuse("scale_range", "expected factors above 0")
        return self


class StreamSettings(Section):
    """`data.encoded_clips.StreamSettings`: one of `crf` and `bits_per_pixel`. `scale`: of the video, before it is encoded."""

    codec: Encoder = "libx264"
    crf: Weight | None = None
    bits_per_pixel: Rate | None = None
    preset: Preset = "medium"
    gop: Positive = 250
    scale: Annotated[float, Field(ge=0.25, le=1)] = 1.0

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.crf is None) == (self.bits_per_pixel is None):
            refuse("crf", "expected crf or bits_per_pixel, one of the two")
        best, worst = QUALITIES[self.codec]
        if self.crf is not None and not best <= self.crf <= worst:
            refuse("crf", f"expected {best} to {worst}, the scale of {self.codec}")
        return self


class KeyframeSequenceDataset(Data):
    """`data.keyframe_sequence_dataset.KeyframeSequenceDataset`. `cache` is a folder, made where it is missing."""

    paths: ClassVar[tuple[str, ...]] = ("dataroot", "cache")

    type: Literal["KeyframeSequenceDataset"]
    dataroot: Annotated[list[ExistingFile], Field(min_length=1)]
    streams: Annotated[list[StreamSettings], Field(min_length=1)]
    cache: str
    exclude: list[str] = Field(default=[])
    most_frames: Positive = 160
    num_frame: Positive = 5
    patch_size: Annotated[int, Field(ge=PATCH_MULTIPLE, multiple_of=PATCH_MULTIPLE)] = 112
    p_hq: Fraction = 0.4
    p_photo: Fraction = 0.2
    p_none: Fraction = 0.4
    key_gap: Positive = 150
    photo_gap: Positive = 20
    towards_middle: bool = False
    use_hflip: bool = True
    use_rot: bool = False
    recolour: Fraction = 0.0
    runs_per_clip: Positive = 2

    @model_validator(mode="after")
    def _probabilities(self) -> Self:
        check_probabilities("p_none", [self.p_hq, self.p_photo, self.p_none], ["p_hq", "p_photo", "p_none"])
        return self


def check_sources(section: KeyframeClipDataset | Aligned) -> None:
    """Fail unless there is data."""
    if not section.dataroot and section.dataroot_gt is None:
        refuse("dataroot_gt", "expected dataroot_gt (a folder of clips) or dataroot (lists of preprocessing.py)")
    if section.meta_info_file is not None and section.dataroot_gt is None:
        refuse("meta_info_file", "expected dataroot_gt, the folder that it names clips of")


class Disk(Section):
    """BasicSR's way of saying that pictures are files; there is no other here."""

    type: Literal["disk"] = "disk"


class Aligned(Data):
    """What the data sets of aligned faces have; `data.footage` says how `dataroot_gt` is laid out."""

    paths: ClassVar[tuple[str, ...]] = ("dataroot", "dataroot_gt", "meta_info_file")

    dataroot: list[ExistingFile] = Field(default=[])
    dataroot_gt: ExistingFolder | None = None
    meta_info_file: ExistingFile | None = None
    exclude: list[str] = Field(default=[])
    io_backend: Disk = Disk()
    gt_size: Annotated[int, Field(ge=SMALLEST_GT, multiple_of=2)] = 512
    template: Literal["ffhq", "eyes", "paper"] = "ffhq"

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        check_sources(self)
        return self


class VFHQDataset(Aligned):
    """`data.vfhq_dataset.VFHQDataset`. Both ends of a range are drawn too."""

    type: Literal["VFHQDataset"]
    num_frame: Positive = 8
    interval_list: Annotated[list[Positive], Field(min_length=1)] = Field(default=[1, 2, 3, 4, 5, 6])
    random_reverse: bool = True
    use_hflip: bool = True
    use_rot: Literal[False] = False
    windows_per_clip: Positive = 1
    blur_kernel_size: Annotated[int, Field(ge=1), AfterValidator(_odd)] = 21
    kernel_list: Annotated[list[Literal["iso", "aniso"]], Field(min_length=1)] = Field(default=["iso", "aniso"])
    kernel_prob: list[Fraction] = Field(default=[0.7, 0.3])
    blur_sigma: RateSpan = Field(default=[2.0, 10.0])
    noise_range: Span = Field(default=[0.0, 10.0])
    scale: Positive = 4
    resize_list: Annotated[list[Literal["area", "linear", "cubic"]], Field(min_length=1)] = Field(default=["area", "linear", "cubic"])
    resize_prob: list[Fraction] = Field(default=[0.3, 0.3, 0.4])
    crf_range: CRFSpan = Field(default=[25, 44])
    legacy: bool = False

    @model_validator(mode="after")
    def _probabilities(self) -> Self:
        check_probabilities("kernel_prob", self.kernel_prob, self.kernel_list)
        check_probabilities("resize_prob", self.resize_prob, self.resize_list)
        return self


class SingleVFHQDataset(Aligned):
    """`data.vfhq_dataset.SingleVFHQDataset`."""

    type: Literal["SingleVFHQDataset"]
    use_hflip: bool = True
    use_rot: Literal[False] = False
    frames_per_clip: Positive = 8


class VideoRecurrentTestDataset(Aligned):
    """`data.recurrent_dataset.VideoRecurrentTestDataset`; `num_frame` -1 takes all frames."""

    paths: ClassVar[tuple[str, ...]] = (*Aligned.paths, "dataroot_lq")

    type: Literal["VideoRecurrentTestDataset"]
    dataroot_lq: ExistingFolder | None = None
    num_frame: Literal[-1] | Positive = -1
    cache_data: bool = False

    @model_validator(mode="after")
    def _twins(self) -> Self:
        if (self.dataroot_lq is None) != (self.dataroot_gt is None):
            refuse("dataroot_lq", "expected dataroot_lq and dataroot_gt together")
        return self


# The data sets that a recipe takes; of several, `type` says which.
ReferenceData = Annotated[DMSASFFNetDataset | KeyframeClipDataset, Field(discriminator="type")]
ClipData = Annotated[VFHQDataset | VideoRecurrentTestDataset, Field(discriminator="type")]
PictureData = SingleVFHQDataset
