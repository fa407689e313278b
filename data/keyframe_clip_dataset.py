"""Samples for reference-guided restoration whose compressed side is made on the spot, differently every time."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.clips import ClipRecord, CropCache, read_originals
from data.conference import SMALLEST_SIDE, Client, Stream, through
from data.dmsasff_dataset import DMSASFFNetDataset, Materials
from data.footage import FIVE, Footage, folder_footage
from keyframes_gan.errors import UserError
from keyframes_gan.faces.align import CropSpec, bounds, crop, native_size, shifted, transform_points
from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.keyframes.warp import warp_grid
from keyframes_gan.types import CROP_SIZES, Image, Matrix, Reference
from keyframes_gan.video.seek import SeekingReader

Landmarks = npt.NDArray[np.float32]


class KeyframeClipDataset(DMSASFFNetDataset):
    """Face crops as another conference client's stream would show them, with an earlier key frame of the same person as reference.

    Index i is one frame of one clip. Clips are those of preprocessing.py's lists (`dataroot`), of which only the originals are used (a clip
    listed at several CRFs counts once), and footage with landmarks (`dataroot_gt`, in the form of `data.footage`). A stream is drawn
    (`data.conference.Client`), and the part of the frames that the patch shows is sent through it: of the crops (`source` "crops"), or of
    the original video, before the face is cut out of it (`source` "video", and footage; slower: frames are decoded from the key frame
    before them).

    The reference is a key frame of that stream, chosen as the key-frame memory would (policy "lfu", `memory_size` places): its original
    picture (probability `p_hq`, of a key frame before this one, as a client might send beside the stream), the picture that the stream
    showed (`p_gop`), or none (`p_none`, and whenever there is no key frame yet). It is warped onto the frame's landmarks.

    Phases, patches, flips and what a sample holds are those of `DMSASFFNetDataset`; so are the options, but for those that say which frame
    becomes the reference.

    Args:
        opt: as `DMSASFFNetDataset`, `dataroot_gt` instead of or beside `dataroot`, and optionally `meta_info_file`, `source`,
            `memory_size`, `margin` (pixels around the patch that are encoded with it) and the keys of `data.conference.Client`.

    Raises:
        UserError: as `DMSASFFNetDataset`, or an original video or its matrices are missing.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.sources: dict[Path, Source] = {}
        super().__init__(opt)
        self.client = Client.of(opt)
        self.memory_size = int(opt.get("memory_size", 5))
        self.margin = int(opt.get("margin", 16))
        kind = VideoSource if opt.get("source", "crops") == "video" else CropSource
        self.sources |= {clip.folder: kind(clip, self.cache) for clip in self.clips if clip.folder not in self.sources}

    def _read(self, opt: dict[str, Any], excluded: set[str]) -> list[ClipRecord]:
        """Return the clips of the lists, each once, and the footage in `dataroot_gt`."""
        root, names = opt.get("dataroot_gt"), opt.get("meta_info_file")
        films = [] if root is None else folder_footage(Path(root), names)
        sources = [FilmSource(film) for film in films if film.name not in excluded]
        self.sources |= {source.clip.folder: source for source in sources}
        return read_originals(opt.get("dataroot", ()), excluded) + [source.clip for source in sources]

    def _materials(self, clip: ClipRecord, frame: int, window: tuple[int, int, int], rng: np.random.Generator) -> Materials:
        """Send the patch's surroundings through a stream, and choose a reference among that stream's key frames."""
        stream = self.client.draw(rng, frame, len(clip), clip.rate)
        reference = self._pick(clip, stream, window, rng)
        frames, matrices = self._surroundings(clip, stream, window)
        shown = stream.shown.index(frame)
        seen = through(frames, stream.codec, scale=stream.scale, bits_per_pixel=stream.bits_per_pixel)
        size = window[2]
        name = f"{clip.name}_{stream.codec.name}_{frame:06d}.png"
        return Materials(crop(seen[shown], matrices[shown], size), crop(frames[shown], matrices[shown], size), reference, name)

    def _surroundings(self, clip: ClipRecord, stream: Stream, window: tuple[int, int, int]) -> tuple[list[Image], list[Matrix]]:
        """Return the part of every shown frame in which the patch lies in any of them, and the matrices from there to the patch."""
        top, left, size = window
        source = self.sources[clip.folder]
        frames = source.read(stream.shown)
        matrices = [source.to_crop(index) - np.array([[0, 0, left], [0, 0, top]]) for index in stream.shown]
        boxes = np.array([bounds(matrix, size, frames[0].shape, margin=self.margin) for matrix in matrices])
        (x0, x1), (y0, y1) = (
            _widened(int(boxes[:, axis].min()), int(boxes[:, axis + 2].max()), frames[0].shape[1 - axis]) for axis in (0, 1)
        )
        parts = [np.ascontiguousarray(frame[y0:y1, x0:x1]) for frame in frames]
        return parts, [shifted(matrix, x0, y0) for matrix in matrices]

    def _pick(
        self, clip: ClipRecord, stream: Stream, window: tuple[int, int, int], rng: np.random.Generator
    ) -> tuple[Image, Landmarks] | None:
        """Return the picture of a key frame, or the part of it that the warped patch will show, and the landmarks in it; or None."""
        lot = rng.random()
        keys = [key for key in stream.keys if key < stream.frame or lot >= self.p_hq]
        if lot >= self.p_hq + self.p_gop or not keys:
            return None
        key = choose_key(clip.landmarks, keys, stream.frame, self.memory_size)
        picture = self.sources[clip.folder].picture(key)
        if lot < self.p_hq:
            return picture, clip.landmarks[key]
        top, left, size = window
        grid = warp_grid((size, size), clip.landmarks[key], clip.landmarks[stream.frame] - np.array([left, top], np.float32))
        (y0, y1), (x0, x1) = (_widened(int(lines.min()) - self.margin, int(lines.max()) + 1 + self.margin, clip.size) for lines in grid)
        scale = stream.scale if key == stream.keys[-1] else stream.earlier_scale
        part = np.ascontiguousarray(picture[y0:y1, x0:x1])
        seen = through([part], stream.codec, scale=scale)[0]  # at constant quality: one picture cannot keep to a rate
        return seen, clip.landmarks[key] - np.array([x0, y0], np.float32)


