"""Training recipes. `MODELS` is the explicit list of what there is; importing this package imports neither torch nor BasicSR."""

from __future__ import annotations

MODELS: dict[str, str] = {
    "DMSASFFNetModel": "keyframes_gan.models.dmsasff_model",
    "KEEPGANModel": "keyframes_gan.models.keep_model",
    "KEEPModel": "keyframes_gan.models.keep_model",
    "KeyframeFlowModel": "keyframes_gan.models.keyframe_flow_model",
    "SRNetModel": "keyframes_gan.models.srnet_model",
    "VividFlowModel": "keyframes_gan.models.keyframe_flow_model",
    "VQGANModel": "keyframes_gan.models.vqgan_model",
}
