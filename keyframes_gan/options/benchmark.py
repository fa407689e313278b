"""The options of `benchmark.py`: methods x data sets x degradations. docs/benchmark.md shows them at work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator
from typing_extensions import Self

from keyframes_gan.errors import UserError
from keyframes_gan.options.bars import Bar, Gain, Saving, Speed
from keyframes_gan.options.datasets import ExistingFolder
from keyframes_gan.options.section import Count, Fraction, Name, Positive, Section, WeightsSource, refuse, refuse_all

ORIGINAL = "original"
"""What the report calls the originals."""
Quality = Annotated[int, Field(ge=1, le=63)]
MAX_CRF = {"h264": 51, "hevc": 51, "vp9": 63}
Side = Annotated[int, Field(ge=128, multiple_of=2)]
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]


class Limited(Section):
    """What may be left out of some degradations: `degradations` names those that it is for; default: all."""

    degradations: list[Name] | None = Field(default=None, min_length=1)

    def is_for(self, degradation: str) -> bool:
        """Tell whether a degradation is one of its."""
        return self.degradations is None or degradation in self.degradations


LimitedSection = TypeVar("LimitedSection", bound=Limited)


class PortraitSet(Limited):
    """Clips made from scikit-image's public-domain portrait, which drifts, turns and comes nearer. `zooms`: by name, how large it is.

    `size`: width in pixels, and height unless that has a number of its own.
    """

    type: Literal["portrait"]
    frames: Positive = 60
    size: Side = 320
    height: Side | None = None
    zooms: dict[Name, Annotated[float, Field(ge=0.5, le=3)]] = Field(default={"near": 1.3}, min_length=1)


class VideoSet(Limited):
    """High-quality videos, or folders of pictures, in a tree; they are degraded as the file says. `limit`: use only the first so many.

    `spare_seconds`: so much of the end of every video is left out; its very last picture is the photo that `{photo}` stands for in a
    method's `photos`. `frames`: only the first so many of what is left.
    """

    type: Literal["videos"]
    root: ExistingFolder
    limit: Positive | None = None
    frames: Positive | None = None
    spare_seconds: Annotated[float, Field(ge=0)] = 0.0


class PairedSet(Section):
    """Originals, and degraded versions made elsewhere: by degradation the tree that holds them under the same names."""

    type: Literal["pairs"]
    gt: ExistingFolder
    lq: dict[Name, ExistingFolder] = Field(min_length=1)
    limit: Positive | None = None


DataSet = Annotated[PortraitSet | VideoSet | PairedSet, Field(discriminator="type")]


class Degradation(Section):
    """How a video is made worse: reduced to 1/`scale` of its size, then encoded by `codec`: x264, x265 or libvpx.

    Either `crf`, constant quality on the encoder's own scale, or `bits_per_pixel`, a limited rate: a buffer of one second fills no faster.
    `preset`: x264's and x265's. `gop`: most frames from one key frame to the next, 0 for the encoder's choice (x264: 250, and at cuts).
    """

    codec: Literal["h264", "hevc", "vp9"] = "h264"
    crf: Count | None = None
    bits_per_pixel: Annotated[float, Field(gt=0, le=24)] | None = None
    preset: Preset = "medium"
    gop: Count = 0
    scale: Annotated[int, Field(ge=1, le=4)] = 1

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if (self.crf is None) == (self.bits_per_pixel is None):
            refuse("crf", "expected either crf or bits_per_pixel")
        if self.crf is not None and self.crf > MAX_CRF[self.codec]:
            refuse("crf", f"expected less than or equal to {MAX_CRF[self.codec]}")
        return self

    @property
    def series(self) -> tuple[int, str, str, int, bool]:
        """What degradations have in common that differ in their rate alone."""
        return self.scale, self.codec, self.preset, self.gop, self.crf is None


class InputMethod(Limited):
    """The degraded video as it is; a reduced one is enlarged by repeating pixels."""

    type: Literal["input"]


class BicubicMethod(Limited):
    """The degraded video, enlarged by cubic interpolation where it was reduced."""

    type: Literal["bicubic"]


class FilterMethod(Limited):
    """A chain of FFmpeg's filters, as `ffmpeg -vf` takes it; then cubic interpolation where the video was reduced."""

    type: Literal["filter"]
    filter: Annotated[str, Field(min_length=1)]


