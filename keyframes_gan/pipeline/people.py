"""One person in the video: the frames that wait for the next clip, the key frames, the restorer's state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from keyframes_gan.faces import align
from keyframes_gan.faces.landmarks import box_of
from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.pipeline.canvas import Canvas, RestoredFace
from keyframes_gan.pipeline.framing import FaceFraming, Framing
from keyframes_gan.types import Decision, FaceClip, FloatArray, Image, Matrix, Points, Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from keyframes_gan.faces.smooth import SmoothFace
    from keyframes_gan.keyframes.sent import KeyChannel
    from keyframes_gan.pipeline.guard import Judgement
    from keyframes_gan.types import Frame, Restorer

STATE_FRAMES = 25
"""Frames of absence, without a cut, up to which the restorer's state is carried on."""


@dataclass
class Fate:
    """What became of one face in one frame, and why; `person` is None for a face that nobody asked to restore.

    `identity`: how alike what is shown is to the input, where that was measured. `decision`: which expert the face got, and why, from a
    restorer that chooses.
    """

    face: SmoothFace
    person: int | None
    done: str = "passed"
    why: str = ""
    strength: float = 0.0
    identity: float | None = None
    decision: Decision | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values; coordinates in pixels of the input frame."""
        return {
            "person": self.person,
            "track": self.face.track_id,
            "box": [round(float(value), 2) for value in box_of(self.face.points)],
            "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in self.face.points],
            "score": round(float(self.face.score), 4),
            "seen": self.face.seen,
            "done": self.done,
            "why": self.why,
            "strength": round(self.strength, 3),
            **({} if self.identity is None else {"identity": round(self.identity, 4)}),
            **({} if self.decision is None else {"route": self.decision.as_json()}),
        }


class Slot:
    """A frame on its way through: its picture is written when its faces are `placed` (known) and none is `waiting`.

    Args:
        frame: as decoded; never written to.
        canvas: makes the output picture; by default one of the same size, faces feathered in.
        original: the same picture before it was compressed, where a key frame is due.

    Attributes:
        fates: of the faces in it.
        cut: whether it begins a shot.
    """

    def __init__(self, frame: Frame, canvas: Canvas | None = None, original: Image | None = None) -> None:
        self.frame = frame
        self.original = original
        self.waiting = 0
        self.placed = False
        self.cut = False
        self.fates: list[Fate] = []
        self._canvas = canvas or Canvas()
        self._picture: Image | None = None
        self._restored: list[RestoredFace] = []

    @property
    def picture(self) -> Image:
        """The output so far, made when it is first needed: the background with the faces pasted until now."""
        if self._picture is None:
            self._picture = self._canvas.background(self.frame.rgb)
        return self._picture

    def paste(self, face: RestoredFace) -> None:
        """Take one restored face; the last one that was waited for puts all of them in, as `Canvas.paste` does."""
        self._restored.append(face)
        self.leave()

    def replace(self, face: RestoredFace) -> None:
        """Put a picture that is one face into the place of the frame."""
        self._canvas.replace(self._own_picture(), face)
        self.leave()

    def leave(self) -> None:
        """Take note that one face is done with."""
        self.waiting -= 1
        if not self.waiting and self._restored:
            self._canvas.paste(self._own_picture(), self._restored)
            self._restored.clear()

    def _own_picture(self) -> Image:
        if self.picture is self.frame.rgb:
            self._picture = self.frame.rgb.copy()
        return self.picture

    def draw_boxes(self) -> None:
        """Draw the box of every restored face, with what was decided for it below."""
        asked = [fate for fate in self.fates if fate.person is not None]
        if asked:
            labels = ["" if fate.decision is None else str(fate.decision) for fate in asked]
            self._picture = self._canvas.boxed(self.picture, [box_of(fate.face.points) for fate in asked], labels)


@dataclass
class _Waiting:
    slot: Slot
    face: SmoothFace
    fate: Fate


@dataclass(frozen=True)
class _Past:
    """One of the last frames of the clip before."""

    frame: Frame
    face: SmoothFace
    reference: Reference | None


class Person:
    """Collects the frames of one person, gives them out as clips, and pastes what comes back.

    Args:
        id: of the person.
        restorer: restores the crops.
        memory: this person's key frames; photos that show the person are in it already, at any size.
        framing: how the crops lie in the frame; by default as the restorer's template says.
        context: how many restored frames begin the next clip again; by default as the restorer asks.
        channel: through which high-quality key frames come; None: the stream's own key frames serve.

    Attributes:
        state: of the restorer. It never crosses a cut, nor an absence of more than `STATE_FRAMES`.
    """

    def __init__(
        self,
        id: int,
        restorer: Restorer,
        memory: KeyframeMemory,
        framing: Framing | None = None,
        *,
        context: int | None = None,
        channel: KeyChannel | None = None,
    ) -> None:
        self.id = id
        self.memory = memory
        self._restorer = restorer
        self._framing = framing or FaceFraming(restorer.spec)
        self.state = restorer.start(id)
        self._pending: list[_Waiting] = []
        self._past: list[_Past] = []
        asked = 0 if restorer.spec.looks_ahead else restorer.spec.overlap
        self._most_context = asked if context is None else context
        self._channel = channel
        self._last: int | None = None
        self._size = 0

    @property
    def waiting(self) -> int:
        """How many frames wait to be restored."""
        return len(self._pending)

    def is_full(self, clip_length: int) -> bool:
        """Tell whether context and new frames together make a clip of `clip_length`."""
        return bool(self._pending) and self._context(clip_length) + len(self._pending) >= clip_length

    def add(self, slot: Slot, face: SmoothFace) -> None:
        """Take the face in `slot`. Nothing may wait from before an absence: restore first."""
        if self._last is not None and slot.frame.index - self._last > 1:
            self._past.clear()
            if slot.frame.index - self._last > STATE_FRAMES:
                self.begin_anew()
        self._last = slot.frame.index
        fate = Fate(face, self.id)
        slot.fates.append(fate)
        slot.waiting += 1
        self._pending.append(_Waiting(slot, face, fate))

    def let_go(self, index: int) -> None:
        """Free the state of somebody who, in the frame `index`, has been absent for too long to use it again."""
        if self._last is not None and index - self._last == STATE_FRAMES + 1:
            self.begin_anew()

    def begin_anew(self) -> None:
        """Let go of the restorer's state and of the context, not of the key frames: after a cut, say."""
        self.state = self._restorer.start(self.id)
        self._past.clear()

    def _context(self, clip_length: int) -> int:
        return min(len(self._past), clip_length - 1)

    def clip(self, clip_length: int, ahead: int = 0) -> FaceClip:
        """Return what waits as a clip, after as much context as there is and fits into `clip_length`.

        Args:
            clip_length: in frames.
            ahead: so many of the last frames are only shown; they wait on and join no key-frame memory yet.
        """
        past = self._past[len(self._past) - self._context(clip_length) :]
        faces = [*(one.face for one in past), *(one.face for one in self._pending)]
        frames = [*(one.frame for one in past), *(one.slot.frame for one in self._pending)]
        self._fit_size(self._framing.size(np.stack([face.points for face in faces])))
        matrices = [self._framing.to_crop(face.points, self._size) for face in faces]
        landmarks = [align.transform_points(face.points, matrix) for face, matrix in zip(faces, matrices, strict=True)]
        crops = [align.crop(frame.rgb, matrix, self._size) for frame, matrix in zip(frames, matrices, strict=True)]
        before = [None if one.reference is None else self._framing.fitted(one.reference, self._size) for one in past]
        new = slice(len(past), len(faces) - ahead)
        return FaceClip(
            track_id=self.id,
            first=frames[0].index,
            crops=np.stack(crops),
            to_crop=np.stack(matrices),
            landmarks=np.stack(landmarks),
            references=(*before, *self._references(crops[new], matrices[new], landmarks[new]), *[None] * ahead),
            context=len(past),
            ahead=ahead,
        )

    def paste(
        self,
        clip: FaceClip,
        restored: npt.NDArray[np.uint8],
        judged: Judgement,
        masks: FloatArray | None = None,
        decisions: Sequence[Decision | None] | None = None,
    ) -> None:
        """Paste the results of the clip that was given out last; only the frames ahead wait then.

        Args:
            clip: as given out, or the same squares in more pixels.
            restored: uint8 (T, S, S, 3), context and frames ahead included.
            judged: how much of the restored faces these are, and how alike to the input, for the record.
            masks: float32 (T, S, S) in [0, 1], how much of each pixel to show; those of context and frames ahead mean nothing.
            decisions: T, what the restorer decided for each frame; faces that it left are not pasted.
        """
        pasted, self._pending = self._pending[: new_frames(clip)], self._pending[new_frames(clip) :]
        for position, one in enumerate(pasted, clip.context):
            decision = one.fate.decision = None if decisions is None else decisions[position]
            if decision is not None and decision.left:
                one.slot.leave()
                one.fate.done, one.fate.why = "left", decision.reason
                continue
            face = RestoredFace(
                restored[position],
                clip.crops[position],
                clip.to_crop[position],
                self._restorer.spec.residual,
                None if masks is None else masks[position],
            )
            (one.slot.replace if self._framing.whole else one.slot.paste)(face)
            one.fate.strength = float(judged.strengths[position])
            one.fate.done, one.fate.why = _account(
                clip, position, one.face, one.fate.strength, guided=self._restorer.spec.references != "none"
            )
            one.fate.identity = judged.identities.get(position)
        kept = [_Past(one.slot.frame, one.face, clip.references[at]) for at, one in enumerate(pasted, clip.context)]
        self._past = [*self._past, *kept][-self._most_context :] if self._most_context else []

    def _fit_size(self, size: int) -> None:
        """Grow at once, so that no face pixel is lost; shrink only to half or less, so that a face at a border does not flicker."""
        if size > self._size or size * 2 <= self._size:
            self._size = size
            self.memory.fit(partial(self._framing.fitted, size=size))

    def _references(self, crops: Sequence[Image], matrices: Sequence[Matrix], landmarks: Sequence[Points]) -> tuple[Reference | None, ...]:
        """Choose a reference for every frame; a key frame joins the memory first, and so serves no earlier frame."""
        chosen = []
        for one, given, to_crop, points in zip(self._pending[: len(crops)], crops, matrices, landmarks, strict=True):
            picture = self._key_picture(one.slot, given, to_crop) if one.face.seen else None
            if picture is not None:
                self.memory.add(Reference(picture, given, points, one.slot.frame.time), one.slot.frame.index)
            chosen.append(self.memory.choose(points))
        return tuple(chosen)

    def _key_picture(self, slot: Slot, given: Image, to_crop: Matrix) -> Image | None:
        """Return the best picture of the face in a key frame, None in other frames."""
        if self._channel is None:
            return given if slot.frame.is_key and self._restorer.spec.references == "stream" else None
        return None if slot.original is None else self._channel.send(align.crop(slot.original, to_crop, len(given)))


def new_frames(clip: FaceClip) -> int:
    """Return how many frames a clip restores."""
    return len(clip) - clip.context - clip.ahead


def _account(clip: FaceClip, position: int, face: SmoothFace, strength: float, *, guided: bool) -> tuple[str, str]:
    """Say what was done with a face, and why."""
    reference = clip.references[position]
    guide = ", no key frame yet" if guided else ""
    if reference is not None:
        guide = ", a photo" if reference.time is None else f", key frame of {float(reference.time):.3f} s"
    why = f"{clip.crops.shape[1]} px crop{guide}" + ("" if face.seen else ", landmarks bridged over a gap")
    if strength < 1:
        return "weakened", f"{why}, identity below --min-identity"
    return "restored", why