def _widened(first: int, last: int, length: int) -> tuple[int, int]:
    """Return the range from `first` to `last` (exclusive) within `length`, made `SMALLEST_SIDE` long where it is shorter."""
    first = max(min(first, length - SMALLEST_SIDE), 0)
    return first, min(max(last, first + SMALLEST_SIDE), length)


def choose_key(landmarks: Landmarks, keys: Sequence[int], frame: int, capacity: int) -> int:
    """Return the key frame that a memory with policy "lfu" offers for `frame` after it has served all frames since the first key.

    Args:
        landmarks: float32 (N, 68, 2) of the clip.
        keys: key frames up to `frame`, ascending.
        frame: the frame to serve.
        capacity: of the memory.
    """
    memory, nothing = KeyframeMemory(capacity), np.zeros((1, 1, 3), np.uint8)
    # While every key frame has its place, what was chosen before decides nothing.
    served = range(keys[0], frame) if len(keys) > capacity else range(0)
    waiting = list(keys)
    for index in (*served, frame):
        while waiting and waiting[0] <= index:
            key = waiting.pop(0)
            memory.add(Reference(nothing, None, landmarks[key], Fraction(key)), key)
        chosen = memory.choose(landmarks[index])
    return keys[-1] if chosen is None or chosen.time is None else int(chosen.time)


class Source:
    """Where the good frames of a clip come from; each of them shows the face at another place, its crop always at the same."""

    def __init__(self, clip: ClipRecord) -> None:
        self.clip = clip

    def read(self, indices: Sequence[int]) -> list[Image]:
        """Return these frames, uint8 RGB (H, W, 3)."""
        raise NotImplementedError

    def to_crop(self, index: int) -> Matrix:
        """Return the (2, 3) matrix from a frame to its crop."""
        raise NotImplementedError

    def picture(self, index: int) -> Image:
        """Return a whole crop, uint8 RGB (S, S, 3)."""
        return crop(self.read([index])[0], self.to_crop(index), self.clip.size)


class CropSource(Source):
    """The crops that preprocessing.py cut out."""

    def __init__(self, clip: ClipRecord, cache: CropCache) -> None:
        super().__init__(clip)
        self.cache = cache

    def read(self, indices: Sequence[int]) -> list[Image]:
        """Return these crops."""
        return [self.picture(index) for index in indices]

    def to_crop(self, _index: int) -> Matrix:
        """Return the matrix that changes nothing."""
        return np.eye(2, 3)

    def picture(self, index: int) -> Image:
        """Return a crop."""
        return self.cache.get(self.clip.path("original", index), self.clip.size)


class VideoSource(CropSource):
    """The frames of a clip in the video it was cut out of, with the crops for whole pictures.

    Raises:
        UserError: the list does not say which video it is, or the video or the matrices are missing.
    """

    def __init__(self, clip: ClipRecord, cache: CropCache) -> None:
        super().__init__(clip, cache)
        video, matrices = clip.recording("for source video", ", or set source: crops")
        self.reader = SeekingReader(video)
        self.matrices: npt.NDArray[np.float64] = np.load(matrices, allow_pickle=False)

    def read(self, indices: Sequence[int]) -> list[Image]:
        """Return these frames, decoded from the key frame before them."""
        return self.reader.read([self.clip.first + index for index in indices])

    def to_crop(self, index: int) -> Matrix:
        """Return the matrix that preprocessing.py used."""
        matrix: Matrix = self.matrices[index]
        return matrix


class FilmSource(Source):
    """Footage with landmarks (`data.footage`), of which nothing has been cut out; the crops are as large as the face needs.

    Raises:
        UserError: the footage has no landmarks.
    """

    def __init__(self, film: Footage) -> None:
        if film.landmarks is None or film.landmarks.shape[1] == FIVE:
            got = "none" if film.landmarks is None else FIVE
            msg = f"{film.name}: expected 68 landmarks for every frame in a .npy file (data/footage.py says where), got {got}"
            raise UserError(msg)
        self.film = film
        size = native_size(film.landmarks, CROP_SIZES)
        self.matrices = [CropSpec("eyes", size).to_crop(points) for points in film.landmarks]
        moved = [transform_points(points, matrix) for points, matrix in zip(film.landmarks, self.matrices, strict=True)]
        nothing = np.zeros(len(moved), np.bool_)
        super().__init__(ClipRecord(film.name, 0, Path(film.name), size, np.stack(moved), nothing, ""))

    def read(self, indices: Sequence[int]) -> list[Image]:
        """Return these frames."""
        return self.film.read(indices)

    def to_crop(self, index: int) -> Matrix:
        """Return the matrix by the frame's landmarks."""
        return self.matrices[index]