class SentKeys(Section):
    """High-quality key frames, sent beside the stream: one `every` so many seconds, AV1 pictures of this `quality`, or lossless (PNG).

    A `quality` for each degradation is what a sender would choose who knows how the stream is coded.
    """

    every: Annotated[float, Field(gt=0)]
    quality: Quality | dict[Name, Quality] | None = None

    def quality_in(self, degradation: str) -> int | None:
        """Return the quality of the key frames beside a stream in a degradation; None for no loss."""
        return self.quality.get(degradation) if isinstance(self.quality, dict) else self.quality


class RestorerMethod(Limited):
    """A restorer, through the whole pipeline; keys as the flags of `video_inference.py`; `device` in place of the file's.

    `photos`: pictures of the person, given to the receiver beside the video, so that their bits count; `{dataset}` and `{clip}` stand
    for the names, `{photo}` for the picture that the data set's `spare_seconds` leave out. `keys`: key frames of the original; their bits
    count too. `no_face`: what a clip in which no face is found counts as: "error" (the method has no row then), or "copy", unchanged.
    `optional`: where it cannot be tried, its weights not being at hand, say, nothing has failed.
    """

    type: Literal["restorer"]
    restorer: Name
    weights: WeightsSource | None = None
    device: str | None = None
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
    keys: SentKeys | None = None
    optional: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"


class FolderMethod(Limited):
    """Results made elsewhere: `{dataset}`, `{degradation}` and `{clip}` in `path` stand for the names; a video's suffix may be left out."""

    type: Literal["folder"]
    path: Annotated[str, Field(pattern=r"\{clip\}")]


Method = Annotated[InputMethod | BicubicMethod | FilterMethod | RestorerMethod | FolderMethod, Field(discriminator="type")]


