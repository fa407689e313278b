"""The options of `benchmark.py`: methods x data sets x degradations. docs/benchmark.md shows them at work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from keyframes_gan.options.datasets import ExistingFolder
from keyframes_gan.options.section import Count, Fraction, Name, Positive, Section, WeightsSource, refuse

ORIGINAL = "original"
"""What the report calls the originals."""
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]


class PortraitSet(Section):
    """Clips made from scikit-image's public-domain portrait, which drifts, turns and comes nearer. `zooms`: by name, how large it is."""

    type: Literal["portrait"]
    frames: Positive = 60
    size: Annotated[int, Field(ge=128, multiple_of=16)] = 320
    zooms: dict[Name, Annotated[float, Field(ge=0.5, le=3)]] = Field(default={"near": 1.3}, min_length=1)


class VideoSet(Section):
    """High-quality videos, or folders of pictures, in a tree; they are degraded as the file says. `limit`: use only the first so many."""

    type: Literal["videos"]
    root: ExistingFolder
    limit: Positive | None = None


class PairedSet(Section):
    """Originals, and degraded versions made elsewhere: by degradation the tree that holds them under the same names."""

    type: Literal["pairs"]
    gt: ExistingFolder
    lq: dict[Name, ExistingFolder] = Field(min_length=1)
    limit: Positive | None = None


DataSet = Annotated[PortraitSet | VideoSet | PairedSet, Field(discriminator="type")]


class Degradation(Section):
    """How a video is made worse: reduced to 1/`scale` of its size, then encoded with x264.

    `gop`: most frames from one key frame to the next, 0 for x264's choice (250, and at cuts).
    """

    crf: Annotated[int, Field(ge=0, le=51)]
    preset: Preset = "medium"
    gop: Count = 0
    scale: Annotated[int, Field(ge=1, le=4)] = 1


class InputMethod(Section):
    """The degraded video as it is; a reduced one is enlarged by repeating pixels."""

    type: Literal["input"]


class BicubicMethod(Section):
    """The degraded video, enlarged by cubic interpolation where it was reduced."""

    type: Literal["bicubic"]


class FilterMethod(Section):
    """A chain of FFmpeg's filters, as `ffmpeg -vf` takes it; then cubic interpolation where the video was reduced."""

    type: Literal["filter"]
    filter: Annotated[str, Field(min_length=1)]


class RestorerMethod(Section):
    """A restorer, through the whole pipeline; keys as the flags of `video_inference.py`.

    `photos`: pictures of the person, given to the receiver beside the video, so that their bits count; `{dataset}` and `{clip}` stand
    for the names. `no_face`: what a clip in which no face is found counts as: "error" (the method has no row then), or "copy", unchanged.
    """

    type: Literal["restorer"]
    restorer: Name
    weights: WeightsSource | None = None
    max_keyframes: Positive = 5
    policy: Literal["lfu", "lru", "all"] = "lfu"
    detector: Name = "dlib-hog"
    detect_every: Annotated[int, Field(ge=1, le=250)] | None = None
    smoothing: Annotated[float, Field(ge=0, le=10)] | None = None
    max_length: Positive | None = None
    overlap: Count | None = None
    protocol: Literal["stream", "paper"] = "stream"
    has_aligned: bool = False
    only_center_face: bool = False
    strength: Fraction = 1.0
    mask: Literal["auto", "parse", "soft", "bisenet", "parsenet"] = "auto"
    no_face: Literal["error", "copy"] = "error"
    photos: list[str] = Field(default=[])
    precision: Literal["fp32", "bf16"] = "fp32"


class FolderMethod(Section):
    """Results made elsewhere: `{dataset}`, `{degradation}` and `{clip}` in `path` stand for the names; a video's suffix may be left out."""

    type: Literal["folder"]
    path: Annotated[str, Field(pattern=r"\{clip\}")]


Method = Annotated[InputMethod | BicubicMethod | FilterMethod | RestorerMethod | FolderMethod, Field(discriminator="type")]


class Measurement(Section):
    """What is measured, and where. `size`: side in pixels that originals must have, when the protocol wants aligned crops."""

    metrics: list[str] = Field(default=["psnr", "ssim", "lpips", "brisque"], min_length=1)
    region: Literal["whole", "face", "crop"] = "whole"
    crop_border: Count = 0
    every: Positive = 1
    detector: Name = "dlib-hog"
    size: Positive | None = None


class Showing(Section):
    """What the report shows pictures of: of every data set the first `clips`, in one `degradation` (default: the last one).

    `before` and `after` are the two methods of the sliders (default: the first and the last one), `methods` those beside them (default:
    all).
    """

    clips: Count = 1
    degradation: Name | None = None
    before: Name | None = None
    after: Name | None = None
    methods: list[Name] | None = None


class PaperRow(Section):
    """Published numbers, shown beside what is measured. A metric that is left out, or has no number, stays blank."""

    method: Annotated[str, Field(min_length=1)]
    dataset: Name
    degradation: Name
    source: Annotated[str, Field(min_length=1)]
    metrics: dict[str, float | None] = Field(default={})


class Benchmark(Section):
    """A whole options file of `benchmark.py`. `baseline`: the method that gains and BD-rates refer to; default: the first."""

    name: Name
    title: str | None = None
    device: str = "auto"
    baseline: Name | None = None
    datasets: dict[Name, DataSet] = Field(min_length=1)
    degradations: dict[Name, Degradation] = Field(default={})
    methods: dict[Name, Method] = Field(min_length=1)
    measure: Measurement = Measurement()
    report: Showing = Showing()
    paper: list[PaperRow] = Field(default=[])

    @property
    def anchor(self) -> str:
        """The method that gains and BD-rates refer to."""
        return self.baseline or next(iter(self.methods))

    def degradations_of(self, dataset: str) -> list[str]:
        """Return the names of a data set's degradations, in order."""
        chosen = self.datasets[dataset]
        return list(chosen.lq) if isinstance(chosen, PairedSet) else list(self.degradations)

    @model_validator(mode="after")
    def _names_mean_something(self) -> Self:
        if not self.degradations and any(not isinstance(one, PairedSet) for one in self.datasets.values()):
            refuse("degradations", "expected at least one, for the data sets that are not pairs")
        known = list(self.methods)
        if ORIGINAL in known:
            refuse(f"methods.{ORIGINAL}", "expected another name, the report calls the originals so")
        named = (("baseline", self.baseline), ("report.before", self.report.before), ("report.after", self.report.after))
        for key, name in named:
            if name is not None and name not in known:
                refuse(key, f"expected one of the methods {', '.join(known)}")
        if self.report.methods is not None and not set(self.report.methods) <= set(known):
            refuse("report.methods", f"expected some of the methods {', '.join(known)}")
        every = [name for dataset in self.datasets for name in self.degradations_of(dataset)]
        if self.report.degradation is not None and self.report.degradation not in every:
            refuse("report.degradation", f"expected one of the degradations {', '.join(dict.fromkeys(every))}")
        for number, row in enumerate(self.paper):
            if row.dataset not in self.datasets or row.degradation not in self.degradations_of(row.dataset):
                refuse(f"paper.{number}.dataset", "expected a data set of this file, and one of its degradations")
        return self
