"""What options/infer/routed.yml may say: experts by name, and which faces each of them gets."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from keyframes_gan.options.section import Fraction, Name, Positive, Rate, Section, Weight, WeightsSource, refuse
from keyframes_gan.types import Blend

LEAVE = "none"
"""The expert of faces that stay as they are, at most resized with the picture."""
ROUTED = "routed"


GIVEN = {"device", "precision", "weights"}
"""Arguments of every restorer that are not for `settings`."""


class Expert(Section):
    """A registered restorer, its weights (by default its own), and more arguments of its `create`."""

    restorer: Name
    weights: WeightsSource | None = None
    settings: dict[Name, int | float | bool | str] = Field(default={})


class Band(Section):
    """Faces from `from_px` pixels wide on, up to the band before: one `expert` for all, or one for `soft` and one for `sharp` faces."""

    from_px: Weight
    expert: Name | None = None
    soft: Name | None = None
    sharp: Name | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Band:
        if (self.expert is None) == (self.soft is None) or (self.soft is None) != (self.sharp is None):
            refuse("expert", "expected either expert, or soft and sharp")
        return self

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts that faces of this band can get."""
        return tuple(name for name in (self.expert, self.soft, self.sharp) if name is not None)


class Hysteresis(Section):
    """How sure a change must be: limits are moved away by these parts of their value, and `frames` in a row must agree."""

    width: Fraction = 0.05
    sharpness: Fraction = 0.25
    frames: Positive = 5


class Euro(Section):
    """A 1-euro filter: `min_cutoff` (of what is at rest) and `d_cutoff` (of its speed) in Hz, `beta` in Hz for a pixel a second."""

    min_cutoff: Rate
    beta: Weight
    d_cutoff: Rate


class Steadiness(Section):
    """How faces are followed; counts in frames.

    The whole picture is searched every `detect_every`; a face out of sight for up to `box_life` is followed on; `centre` and `size` steady
    the place and the width of its region. Pictures are searched at up to `detect_pixels` pixels, for faces of the narrowest band that has
    an expert.
    """

    detect_pixels: Annotated[int, Field(ge=100_000)] = 2_500_000
    detect_every: Annotated[int, Field(ge=1, le=250)] = 12
    box_life: Annotated[int, Field(ge=0, le=50)] = 12
    centre: Euro = Euro(min_cutoff=1.2, beta=0.007, d_cutoff=1.0)
    size: Euro = Euro(min_cutoff=1.0, beta=0.010, d_cutoff=1.0)


class Blends(Section):
    """How faces are blended into their frames where --blend does not say, in videos and in photos."""

    video: Blend = "multiband"
    photo: Blend = "poisson"


class Routing(Section):
    """The whole file.

    `bands`, widest first, down to 0. `q_low`: faces of less sharpness are soft. `noise_high`: so are those with more noise, in levels of
    255 (standard deviation), in which sharpness cannot be told. `min_identity`: restored faces less alike to their input are weakened; 0:
    nobody looks.
    """

    experts: Annotated[dict[Name, Expert], Field(min_length=1)]
    bands: Annotated[list[Band], Field(min_length=1)]
    q_low: Weight = 100.0
    noise_high: Weight = 8.0
    hysteresis: Hysteresis = Hysteresis()
    blend: Blends = Blends()
    steadiness: Steadiness = Steadiness()
    min_identity: Fraction = 0.97

    @model_validator(mode="after")
    def _whole(self) -> Routing:
        starts = [band.from_px for band in self.bands]
        if starts[-1] != 0 or any(wide <= narrow for wide, narrow in pairwise(starts)):
            refuse("bands", "expected from_px falling from band to band, to 0 in the last")
        for number, band in enumerate(self.bands):
            for name in band.experts:
                if name != LEAVE and name not in self.experts:
                    refuse(f"bands.{number}", f"expected experts of {', '.join((*self.experts, LEAVE))}, got {name}")
        for name, expert in self.experts.items():
            if name == LEAVE or expert.restorer == ROUTED:
                refuse(f"experts.{name}", f"expected another name than {LEAVE}, and another restorer than {ROUTED}")
            if taken := sorted(GIVEN & expert.settings.keys()):
                refuse(f"experts.{name}.settings.{taken[0]}", f"expected only with the flag --{taken[0]}, or beside settings; leave it out")
        return self
