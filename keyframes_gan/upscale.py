"""Enlarging whole pictures: background and faces, frame by frame, in tiles that fit into memory.

none, lanczos, bicubic    interpolation, without weights: nothing at scale 1; "none" is Lanczos where pixels have to come from somewhere
model, realesrgan         Real-ESRGAN (Wang et al., ICCVW 2021): the x2 or the x4 network, whichever is the smallest that suffices
a manifest name or a file with weights of an RRDBNet or SRVGG network that spandrel knows
"""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
import torch

from keyframes_gan import public_networks, weights
from keyframes_gan.devices import choose_device, choose_precision
from keyframes_gan.errors import UserError
from keyframes_gan.types import check_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyframes_gan.types import FloatArray, Image

logger = logging.getLogger(__name__)

INTERPOLATIONS = {"none": cv2.INTER_LANCZOS4, "lanczos": cv2.INTER_LANCZOS4, "bicubic": cv2.INTER_CUBIC}
NETWORKS = ("model", "realesrgan")
"""Names of the network that `REALESRGAN` knows."""
REALESRGAN = {2: "realesrgan_x2plus", 4: "realesrgan_x4plus"}
ARCHITECTURES = ("ESRGAN", "Compact")
"""spandrel's ids of RRDBNet and of SRVGG."""
MAX_SCALE = 4

OVERLAP = 32
"""Pixels of the input that neighbouring tiles share."""
MARGIN = 8
"""Pixels at a tile's inner borders that are thrown away: the network saw padding instead of the picture there."""
SMALLEST_TILE = 96
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


class Upscaler(Protocol):
    """Enlarges pictures by a fixed factor."""

    @property
    def scale(self) -> int:
        """How many pixels a pixel becomes, in each direction."""

    def upscale(self, rgb: Image) -> Image:
        """Return uint8 (scale * H, scale * W, 3) for uint8 (H, W, 3)."""


def names() -> tuple[str, ...]:
    """Names that `find` accepts, besides manifest names and files."""
    return (*INTERPOLATIONS, *NETWORKS)


def find(name: str, *, scale: int, tile: int = 400, device: str = "auto", precision: str = "fp32") -> Upscaler:
    """Build the upscaler called `name`.

    Args:
        name: one of `names()`, or weights: a name of the manifest or a file.
        scale: 1 to 4. At 1, a network still cleans the picture: its output is brought back to the input's size.
        tile: side in input pixels of the tiles that the network sees; 0 for the whole picture at once.
        device: "auto", "cpu", "cuda", ...
        precision: "fp32" or "bf16".

    Raises:
        UserError: no such upscaler, scale, device or precision, or a tile that is too small.
        WeightsError: the weights are missing, altered or of another kind of network.
    """
    if not 1 <= scale <= MAX_SCALE:
        msg = f"--upscale: expected 1 to {MAX_SCALE}, got {scale}"
        raise UserError(msg)
    if name in INTERPOLATIONS:
        return Interpolation(scale, INTERPOLATIONS[name])
    if tile != 0 and tile < SMALLEST_TILE:
        msg = f"--bg_tile: expected 0 (the whole picture) or at least {SMALLEST_TILE} pixels, got {tile}"
        raise UserError(msg)
    source = REALESRGAN[2 if scale <= 2 else 4] if name in NETWORKS else _weights_of(name)  # noqa: PLR2004
    chosen_device, dtype = choose_device(device), choose_precision(precision)
    return Network(public_networks.load(source, architectures=ARCHITECTURES), scale, tile=tile, device=chosen_device, precision=dtype)


def _weights_of(name: str) -> str:
    if name in weights.entries() or "." in name or "/" in name:
        return name
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    msg = f"--background: expected {', '.join(names())}, a name of the manifest or a file, got {name!r}{hint}"
    raise UserError(msg)


def resized(rgb: Image, size: tuple[int, int], interpolation: int = cv2.INTER_LANCZOS4) -> Image:
    """Return `rgb` at `size` (width, height): averaged where it becomes smaller, interpolated where it becomes larger."""
    if size == (rgb.shape[1], rgb.shape[0]):
        return rgb
    smaller = size[0] < rgb.shape[1]
    done: Image = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if smaller else interpolation)
    return np.ascontiguousarray(done)


@dataclass(frozen=True)
class Interpolation:
    """Enlarges by interpolation, with an interpolation flag of OpenCV."""

    scale: int
    flag: int = cv2.INTER_CUBIC

    def upscale(self, rgb: Image) -> Image:
        """Return uint8 (scale * H, scale * W, 3); the picture itself at scale 1."""
        check_image(rgb, "upscale: rgb")
        return resized(rgb, (rgb.shape[1] * self.scale, rgb.shape[0] * self.scale), self.flag)


