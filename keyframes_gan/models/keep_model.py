"""The recipes for KEEP's second and third stage (Feng et al., ECCV 2024), on the VQGAN that the first one made.

`KEEPModel` teaches encoder, Kalman gain and transformer to find the codes that the originals have; `KEEPGANModel` then teaches what guides
the generator (CFT, CFA) to be sharp and steady.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from archs.keep_arch import KEEP, rename_v0
from archs.keep_state import Insides
from archs.vqgan_blocks import to_tokens
from keyframes_gan import weights
from keyframes_gan.models.adversarial import SignedModel, Terms
from keyframes_gan.models.base import Batch
from keyframes_gan.models.validation import Shown, image_of

VQGAN_PARTS = {"encoder": "encoder", "hq_encoder": "encoder", "quantize": "quantize", "generator": "generator"}
"""Part of KEEP: the VQGAN's part it begins as."""
GUIDES = ("cft.", "cfa.")
CLIP_FRAMES = 20
"""So many frames are validated at a time, as at inference."""


class KEEPModel(SignedModel):
    """Trains KEEP to choose the codes that the originals have; validates it on clips, state carried along."""

    def prepare_training(self) -> None:
        """Build the losses on codes, too."""
        super().prepare_training()
        self.cri_code = self.build_loss("code_opt")

    def initialise(self, label: str, net: nn.Module) -> None:
        """Begin from a VQGAN and a flow network, each with weights of its own."""
        path = self.opt["path"]
        if label != "g":
            return
        if "pretrain_network_vqgan" in path:
            source = path["pretrain_network_vqgan"]
            state = weights.load_state(source)
            for part, theirs in VQGAN_PARTS.items():
                given = {key.removeprefix(f"{theirs}."): value for key, value in state.items() if key.startswith(f"{theirs}.")}
                weights.load_into(net.get_submodule(part), given, name=f"path.pretrain_network_vqgan {source}, {theirs}")
        if "pretrain_network_flow" in path:
            source = path["pretrain_network_flow"]
            weights.load_into(net.get_submodule("flownet.model"), weights.load_state(source), name=f"path.pretrain_network_flow {source}")

    def adapt(self, label: str, net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take weights under the names of either published release."""
        return rename_v0(state) if label == "g" else state

    def compile_network(self, net: nn.Module) -> None:
        """Compile KEEP frame by frame: as one, a clip's frames would take as many times as long to compile."""
        bare = self.get_bare_model(net)
        if isinstance(bare, KEEP):
            bare.compile_parts()
        else:
            super().compile_network(net)

    def terms(self, chunk: Batch) -> tuple[Terms, Tensor]:
        """Return the terms of pixels and codes, and the restored clips (N, T, 3, H, W)."""
        output, insides = self.restored(chunk)
        terms = self.similarity(output.flatten(0, 1), chunk["gt"].flatten(0, 1))
        if self.cri_code is not None:
            terms |= self._code_terms(insides, chunk["gt"])
        return terms, output

    def restored(self, chunk: Batch) -> tuple[Tensor, Insides]:
        """Run the network on a chunk, its gradients wanted."""
        with self.autocast():
            output, insides = self.net_g(chunk["lq"], need_upscale=False, detail=True)
        return output.float(), insides

    def _code_terms(self, insides: Insides, truth: Tensor) -> Terms:
        """Hold the mixed features and the scores to the codes that the VQGAN gives the originals."""
        if self.cri_code is None:
            return {}
        net: KEEP = self.get_bare_model(self.net_g)
        with torch.no_grad():
            features = torch.cat([net.hq_encoder(frames) for frames in truth.flatten(0, 1).split(net.frames_at_once)])
            codes = net.quantize.distances(to_tokens(features)).argmin(-1)
            rows = net.quantize.lookup(codes, net.grid).unflatten(0, truth.shape[:2])
        distance, entropy = self.cri_code(insides.mixed.float(), rows, insides.logits.float(), codes.unflatten(0, truth.shape[:2]))
        self.note({"right_codes": (insides.logits.argmax(-1) == codes.unflatten(0, truth.shape[:2])).float().mean()}, self.parts)
        return {name: term for name, term in (("l_feature", distance), ("l_entropy", entropy)) if term is not None}

    def originals(self, chunk: Batch) -> Tensor:
        """Return the original clips (N, T, 3, H, W)."""
        return chunk["gt"]

    def shown(self, net: nn.Module, data: dict[str, Any]) -> Shown:
        """Restore a whole clip, some frames at a time, as at inference."""
        self.feed_data(data)
        states, parts = None, []
        for frames in self.batch["lq"].split(CLIP_FRAMES, dim=1):
            made, states = net.restore_clip(frames, states)  # type: ignore[operator]
            parts.append(made)
        clips = (torch.cat(parts, dim=1), self.batch["gt"], self.batch["lq"])
        restored, truth, given = ([image_of(frame / 2 + 0.5) for frame in clip[0]] for clip in clips)
        name = data["folder" if "folder" in data else "key"][0]
        return Shown(str(name), restored, truth, given)


class KEEPGANModel(KEEPModel):
    """Trains what guides KEEP's generator, with perceptual, temporal and adversarial losses."""

    def prepare_training(self) -> None:
        """Build the temporal loss, too."""
        super().prepare_training()
        self.cri_temporal = self.build_loss("temporal_opt")

    def adapt(self, label: str, net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Let CFT and CFA begin anew when the weights, as those of stage 2, have none of them."""
        named = super().adapt(label, net, state)
        lacking = tuple(prefix for prefix in GUIDES if label == "g" and not any(key.startswith(prefix) for key in named))
        return {**{key: value for key, value in net.state_dict().items() if key.startswith(lacking)}, **named} if lacking else named

    def terms(self, chunk: Batch) -> tuple[Terms, Tensor]:
        """Return the terms of pixels, perception and steadiness, and the restored clips (N, T, 3, H, W)."""
        output, insides = self.restored(chunk)
        terms = self.similarity(output.flatten(0, 1), chunk["gt"].flatten(0, 1))
        if self.cri_temporal is not None:
            net: KEEP = self.get_bare_model(self.net_g)
            with torch.no_grad():
                flow = net.flownet.clip(chunk["gt"])
            terms["l_temporal"] = self.cri_temporal(insides.crossed[self.train_options["temporal_side"]].float(), flow)
        return terms, output
