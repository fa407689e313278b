"""Restorers of still faces: the adapter around spandrel's networks, with tiny random ones made here."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from keyframes_gan import public_networks, restorers, weights
from keyframes_gan.errors import UserError, WeightsError
from keyframes_gan.restorers import codeformer, gfpgan, restoreformer
from keyframes_gan.restorers.stills import Stills
from keyframes_gan.types import FaceClip

CPU = torch.device("cpu")
NAMES = ("gfpgan", "restoreformer", "codeformer")


def architecture(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(f"spandrel.architectures.{name}"), name)


def a_clip(count: int, size: int) -> FaceClip:
    crops = np.random.default_rng(2).integers(0, 256, (count, size, size, 3), np.uint8)
    matrices = np.tile(np.eye(2, 3), (count, 1, 1))
    return FaceClip(0, 0, crops, matrices, np.zeros((count, 68, 2), np.float32))


def plainly(network: torch.nn.Module, crops: npt.NDArray[np.uint8], **given: Any) -> npt.NDArray[np.float64]:
    with torch.inference_mode():
        output = network(torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous().double().div(127.5).sub(1).float(), **given)[0]
    found: npt.NDArray[np.float64] = output.double().clamp(-1, 1).add(1).mul(127.5).permute(0, 2, 3, 1).numpy()
    return found


def test_restoreformer_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = architecture("RestoreFormer")(ch=32, num_res_blocks=1, n_embed=16, embed_dim=32, z_channels=32).eval()
    path = tmp_path / "tiny.pth"
    torch.save({"params": network.state_dict()}, path)
    restorer = restorers.find("restoreformer", device="cpu", weights=str(path))
    clip = a_clip(2, 64)
    restored = restorer.restore(clip, restorer.start(0))
    assert restored.shape == clip.crops.shape
    assert np.abs(restored - plainly(network, clip.crops)).max() <= 0.51


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {f"vqvae.{key}": value for key, value in state.items()},
        lambda state: {**state, "decoder.up.1.attn.0.norm1.weight": torch.zeros(32)},
        lambda state: {key: value for key, value in state.items() if not key.startswith("quantize")},
    ],
)
def test_weights_of_restoreformer_plus_plus_are_refused_in_one_line(tmp_path: Path, change: Any) -> None:
    """Other names, more layers, or fewer: whatever does not fit strictly, and the likeliest mistake is named."""
    network = architecture("RestoreFormer")(ch=32, num_res_blocks=1, n_embed=16, embed_dim=32, z_channels=32)
    torch.save({"params": change(network.state_dict())}, tmp_path / "plus.pth")
    with pytest.raises(WeightsError, match=r"RestoreFormer\+\+ is another network than RestoreFormer, and spandrel") as told:
        restorers.find("restoreformer", device="cpu", weights=str(tmp_path / "plus.pth"))
    assert "\n" not in str(told.value)


def test_gfpgan_repeats_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    network = architecture("GFPGAN")(out_size=512, narrow=0.0625, channel_multiplier=1).eval()
    asked = []

    def load(name: str, *, architectures: tuple[str, ...]) -> Any:
        asked.append((name, architectures))
        return SimpleNamespace(model=network)

    monkeypatch.setattr(public_networks, "load", load)
    restorer = restorers.find("gfpgan", device="cpu")
    clip = a_clip(1, 512)
    first = restorer.restore(clip, restorer.start(0))
    np.testing.assert_array_equal(first, restorer.restore(clip, restorer.start(0)))
    assert np.abs(first - plainly(network, clip.crops, randomize_noise=False)).max() <= 0.51
    assert asked == [("gfpgan_v1.4", ("GFPGAN",))]


def test_codeformer_passes_the_fidelity_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Network(torch.nn.Module):
        def forward(self, crops: torch.Tensor, weight: float) -> tuple[torch.Tensor, None]:
            return crops * weight, None

    monkeypatch.setattr(public_networks, "load", lambda *_, **given: SimpleNamespace(model=Network()) if given["extra"] else None)
    clip = a_clip(1, 32)
    full = codeformer.create(device="cpu", fidelity=1.0).restore(clip, None)
    np.testing.assert_array_equal(full, clip.crops)
    half = codeformer.create(device="cpu").restore(clip, None)
    assert np.abs(half - (clip.crops / 127.5 - 1).clip(-1, 1) * 63.75 - 127.5).max() <= 0.51
    with pytest.raises(UserError, match="fidelity"):
        codeformer.create(device="cpu", fidelity=1.5)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_frames_do_not_depend_on_their_batch(batch: int) -> None:
    torch.manual_seed(5)
    network = torch.nn.Conv2d(3, 3, 3, padding=1)
    stills = Stills(network, lambda module, crops: module(crops), gfpgan.SPEC, device=CPU, precision=torch.float32)
    clip = a_clip(5, 16)
    alone = stills.restore(clip, None)
    stills._batch = batch
    assert np.abs(stills.restore(clip, None).astype(int) - alone).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_what_the_pipeline_must_know(name: str) -> None:
    spec = {"gfpgan": gfpgan, "restoreformer": restoreformer, "codeformer": codeformer}[name].SPEC
    assert spec.template == "ffhq"
    assert spec.crop_sizes == (512,)
    assert spec.name == name
    row = weights.entry(spec.weights or "")
    assert row.licence == spec.licence
    assert name in restorers.names()


def test_nothing_restricted_is_a_default() -> None:
    default = importlib.import_module(restorers.RESTORERS[restorers.DEFAULT][0]).SPEC
    assert not weights.entry(default.weights).restricted
    assert weights.entry("codeformer").restricted


def test_without_the_extra_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel_extra_arches", None)
    with pytest.raises(WeightsError, match="pip install spandrel_extra_arches") as error:
        restorers.find("codeformer", device="cpu")
    assert "\n" not in str(error.value)


def test_without_spandrel_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(WeightsError, match=r"pip install -r requirements\.txt"):
        restorers.find("gfpgan", device="cpu")


def test_weights_of_another_restorer_are_refused(tmp_path: Path) -> None:
    network = architecture("RestoreFormer")(ch=32, num_res_blocks=1, n_embed=16, embed_dim=32, z_channels=32)
    torch.save(network.state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="expected weights of GFPGAN, got RestoreFormer"):
        restorers.find("gfpgan", device="cpu", weights=str(tmp_path / "other.pth"))
