"""The recipe for KeyframeFlowNet: runs of frames, each restored with what was restored before it, the gradient going back through all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archs.keyframe_flow_arch import DETAIL_PREFIX, KeyframeFlowNet, Made, ResidualBlock, VividKeyframeFlowNet, carried
from keyframes_gan.models.adversarial import AdversarialModel, Terms
from keyframes_gan.models.base import Batch
from keyframes_gan.models.validation import Shown, image_of
from keyframes_gan.registry import get_root_logger


class KeyframeFlowModel(AdversarialModel):
    """Trains a KeyframeFlowNet on runs (N, T, C, H, W) of `data.keyframe_sequence_dataset`; discriminators see single frames."""

    def adapt(self, label: str, net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the generator's weights, without the details of a VividKeyframeFlowNet.

        Residual blocks that `state` has not, of a smaller network, begin as ones that change nothing.
        """
        if not isinstance(net, KeyframeFlowNet):
            return state
        blocks = {name: block for name, block in net.named_modules() if isinstance(block, ResidualBlock)}
        new = {name: block for name, block in blocks.items() if f"{name}.conv1.weight" not in state}
        for block in new.values():
            nn.init.zeros_(block.conv2.weight)
        if new:
            get_root_logger().info("network_g: %d of %d residual blocks are new", len(new), len(blocks))
        begun = tuple(f"{name}." for name in new)
        own = {name: value for name, value in net.state_dict().items() if name.startswith(begun)}
        return {**own, **{name: value for name, value in state.items() if not name.startswith(DETAIL_PREFIX)}}

    def restore(self, net: nn.Module, batch: Batch) -> Tensor:
        """Restore runs frame by frame: float32 (N, T, 3, H, W), not clamped."""
        return self.frame_by_frame(net, batch)[0]

    @staticmethod
    def frame_by_frame(net: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the runs that go on from frame to frame and the ones to be shown; the same but for a VividKeyframeFlowNet."""
        made: list[Made] = []
        for frame in range(batch["lq"].shape[1]):
            here = {name: tensor[:, frame] for name, tensor in batch.items()}
            known = carried(made[-1], batch["lq"][:, frame - 1], here["lq"], here["flow"]) if made else None
            made.append(net(here["lq"], here["key"], known, here["following"]))
        return torch.stack([one.faithful for one in made], dim=1), torch.stack([one.shown for one in made], dim=1)

    def terms(self, chunk: Batch) -> tuple[Terms, Tensor]:
        """Return the terms of pixels and slopes, and the restored frames as (N T, 3, H, W)."""
        with self.autocast():
            output = self.restore(self.net_g, chunk).flatten(0, 1)
        truth = self.originals(chunk)
        terms = self.similarity(output, truth)
        weight = float(self.train_options.get("gradient_weight", 0.0))
        if weight > 0:
            error = output - truth
            terms["l_gradient"] = weight * (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean())
        return terms, output

    def originals(self, chunk: Batch) -> Tensor:
        """Return the originals as (N T, 3, H, W)."""
        return chunk["gt"].flatten(0, 1)

    def shown(self, net: nn.Module, data: dict[str, Any]) -> Shown:
        """Run a generator on a whole run."""
        self.feed_data(data)
        with self.autocast():
            restored = self.restore(net, self.batch)
        frames = (restored[0], self.batch["gt"][0], self.batch["lq"][0])
        return Shown(Path(data["lq_path"][0]).stem, *([image_of(frame) for frame in run] for run in frames))


class VividFlowModel(KeyframeFlowModel):
    """Trains what a VividKeyframeFlowNet adds to its faithful pictures; everything else of it stays as it was loaded."""

    def adapt(self, label: str, net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the generator's weights, its own details where `state` has none, and let only those learn."""
        if not isinstance(net, VividKeyframeFlowNet):
            return state
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name.startswith(DETAIL_PREFIX))
        return {**{name: value for name, value in net.state_dict().items() if name.startswith(DETAIL_PREFIX)}, **state}

    def restore(self, net: nn.Module, batch: Batch) -> Tensor:
        """Return the vivid pictures of runs, float32 (N, T, 3, H, W), not clamped."""
        return self.frame_by_frame(net, batch)[1]
