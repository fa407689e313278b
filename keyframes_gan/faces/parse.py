"""Which pixels of an aligned crop are the face: soft masks for pasting back, from a face-parsing network.

Two networks with public weights: `bisenet` (13 GMACs a crop) and `parsenet` (234 GMACs, the choice of the public KEEP and CodeFormer
scripts). Neither comes with the project; see `python -m keyframes_gan.weights`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np

from keyframes_gan import weights
from keyframes_gan.errors import UserError
from keyframes_gan.faces.align import feather
from keyframes_gan.faces.networks import load_network
from keyframes_gan.types import check_shape

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import torch

    from keyframes_gan.types import FloatArray, Image

SIDE = 512
"""Side in pixels of the crops that the networks were trained on."""
BLUR = 0.03
"""Standard deviation of the mask's edge, as a part of the crop's side: 15.4 pixels at 512, the public scripts' two blurs of 11."""
BATCH = 4

Mask = Literal["auto", "parse", "soft", "bisenet", "parsenet"]
"""Which mask a face is pasted with; see `find`."""


class _Network(NamedTuple):
    """How a network sees: what is taken from RGB in [0, 1], what that is divided by, and which of its classes are face."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    face: tuple[int, ...]


NETWORKS = {
    "bisenet": _Network((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (*range(1, 9), *range(10, 14), 17)),
    "parsenet": _Network((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), tuple(range(1, 14))),
}
"""Face: skin, brows, eyes, glasses, ears, nose, mouth, lips and hair; not hat, jewellery, neck and cloth."""


class FaceParser:
    """Masks of faces. The network is loaded with the first crop.

    Args:
        network: "bisenet" or "parsenet".
        weights_from: a name of the manifest or a file; the network's public weights by default.
        device: "cpu", "cuda", ...; "auto" for a GPU where there is one.

    Raises:
        UserError: there is no such network.
    """

    def __init__(self, network: str = "bisenet", *, weights_from: str | Path | None = None, device: str = "auto") -> None:
        if network not in NETWORKS:
            msg = f"face parsing: expected a network of {', '.join(NETWORKS)}, got {network!r}"
            raise UserError(msg)
        self.network = network
        self._sees = NETWORKS[network]
        self._weights_from = weights_from
        self._device_name = device

    @cached_property
    def _model(self) -> tuple[torch.nn.Module, torch.device]:
        return load_network(self.network, self._weights_from, self._device_name)

    def classes(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the most likely class of every pixel (numbers as in `archs.bisenet_arch` or `archs.parsenet_arch`).

        Args:
            crops: aligned faces, uint8 (T, S, S, 3), any S.

        Returns:
            uint8 (T, 512, 512): the size at which the networks look.
        """
        check_shape(crops, np.uint8, (None, None, None, 3), "FaceParser: crops")
        return np.concatenate([self._look(crops[first : first + BATCH]) for first in range(0, len(crops), BATCH)])

    def _look(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        import torch  # noqa: PLC0415 - only when the first crop comes

        resized = np.stack([_resized(crop) for crop in crops]).astype(np.float32) / 255
        normal = ((resized - np.array(self._sees.mean)) / np.array(self._sees.std)).astype(np.float32)
        model, device = self._model
        with torch.inference_mode():
            scores = model(torch.from_numpy(normal).to(device).permute(0, 3, 1, 2))
            found: npt.NDArray[np.uint8] = scores.argmax(dim=1).to(torch.uint8).cpu().numpy()
        return found

    def masks(self, crops: npt.NDArray[np.uint8]) -> FloatArray:
        """Return how much of each pixel is face.

        Args:
            crops: aligned faces, uint8 (T, S, S, 3).

        Returns:
            float32 (T, S, S) in [0, 1] with soft edges, 0 at the crop's border: the `mask` of `keyframes_gan.faces.align.paste`.
        """
        side = crops.shape[1]
        hard = np.isin(self.classes(crops), self._sees.face).astype(np.float32)
        return np.stack([soft_mask(one, side) for one in hard])


def soft_mask(face: FloatArray, side: int) -> FloatArray:
    """Return a hard mask (S', S') of 0 and 1 with soft edges, float32 (side, side) in [0, 1], nowhere more than `feather(side)`."""
    soft = cv2.GaussianBlur(face, (0, 0), BLUR * len(face), borderType=cv2.BORDER_REPLICATE)
    scaled = cv2.resize(soft, (side, side), interpolation=cv2.INTER_AREA if side < len(face) else cv2.INTER_LINEAR)
    mask: FloatArray = np.clip(scaled, 0, 1) * feather(side)
    return mask


def find(mask: str, *, device: str = "auto", residual: bool = False) -> FaceParser | None:
    """Return what makes the masks that the user asks for, or None for the soft mask that is the same for every face.

    Args:
        mask: "soft"; "parse": a network whose weights are on this machine; "auto": the same where there is one, and "soft" where there
            is none; "bisenet" or "parsenet": that network, its weights fetched when they are first used.
        device: "cpu", "cuda", ...; "auto" for a GPU where there is one.
        residual: the restorer's differences are pasted, which show no seams, and improve what is around the face too: "auto" is "soft".

    Raises:
        UserError: no such mask, or "parse" without weights.
    """
    if mask == "soft" or (mask == "auto" and residual):
        return None
    if mask not in {"auto", "parse"}:
        return FaceParser(mask, device=device)
    found = parser_at_hand(device=device)
    if found is None and mask == "parse":
        msg = (
            f"--mask parse: expected the weights of {' or '.join(NETWORKS)} on this machine, got neither; "
            "run python -m keyframes_gan.weights fetch bisenet, or use --mask soft"
        )
        raise UserError(msg)
    return found


def parser_at_hand(*, device: str = "auto") -> FaceParser | None:
    """Return a parser whose weights are on this machine, `bisenet` before `parsenet`, or None. Nothing is downloaded."""
    return next((FaceParser(name, device=device) for name in NETWORKS if weights.at_hand(name)), None)


def _resized(crop: Image) -> Image:
    side = len(crop)
    if side == SIDE:
        return crop
    done: Image = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC)
    return done
