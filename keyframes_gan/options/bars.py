"""The section `bars` of a benchmark's options: what its results must reach. docs/benchmark.md shows it at work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from keyframes_gan.options.section import Name, Section, refuse

Names = Annotated[list[Name], Field(min_length=1)]
What = Annotated[str, Field(min_length=1)]


class Gain(Section):
    """What `method` gains over the method `over` (default: the baseline) in a metric's good direction, at the same bits or not.

    `of`: "mean", over the clips of all `degradations` named, or "each": the one that gains least counts. The gain must be `at_least`, or
    `above`, so much, in the metric's unit.
    """

    type: Literal["gain"]
    what: What
    metric: str
    method: Name
    over: Name | None = None
    degradations: Names
    of: Literal["mean", "each"] = "mean"
    at_least: float | None = None
    above: float | None = None

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if (self.at_least is None) == (self.above is None):
            refuse("at_least", "expected either at_least or above")
        return self

    @property
    def users(self) -> dict[str, list[str]]:
        """By method the degradations that the bar looks at."""
        return {name: self.degradations for name in (self.method, self.over) if name is not None}


class Saving(Section):
    """The BD-rate of a metric: how many percent more bits than the baseline. The best of `methods` counts; it must be `below` so much.

    `degradations`: the ladder, one method of encoding at four rates or more.
    """

    type: Literal["bd_rate"]
    what: What
    metric: str
    methods: Names
    degradations: Annotated[list[Name], Field(min_length=4)]
    below: float = 0.0

    @property
    def users(self) -> dict[str, list[str]]:
        """By method the degradations that the bar looks at."""
        return dict.fromkeys(self.methods, self.degradations)


class Speed(Section):
    """Frames per second of `method` over all clips, as the table has them: `at_least` so many."""

    type: Literal["speed"]
    what: What
    method: Name
    degradations: Names
    at_least: float

    @property
    def users(self) -> dict[str, list[str]]:
        """By method the degradations that the bar looks at."""
        return {self.method: self.degradations}


Bar = Annotated[Gain | Saving | Speed, Field(discriminator="type")]
