"""What the user asked the pipeline for, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import get_args

from keyframes_gan import restorers, weights
from keyframes_gan.errors import UserError
from keyframes_gan.faces.parse import Mask
from keyframes_gan.keyframes.memory import POLICIES
from keyframes_gan.keyframes.sent import KeyPlan
from keyframes_gan.preprocess.settings import MAX_SMOOTHING
from keyframes_gan.types import Blend, RestorerSpec, Smoother, VideoInfo
from keyframes_gan.video.roundtrip import PRESETS as ENCODER_PRESETS
from keyframes_gan.video.write import Encoding

NO_FACE = ("error", "copy")
PROTOCOLS = ("stream", "paper")
MAX_EVERY = 250
MAX_FPS = 1000
SMOOTHING = {"paper": 5.0}
"""Standard deviation of the landmark smoothing in frames of protocols that have their own, where none is asked for."""
SMOOTHERS = get_args(Smoother)
MAX_UPSCALE = 4
MIN_SIDE, MAX_SIDE = 16, 16384
PRESETS = {"keyframes_lite": {"faithful": "keyframes_lite", "vivid": "keyframes_lite_vivid"}}
"""By restorer, what --preset may be, the default first, and the weights in pretrained_models/manifest.yml that it means."""


def preset_weights(restorer: str, preset: str) -> str:
    """Return the name of the weights that `preset` means for `restorer`.

    Raises:
        UserError: there is no such preset, the restorer has none, or its weights are not there.
    """
    known = PRESETS.get(restorer, {})
    if preset in ENCODER_PRESETS:
        msg = f"--preset: {preset!r} is a preset of the encoder, whose flag is --encoder_preset now; write --encoder_preset {preset}"
    elif not known:
        msg = f"--preset: expected with --restorer {' or '.join(PRESETS)} only, got --restorer {restorer}; leave it out"
    elif preset not in known:
        msg = f"--preset: expected one of {', '.join(known)}, got {preset!r}"
    elif known[preset] not in weights.entries():
        others = ", ".join(name for name, row in known.items() if row in weights.entries())
        msg = f"--preset: expected weights {known[preset]!r} in pretrained_models/{weights.MANIFEST}, got none; use --preset {others}"
    else:
        return known[preset]
    raise UserError(msg)


@dataclass(frozen=True)
class Finish:
    """How the output picture is put together.

    Args:
        upscale: the output is this many times as large as the input, 1 to 4.
        size: width and height of the output, whatever the input's are; None for those that `upscale` gives.
        background: what enlarges the background: a name of `keyframes_gan.upscale.names()` or weights of such a network.
        bg_tile: side in pixels of the tiles in which a network sees the background; 0 for all at once.
        face_upsample: enlarge the restored faces with Real-ESRGAN too, instead of interpolating them.
        strength: 0 leaves faces as they are, 1 shows them fully restored.
        color_match: give every restored face the mean and standard deviation of the colours it had before.
        blend: how faces are blended in: "feather", "poisson" or "multiband"; None for what the restorer asks for.
        mask: what of a restored crop is shown: "soft" (all but its border), "parse", "bisenet" or "parsenet" (the face that a network
            finds in it), "auto" (see `keyframes_gan.faces.parse.find`).

    Raises:
        UserError: a value out of range, named with its flag.
    """

    upscale: int = 1
    size: tuple[int, int] | None = None
    background: str = "none"
    bg_tile: int = 400
    face_upsample: bool = False
    strength: float = 1.0
    color_match: bool = False
    blend: Blend | None = None
    mask: Mask = "auto"

    def __post_init__(self) -> None:
        checks = (
            (1 <= self.upscale <= MAX_UPSCALE, f"--upscale: expected 1 to {MAX_UPSCALE}, got {self.upscale}"),
            (
                self.size is None or all(MIN_SIDE <= side <= MAX_SIDE for side in self.size),
                f"--size: expected {MIN_SIDE} to {MAX_SIDE} pixels, got {'x'.join(map(str, self.size or ()))}",
            ),
            (self.bg_tile >= 0, f"--bg_tile: expected 0 (all at once) or more pixels, got {self.bg_tile}"),
            (0 <= self.strength <= 1, f"--strength: expected 0 to 1, got {self.strength}"),
            (self.blend in (None, *get_args(Blend)), f"--blend: expected one of {', '.join(get_args(Blend))}, got {self.blend!r}"),
            (self.mask in get_args(Mask), f"--mask: expected one of {', '.join(get_args(Mask))}, got {self.mask!r}"),
        )
        for passed, message in checks:
            if not passed:
                raise UserError(message)

    def settled(self, spec: RestorerSpec, info: VideoInfo, *, photos: bool) -> Finish:
        """Return the same with nothing left open.

        Args:
            spec: of the restorer, which has a blend of its own.
            info: of the input, from which `size` follows how much the picture is enlarged at least.
            photos: whether images are made from images.
        """
        blend = self.blend or (spec.photo_blend if photos else spec.blend)
        if self.size is None:
            return replace(self, blend=blend)
        needed = max(-(-self.size[0] // info.width), -(-self.size[1] // info.height))
        return replace(self, blend=blend, upscale=min(max(needed, self.upscale), MAX_UPSCALE))

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of the output for an input of `width` and `height`."""
        return self.size or (width * self.upscale, height * self.upscale)


