"""Cog's door to the pipeline of `video_inference.py`: `cog predict -i input_video=@in.mp4`. See docs/inference.md."""
# ruff: noqa: B008, PLR0917  # Cog reads the inputs of a prediction from these defaults, and wants them positional.

import math
import tempfile
from fractions import Fraction
from pathlib import Path as LocalPath

from cog import BasePredictor, Input, Path  # type: ignore[import-untyped]

from keyframes_gan import restorers, weights
from keyframes_gan.errors import UserError
from keyframes_gan.faces import detectors
from keyframes_gan.pipeline.settings import MAX_FPS, MAX_UPSCALE, Finish, Settings
from keyframes_gan.pipeline.stream import restore_video

DETECTOR = "retinaface_resnet50"


class Predictor(BasePredictor):  # type: ignore[misc]
    """Restores the faces of one video; sound, subtitles and times are kept.

    Attributes:
        restorer: name of the restorer.
        fetched: names of further weights that must be there before the first prediction.
    """

    restorer: str = "keep"
    fetched: tuple[str, ...] = (DETECTOR,)

    def setup(self) -> None:
        """Load the restorer, and fetch what the default inputs need besides.

        Raises:
            WeightsError: weights can neither be found nor be fetched, or they are not what was published.
        """
        self._restorer = restorers.find(self.restorer)
        for name in self.fetched:
            weights.locate(name)

    def predict(
        self,
        input_video: Path = Input(description="Video with faces."),
        draw_box: bool = Input(description="Draw a box around every restored face.", default=False),
        bg_enhancement: bool = Input(description="Clean the background with Real-ESRGAN.", default=False),
        upscale: int = Input(description=f"The output is so many times as large as the input, at most {MAX_UPSCALE}.", default=1, ge=1),
        max_length: int = Input(description="Most frames of a clip; fewer take less memory.", default=20, ge=1),
        has_aligned: bool = Input(description="The pictures are square and show one aligned face each.", default=False),
        only_center_face: bool = Input(description="Restore only the face nearest to the centre.", default=True),
        detection_model: str = Input(
            description="What finds the faces.", default=DETECTOR, choices=[*detectors.names(), "yolov5l", "yolov5n"]
        ),
        face_upsample: bool = Input(description="Enlarge restored faces with Real-ESRGAN too.", default=False),
        bg_tile: int = Input(description="Side of the background's tiles in pixels.", default=400, ge=64),
        save_video_fps: float | None = Input(
            description=f"Frames per second of the output, at most {MAX_FPS}, without sound; default: the input's times, with sound.",
            default=None,
        ),
    ) -> Path:
        """Restore `input_video` and return the result, H.264 in MP4.

        Raises:
            UserError: the video cannot be read or shows no face, an input does not fit it, or weights are missing; in one line.
        """
        settings = Settings(
            restorer=self.restorer,
            detector=detector_called(detection_model),
            max_length=max_length,
            has_aligned=has_aligned,
            only_center_face=only_center_face,
            draw_box=draw_box,
            fps=None if save_video_fps is None else rate_of(save_video_fps),
            finish=Finish(
                upscale=upscale,
                background="model" if bg_enhancement else "none",
                bg_tile=bg_tile,
                face_upsample=face_upsample,
            ),
        )
        target = LocalPath(tempfile.mkdtemp()) / "restored.mp4"
        restore_video(LocalPath(input_video), target, settings, restorer=self._restorer, progress=False)
        return Path(target)


def rate_of(save_video_fps: float) -> Fraction:
    """Return frames per second as the fraction that is meant: 29.97 is 2997/100.

    Raises:
        UserError: no number, or infinity.
    """
    if not math.isfinite(save_video_fps):
        msg = f"save_video_fps: expected more than 0, up to {MAX_FPS}, got {save_video_fps}"
        raise UserError(msg)
    return Fraction(save_video_fps).limit_denominator(1001)


def detector_called(name: str) -> str:
    """Return a detector's own name for `name` in any case: the public package wrote those of YOLOv5 in small letters."""
    return next((own for own in detectors.names() if own.lower() == name.lower()), name)
