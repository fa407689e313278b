"""SRNet: faces four times as large, frame by frame. Best on faces of 50 to 150 pixels.

The network sees the face's box and a margin, as the public scripts cut it, in the frame's own pixels; the rest of the crop is
interpolated.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch

from archs.layouts import without_parallel_prefix
from archs.srnet_arch import SCALE, SRNet, variant_of
from keyframes_gan import weights as weights_store
from keyframes_gan.devices import choose_device, choose_precision
from keyframes_gan.errors import UserError, WeightsError
from keyframes_gan.faces.align import box_of, enlarged, feather
from keyframes_gan.types import RestorerSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from keyframes_gan.types import FaceClip, Image, Points

WEIGHTS = "srnet_t"
MARGIN = 1.12
"""Side of what the network sees, in units of the face's box: 6 % more on each side."""
BUCKET = 32
"""That side is rounded up to a multiple of this many pixels, so that faces of about one size share a batch."""
MOST_PIXELS = {"cpu": 1 << 15, "cuda": 1 << 20}
"""Pixels of a batch; more would take more memory and no less time."""

SPEC = RestorerSpec(
    name="srnet",
    summary="small faces, four times as large",
    weights=WEIGHTS,
    crop_sizes=tuple(range(64, 385, 32)),
    clip_length=8,
    overlap=0,
    licence="Apache-2.0",
    residual=True,
    template="upright",
    references="none",
)


class Window(NamedTuple):
    """A square of a crop: which clip, which of its frames, where, how large."""

    clip: int
    frame: int
    left: int
    top: int
    side: int


class SuperResolution:
    """Runs an SRNet over the faces of clips.

    Args:
        network: the network.
        spec: how it is fed.
        device: where to run.
        precision: of the network's inside.
    """

    def __init__(self, network: SRNet, spec: RestorerSpec, *, device: torch.device, precision: torch.dtype) -> None:
        self.spec = spec
        self._network = network.eval().requires_grad_(requires_grad=False).to(device)
        self._device, self._precision = device, precision

    def start(self, track_id: int) -> object:
        """Tracks have no state here."""
        return track_id

    def restore(self, clip: FaceClip, state: object) -> npt.NDArray[np.uint8]:
        """Return the restored crops, uint8 (T, 4S, 4S, 3)."""
        return self.restore_many([clip], [state])[0]

    def restore_many(self, clips: Sequence[FaceClip], states: Sequence[object]) -> list[npt.NDArray[np.uint8]]:
        """Restore clips of several tracks; faces of about one size share a batch. Context and frames ahead are interpolated only."""
        results = [np.stack([enlarged(crop, SCALE * len(crop)) for crop in clip.crops]) for clip in clips]
        for batch in self._batches(clips):
            seen = np.stack([_cut(clips[one.clip].crops[one.frame], one) for one in batch])
            for one, made in zip(batch, self._enlarge(seen), strict=True):
                region = _cut(results[one.clip][one.frame], Window(*one[:2], *(SCALE * value for value in one[2:])))
                mask = feather(len(made))
                region[...] = cv2.blendLinear(made, region, mask, 1 - mask)
        return results

    def _batches(self, clips: Sequence[FaceClip]) -> Iterator[list[Window]]:
        buckets: dict[int, list[Window]] = defaultdict(list)
        for number, clip in enumerate(clips):
            for frame in range(clip.context, len(clip) - clip.ahead):
                window = _window(clip.landmarks[frame], clip.crops.shape[1])
                buckets[window[2]].append(Window(number, frame, *window))
        for side, windows in buckets.items():
            most = max(MOST_PIXELS.get(self._device.type, MOST_PIXELS["cpu"]) // side**2, 1)
            yield from (windows[start : start + most] for start in range(0, len(windows), most))

    def _enlarge(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        pictures = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2).contiguous().float().div_(255.0)
        with torch.inference_mode(), torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            output = self._network.enlarge(pictures).float().clamp_(0.0, 1.0).mul_(255.0).round_().to(torch.uint8)
        made: npt.NDArray[np.uint8] = output.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return made


def _window(landmarks: Points, size: int) -> tuple[int, int, int]:
    """Return left, top and side of the square around a face that the network sees, inside a crop of side `size`."""
    left, top, right, bottom = (float(value) for value in box_of(landmarks))
    side = min(BUCKET * int(np.ceil(MARGIN * (right - left) / BUCKET)), size)
    x, y = (min(max(round((low + high + 1 - side) / 2), 0), size - side) for low, high in ((left, right), (top, bottom)))
    return x, y, side


def _cut(crop: Image, window: Window) -> Image:
    return crop[window.top : window.top + window.side, window.left : window.left + window.side]


def create(*, device: str = "auto", precision: str = "fp32", weights: str | None = None, window: int | None = None) -> SuperResolution:
    """Build the restorer.

    Args:
        device: "auto", "cpu", "cuda", ...
        precision: "fp32" or "bf16".
        weights: a manifest name or a file, of either variant.
        window: side in pixels of the windows within which pixels look at each other, 0 for all; default: what the weights were trained
            with, as far as the manifest or the file says so.

    Raises:
        UserError: no such device, precision or window.
        WeightsError: the weights are missing, altered or of another network.
    """
    if window is not None and (type(window) is not int or window < 0 or window == 1):
        msg = f"srnet: window: expected 0 (all) or at least 2 pixels, got {window!r}"
        raise UserError(msg)
    chosen_device, dtype = choose_device(device), choose_precision(precision)
    source = weights or WEIGHTS
    state = weights_store.load_state(source)
    known = {**weights_store.kwargs_of(source, "SRNet"), "variant": variant_of(state)}
    try:
        network = SRNet(**(known if window is None else {**known, "window": window}))
    except (TypeError, ValueError) as error:
        msg = f"{source}: expected arguments of SRNet beside its weights, got {known}; choose other weights"
        raise WeightsError(msg) from error
    weights_store.load_into(network, state, name=source, rename=without_parallel_prefix)
    return SuperResolution(network.fold(), SPEC, device=chosen_device, precision=dtype)