class Measurement(Section):
    """What is measured, and where. `size`: side in pixels that originals must have, when the protocol wants aligned crops.

    `only`: by metric the degradations in which alone it is taken. `costs`: also memory and multiply-accumulates, for which every restorer
    has a process of its own for every clip; without, all are restored in one process, which saves the starting.
    """

    metrics: list[str] = Field(default=["psnr", "ssim", "lpips", "brisque"], min_length=1)
    region: Literal["whole", "face", "crop"] = "whole"
    crop_border: Count = 0
    every: Positive = 1
    detector: Name = "dlib-hog"
    size: Positive | None = None
    only: dict[str, list[Name]] = Field(default={})
    costs: bool = True

    def taken(self, degradation: str) -> list[str]:
        """Return the metrics that are taken in a degradation."""
        return [name for name in self.metrics if name not in self.only or degradation in self.only[name]]


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
    bars: dict[Name, Bar] = Field(default={})

    @property
    def anchor(self) -> str:
        """The method that gains and BD-rates refer to."""
        return self.baseline or next(iter(self.methods))

    def degradations_of(self, dataset: str) -> list[str]:
        """Return the names of a data set's degradations, in order."""
        chosen = self.datasets[dataset]
        return list(chosen.lq) if isinstance(chosen, PairedSet) else [name for name in self.degradations if chosen.is_for(name)]

    def methods_for(self, degradation: str) -> dict[str, Method]:
        """Return the methods that are tried in a degradation."""
        return {name: method for name, method in self.methods.items() if method.is_for(degradation)}

    @property
    def timed(self) -> set[str]:
        """The degradations in which a bar judges speed."""
        return {name for bar in self.bars.values() if isinstance(bar, Speed) for name in bar.degradations}

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
        refuse_all(list(self._wrong_names(list(dict.fromkeys(every)))))
        return self

    def _wrong_names(self, known: list[str]) -> Iterator[tuple[str, str]]:
        """Yield what names a degradation, method or metric that the file does not have, and why that is wrong."""
        places = {
            f"{kind}.{name}.degradations": one.degradations
            for kind in ("datasets", "methods")
            for name, one in getattr(self, kind).items()
            if isinstance(one, Limited)
        }
        places |= {f"measure.only.{name}": names for name, names in self.measure.only.items()}
        for key, names in places.items():
            if names is not None and not set(names) <= set(known):
                yield key, f"expected some of the degradations {', '.join(known)}"
        for name, method in self.methods.items():
            quality = method.keys.quality if isinstance(method, RestorerMethod) and method.keys else None
            if isinstance(quality, dict) and set(quality) != {one for one in known if method.is_for(one)}:
                yield f"methods.{name}.keys.quality", "expected one for each degradation in which the method is tried"
        if not set(self.measure.only) <= set(self.measure.metrics):
            yield "measure.only", f"expected some of the metrics {', '.join(self.measure.metrics)}"
        for name, bar in self.bars.items():
            yield from ((f"bars.{name}.{key}", message) for key, message in self._wrong_in(bar, known))

    def _wrong_in(self, bar: Gain | Saving | Speed, known: list[str]) -> Iterator[tuple[str, str]]:
        """Yield what a bar asks for that is not measured."""
        if not isinstance(bar, Speed) and bar.metric not in self.measure.metrics:
            yield "metric", f"expected one of the metrics {', '.join(self.measure.metrics)}"
        for method, names in {**bar.users, **({} if isinstance(bar, Speed) else {self.anchor: bar.degradations})}.items():
            if method not in self.methods:
                yield "method", f"expected methods of this file, {', '.join(self.methods)}"
            elif missing := [one for one in names if one not in known or method not in self.methods_for(one)]:
                yield "degradations", f"expected degradations in which {method} is tried, not {', '.join(missing)}"
            elif not isinstance(bar, Speed) and (untaken := [one for one in names if bar.metric not in self.measure.taken(one)]):
                yield "degradations", f"expected degradations in which {bar.metric} is taken, not {', '.join(untaken)}"


def narrowed(options: Benchmark, bars: Sequence[str]) -> Benchmark:
    """Return the options without whatever these bars do not need: other methods, degradations, data sets and metrics.

    Raises:
        UserError: the file has no bar of a name.
    """
    unknown = [name for name in bars if name not in options.bars]
    if unknown:
        msg = f"--bars: expected some of {', '.join(options.bars) or 'none, the file has no bars'}, got {', '.join(unknown)}"
        raise UserError(msg)
    chosen = {name: options.bars[name] for name in bars}
    wanted: dict[str, set[str]] = {}
    for bar in chosen.values():
        for method, names in {**bar.users, options.anchor: bar.degradations}.items():
            wanted.setdefault(method, set()).update(names)
    degradations = {name: one for name, one in options.degradations.items() if any(name in names for names in wanted.values())}
    metrics = {bar.metric for bar in chosen.values() if not isinstance(bar, Speed)} or set(options.measure.metrics[:1])
    measure = options.measure.model_copy(
        update={
            "metrics": [name for name in options.measure.metrics if name in metrics],
            "only": {
                name: [one for one in names if one in degradations] for name, names in options.measure.only.items() if name in metrics
            },
        }
    )
    methods = {name: _limited(one, wanted[name]) for name, one in options.methods.items() if name in wanted}
    datasets = {name: one if isinstance(one, PairedSet) else _limited(one, set(degradations)) for name, one in options.datasets.items()}
    datasets = {name: one for name, one in datasets.items() if isinstance(one, PairedSet) or one.degradations}
    given = {"bars": chosen, "methods": methods, "degradations": degradations, "datasets": datasets, "measure": measure}
    return options.model_copy(update={**given, "report": Showing(clips=0), "paper": []})


def _limited(one: LimitedSection, degradations: set[str]) -> LimitedSection:
    """Return a data set or method for no other degradations than these."""
    return one.model_copy(update={"degradations": [name for name in one.degradations or sorted(degradations) if name in degradations]})
