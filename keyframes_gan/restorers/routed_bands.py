"""Which expert a face gets: bands of width, sharpness within a band, and a memory that keeps a track from flipping between experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keyframes_gan.options.routed import LEAVE

if TYPE_CHECKING:
    from keyframes_gan.options.routed import Routing
    from keyframes_gan.restorers.routed_measure import Look


@dataclass(frozen=True)
class Place:
    """A band by its number, and whether the face is sharp in it; None where the band does not ask."""

    band: int
    sharp: bool | None


@dataclass(frozen=True)
class TrackMemory:
    """What is remembered of a track: where it is, and for how many frames in a row it has looked as if it were elsewhere."""

    place: Place | None = None
    elsewhere: int = 0


class Bands:
    """Chooses experts.

    Args:
        routing: the checked options.
    """

    def __init__(self, routing: Routing) -> None:
        self._routing = routing

    def choose(self, seen: Look, memory: TrackMemory) -> tuple[str, str, TrackMemory]:
        """Return the expert's name, the reason in words, and what to remember for the track's next frame."""
        place, before, elsewhere = self._place(seen, memory.place), memory.place, 0
        if before is not None and place != before and memory.elsewhere + 1 < self._routing.hysteresis.frames:
            place, elsewhere = before, memory.elsewhere + 1
        held = place != self._place(seen, None)
        return self._expert(place), self._reason(seen, place, held=held), TrackMemory(place, elsewhere)

    def _place(self, seen: Look, before: Place | None) -> Place:
        """Return where a face belongs; limits are moved away from where the track was `before`."""
        routing, margin = self._routing, self._routing.hysteresis
        band = 0
        while seen.width < routing.bands[band].from_px * self._limit(margin.width, None if before is None else before.band <= band):
            band += 1
        if routing.bands[band].expert is not None:
            return Place(band, None)
        sharp_before = before.sharp if before is not None and before.band == band else None
        limit = self._limit(margin.sharpness, sharp_before)
        return Place(band, seen.sharpness >= routing.q_low * limit and seen.noise * limit <= routing.noise_high)

    @staticmethod
    def _limit(margin: float, above: bool | None) -> float:
        """Return the factor of a limit for a track that was above or below it; None: there was none."""
        return 1.0 if above is None else 1 - margin if above else 1 + margin

    def _expert(self, place: Place) -> str:
        band = self._routing.bands[place.band]
        return band.expert or (band.sharp if place.sharp else band.soft) or LEAVE

    def _reason(self, seen: Look, place: Place, *, held: bool) -> str:
        routing = self._routing
        low, high = routing.bands[place.band].from_px, routing.bands[place.band - 1].from_px if place.band else None
        words = f"w >= {low:g}" if high is None else f"{low:g} <= w < {high:g}"
        if place.sharp is not None:
            noisy = not place.sharp and seen.noise > routing.noise_high
            words += f", noise > {routing.noise_high:g}" if noisy else f", q {'>=' if place.sharp else '<'} {routing.q_low:g}"
        return f"{words}, held from earlier frames" if held else words
