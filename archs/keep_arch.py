"""KEEP: face video restoration with Kalman-inspired feature propagation (Feng et al., ECCV 2024).

Each frame is encoded, and so is the previous output, warped onto it by optical flow; a gain learned from the clip's features mixes
the two, place by place. A transformer predicts codes of a VQGAN from the mixture, and the VQGAN's generator makes the picture,
guided by the encoder (CFT) and by its own features of the frame before (CFA). Key names are those of the published release v1.0.0;
`rename_v0` maps those of v0.1.0.

Convention: clips are float RGB in [-1, 1], (B, T, 3, H, W), one track a row; T consecutive frames. Codes in reading order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.flow import flow_field, warp
from archs.keep_attention import CodeLayer
from archs.keep_parts import EncoderFusion, FrameFusion, KalmanFilter, either, resolutions
from archs.keep_state import Before, Insides, Looked, TrackState
from archs.vqgan_arch import ATTENTION_AT, CH_MULT, VectorQuantizer
from archs.vqgan_blocks import Encoder, Generator, to_tokens

UPSCALE = 4
EXACT_PARTS = ("flownet", "feat_emb", "ft_layers", "idx_pred_layer")
"""What stays in float32: half precision has no sub-pixels, and a choice of codes in bfloat16 more than doubles those that flip."""
OLD_PREFIXES = {"fuse_convs_dict.": "cft.", "cross_fuse.": "cfa."}

Tracks: TypeAlias = list[TrackState | None]


class KEEP(nn.Module):
    """Restores clips of aligned faces, 158 M parameters.

    Args:
        img_size: side of the pictures in pixels.
        nf, ch_mult, res_blocks, attn_resolutions, codebook_size, emb_dim: of the VQGAN, as for `VQAutoEncoder`.
        dim_embd: channels of the transformer that predicts codes.
        n_head: its heads.
        n_layers: its layers.
        latent_size: places of the latent grid; None: what `img_size` and `ch_mult` make of it.
        cft_list: sides in pixels at which the encoder guides the generator (v0.1.0: `connect_list`).
        cfa_list: sides at which the generator attends to the frame before (`cross_fuse_list`).
        cfa_nhead: heads there (`cross_fuse_nhead`).
        cfa_dim: channels of a head there (`cross_fuse_dim`).
        cfa_nlayers: accepted because published options have it; there is always one layer (`cross_fuse_nlayers`).
        cond: how far the encoder guides the generator, 0 to 1.
        kalman_attn_head_dim: channels of each of the 8 heads that estimate uncertainty.
        num_uncertainty_layers: blocks of that estimator.
        flow_type: the flow network, one of `archs.flow.FLOWS`; published weights have "gmflow".
        detach_16: True: no gradient flows through the choice of codes. False: it passes straight through to the mixed features.
        fix_modules: parts (attributes of the network) whose weights do not train; the flow network's never do.

    Attributes:
        frames_at_once: how many frames of a clip are encoded together; memory against speed.
        gain_history: how many past frames `restore_clip` carries for the gain.

    Raises:
        ValueError: arguments that contradict each other.
    """

    frames_at_once = 4
    gain_history = 20

    def __init__(
        self,
        img_size: int = 512,
        nf: int = 64,
        ch_mult: Sequence[int] = CH_MULT,
        res_blocks: int = 2,
        attn_resolutions: Sequence[int] = ATTENTION_AT,
        *,
        codebook_size: int = 1024,
        emb_dim: int = 256,
        dim_embd: int = 512,
        n_head: int = 8,
        n_layers: int = 9,
        latent_size: int | None = None,
        cft_list: Sequence[str | int] | None = None,
        cfa_list: Sequence[str | int] | None = None,
        cfa_nhead: int | None = None,
        cfa_dim: int | None = None,
        cfa_nlayers: int | None = None,
        cond: float = 1.0,
        kalman_attn_head_dim: int = 48,
        num_uncertainty_layers: int = 3,
        flow_type: str = "gmflow",
        detach_16: bool = True,
        fix_modules: Sequence[str] = ("quantize", "generator"),
        connect_list: Sequence[str | int] | None = None,
        cross_fuse_list: Sequence[str | int] | None = None,
        cross_fuse_nhead: int | None = None,
        cross_fuse_dim: int | None = None,
        cross_fuse_nlayers: int | None = None,
    ) -> None:
        super().__init__()
        either("cfa_nlayers", cfa_nlayers, cross_fuse_nlayers, 1)
        side = img_size // 2 ** (len(ch_mult) - 1)
        if latent_size not in {None, side**2}:
            msg = f"KEEP: expected latent_size {side**2} for img_size {img_size} and {len(ch_mult)} resolutions, got {latent_size}"
            raise ValueError(msg)
        self.img_size, self.cond, self.detach_16 = img_size, cond, detach_16
        self.grid = side, side
        self.position_emb = nn.Parameter(0.02 * torch.randn(side**2, dim_embd))
        self.flownet = flow_field(flow_type)
        self.kalman_filter = KalmanFilter(emb_dim, kalman_attn_head_dim, num_uncertainty_layers)
        self.hq_encoder = Encoder(3, nf, emb_dim, ch_mult, res_blocks, img_size, attn_resolutions)
        self.encoder = Encoder(3, nf, emb_dim, ch_mult, res_blocks, img_size, attn_resolutions)
        self.quantize = VectorQuantizer(codebook_size, emb_dim)
        self.generator = Generator(nf, emb_dim, ch_mult, res_blocks, img_size, attn_resolutions)
        self.feat_emb = nn.Linear(emb_dim, dim_embd)
        self.ft_layers = nn.ModuleList(CodeLayer(dim_embd, n_head, 2 * dim_embd) for _ in range(n_layers))
        self.idx_pred_layer = nn.Sequential(nn.LayerNorm(dim_embd), nn.Linear(dim_embd, codebook_size, bias=False))
        widths = self.generator.widths
        guided = resolutions("cft_list", either("cft_list", cft_list, connect_list, ("16", "32", "64")), widths)
        crossed = resolutions("cfa_list", either("cfa_list", cfa_list, cross_fuse_list, ("16", "32")), widths)
        heads = either("cfa_nhead", cfa_nhead, cross_fuse_nhead, 4), either("cfa_dim", cfa_dim, cross_fuse_dim, 256)
        self.cft = nn.ModuleDict({str(tap): EncoderFusion(widths[tap]) for tap in guided})
        self.cfa = nn.ModuleDict({str(tap): FrameFusion(widths[tap], *heads) for tap in crossed})
        self._guided = tuple(guided)
        self._places = {self.generator.taps[tap]: tap for tap in (*guided, *crossed)}
        for name in (*fix_modules, "flownet"):
            getattr(self, name).requires_grad_(requires_grad=False)
        for part in (self.kalman_filter, self.hq_encoder, self.encoder, self.generator, self.cft):
            part.to(memory_format=torch.channels_last)

    def forward(self, clip: Tensor, need_upscale: bool = True, *, detail: bool = False) -> Tensor | tuple[Tensor, Insides]:
        """Restore whole clips, as the published network does: no state goes in or out.

        Args:
            clip: (B, T, 3, H, W), T >= 1.
            need_upscale: enlarge the frames four times first (bilinear).
            detail: return what training looks at, too.

        Returns:
            (B, T, 3, img_size, img_size), not clamped; with `detail`, and the insides.

        Raises:
            ValueError: a clip of another shape or size.
        """
        _check(clip)
        look = self._look_at(list(clip), need_upscale=need_upscale)
        restored, insides, _ = self._restore(Looked.stacked([_joined(None, row) for row in look]), [None] * len(clip), clip.shape[1])
        restored = restored.to(clip.dtype)
        return (restored, insides) if detail else restored

    @torch.no_grad()
    def restore_clip(
        self, frames: Tensor, states: Sequence[TrackState | None] | None = None, *, need_upscale: bool = False, ahead: int = 0
    ) -> tuple[Tensor, list[TrackState]]:
        """Restore the next clip of every track, going on where its last clip ended.

        What is carried (`TrackState`): the last output, which is warped onto the first new frame; the cross-frame features; what
        the flow network made of the last frame; the encoder's features of the last `gain_history` frames. So the first frame of
        a clip is restored like any other, and the only thing that a border changes is the Kalman gain. The published gain is no
        filter: attention along time sees the whole clip, future included, and every frame attends to the clip's first one. Here
        the gain of a frame sees `history + clip`: the past up to `gain_history` frames back, whose first frame plays the clip's
        first frame, and the future as far as the clip goes. Hence, against one long clip:

        - as long as a track is no longer than `gain_history` plus the clip, nothing of the past is missing, and the last clip's
          gains are those of the long clip exactly;
        - earlier clips did not see the frames after their end (but for `ahead`). With gain g instead of g', the mixed
          features differ by (g - g') (z' - z), where z is the frame's own feature and z' the one predicted; nothing
          else differs until a code flips;
        - a gain that sees the same frames gives the same output, up to rounding.

        `ahead` lets the gain see a little of the future: the last `ahead` frames are looked at and not restored; the next clip
        must begin with them, and they are not encoded again.

        Args:
            frames: (B, T, 3, H, W), T > `ahead`.
            states: one for each row as returned for its last clip, or None where a track begins; None: all begin.
            need_upscale: as for `forward`.
            ahead: frames at the end that are only looked at.

        Returns:
            (B, T - ahead, 3, img_size, img_size), not clamped, and the new states.

        Raises:
            ValueError: shapes, states or `ahead` that do not fit together.
        """
        _check(frames)
        tracks: Tracks = [None] * len(frames) if states is None else list(states)
        pending = [0 if state is None else state.pending for state in tracks]
        count = frames.shape[1] - ahead
        if len(tracks) != len(frames) or count < 1 or ahead < 0 or max(pending, default=0) > frames.shape[1]:
            got = f"got {tuple(frames.shape)}, {len(tracks)} states with {pending} frames pending, ahead {ahead}"
            msg = f"restore_clip: expected a state for each row, T > ahead >= 0, and T >= the frames pending; {got}"
            raise ValueError(msg)
        new = self._look_at([row[known:] for row, known in zip(frames, pending, strict=True)], need_upscale=need_upscale)
        look = Looked.stacked([_joined(state, row) for state, row in zip(tracks, new, strict=True)])
        restored, _, before = self._restore(look, tracks, count)
        after = [
            TrackState(
                before.output[row].clone(),
                {side: crossed[row].clone() for side, crossed in before.crossed.items()},
                look.motion[row, count - 1].clone(),
                _latest(_past(look.features[row, :count], state), self.gain_history).clone(),
                look[row, count:].copy() if ahead else None,
            )
            for row, state in enumerate(tracks)
        ]
        return restored.to(frames.dtype), after

    def fold(self) -> KEEP:
        """Make the generator cheaper by a sixth, in place and for good; the output stays equal up to rounding.

        For inference only: the network is set to eval mode, and its key names are no longer the checkpoint's. Before
        `reduce_precision`, which would round twice.

        Returns:
            The network itself.
        """
        self.generator.fold()
        return self.eval()

    def reduce_precision(self, dtype: torch.dtype) -> KEEP:
        """Run in `dtype` (bfloat16) from now on, in place, but for `EXACT_PARTS` and warping. Returns the network itself."""
        for name, part in self.named_children():
            if name not in EXACT_PARTS:
                part.to(dtype)
        return self

    def compile_parts(self, **options: Any) -> KEEP:  # noqa: ANN401
        """Compile looking at frames and restoring a frame, in place; `options` of `torch.compile`. Returns itself."""
        for name in ("_look", "_step"):
            setattr(self, name, torch.compile(getattr(self, name), fullgraph=True, **options))
        return self

    def _look_at(self, rows: list[Tensor], *, need_upscale: bool) -> list[Looked | None]:
        """Encode frames of several tracks, (n, 3, H, W) for each, n >= 0, all in one batch that is cut into equal parts."""
        pictures = torch.cat(rows)
        if need_upscale and len(pictures):
            pictures = F.interpolate(pictures, scale_factor=float(UPSCALE), mode="bilinear", align_corners=False)
        if len(pictures) and tuple(pictures.shape[1:]) != (3, self.img_size, self.img_size):
            msg = f"KEEP: expected frames of {(3, self.img_size, self.img_size)}, got {tuple(pictures.shape[1:])}; crop to that size"
            raise ValueError(msg)
        parts = pictures.split(self.frames_at_once) if len(pictures) else ()
        look = Looked.joined([self._look(part.clone(memory_format=torch.contiguous_format)) for part in parts]) if parts else None
        ends = torch.tensor([0, *map(len, rows)]).cumsum(0).tolist()
        return [look[start:end] if look is not None and end > start else None for start, end in pairwise(ends)]

    def _look(self, pictures: Tensor) -> Looked:
        """Do for pictures (n, 3, H, W) what needs no other frame."""
        features, taps = self.encoder.tapped(pictures.to(self.quantize.embedding.weight.dtype), self._guided)
        with torch.no_grad(), torch.autocast(pictures.device.type, enabled=False):  # half precision has no sub-pixels
            motion = self.flownet.look(pictures)
        return Looked(features, taps, motion)

    def _restore(self, look: Looked, tracks: Tracks, count: int) -> tuple[Tensor, Insides, Before]:
        """Restore the first `count` frames of `look` (B, T); the others only count for the gain."""
        gains = self._gains(look.features, tracks)[:, :count]
        flows = self._flows(look.motion[:, :count], tracks)
        made = []
        before, scores, mixed = self._first(look, gains, flows, tracks)
        for index in range(count):
            if index:
                before, scores, mixed = self._next(look[:, index], gains[:, index], flows[:, index], before)
            # CUDA graphs leave their results in the same place every time
            made.append([tensor.clone() for tensor in (before.output, scores, mixed, *before.crossed.values())])
        outputs, logits, features, *crossed = (torch.stack(frames, dim=1) for frames in zip(*made, strict=True))
        return outputs, Insides(logits, look.features, gains, features, dict(zip(before.crossed, crossed, strict=True))), before

    def _gains(self, features: Tensor, tracks: Tracks) -> Tensor:
        """Return the gains (B, T, 1, h, w) of `features` (B, T, C, h, w); tracks with equally long pasts share a batch."""
        groups: dict[int, list[int]] = defaultdict(list)
        for row, state in enumerate(tracks):
            groups[0 if state is None else len(state.history)].append(row)
        gains: list[Tensor] = [features] * len(tracks)
        for known, rows in groups.items():
            made = self.kalman_filter(torch.stack([_past(features[row], tracks[row]) for row in rows]), known)
            for row, gain in zip(rows, made, strict=True):
                gains[row] = gain
        return torch.stack(gains)

    @torch.no_grad()
    def _flows(self, motion: Tensor, tracks: Tracks) -> Tensor:
        """Return the flow of each frame to the one before it, (B, T, 2, H, W); 0 for the first frame of a track."""
        flows = motion.new_zeros(
            (*motion.shape[:2], 2, self.img_size, self.img_size), dtype=torch.promote_types(motion.dtype, torch.float32)
        )
        ends = {row: state.motion for row, state in enumerate(tracks) if state is not None}
        places = [(row, index) for index in range(motion.shape[1]) for row in range(len(tracks)) if index or row in ends]
        for start in range(0, len(places), self.frames_at_once):
            some = places[start : start + self.frames_at_once]
            earlier = [motion[row, index - 1] if index else ends[row] for row, index in some]
            with torch.autocast(motion.device.type, enabled=False):
                found = self.flownet.match(torch.stack([motion[place] for place in some]), torch.stack(earlier))
            for place, flow in zip(some, found, strict=True):
                flows[place] = flow[:, : self.img_size, : self.img_size]
        return flows

    def _first(self, look: Looked, gains: Tensor, flows: Tensor, tracks: Tracks) -> tuple[Before, Tensor, Tensor]:
        """Restore the first frame of a clip, where some tracks may begin and others go on."""
        new = [row for row, state in enumerate(tracks) if state is None]
        old = [row for row, state in enumerate(tracks) if state is not None]
        at = look[:, 0]
        if not old:
            return self._next(at, gains[:, 0], flows[:, 0], None)
        carried = [state for state in tracks if state is not None]
        before = Before(
            torch.stack([state.output for state in carried]),
            {side: torch.stack([state.crossed[side] for state in carried]) for side in carried[0].crossed},
        )
        if not new:
            return self._next(at, gains[:, 0], flows[:, 0], before)
        begun, *first = self._next(at.rows(new), gains[new, 0], flows[new, 0], None)
        continued, *others = self._next(at.rows(old), gains[old, 0], flows[old, 0], before)
        order = torch.tensor([*new, *old], device=look.features.device).argsort()
        crossed = {side: torch.cat((begun.crossed[side], continued.crossed[side]))[order] for side in begun.crossed}
        scores, mixed = (torch.cat(pair)[order] for pair in zip(first, others, strict=True))
        return Before(torch.cat((begun.output, continued.output))[order], crossed), scores, mixed

    def _next(self, look: Looked, gain: Tensor, flow: Tensor, before: Before | None) -> tuple[Before, Tensor, Tensor]:
        """Call `_step` with copies laid out in one way, strides of axes of length 1 included, so that it is compiled for few cases."""
        gain, flow = (made.clone(memory_format=torch.contiguous_format) for made in (gain, flow))
        return self._step(look.laid_out(), gain, flow, None if before is None else before.laid_out())

    def _step(self, look: Looked, gain: Tensor, flow: Tensor, before: Before | None) -> tuple[Before, Tensor, Tensor]:
        """Restore one frame of each track from the one before it, or, where `before` is None, as a track's first.

        No gradient flows into the output of the frame before, which would take the memory of the whole past, but into its features.

        Args:
            look: what is known of the frame alone, (B, ...).
            gain: (B, 1, h, w).
            flow: (B, 2, H, W), to the frame before.
            before: the frame before.

        Returns:
            What the next frame needs, the scores of the codes (B, h * w, codebook_size), what they were chosen by (B, C, h, w).
        """
        mixed = look.features
        if before is not None:
            predicted = self.hq_encoder(warp(before.output.detach(), flow).to(mixed.dtype))
            mixed = torch.lerp(mixed, predicted, gain)
        scores = self.scores(mixed)
        codes = self.quantize.lookup(scores.argmax(-1), self.grid)
        codes = codes.detach() if self.detach_16 else mixed + (codes - mixed).detach()
        output, crossed = self._generate(codes, look.taps, before)
        return Before(output.to(torch.promote_types(output.dtype, torch.float32)), crossed), scores, mixed

    def scores(self, features: Tensor) -> Tensor:
        """Return the scores of the codes, (N, h * w, codebook_size), for features (N, C, h, w)."""
        tokens = self.feat_emb(to_tokens(features).to(self.position_emb.dtype))
        for layer in self.ft_layers:
            tokens = layer(tokens, self.position_emb)
        return self.idx_pred_layer(tokens)

    def _generate(self, codes: Tensor, taps: dict[int, Tensor], before: Before | None) -> tuple[Tensor, dict[int, Tensor]]:
        """Run the generator with its fusions; returns the picture and the features that the next frame attends to."""
        features = codes.contiguous(memory_format=torch.channels_last)
        crossed: dict[int, Tensor] = {}
        for place, block in enumerate(self.generator.blocks):
            features = block(features)
            side = self._places.get(place)
            if side is None:
                continue
            if side in taps and self.cond:
                features = self.cft[str(side)](taps[side], features, self.cond)
            if str(side) in self.cfa:
                features = features if before is None else self.cfa[str(side)](features, before.crossed[side])
                crossed[side] = features
        return features, crossed


def rename_v0(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a v0.1.0 checkpoint under the names of v1.0.0; those of v1.0.0 stay as they are."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        old = next((prefix for prefix in OLD_PREFIXES if key.startswith(prefix)), None)
        renamed[key if old is None else OLD_PREFIXES[old] + key.removeprefix(old)] = value
    return renamed


def _check(clip: Tensor) -> None:
    if clip.ndim != 5 or 0 in clip.shape:  # noqa: PLR2004
        msg = f"KEEP: expected a clip (B, T, 3, H, W), got {tuple(clip.shape)}"
        raise ValueError(msg)


def _past(features: Tensor, state: TrackState | None) -> Tensor:
    """Put what the track remembers before `features` (T, C, h, w)."""
    return features if state is None else torch.cat((state.history, features))


def _latest(frames: Tensor, count: int) -> Tensor:
    """Return the last `count` of `frames`, or all there are."""
    return frames[max(0, len(frames) - count) :]


def _joined(state: TrackState | None, new: Looked | None) -> Looked:
    """Put the frames that the track has looked at already before the new ones."""
    parts = [part for part in (None if state is None else state.ahead, new) if part is not None]
    return parts[0] if len(parts) == 1 else Looked.joined(parts)
