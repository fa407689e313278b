"""Who is who: the same person keeps one id when the tracker, after an absence or a cut, begins a new track.

Faces are compared only when somebody comes while somebody else is away, so that a video of one person is never held up by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from keyframes_gan.faces.identity import SAME_PERSON, embed_chip, face_chip, similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyframes_gan.faces.smooth import SmoothFace
    from keyframes_gan.types import FloatArray, Image

MOST_ABSENT = 8
"""So many people who are not in the picture are remembered, those seen last."""
MOST_VIEWS = 4
VIEW_EVERY = 25
"""A person is remembered by the identities of so many views, one every so many frames; the oldest but the first makes room."""
TRACK_FRAMES = 100
"""Frames after which a track that is gone cannot come back under its own number."""


class _View:
    """How a face looked, and, once somebody asks, whose it is."""

    def __init__(self, rgb: Image, face: SmoothFace) -> None:
        self._chip = face_chip(rgb, face.points)

    @cached_property
    def identity(self) -> FloatArray:
        return embed_chip(self._chip)


@dataclass
class _Known:
    last: int
    looked: int
    views: list[_View] = field(default_factory=list)

    def likeness(self, view: _View) -> float:
        return max(similarity(one.identity, view.identity) for one in self.views)


class Gallery:
    """Gives every track the id of a person: that of an absent person who looks the same (`SAME_PERSON`), else a new one.

    The id of a new person is that of the track. Newcomers of one frame and absent people are paired by the Hungarian method; nobody
    is in a picture twice. Memory is bounded: 150 by 150 pixels a view, `MOST_VIEWS` views a person, `MOST_ABSENT` absent people.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._person_of: dict[int, tuple[int, int]] = {}

    def identify(self, index: int, faces: Sequence[SmoothFace], rgb: Image) -> dict[int, int]:
        """Return {track id: person id} for the faces of the frame `index`, whose picture is `rgb`.

        Frames must come in order.
        """
        known = self._recognised(faces)
        newcomers = [face for face in faces if face.track_id not in known]
        if newcomers:
            known |= self._met(index, newcomers, set(known.values()), rgb)
        for face in faces:
            person = known[face.track_id]
            self._person_of[face.track_id] = person, index
            self._known[person].last = index
            if face.seen:
                self._look(self._known[person], index, face, rgb)
        self._person_of = {track: (person, last) for track, (person, last) in self._person_of.items() if index - last <= TRACK_FRAMES}
        return known

    def _recognised(self, faces: Sequence[SmoothFace]) -> dict[int, int]:
        """Return {track id: person id} of the tracks known already; of two that were taken for one person, the one that came first."""
        known: dict[int, int] = {}
        for track in sorted(face.track_id for face in faces if face.track_id in self._person_of):
            person = self._person_of[track][0]
            if person not in known.values():
                known[track] = person
        return known

    def forget(self, index: int) -> list[int]:
        """Forget the people who have been absent longest, when too many are; return their ids.

        Args:
            index: of the frame identified last.
        """
        absent = sorted((person for person, one in self._known.items() if one.last < index), key=lambda person: self._known[person].last)
        leaving = absent[: max(len(absent) - MOST_ABSENT, 0)]
        for person in leaving:
            del self._known[person]
        self._person_of = {track: entry for track, entry in self._person_of.items() if entry[0] in self._known}
        return leaving

    def _met(self, index: int, newcomers: list[SmoothFace], present: set[int], rgb: Image) -> dict[int, int]:
        views = [_View(rgb, face) for face in newcomers]
        absent = [person for person in self._known if person not in present]
        found: dict[int, int] = {}
        if absent:
            alike = np.array([[self._known[person].likeness(view) for person in absent] for view in views])
            rows, columns = linear_sum_assignment(-alike)
            for row, column in zip(rows, columns, strict=True):
                if alike[row, column] >= SAME_PERSON:
                    found[newcomers[row].track_id] = absent[column]
        for face, view in zip(newcomers, views, strict=True):
            if face.track_id not in found:
                found[face.track_id] = face.track_id
                self._known[face.track_id] = _Known(index, index, [view])
        return found

    def _look(self, person: _Known, index: int, face: SmoothFace, rgb: Image) -> None:
        """Remember one more view now and then."""
        if index - person.looked < VIEW_EVERY:
            return
        person.looked = index
        person.views.append(_View(rgb, face))
        if len(person.views) > MOST_VIEWS:
            del person.views[1]
