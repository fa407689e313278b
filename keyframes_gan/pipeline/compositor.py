"""The frames in flight: who is in them, whose clips are due, and which pictures are finished."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from keyframes_gan.faces import parse
from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.keyframes.sent import KeyChannel
from keyframes_gan.pipeline.canvas import Canvas
from keyframes_gan.pipeline.framing import CentreChooser, FaceFraming, Framing
from keyframes_gan.pipeline.gallery import Gallery
from keyframes_gan.pipeline.people import Fate, Person, Slot
from keyframes_gan.pipeline.restoring import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keyframes_gan.faces.smooth import SmoothFace, SmoothFrame
    from keyframes_gan.pipeline.cards import FaceCards
    from keyframes_gan.pipeline.clock import Stopwatch
    from keyframes_gan.pipeline.photos import PhotoAlbum
    from keyframes_gan.pipeline.routes import Routes
    from keyframes_gan.pipeline.settings import Settings
    from keyframes_gan.types import Restorer


class Compositor:
    """Holds the frames in flight and hands them out in order when all their faces are pasted.

    People keep their id and key frames over absences and cuts (`Gallery`). The restorer's state and the context never cross a cut;
    no clip does, and none has a gap.

    Args:
        restorer: restores the crops.
        settings: the size and policy of the key-frame memories, how clips are cut, and how the output picture is put together.
        album: photos of the people.
        clock: counts seconds per stage.
        framing: how crops lie in the frames; by default as the restorer's template says.
        cards: shown every face before and after.

    Attributes:
        channel: through which high-quality key frames come; None where the stream's own serve.
    """

    def __init__(
        self,
        restorer: Restorer,
        settings: Settings,
        album: PhotoAlbum,
        clock: Stopwatch,
        *,
        framing: Framing | None = None,
        cards: FaceCards | None = None,
    ) -> None:
        self._restorer, self._settings, self._album, self._clock = restorer, settings, album, clock
        self._framing = framing or FaceFraming(restorer.spec)
        self.canvas = Canvas(settings.finish, device=settings.device, precision=settings.precision, clock=clock)
        self._parser = None
        if not self._framing.whole:
            self._parser = parse.find(settings.finish.mask, device=settings.device, residual=restorer.spec.residual)
        self._runner = Runner(
            restorer,
            clock,
            clip_length=settings.max_length,
            overlap=settings.overlap,
            protocol=settings.protocol,
            parser=self._parser,
            min_identity=restorer.spec.min_identity if settings.min_identity is None else settings.min_identity,
            cards=cards,
        )
        self._centre = CentreChooser() if settings.only_center_face else None
        self._gallery = Gallery()
        self.channel = None if settings.keys is None else KeyChannel(settings.keys.quality)
        self._slots: deque[Slot] = deque()
        self._by_index: dict[int, Slot] = {}
        self._people: dict[int, Person] = {}
        self._ids: set[int] = set()
        self.faces = 0

    @property
    def people(self) -> int:
        """How many people there have been, as far as they could be told apart."""
        return len(self._ids)

    @property
    def mask(self) -> str:
        """What faces are pasted with: the name of a parsing network, "soft", or "none" where the whole picture is the face."""
        if self._framing.whole:
            return "none"
        return "soft" if self._parser is None else self._parser.network

    @property
    def notes(self) -> list[str]:
        """What happened to the clips, and which flags had nothing to change, for the user."""
        flags, used = self._settings.unusual_memory, self._restorer.spec.references
        if not flags or used == "stream" or self.channel is not None:
            return self._runner.notes
        reason = f"{self._settings.restorer} with these weights remembers no key frames" + ("" if used == "none" else " of the stream")
        advice = "leave them out" if used == "none" else "add --key_interval, or leave them out"
        return [f"{', '.join(flags)}: without effect, {reason}; {advice}", *self._runner.notes]

    @property
    def routes(self) -> Routes:
        """Which experts the faces got, where the restorer chooses."""
        return self._runner.routes

    @property
    def identities(self) -> list[dict[str, Any]]:
        """By person, how alike restored faces are to their inputs, where the guard looks; plain JSON values."""
        return [{"person": person, **(one.as_json() or {})} for person, one in sorted(self._runner.identities.items())]

    def take(self, slot: Slot) -> None:
        """Take the next decoded frame."""
        self._slots.append(slot)
        self._by_index[slot.frame.index] = slot

    def place(self, found: SmoothFrame) -> None:
        """Take the final faces of a frame that was taken before."""
        slot = self._by_index.pop(found.index)
        slot.placed, slot.cut = True, found.cut
        faces = found.faces if self._centre is None else self._centre.choose(found, slot.frame.rgb.shape)
        taken = {face.track_id for face in faces}
        slot.fates += [Fate(face, None, why="another face is nearer to the centre") for face in found.faces if face.track_id not in taken]
        if found.cut:
            self._begin_shot()
        with self._clock("identity"):
            ids = self._gallery.identify(found.index, faces, slot.frame.rgb)
        self._runner.run([person for person in self._people.values() if person.id not in ids.values()])
        for face in faces:
            self._add(ids[face.track_id], slot, face)
        self.faces += len(faces)
        self._runner.run(self._runner.due(list(self._people.values())), last=False)
        for person in self._people.values():
            person.let_go(found.index)
        for gone in self._gallery.forget(found.index):
            del self._people[gone]
            self._album.forget(gone)
            self._runner.forget(gone)

    def _add(self, person_id: int, slot: Slot, face: SmoothFace) -> None:
        person = self._people.get(person_id) or self._meet(person_id)
        if face.seen:
            with self._clock("photos", unit="face"):
                self._album.offer(person_id, slot.frame.index, person.memory, slot.frame.rgb, face.points)
        person.add(slot, face)

    def _begin_shot(self) -> None:
        everybody: Sequence[Person] = list(self._people.values())
        self._runner.run(everybody)
        for person in everybody:
            person.begin_anew()

    def _meet(self, person_id: int) -> Person:
        memory = KeyframeMemory(self._settings.max_keyframes, self._settings.policy)
        person = Person(person_id, self._restorer, memory, self._framing, context=self._runner.context, channel=self.channel)
        self._people[person_id] = person
        self._ids.add(person_id)
        return person

    def finish(self) -> None:
        """The video has ended: restore what still waits."""
        self._runner.run(list(self._people.values()))

    def ready(self) -> Iterator[Slot]:
        """Give the frames that are finished, in order."""
        while self._slots and self._slots[0].placed and not self._slots[0].waiting:
            slot = self._slots.popleft()
            if self._settings.draw_box:
                slot.draw_boxes()
            yield slot
