"""Turning high-quality videos into training and test clips: compress, find the face, crop, record. See docs/preprocessing.md."""

from keyframes_gan.preprocess.batch import Summary, run
from keyframes_gan.preprocess.settings import Settings

__all__ = ["Settings", "Summary", "run"]