class Network:
    """Enlarges with a network, tile by tile, and halves the tiles when memory runs out.

    Args:
        descriptor: spandrel's descriptor of a super-resolution network: (1, 3, H, W) in [0, 1] to (1, 3, sH, sW).
        scale: of the result; the network's output is resized to it.
        tile: side in input pixels of the tiles to begin with, 0 for whole pictures.
        device: where to run.
        precision: of the network's inside.
    """

    def __init__(self, descriptor: Any, scale: int, *, tile: int, device: torch.device, precision: torch.dtype) -> None:  # noqa: ANN401
        self.scale = scale
        self.tile = tile
        self._network = descriptor.to(device)
        self._native = int(descriptor.scale)
        self._device, self._precision = device, precision

    def upscale(self, rgb: Image) -> Image:
        """Return uint8 (scale * H, scale * W, 3).

        Raises:
            UserError: memory does not suffice even for the smallest tiles.
        """
        check_image(rgb, "upscale: rgb")
        large = None
        while large is None:
            try:
                large = self._enlarged(rgb)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
            if large is None:  # here, not above: the error holds on to the tensors that have to go
                self._shrink(rgb)
        return resized(large, (rgb.shape[1] * self.scale, rgb.shape[0] * self.scale))

    def _shrink(self, rgb: Image) -> None:
        """Halve the tiles, for this picture and all that follow."""
        current = min(self.tile or max(rgb.shape[:2]), max(rgb.shape[:2]))
        if current <= SMALLEST_TILE:
            msg = f"--bg_tile: memory does not suffice even for tiles of {current} pixels; close other programs or use --device cpu"
            raise UserError(msg)
        self.tile = max(current // 2, SMALLEST_TILE)
        logger.warning("upscaling: out of memory with tiles of %d pixels, going on with %d", current, self.tile)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _enlarged(self, rgb: Image) -> Image:
        """Return the picture at the network's own scale, blended from tiles."""
        rows, columns = (list(_spans(length, self.tile)) for length in rgb.shape[:2])
        if len(rows) == len(columns) == 1:
            return _as_uint8(self._run(rgb))
        height, width = (length * self._native for length in rgb.shape[:2])
        large = np.empty((height, width, 3), np.uint8)
        for row in rows:
            band, weight = np.zeros((row.length * self._native, width, 3), np.float32), np.zeros((1, width, 1), np.float32)
            for column in columns:
                part = slice(column.start * self._native, column.stop * self._native)
                ramp = column.weights(self._native)[None, :, None]
                band[:, part] += ramp * self._run(np.ascontiguousarray(rgb[row.start : row.stop, column.start : column.stop]))
                weight[:, part] += ramp
            band /= weight
            self._join(large, band, row, rows)
        return large

    def _join(self, large: Image, band: FloatArray, row: _Span, rows: list[_Span]) -> None:
        """Write a band of tiles into the picture, cross-faded with the band above it, which is there already."""
        top = row.start * self._native
        shared = 0
        if row is not rows[0]:
            above = rows[rows.index(row) - 1]
            shared = (above.stop - row.start) * self._native
            mine = row.weights(self._native)[:shared, None, None]
            other = above.weights(self._native)[-shared:, None, None]
            region = large[top : top + shared]
            large[top : top + shared] = _as_uint8((mine * band[:shared] + other * region) / (mine + other))
        large[top + shared : top + len(band)] = _as_uint8(band[shared:])

    def _run(self, rgb: Image) -> FloatArray:
        """Return the network's output for one tile, float32 (sH, sW, 3) in 0 to 255."""
        given = torch.from_numpy(rgb).to(self._device).permute(2, 0, 1)[None].float().div_(255.0)
        with torch.inference_mode(), torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            output = self._network(given.contiguous(memory_format=torch.channels_last))
            result: FloatArray = output[0].float().clamp_(0.0, 1.0).mul_(255.0).permute(1, 2, 0).cpu().numpy()
        return result


@dataclass(frozen=True)
class _Span:
    """Where a tile lies along one axis, in input pixels; `first` and `last` say whether it touches the picture's border."""

    start: int
    stop: int
    first: bool
    last: bool

    @property
    def length(self) -> int:
        return self.stop - self.start

    def weights(self, scale: int) -> FloatArray:
        """Return how much each output pixel counts: nothing in the margins, then a linear ramp, 1 inside."""
        ramp = OVERLAP - 2 * MARGIN
        depth = (np.arange(self.length * scale) + 0.5) / scale
        left = np.ones_like(depth) if self.first else np.clip((depth - MARGIN) / ramp, 0, 1)
        right = np.ones_like(depth) if self.last else np.clip((self.length - depth - MARGIN) / ramp, 0, 1)
        weight: FloatArray = np.minimum(left, right).astype(np.float32)
        return weight


def _spans(length: int, tile: int) -> Iterator[_Span]:
    """Yield tiles that cover `length`, evenly spread, all of the same size, sharing at least `OVERLAP` pixels with their neighbours."""
    if tile == 0 or length <= tile:
        yield _Span(0, length, first=True, last=True)
        return
    count = -(-(length - OVERLAP) // (tile - OVERLAP))
    for index in range(count):
        start = round(index * (length - tile) / (count - 1))
        yield _Span(start, start + tile, first=index == 0, last=index == count - 1)


def _as_uint8(values: FloatArray) -> Image:
    done: Image = np.rint(values).astype(np.uint8, order="C")
    return done


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error).lower() for words in OUT_OF_MEMORY)
