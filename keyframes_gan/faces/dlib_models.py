"""Where dlib's published model files lie: in the package `face_recognition_models`, found without importing it.

(Importing that package needs `pkg_resources`, which current setuptools no longer has.)
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from keyframes_gan.errors import WeightsError

PACKAGE: Final = "face_recognition_models"
LANDMARKS_68: Final = "shape_predictor_68_face_landmarks.dat"
CNN_DETECTOR: Final = "mmod_human_face_detector.dat"
IDENTITY: Final = "dlib_face_recognition_resnet_model_v1.dat"


def model_path(file: str) -> Path:
    """Return the path of one of the package's model files.

    Raises:
        WeightsError: the package or the file is not installed.
    """
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / file
        if path.is_file():
            return path
    msg = f"expected dlib's model {file} in the package {PACKAGE}, but it is not installed; run: pip install -r requirements.txt"
    raise WeightsError(msg)


@cache
def shared(kind: str, file: str) -> Any:  # noqa: ANN401 - dlib has no type information
    """Return dlib's object of class `kind` made from `file`, loaded once per process (the 68-point model alone takes 100 MB)."""
    import dlib  # noqa: PLC0415 - loading dlib takes time that a program without faces need not spend

    return getattr(dlib, kind)(str(model_path(file)))
