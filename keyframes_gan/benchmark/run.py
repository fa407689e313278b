"""Running a benchmark: case by case, or several cases at a time in processes of their own; what is there already is left alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from keyframes_gan.atomic import unwritable
from keyframes_gan.benchmark.apart import Cost
from keyframes_gan.benchmark.plan import Case, find_cases
from keyframes_gan.benchmark.produce import Product, degrade, produce
from keyframes_gan.benchmark.score import Asked, Scores, columns, protocol_of, score
from keyframes_gan.errors import UserError
from keyframes_gan.options.benchmark import Benchmark
from keyframes_gan.report.grid import Column
from keyframes_gan.video.packets import stream_cost
from keyframes_gan.video.read import probe
from keyframes_gan.workers import workers

WORK = "products"
Tick = Callable[..., None]
"""Told what has been done, and how many cells that were (default: one)."""


@dataclass(frozen=True)
class Cell:
    """One method on one case.

    `bits`: of the degraded clip's pictures, its key frames included, of the photos that the method was given, and of the high-quality key
    frames that were sent beside; `key_bits` those of the clip's key frames alone. `duration`: of the clip in seconds; `cost`: what the
    method took.
    """

    case: Case
    method: str
    frames: int
    duration: float
    bits: int
    key_bits: int
    photo_bits: int = 0
    sent_bits: int = 0
    cost: Cost = field(default_factory=Cost)
    notes: tuple[str, ...] = ()
    product: Path | None = None
    scores: Scores | None = None
    failure: str = ""


@dataclass(frozen=True)
class Results:
    """Everything that a benchmark found out."""

    options: Benchmark
    columns: tuple[Column, ...]
    cells: tuple[Cell, ...]
    protocol: dict[str, object]

    @property
    def complete(self) -> bool:
        """Whether every method could be measured on every case, but for those that are optional."""
        methods = self.options.methods
        return not any(cell.failure and not getattr(methods[cell.method], "optional", False) for cell in self.cells)


def run(options: Benchmark, output: Path, *, root: Path, jobs: int = 1, progress: bool = True) -> Results:
    """Make, restore and measure everything that is not there yet; a method that fails on a case is noted, and the others go on.

    Args:
        options: what to do.
        output: folder of the results; what is made on the way stays in its folder `work`.
        root: where relative paths of the options start.
        jobs: cases at a time, each in a process that gets its share of the processor; those whose speed a bar judges come last, alone.
        progress: draw a bar on standard error.

    Raises:
        UserError: no such metric, data set or folder, or `output` cannot be made.
    """
    if jobs < 1:
        msg = f"--jobs: expected at least 1, got {jobs}"
        raise UserError(msg)
    asked = Asked.of(options.measure, options.device)
    try:
        (output / WORK).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(output, error) from error
    cases = find_cases(options, output / WORK, root)
    done: dict[Case, list[Cell]] = {}
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*bar, console=Console(stderr=True), disable=not progress) as drawn:
        task = drawn.add_task(options.name, total=sum(len(options.methods_for(case.degradation)) for case in cases))

        def tick(name: str, count: int = 1) -> None:
            drawn.update(task, description=name, advance=count)

        beside = [case for case in cases if jobs > 1 and len(cases) > 1 and case.degradation not in options.timed]
        alone = [case for case in cases if case not in beside]
        if beside:
            done.update(_there(options, beside, asked, root, jobs, tick))
        done.update(_here(options, alone, asked, root, tick))
    cells = tuple(cell for case in cases for cell in done[case])
    return Results(options, columns(asked), cells, protocol_of(asked, jobs))


def do_case(case: Case, options: Benchmark, asked: Asked, root: Path, tick: Tick | None = None) -> list[Cell]:
    """Degrade a clip, let every method at it, and measure what they made, in one pass; `tick` hears of every method that is through."""
    try:
        degrade(case)
        info, cost = probe(case.original), stream_cost(case.given)
    except UserError as error:
        return [Cell(case, name, 0, 0.0, 0, 0, failure=str(error)) for name in options.methods_for(case.degradation)]
    products, failures = _produced(case, options, root, tick)
    taken = replace(asked, metrics=tuple(dict.fromkeys(options.measure.taken(case.degradation))))
    outcomes = score(case.original, {name: product.path for name, product in products.items()}, taken, folder=case.folder)
    duration = float(cost.frames / info.rate)
    cells = []
    for name in options.methods_for(case.degradation):
        product, outcome = products.get(name), outcomes.get(name, failures.get(name, ""))
        photo_bits, sent_bits = (product.photo_bits, product.sent_bits) if product else (0, 0)
        cells.append(
            Cell(
                case=case,
                method=name,
                frames=cost.frames,
                duration=duration,
                bits=cost.bits + photo_bits + sent_bits,
                key_bits=cost.key_bits,
                photo_bits=photo_bits,
                sent_bits=sent_bits,
                cost=product.cost if product else Cost(),
                notes=product.notes if product else (),
                product=product.path if product else None,
                scores=None if isinstance(outcome, str) else outcome,
                failure=outcome if isinstance(outcome, str) else "",
            )
        )
    return cells


def _produced(case: Case, options: Benchmark, root: Path, tick: Tick | None) -> tuple[dict[str, Product], dict[str, str]]:
    """Return what the methods made of a case, and why some made nothing."""
    case.folder.mkdir(parents=True, exist_ok=True)
    products: dict[str, Product] = {}
    failures: dict[str, str] = {}
    for name, method in options.methods_for(case.degradation).items():
        try:
            products[name] = produce(case, name, method, device=options.device, root=root, costs=options.measure.costs)
        except UserError as error:
            failures[name] = str(error)
        if tick:
            tick(f"{case.name}: {name}")
    return products, failures


def _here(options: Benchmark, cases: list[Case], asked: Asked, root: Path, tick: Tick) -> Iterator[tuple[Case, list[Cell]]]:
    for case in cases:
        yield case, do_case(case, options, asked, root, tick)


def _there(options: Benchmark, cases: list[Case], asked: Asked, root: Path, jobs: int, tick: Tick) -> Iterator[tuple[Case, list[Cell]]]:
    """Do the cases in processes; they come as they are finished."""
    jobs = min(jobs, len(cases))
    with workers(jobs, threads=max(1, (os.cpu_count() or 1) // jobs)) as pool:
        futures = {pool.submit(do_case, case, options, asked, root): case for case in cases}
        for future in as_completed(futures):
            cells = future.result()
            tick(futures[future].name, len(cells))
            yield futures[future], cells
