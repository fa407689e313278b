"""Face detectors by name. One file holds one detector; nothing is loaded before the first picture."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from keyframes_gan.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from keyframes_gan.types import Detection, Image

DETECTORS = {
    "YOLOv5l": "keyframes_gan.faces.detectors.yolov5:YOLOv5l",
    "YOLOv5n": "keyframes_gan.faces.detectors.yolov5:YOLOv5n",
    "dlib-hog": "keyframes_gan.faces.detectors.dlib_hog:HogDetector",
    "retinaface_mobile0.25": "keyframes_gan.faces.detectors.retinaface:RetinaFaceMobile",
    "retinaface_resnet50": "keyframes_gan.faces.detectors.retinaface:RetinaFaceResNet50",
    "dlib-cnn": "keyframes_gan.faces.detectors.dlib_cnn:CnnDetector",
}


class Detector(Protocol):
    """Finds faces in one picture."""

    def detect(self, rgb: Image, *, thorough: bool = False) -> list[Detection]:
        """Return the faces of the whole picture, best score first; a thorough search also finds smaller ones and takes longer."""

    def detect_near(self, rgb: Image, box: npt.NDArray[np.float32]) -> list[Detection]:
        """Return faces at about the place and size of `box`, with a lower threshold than `detect`, best score first."""


class DetectorFactory(Protocol):
    """What `find` returns: call it to get a detector."""

    def __call__(self, *, min_face: int = ..., max_pixels: int = ..., device: str = ...) -> Detector:
        """Return a detector for faces at least `min_face` pixels wide that looks at no more than `max_pixels` at a time.

        Networks run on `device` ("auto", "cpu", "cuda", ...); dlib's detectors where dlib was built for.
        """


def names() -> list[str]:
    """Return the names of all detectors."""
    return sorted(DETECTORS, key=str.lower)


def find(name: str) -> DetectorFactory:
    """Return the detector class called `name`.

    Raises:
        UserError: no detector has that name.
    """
    if name not in DETECTORS:
        msg = f"expected a detector of {', '.join(names())}, got {name!r}; change --detector"
        raise UserError(msg)
    module, _, attribute = DETECTORS[name].partition(":")
    return cast("DetectorFactory", getattr(import_module(module), attribute))
