"""Running the restorer: clips of one person or of several at once, with less at a time when memory runs out."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from keyframes_gan.errors import UserError
from keyframes_gan.faces import align, blend
from keyframes_gan.pipeline.guard import IdentityGuard, Judgement, Likeness, weakened
from keyframes_gan.pipeline.people import new_frames
from keyframes_gan.pipeline.routes import Routes
from keyframes_gan.types import BatchRestorer, DecidingRestorer, FaceClip

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from keyframes_gan.faces.parse import FaceParser
    from keyframes_gan.pipeline.cards import FaceCards
    from keyframes_gan.pipeline.clock import Stopwatch
    from keyframes_gan.pipeline.people import Person
    from keyframes_gan.types import Decision, FloatArray, Restorer

PAPER = "paper"


class Runner:
    """Restores what waits, person by person, or all together when the restorer offers `restore_many`.

    Args:
        restorer: restores the crops.
        clock: counts seconds per stage.
        clip_length: most frames of a clip, those shared with its neighbours included; None: what the restorer asks for.
        overlap: frames that neighbouring clips share; None: what the restorer asks for, less where the clips are shorter.
        protocol: "stream": state and context go from clip to clip. "paper": every clip begins anew, and a clip of a single frame is
            that frame twice.
        parser: finds the face in the restored crops, so that nothing else of them is shown; None: a soft mask, the same for all.
        min_identity: how alike a restored face must be to its input, 0 to 1; 0 does not look.
        cards: shown every face before and after.

    Attributes:
        clip_length: as given or asked for; halved each time that memory runs out.
        context: frames at the beginning of a clip that the one before has restored.
        ahead: frames at its end that the next one restores.
        notes: what happened, for the user.
        routes: which experts the faces got, where the restorer chooses.
        identities: by person, how alike the restored faces are to their inputs, where the guard looks.
    """

    def __init__(
        self,
        restorer: Restorer,
        clock: Stopwatch,
        *,
        clip_length: int | None = None,
        overlap: int | None = None,
        protocol: str = "stream",
        parser: FaceParser | None = None,
        min_identity: float = 0.0,
        cards: FaceCards | None = None,
    ) -> None:
        self._restorer, self._clock, self._paper = restorer, clock, protocol == PAPER
        self.clip_length = clip_length or restorer.spec.clip_length
        shared = self._shared(overlap)
        self.context, self.ahead = (0, shared) if restorer.spec.looks_ahead else (shared, 0)
        self._parser, self._min_identity, self._cards = parser, min_identity, cards
        self._guards: dict[int, IdentityGuard] = {}
        self._together = isinstance(restorer, BatchRestorer)
        self.notes: list[str] = []
        self.routes = Routes()
        self.identities: dict[int, Likeness] = {}

    def _shared(self, overlap: int | None) -> int:
        if self._paper:
            return 0
        if overlap is None:
            return min(self._restorer.spec.overlap, self.clip_length - 1)
        if overlap >= self.clip_length:
            msg = f"--overlap: expected less than the {self.clip_length} frames of a clip, got {overlap}; see --max_length"
            raise UserError(msg)
        return overlap

    def due(self, people: Sequence[Person]) -> list[Person]:
        """Return whose clip must be restored now: those that are full, and to restore people together, all who have frames waiting."""
        full = [person for person in people if person.is_full(self.clip_length)]
        if full and self._together and not self._paper:
            return [person for person in people if person.waiting > self.ahead]
        return full

    def forget(self, person: int) -> None:
        """Forget what is known of the person with that id."""
        self._guards.pop(person, None)

    def run(self, people: Sequence[Person], *, last: bool = True) -> None:
        """Restore and paste what waits of these people; nothing to do when nothing does.

        Args:
            people: any.
            last: no frame follows without a gap or a cut, so nothing is held back to be looked at first.
        """
        people = [person for person in people if person.waiting]
        if not people:
            return
        with self._clock("align", sum(person.waiting for person in people), "face"):
            clips = [person.clip(self.clip_length, 0 if last else min(self.ahead, person.waiting - 1)) for person in people]
        start, faces = time.perf_counter(), sum(map(new_frames, clips))
        with self._clock("restore", faces, "face"):
            results = self._restored(clips, [person.state for person in people])
        seconds = time.perf_counter() - start
        if not isinstance(self._restorer, DecidingRestorer):
            self._clock.restored(self._restorer.spec.name, seconds, faces)
        for person, given, result in zip(people, clips, results, strict=True):
            clip, decisions = _enlarged(given, result.shape[1]), self._decisions(person, given)
            restored = blend.without_colour(result, clip.crops)
            if self._cards is not None:
                with self._clock("cards", new_frames(clip), "face"):
                    self._cards.add(given, restored, decisions, seconds / len(people))
            with self._clock("guard", new_frames(clip), "face"):
                judged = self._judged(person.id, clip, restored, decisions)
            with self._clock("mask", new_frames(clip), "face"):
                masks = self._masks(clip, restored)
            with self._clock("paste", new_frames(clip), "face"):
                parts = zip(restored, clip.crops, judged.strengths, strict=True)
                shown = np.stack([weakened(one, before, float(part)) for one, before, part in parts])
                person.paste(clip, shown, judged, masks, decisions)
            if self._paper:
                person.begin_anew()

    def _decisions(self, person: Person, clip: FaceClip) -> list[Decision | None]:
        """Return and note what the restorer decided for each frame of a clip, nothing for those of context and ahead."""
        if not isinstance(self._restorer, DecidingRestorer):
            return [None] * len(clip)
        decisions = [self._restorer.decision(person.state, clip.first + frame) for frame in range(len(clip))]
        for frame in range(clip.context, len(clip) - clip.ahead):
            decision = decisions[frame]
            if decision is not None:
                self.routes.add(person.id, clip.first + frame, decision)
                self._clock.restored(decision.expert, decision.seconds)
        return decisions

    def _judged(self, person: int, clip: FaceClip, restored: npt.NDArray[np.uint8], decisions: Sequence[Decision | None]) -> Judgement:
        """Return, and note, what the identity guard says of a clip."""
        if not self._min_identity:
            return Judgement(np.ones(len(clip), np.float32))
        judged = self._guards.setdefault(person, IdentityGuard(self._min_identity)).judge(clip, restored, decisions)
        for frame, identity in judged.identities.items():
            self.identities.setdefault(person, Likeness()).add(identity)
            self.routes.compared(person, clip.first + frame, identity)
        return judged

    def _masks(self, clip: FaceClip, restored: npt.NDArray[np.uint8]) -> FloatArray | None:
        if self._parser is None:
            return None
        pasted = slice(clip.context, len(clip) - clip.ahead)
        masks = np.zeros(restored.shape[:3], np.float32)
        masks[pasted] = self._parser.masks(restored[pasted])
        return masks

    def _restored(self, clips: list[FaceClip], states: list[Any]) -> list[npt.NDArray[np.uint8]]:
        lengths = [len(clip) for clip in clips]
        if self._paper:
            clips = [_doubled(clip) if len(clip) == 1 else clip for clip in clips]
        results = self._all_at_once(clips, states) if len(clips) > 1 else None
        if results is None:
            results = [self._one(clip, state) for clip, state in zip(clips, states, strict=True)]
        return [result[:length] for result, length in zip(results, lengths, strict=True)]

    def _all_at_once(self, clips: list[FaceClip], states: list[Any]) -> list[npt.NDArray[np.uint8]] | None:
        """Restore all clips in one call; None when the restorer cannot, or memory does not suffice."""
        if not self._together or not isinstance(self._restorer, BatchRestorer):
            return None
        try:
            return self._restorer.restore_many(clips, states)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._together = False
        self._note(f"out of memory with {len(clips)} people at a time; restored one after the other from there on")
        return None

    def _one(self, clip: FaceClip, state: Any) -> npt.NDArray[np.uint8]:  # noqa: ANN401  # only the restorer knows it
        """Restore a clip, in parts of `clip_length`; when memory runs out, halve that, look at nothing ahead, and go on."""
        parts: list[npt.NDArray[np.uint8]] = []
        start, end, ahead = clip.context, len(clip) - clip.ahead, clip.ahead
        while start < end:
            part = _part(clip, start, min(start + max(self.clip_length - clip.context - ahead, 1), end), ahead)
            try:
                restored = self._restorer.restore(part, state)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._refuse_if_least(part, error)
            else:
                parts.append(restored[part.context : len(part) - part.ahead])
                start += len(parts[-1])
                continue
            self._shrink(part)
            ahead = 0
        return _joined([clip.crops[: clip.context], *parts, clip.crops[end:]])

    def _refuse_if_least(self, part: FaceClip, error: BaseException) -> None:
        if len(part) - part.context == 1:  # nothing ahead either
            size = part.crops.shape[1]
            msg = f"out of memory even with one frame of {size} px at a time; use --device cpu, --precision bf16 or a smaller --restorer"
            raise UserError(msg) from error

    def _shrink(self, part: FaceClip) -> None:
        self.clip_length, self.ahead = max((len(part) - part.context) // 2, 1) + part.context, 0
        self._note(f"out of memory with {len(part)} frames of {part.crops.shape[1]} px; clips of {self.clip_length} from there on")

    def _note(self, text: str) -> None:
        self.notes.append(text)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, on a device or, where the allocator says so in words only, on the host."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _part(clip: FaceClip, start: int, end: int, ahead: int) -> FaceClip:
    """Return the frames from `start` to before `end`, after as much context as the clip has, before `ahead` more."""
    taken = slice(start - clip.context, end + ahead)
    return replace(
        clip,
        first=clip.first + taken.start,
        crops=clip.crops[taken],
        to_crop=clip.to_crop[taken],
        landmarks=clip.landmarks[taken],
        references=clip.references[taken],
        ahead=ahead,
    )


def _joined(parts: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Return the frames of all parts, in the size of the largest."""
    filled = [part for part in parts if len(part)]
    side = max(part.shape[1] for part in filled)
    if len(filled) == 1:
        return filled[0]
    return np.concatenate([part if part.shape[1] == side else np.stack([align.enlarged(one, side) for one in part]) for part in filled])


def _enlarged(clip: FaceClip, side: int) -> FaceClip:
    """Return the same squares in `side` pixels, for a restorer that has enlarged them."""
    factor = side / clip.crops.shape[1]
    if factor == 1:
        return clip
    return replace(
        clip,
        crops=np.stack([align.enlarged(crop, side) for crop in clip.crops]),
        to_crop=np.stack([align.rescaled(matrix, crop=factor) for matrix in clip.to_crop]),
        landmarks=((clip.landmarks + 0.5) * factor - 0.5).astype(np.float32),
    )


def _doubled(clip: FaceClip) -> FaceClip:
    return replace(
        clip,
        crops=np.repeat(clip.crops, 2, axis=0),
        to_crop=np.repeat(clip.to_crop, 2, axis=0),
        landmarks=np.repeat(clip.landmarks, 2, axis=0),
        references=clip.references * 2,
    )
