"""What the cells of several clips come to together: rates, costs, rate-quality curves and BD-rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from keyframes_gan.benchmark.run import Cell, Results
from keyframes_gan.benchmark.score import Scores, Statistics, total
from keyframes_gan.options.benchmark import Degradation, PairedSet
from keyframes_gan.report.grid import Column
from keyframes_gan.report.rates import MINIMUM_POINTS, Point, RateError, bd_rate

RATE = Column(
    "kbit_per_second",
    "rate",
    "kbit/s",
    None,
    1,
    summary="bits of the pictures, and of key frames and photos that come beside them",
)
SPEED = Column("frames_per_second", "speed", "frames/s", None, 1, summary="whole pipeline, decoding and encoding included")
MEMORY = Column("peak_mb", "peak memory", "MB", None, 0, summary="of the process that restores, largest of all clips")
GPU_MEMORY = Column("gpu_peak_mb", "GPU memory", "MB", None, 0, summary="most that PyTorch had taken, largest of all clips")
MACS = Column("gmac_per_face", "cost", "GMAC/face", None, 1, summary="multiply-accumulates of the networks for one face in one frame")


@dataclass(frozen=True)
class Series:
    """A data set in degradations that differ in their rate alone; `name` is what tables call it."""

    name: str
    dataset: str
    degradations: tuple[str, ...]

    def methods(self, results: Results) -> list[str]:
        """Return the methods that were tried at enough rates for a curve."""
        tried = [name for degradation in self.degradations for name in results.options.methods_for(degradation)]
        return [name for name in results.options.methods if tried.count(name) >= MINIMUM_POINTS]


def rate_series(results: Results) -> list[Series]:
    """Return for which data sets and ways of encoding there are enough rates for a curve."""
    found = []
    for name, dataset in results.options.datasets.items():
        if isinstance(dataset, PairedSet):
            continue
        alike: dict[tuple[object, ...], list[str]] = {}
        for degradation in results.options.degradations_of(name):
            alike.setdefault(results.options.degradations[degradation].series, []).append(degradation)
        found += [Series(_series_name(results, name, one), name, tuple(one)) for one in alike.values() if len(one) >= MINIMUM_POINTS]
    return found


def _series_name(results: Results, dataset: str, degradations: Sequence[str]) -> str:
    """Return a data set's name with what is unusual about the degradations."""
    one = results.options.degradations[degradations[0]]
    marks = [f"reduced {one.scale} times"] if one.scale > 1 else []
    marks += [one.codec] if one.codec != Degradation.model_fields["codec"].default else []
    return ", ".join([dataset, *marks])


def rate_curve(results: Results, series: Series, method: str, key: str, clip: str | None = None) -> list[Point]:
    """Return (kbit/s, value of the metric `key`) for every rate, ascending, over all clips of a data set or for one of them."""
    points = []
    for degradation in series.degradations:
        names = (series.dataset, degradation, method)
        cells = [cell for cell in results.cells if (cell.case.dataset, cell.case.degradation, cell.method) == names]
        cells = [cell for cell in cells if clip is None or cell.case.clip == clip]
        value = total_of(key, cells).mean
        rate = kbit_per_second(cells)
        if value is not None and rate is not None:
            points.append((rate, value))
    return sorted(points)


def _scores(cells: Iterable[Cell]) -> list[Scores]:
    return [cell.scores for cell in cells if cell.scores is not None]


def total_of(key: str, cells: Iterable[Cell]) -> Statistics:
    """Return a metric over several clips."""
    return total(key, _scores(cells))


def kbit_per_second(cells: Sequence[Cell]) -> float | None:
    """Return the bits of all clips over their duration."""
    duration = sum(cell.duration for cell in cells)
    return sum(cell.bits for cell in cells) / duration / 1000 if duration else None


def has_rate(results: Results, column: Column, series: Series) -> bool:
    """Tell whether a metric has a direction, and was taken at enough rates."""
    taken = [one for one in series.degradations if column.key in results.options.measure.taken(one)]
    return column.higher_is_better is not None and column.reason is None and len(taken) >= MINIMUM_POINTS


def mean_bd_rate(results: Results, series: Series, method: str, column: Column) -> tuple[float | None, str]:
    """Return the mean over the clips, or why there is none."""
    clips = dict.fromkeys(cell.case.clip for cell in results.cells if cell.case.dataset == series.dataset)
    values = []
    for clip in clips:
        curves = [rate_curve(results, series, one, column.key, clip) for one in (results.options.anchor, method)]
        try:
            values.append(bd_rate(*curves, higher_is_better=bool(column.higher_is_better)))
        except RateError as error:
            return None, f"{clip}: {error}"
    return sum(values) / len(values), ""


def costs(cells: Sequence[Cell]) -> dict[str, float | None]:
    """Return speed over all clips, memory on the one that took most, multiply-accumulates on average over the clips that tell them."""
    frames = sum(cell.frames for cell in cells)
    seconds = _known([cell.cost.seconds for cell in cells])
    resident = _known([cell.cost.peak_bytes for cell in cells])
    on_gpu = _known([cell.cost.gpu_peak_bytes for cell in cells])
    macs = [cell.cost.macs_per_face for cell in cells if cell.cost.macs_per_face is not None]
    return {
        SPEED.key: frames / sum(seconds) if seconds else None,
        MEMORY.key: max(resident) / 1e6 if resident else None,
        GPU_MEMORY.key: max(on_gpu) / 1e6 if on_gpu else None,
        MACS.key: sum(macs) / len(macs) / 1e9 if macs else None,
    }


def _known(values: Sequence[float | None]) -> list[float]:
    """Return the values; none of them where one is not known."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []
