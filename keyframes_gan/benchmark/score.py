"""The one place that knows how methods are measured: `keyframes_gan.measure` does it, what it said is kept beside the products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache as remember
from pathlib import Path
from typing import Any

from keyframes_gan import measure, metrics, report
from keyframes_gan.benchmark import cache
from keyframes_gan.errors import UserError
from keyframes_gan.measure.protocol import protocol
from keyframes_gan.measure.scores import Scores, Statistics, of_clips
from keyframes_gan.metrics import Begin
from keyframes_gan.metrics.clips import ClipScore
from keyframes_gan.options.benchmark import Measurement
from keyframes_gan.report.grid import Column

__all__ = ["Asked", "Scores", "Statistics", "columns", "protocol_of", "score", "total"]

Outcome = Scores | str
"""What was measured, or why nothing could be."""


@dataclass(frozen=True)
class Asked:
    """What to measure, and where."""

    metrics: tuple[str, ...]
    region: str = "whole"
    crop_border: int = 0
    every: int = 1
    detector: str = "dlib-hog"
    device: str = "auto"

    @classmethod
    def of(cls, options: Measurement, device: str) -> Asked:
        """Return what an options file asks for.

        Raises:
            UserError: there is no metric of a name.
        """
        for name in options.metrics:
            metrics.find(name)
        names = tuple(dict.fromkeys(options.metrics))
        return cls(names, options.region, options.crop_border, options.every, options.detector, device)

    @property
    def where(self) -> dict[str, Any]:
        """What a score depends on besides the metric."""
        return {"region": self.region, "crop_border": self.crop_border, "every": self.every, "detector": self.detector}


def columns(asked: Asked) -> tuple[Column, ...]:
    """Return the columns of the metrics, those that cannot be taken here with the reason."""
    _, reasons = _loaded(asked.metrics, asked.device)
    chosen = [metrics.find(name) for name in asked.metrics]
    return tuple(
        Column(one.name, one.label, one.unit, one.higher_is_better, one.decimals, reasons.get(one.name), one.summary) for one in chosen
    )


def protocol_of(asked: Asked, jobs: int) -> dict[str, Any]:
    """Return how figures are measured: regions, colours, detector, hashes of weights, machine, versions, date, commit."""
    settings = measure.Settings(
        Path(),
        Path(),
        metrics=asked.metrics,
        regions=(asked.region,),
        detector=asked.detector,
        crop_border=asked.crop_border,
        every=asked.every,
        device=asked.device,
        jobs=jobs,
    )
    return protocol(settings, _loaded(asked.metrics, asked.device)[0])


def total(name: str, scores: Sequence[Scores]) -> Statistics:
    """Return a metric over several clips."""
    return of_clips(metrics.find(name), [one.metrics[name] for one in scores if name in one.metrics])


def score(original: Path, products: Mapping[str, Path], asked: Asked, *, folder: Path | None = None) -> dict[str, Outcome]:
    """Measure versions of one clip, all in one pass, but for what is known already.

    Args:
        original: a video or a folder of pictures.
        products: the versions, by name.
        asked: what to measure.
        folder: where scores are kept, as NAME.scores.json; None keeps none.

    Returns:
        For each version its scores, or the reason why it could not be measured.
    """
    scorers, _ = _loaded(asked.metrics, asked.device)
    wanted = {name: _fingerprint(original, path, asked) for name, path in products.items()} if folder else {}
    found: dict[str, Scores] = {}
    for name in products:
        found[name] = _read(folder / f"{name}.scores.json", wanted[name], scorers) if folder else Scores()
    missing = {name: {one: begin for one, begin in scorers.items() if one not in found[name].metrics} for name in products}
    outcomes: dict[str, Outcome] = dict(found)
    open_ = [name for name in products if missing[name]]
    if open_:
        needed = {one: begin for name in open_ for one, begin in missing[name].items()}
        outcomes |= _measured(original, {name: products[name] for name in open_}, needed, asked)
    for name in open_:
        outcome = outcomes[name]
        if not isinstance(outcome, str):
            whole = Scores(outcome.frames, outcome.times, {**found[name].metrics, **outcome.metrics})
            outcomes[name] = whole
            if folder:
                _keep(folder / f"{name}.scores.json", wanted[name], whole)
    return outcomes


def _measured(original: Path, versions: Mapping[str, Path], scorers: Mapping[str, Begin], asked: Asked) -> dict[str, Outcome]:
    """Measure versions together; when that fails, one by one, so that the failure stays with the version whose it is."""
    try:
        regions = measure.measure_files(
            original,
            versions,
            scorers,
            regions=(asked.region,),
            detector=asked.detector,
            crop_border=asked.crop_border,
            every=asked.every,
        )
    except UserError as error:
        if len(versions) == 1:
            return dict.fromkeys(versions, str(error))
        alone = [_measured(original, {name: path}, scorers, asked) for name, path in versions.items()]
        return {name: outcome for part in alone for name, outcome in part.items()}
    return dict(regions[asked.region])


@remember
def _loaded(names: tuple[str, ...], device: str) -> tuple[dict[str, Begin], dict[str, str]]:
    """Return the metrics, loaded once per process, and the reasons for those that are not available."""
    return measure.load_scorers(names, device=device)


def _fingerprint(original: Path, product: Path, asked: Asked) -> str:
    files = {"original": cache.content(original), "product": cache.content(product)}
    return cache.fingerprint({**files, **asked.where, "code": cache.code(cache.MEASURING_CODE)})


def _read(path: Path, wanted: str, scorers: Mapping[str, Begin]) -> Scores:
    """Return what a file tells of the metrics asked for; nothing when it is not there, or about something else."""
    told = cache.read(path)
    if told is None or told.get("fingerprint") != wanted:
        return Scores()
    kept = {name: ClipScore(tuple(one["values"]), one["value"]) for name, one in told["metrics"].items() if name in scorers}
    times = tuple(None if time is None else Fraction(time) for time in told["times"])
    return Scores(tuple(told["frames"]), times, kept)


def _keep(path: Path, wanted: str, scores: Scores) -> None:
    """Write scores; not those whose total needs more than one number for each clip, they are taken anew every time."""
    times = [None if time is None else str(time) for time in scores.times]
    kept = {name: {"value": one.value, "values": one.values} for name, one in scores.metrics.items() if one.pool is None}
    report.write_json(path, {"fingerprint": wanted, "frames": scores.frames, "times": times, "metrics": kept})
