"""Networks: tensors in, tensors out. Importing this package must not import torch.

`ARCHS` is the explicit list of what there is; `build` imports only the module it needs. A test fails when an
`*_arch.py` file has no entry here.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

from keyframes_gan.errors import OptionsError

if TYPE_CHECKING:
    from torch import nn

ARCHS: dict[str, str] = {
    "BiSeNet": "archs.bisenet_arch",
    "ContrastDiscriminator": "archs.discriminator_arch",
    "DISTS": "archs.dists_arch",
    "Discriminator3D": "archs.discriminator3d_arch",
    "DMSASFFNet": "archs.dmsasff_arch",
    "DMSASFFNetLite": "archs.dmsasff_lite_arch",
    "GMFlow": "archs.gmflow_arch",
    "InceptionFID": "archs.inception_arch",
    "KEEP": "archs.keep_arch",
    "KeyframeFlowNet": "archs.keyframe_flow_arch",
    "LPIPS": "archs.lpips_arch",
    "MultiScaleDiscriminator": "archs.discriminator_arch",
    "ParseNet": "archs.parsenet_arch",
    "ResNetArcFace": "archs.arcface_arch",
    "RetinaFace": "archs.retinaface_arch",
    "SRNet": "archs.srnet_arch",
    "VGG19Features": "archs.vgg_arch",
    "VGGStyleDiscriminator256": "archs.discriminator_arch",
    "VQAutoEncoder": "archs.vqgan_arch",
    "VQGANDiscriminator": "archs.vqgan_discriminator_arch",
    "VQHQEncoder": "archs.vqgan_arch",
    "VividKeyframeFlowNet": "archs.keyframe_flow_arch",
    "YOLOv5Face": "archs.yolov5_face_arch",
}


def find(name: str) -> type[nn.Module]:
    """Return the network class called `name`.

    Raises:
        OptionsError: no such network; the message names those that come close.
    """
    if name not in ARCHS:
        near = difflib.get_close_matches(name, ARCHS, n=3) or sorted(ARCHS)
        msg = f"network: expected one of {', '.join(near)}, got {name!r}; change the network type in the options file"
        raise OptionsError(msg)
    found: type[nn.Module] = getattr(importlib.import_module(ARCHS[name]), name)
    return found


def build(name: str, **kwargs: Any) -> nn.Module:  # noqa: ANN401
    """Return a new network `name(**kwargs)` with its own initialisation.

    Raises:
        OptionsError: no such network.
    """
    return find(name)(**kwargs)
