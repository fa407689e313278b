"""KEEP against the numbers that the public releases gave, inside and out, from their checkpoint layouts loaded strictly."""

from __future__ import annotations

import gc
import importlib.util
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archs.keep_arch import KEEP, rename_v0
from keyframes_gan import weights

Made = Callable[..., Path]
Golden = dict[str, np.ndarray]
BLOCKS = 25
STATS = 1e-4
"""For means and standard deviations of blocks, which are around 1."""


@pytest.fixture(scope="module")
def net(made_checkpoint: Made) -> Iterator[KEEP]:
    state = weights.load_state(made_checkpoint("keep_v1"), param_key="params_ema")
    assert len(state) == 896
    made = [KEEP()]
    weights.load_into(made[0], state, name="keep_v1")
    del state
    yield made[0].eval()
    made.clear()
    gc.collect()


def golden_of(parity_dir: Path, name: str) -> Golden:
    with np.load(parity_dir / "goldens" / f"{name}.npz") as stored:
        return dict(stored)


def clip_of(parity_dir: Path, golden: Golden, unit: int) -> Tensor:
    """The clip that a golden was made from, (1, T, 3, S, S) in [-1, 1]; the one that repeats its frame checked by its digest, too."""
    spec = importlib.util.spec_from_file_location("parity_make_input", parity_dir / "make_input.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    frames, size = int(golden["input_shape"][1]), int(golden["input_shape"][2])
    made = module.make_clip(int(golden["input_seed"][0]), 3, size, unit=unit)
    made = made if frames == 3 else made[[0, 0]]
    assert module.digest(made) == str(golden["input_sha256"][0])
    return torch.from_numpy(module.to_pm1(made))[None]


class Watch:
    """Collects what passes through the network, frame by frame, thinned as the stored arrays are."""

    def __init__(self, net: KEEP) -> None:
        self.seen: dict[str, list[np.ndarray]] = defaultdict(list)
        self.hooks = [
            net.hq_encoder.blocks[0].register_forward_pre_hook(lambda _module, args: self.keep("warped", args[0][..., ::8, ::8])),
            net.feat_emb.register_forward_pre_hook(lambda _module, args: self.keep("z_hat", self._map(args[0]))),
        ]
        self._after(net.kalman_filter, "gain", lambda out: out[0])
        self._after(net.encoder.blocks[-1], "lq_feat", lambda out: out[:, ::4])
        self._after(net.hq_encoder.blocks[-1], "z_prime", lambda out: out[:, ::4])
        self._after(net.idx_pred_layer, "logits", lambda out: out)
        for side, step in (("16", 1), ("32", 2), ("64", 4)):
            for kind in ("cft", "cfa"):
                if side in getattr(net, kind):
                    self._after(getattr(net, kind)[side], kind + side, lambda out, step=step: out[:, ::16, ::step, ::step])
        for kind, blocks in (("enc", net.encoder.blocks), ("gen", net.generator.blocks)):
            for place, block in enumerate(blocks):
                self._after(block, f"{kind}{place}", self._stats)

    @staticmethod
    def _map(tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).unflatten(2, (16, 16))[:, ::4]

    @staticmethod
    def _stats(out: Tensor) -> Tensor:
        frames = out.double().flatten(1)
        return torch.stack((frames.mean(1), frames.std(1, correction=0)), dim=1)

    def _after(self, module: nn.Module, name: str, thin: Callable[[Tensor], Tensor]) -> None:
        self.hooks.append(module.register_forward_hook(lambda _module, _args, out: self.keep(name, thin(out))))

    def keep(self, name: str, values: Tensor) -> None:
        self.seen[name].append(values.numpy(force=True).copy())

    def of(self, name: str) -> np.ndarray:
        return np.concatenate(self.seen[name])


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("name", "unit", "need_upscale"), [("keep_T3_512", 1, False), ("keep_dup_T2_512", 1, False), ("keep_up_T3_128", 2, True)]
)
@torch.no_grad()
def test_output_and_insides_equal_the_public_ones(
    net: KEEP,
    parity_dir: Path,
    assert_parity: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    unit: int,
    need_upscale: bool,
) -> None:
    golden = golden_of(parity_dir, name)
    noise = golden if "noise_out" in golden else golden_of(parity_dir, "keep_T3_512")
    watch, match = Watch(net), net.flownet.match

    def matched(picture: Tensor, other: Tensor) -> Tensor:
        flow = match(picture, other)
        watch.keep("flow", flow[..., ::8, ::8])
        return flow

    monkeypatch.setattr(net.flownet, "match", matched)
    out = net(clip_of(parity_dir, golden, unit), need_upscale=need_upscale)[0]
    for hook in watch.hooks:
        hook.remove()
    assert np.array_equal(watch.of("logits").argmax(-1), golden["indices"][0])
    watch.keep("out", out[..., ::8, ::8])
    watch.keep("out_patch", out[..., 240:272, 240:272])
    got = {key.removeprefix("noise_"): watch.of(key.removeprefix("noise_")) for key in noise if key.startswith("noise_")}
    assert len(got) == 14
    got["logits"] = got["logits"][:, ::8, ::2]
    for key, values in got.items():
        assert_parity(values, golden[key][0], float(noise[f"noise_{key}"]))
    for kind in ("enc", "gen"):
        stats = np.stack([watch.of(f"{kind}{place}") for place in range(BLOCKS)], axis=1)
        np.testing.assert_allclose(stats, golden[f"{kind}_stats"][0], rtol=0, atol=STATS)
    np.testing.assert_allclose(out.mean(dim=(2, 3)), golden["out_mean"][0], rtol=0, atol=STATS)
    np.testing.assert_allclose(out.std(dim=(2, 3)), golden["out_std"][0], rtol=0, atol=STATS)


def test_the_older_release_is_the_same_network(net: KEEP, made_checkpoint: Made) -> None:
    """Both checkpoints hold the same values under different names: once renamed, nothing differs, and so no output."""
    state = weights.load_state(made_checkpoint("keep_v0"))
    assert "cross_fuse.16.attn.to_q.weight" in state
    assert not any(key.startswith(("cft.", "cfa.")) for key in state)
    renamed, wanted = rename_v0(state), net.state_dict()
    assert set(renamed) == set(wanted)
    assert all(torch.equal(renamed[key], value) for key, value in wanted.items())
    weights.load_into(net, state, name="keep_v0", rename=rename_v0)
    assert sum(parameter.numel() for parameter in net.parameters()) == 158_485_860
