"""The faces of photos for people to look at: each before and after, and all on one sheet with what was measured and decided."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

import cv2
import numpy as np

from keyframes_gan import report
from keyframes_gan.atomic import unwritable
from keyframes_gan.errors import MediaError
from keyframes_gan.faces.align import box_of, scale_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from keyframes_gan.types import Decision, FaceClip, Image

CARD = re.compile(r"face_\d+_(lr|sr|card)")
SIDE = 224
STRIP = 20
GAP = 4
FONT, FONT_SCALE, WHITE = cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255)


class FaceCards:
    """Writes, for every face, `face_NN_lr.png`, `face_NN_sr.png` and `face_NN_card.png`, and for every photo `NAME_faces_overview.png`.

    The files of several photos lie in a folder for each, called as the photo.

    Args:
        folder: where to; it is made when it is not there.
        names: of the photos, in order, without suffix.
        restorer: its name, for faces for which no expert was chosen.

    Raises:
        MediaError: the folder cannot be made, or files of one photo would replace those of another, or the photo.
    """

    def __init__(self, folder: Path, names: Sequence[str], restorer: str) -> None:
        self._folder, self._names, self._restorer = folder, names, restorer
        self._cards: dict[int, list[Image]] = defaultdict(list)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            msg = f"--faces: expected images whose names differ in more than the suffix, got several called {twice}; rename one"
            raise MediaError(msg)
        if len(names) == 1 and CARD.fullmatch(names[0]) and (folder / f"{names[0]}.png").exists():
            msg = f"--faces: expected a folder without a file called as the input, got {folder / names[0]}.png; choose another"
            raise MediaError(msg)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error

    def add(self, given: FaceClip, restored: npt.NDArray[np.uint8], decisions: Sequence[Decision | None], seconds: float) -> None:
        """Write the faces of one person.

        Args:
            given: the crops before.
            restored: after, uint8 (T, R, R, 3).
            decisions: T, what was decided for each.
            seconds: that the restorer took for all of them.

        Raises:
            MediaError: a file cannot be written.
        """
        frames = range(given.context, len(given) - given.ahead)
        for frame in frames:
            photo = given.first + frame
            width = float(np.diff(box_of(given.landmarks[frame])[[0, 2]])[0]) / scale_of(given.to_crop[frame])
            decision = decisions[frame]
            said, share = (
                (f"{self._restorer} w {width:.0f}", seconds / len(frames)) if decision is None else (str(decision), decision.seconds)
            )
            cards = self._cards[photo]
            card = _card(given.crops[frame], restored[frame], f"{len(cards) + 1:02d}: {said} {1000 * share:.0f} ms")
            cards.append(card)
            for kind, picture in (("lr", given.crops[frame]), ("sr", restored[frame]), ("card", card)):
                report.write_png(np.ascontiguousarray(picture), self._place(photo) / f"face_{len(cards):02d}_{kind}.png")

    def finish(self) -> None:
        """Write the sheets.

        Raises:
            MediaError: a file cannot be written.
        """
        for photo, cards in self._cards.items():
            report.write_png(_grid(cards), self._place(photo) / f"{self._names[photo]}_faces_overview.png")

    def _place(self, photo: int) -> Path:
        return self._folder / self._names[photo] if len(self._names) > 1 else self._folder


def _card(before: Image, after: Image, caption: str) -> Image:
    """Return both pictures side by side above a line of text."""
    pair = [cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA if len(one) > SIDE else cv2.INTER_CUBIC) for one in (before, after)]
    card = cv2.copyMakeBorder(np.hstack(pair), 0, STRIP, 0, 0, cv2.BORDER_CONSTANT)
    done: Image = cv2.putText(card, caption, (GAP, SIDE + STRIP - 6), FONT, FONT_SCALE, WHITE, 1, cv2.LINE_AA)
    return done


def _grid(cards: Sequence[Image]) -> Image:
    """Return all cards on one sheet, about as wide as high."""
    columns = max(round(np.sqrt(len(cards) / 2)), 1)
    height, width = cards[0].shape[:2]
    sheet = np.zeros((-(-len(cards) // columns) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), np.uint8)
    for number, card in enumerate(cards):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = card
    return sheet