@dataclass(frozen=True)
class Settings:
    """One call of the pipeline, in either form.

    Args:
        restorer: name of a restorer.
        weights: manifest name or file in place of the restorer's own weights.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        precision: "auto", "fp32" or "bf16".
        max_keyframes: how many key frames are kept per person.
        policy: how the key-frame memory decides what leaves: "lfu", "lru" or "all".
        references: photos of the people in the video; each one serves whoever it shows.
        keys: high-quality key frames are sent beside the stream, so often and so coded; they take the place of the stream's own.
        key_source: the original video that they are taken from; preprocessed folders have it with them.
        detector: name of a face detector.
        every: the whole picture is searched for faces every so many frames; None, as for the next ones, for what the restorer asks for.
        max_faces: restore only so many faces at a time, the largest; None for all.
        smoothing: standard deviation in frames of the landmark smoothing, 0 (none) to 10; more than 1.6 lengthens the look-ahead.
        smoother: "gaussian", in a window around each frame, or "one-euro", which looks back only.
        max_length: most frames of a clip; None for what the restorer asks for.
        overlap: frames that neighbouring clips share; None for what the restorer asks for.
        protocol: "stream": what the restorer remembers goes on from clip to clip. "paper": every clip begins anew.
        only_center_face: restore only the face nearest to the picture's centre.
        has_aligned: every input frame is an aligned face already.
        min_identity: how alike a restored face must be to its input (cosine similarity, 0 to 1), else it is weakened; 0 for no matter;
            None for what the restorer asks for.
        draw_box: draw a box around every restored face.
        fps: show the frames at this constant rate instead of at their own times.
        no_face: when no face is found in the whole video: "error", or "copy" to pass it through.
        encoding: how the output is encoded.
        finish: how the output picture is put together.

    Raises:
        UserError: a value out of range, named with its flag.
    """

    restorer: str = restorers.DEFAULT
    weights: str | None = None
    device: str = "auto"
    precision: str = "auto"
    max_keyframes: int = 5
    policy: str = "lfu"
    references: tuple[Path, ...] = ()
    keys: KeyPlan | None = None
    key_source: Path | None = None
    detector: str = "dlib-hog"
    every: int | None = None
    max_faces: int | None = None
    smoothing: float | None = None
    smoother: Smoother | None = None
    max_length: int | None = None
    overlap: int | None = None
    protocol: str = "stream"
    only_center_face: bool = False
    has_aligned: bool = False
    min_identity: float | None = None
    draw_box: bool = False
    fps: Fraction | None = None
    no_face: str = "error"
    encoding: Encoding = field(default_factory=Encoding)
    finish: Finish = field(default_factory=Finish)

    @property
    def unusual_memory(self) -> list[str]:
        """The flags that ask for other key-frame memories than there are by default."""
        return [f"--{name}" for name in ("max_keyframes", "policy") if getattr(self, name) != getattr(Settings, name)]

    def check_used(self, spec: RestorerSpec) -> None:
        """Raise `UserError` where photos or key frames are given to a restorer that looks at none."""
        given = {"--reference": bool(self.references), "--key_interval": self.keys is not None}
        flags = " and ".join(flag for flag, there in given.items() if there)
        if flags and spec.references == "none":
            got = f"expected a restorer that key frames guide, got {spec.name}, which looks at none"
            msg = f"{flags}: {got}; leave that out, or choose --restorer keyframes_lite"
            raise UserError(msg)

    def __post_init__(self) -> None:
        checks = (
            (self.max_keyframes >= 1, f"--max_keyframes: expected at least 1, got {self.max_keyframes}"),
            (self.policy in POLICIES, f"--policy: expected one of {', '.join(POLICIES)}, got {self.policy!r}"),
            (self.every is None or 1 <= self.every <= MAX_EVERY, f"--detect-every: expected 1 to {MAX_EVERY} frames, got {self.every}"),
            (self.max_faces is None or self.max_faces >= 1, f"--max-faces: expected at least 1, got {self.max_faces}"),
            (0 <= (self.smoothing or 0) <= MAX_SMOOTHING, f"--smoothing: expected 0 to {MAX_SMOOTHING:.0f} frames, got {self.smoothing}"),
            (self.smoother in (None, *SMOOTHERS), f"--smoother: expected one of {', '.join(SMOOTHERS)}, got {self.smoother!r}"),
            (self.max_length is None or self.max_length >= 1, f"--max_length: expected at least 1 frame, got {self.max_length}"),
            (self.overlap is None or self.overlap >= 0, f"--overlap: expected 0 or more frames, got {self.overlap}"),
            (self.protocol in PROTOCOLS, f"--protocol: expected one of {', '.join(PROTOCOLS)}, got {self.protocol!r}"),
            (self.fps is None or 0 < self.fps <= MAX_FPS, f"--save_video_fps: expected more than 0, up to {MAX_FPS}, got {self.fps}"),
            (0 <= (self.min_identity or 0) <= 1, f"--min-identity: expected 0 to 1, got {self.min_identity}"),
            (self.key_source is None or self.keys is not None, "--key_source: expected --key_interval beside it, got none; add it"),
            (self.no_face in NO_FACE, f"--no-face: expected one of {', '.join(NO_FACE)}, got {self.no_face!r}"),
        )
        for passed, message in checks:
            if not passed:
                raise UserError(message)
