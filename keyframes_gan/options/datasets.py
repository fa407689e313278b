"""The data sets of an options file. Values are those that the data set of that name takes; a test holds the two together."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from keyframes_gan.options.section import Count, ExistingFile, Fraction, Name, Positive, Section, Weight, refuse

PROBABILITY_TOLERANCE = 1e-6
PATCH_MULTIPLE = 16


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


class DMSASFFNetDataset(Data):
    """`data.dmsasff_dataset.DMSASFFNetDataset`."""

    type: Literal["DMSASFFNetDataset"]
    dataroot: Annotated[list[ExistingFile], Field(min_length=1)]
    exclude: list[str] = Field(default=[])
    patch_size: Annotated[int, Field(ge=PATCH_MULTIPLE, multiple_of=PATCH_MULTIPLE)] = 128
    p_hq: Fraction = 0.4
    p_gop: Fraction = 0.4
    p_none: Fraction = 0.2
    reference_candidates: Positive = 5
    reference_gap: Positive = 10
    reference_offset: Positive | None = None
    landmark_channels: Literal[1, 3] = 1
    use_hflip: bool = True
    frames_per_clip: Positive = 8
    cache_gb: Weight = 0.0

    @model_validator(mode="after")
    def _probabilities(self) -> Self:
        if not math.isclose(self.p_hq + self.p_gop + self.p_none, 1.0, abs_tol=PROBABILITY_TOLERANCE):
            refuse("p_none", "expected p_hq + p_gop + p_none to be 1")
        return self


# The data sets that a recipe takes; of several, `type` says which.
ReferenceData = DMSASFFNetDataset
