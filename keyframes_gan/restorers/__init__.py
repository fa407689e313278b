"""Restorers by name. One file is one restorer; adding one is writing its file and adding a row here.

Importing this package imports neither torch nor any restorer: `find` imports the one that is asked for.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

from keyframes_gan.errors import UserError

if TYPE_CHECKING:
    from keyframes_gan.types import Restorer

DEFAULT = "keyframes_lite"

# name -> (module, what it is for). Every module offers `create(**settings) -> Restorer`.
RESTORERS: dict[str, tuple[str, str]] = {
    "keyframes_lite": (
        "keyframes_gan.restorers.keyframes_lite",
        "compression artefacts, guided by key frames; small and fast; default weights ship with the project",
    ),
    "keyframes": (
        "keyframes_gan.restorers.keyframes",
        "Keyframes-GAN (DMSASFFNet, IEEE TMM 2023) at 256 px; needs the public weights or your own",
    ),
    "gfpgan": ("keyframes_gan.restorers.gfpgan", "GFPGAN 1.4, still faces at 512 px; fetches the public weights"),
    "restoreformer": (
        "keyframes_gan.restorers.restoreformer",
        "RestoreFormer, still faces at 512 px; fetches the public weights, whose authors state no licence",
    ),
    "codeformer": (
        "keyframes_gan.restorers.codeformer",
        "CodeFormer, still faces at 512 px; not for commercial use; needs pip install spandrel_extra_arches",
    ),
    "keep": (
        "keyframes_gan.restorers.keep",
        "KEEP (ECCV 2024), video at 512 px, steady from clip to clip; not for commercial use; fetches the public weights; wants a GPU",
    ),
    "srnet": ("keyframes_gan.restorers.srnet", "SRNet: small faces (50 to 150 px), four times as large, frame by frame"),
    "routed": (
        "keyframes_gan.restorers.routed",
        "every face to the restorer that suits its size and sharpness (options/infer/routed.yml), with the reason in the report",
    ),
    "none": ("keyframes_gan.restorers.none", "gives the crops back unchanged: shows what the pipeline itself costs and keeps"),
}


def names() -> tuple[str, ...]:
    """Names that `find` accepts, the default first."""
    return tuple(RESTORERS)


def find(name: str, **settings: Any) -> Restorer:  # noqa: ANN401
    """Build the restorer called `name`.

    Args:
        name: one of `names()`.
        settings: `device` ("auto", "cpu", "cuda", ...), `precision` ("auto", "fp32" or "bf16") and `weights` (a manifest name or a file).

    Raises:
        UserError: no restorer has that name; the message lists the ones there are.
    """
    if name not in RESTORERS:
        close = difflib.get_close_matches(name, RESTORERS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        msg = f"--restorer: expected one of {', '.join(RESTORERS)}, got {name!r}; {hint}see --help"
        raise UserError(msg)
    restorer: Restorer = importlib.import_module(RESTORERS[name][0]).create(**settings)
    return restorer
