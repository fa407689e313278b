"""Detectors, parsers and the identity network against the public numbers, from made checkpoint files loaded strictly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from archs.arcface_arch import ResNetArcFace
from archs.bisenet_arch import BiSeNet
from archs.layouts import fold_norms, without_parallel_prefix
from archs.parsenet_arch import ParseNet
from archs.retinaface_arch import RetinaFace
from archs.yolov5_face_arch import YOLOv5Face
from keyframes_gan import weights

Golden = dict[str, np.ndarray]
Ready = Callable[[nn.Module, str], tuple[nn.Module, Golden, torch.Tensor]]

GREY = torch.tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
BGR_MEAN = torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)


@pytest.fixture
def ready(parity_dir: Path, made_checkpoint: Callable[..., Path], made_clip: Callable[..., torch.Tensor]) -> Ready:
    """Give `ready(net, name)`: the net with the made weights, in eval mode; the public numbers; the input, RGB 0..255."""

    def prepare(net: nn.Module, name: str) -> tuple[nn.Module, Golden, torch.Tensor]:
        with np.load(parity_dir / "goldens" / f"{name}.npz") as stored:
            golden = dict(stored)
        weights.load_into(net, weights.load_state(made_checkpoint(name)), name=name, rename=without_parallel_prefix)
        frames, size = golden["input_shape"][:2]
        clip = made_clip(int(golden["input_seed"]), int(frames), int(size), str(golden["input_sha256"]))
        return net.eval(), golden, clip

    return prepare


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["mobile0.25", "resnet50"])
def test_retinaface_equals_the_public_one(ready: Ready, assert_parity: Callable[..., None], backbone: str) -> None:
    net, golden, clip = ready(RetinaFace(backbone), f"retinaface_{backbone.replace('0.', '0')}")
    outputs = net(clip.flip(1) - BGR_MEAN)
    assert [size for output in outputs for size in output.shape] == [1, 4200, 4, 1, 4200, 2, 1, 4200, 10]
    rows = np.r_[0:3200:8, 3200:4000:2, 4000:4200]
    for name, output in zip(("loc", "conf", "landms"), outputs, strict=True):
        assert_parity(output[:, rows], golden[name], float(golden[f"noise_{name}"]))


@torch.no_grad()
@pytest.mark.parametrize("size", ["n", "l"])
def test_yolov5_face_equals_the_public_one(ready: Ready, assert_parity: Callable[..., None], size: str) -> None:
    net, golden, clip = ready(YOLOv5Face(size), f"yolov5{size}_face")
    heads = net.heads(clip / 255)
    for name, head, step in zip(("raw_p3", "raw_p4", "raw_p5"), heads, (3, 2, 1), strict=True):
        assert_parity(head[:, :, ::step, ::step], golden[name], float(golden[f"noise_{name}"]))
    decoded = net(clip / 255)
    assert tuple(decoded.shape) == tuple(golden["pred_shape"])
    assert_parity(decoded[:, golden["pred_rows"]], golden["pred"], float(golden["noise_pred"]))


def assert_same_classes(scores: torch.Tensor, golden: Golden) -> None:
    assert int((scores.argmax(dim=1).numpy() != golden["argmax"]).sum()) <= 2


@torch.no_grad()
def test_parsenet_equals_the_public_one(ready: Ready, assert_parity: Callable[..., None]) -> None:
    net, golden, clip = ready(ParseNet(), "parsenet")
    scores, picture = net.both(clip / 127.5 - 1)
    assert_parity(scores[..., ::8, ::8], golden["logits"], float(golden["noise_logits"]))
    assert_parity(picture[..., ::8, ::8], golden["img"], float(golden["noise_img"]))
    assert_same_classes(scores, golden)


@torch.no_grad()
def test_bisenet_equals_the_public_one(ready: Ready, assert_parity: Callable[..., None]) -> None:
    net, golden, clip = ready(BiSeNet(), "bisenet")
    faces = clip / 127.5 - 1
    _, fine, middle = net.cp(faces)
    outputs = net(faces), *(head(features, faces.shape[-2:]) for head, features in ((net.conv_out16, fine), (net.conv_out32, middle)))
    for name, output, step in zip(("out", "out16", "out32"), outputs, (8, 16, 16), strict=True):
        assert_parity(output[..., ::step, ::step], golden[name], float(golden[f"noise_{name}"]))
    assert_same_classes(outputs[0], golden)


@torch.no_grad()
def test_arcface_equals_the_public_one(ready: Ready, assert_parity: Callable[..., None]) -> None:
    net, golden, clip = ready(ResNetArcFace(), "arcface")
    embedding = net((clip * GREY).sum(dim=1, keepdim=True) / 127.5 - 1)
    assert_parity(embedding, golden["embedding"], float(golden["noise_embedding"]))


@torch.no_grad()
def test_the_short_forward_of_a_parser_is_the_first_output() -> None:
    torch.manual_seed(0)
    faces = torch.rand(2, 3, 64, 96) * 2 - 1
    net = ParseNet().eval()
    assert net(faces).shape == BiSeNet().eval()(faces).shape == (2, 19, 64, 96)
    torch.testing.assert_close(net(faces), net.both(faces)[0])


@torch.no_grad()
@pytest.mark.parametrize(("net", "left"), [(RetinaFace("mobile0.25"), 0), (YOLOv5Face("n"), 0), (BiSeNet(), 2)])
def test_folded_networks_give_the_same(net: nn.Module, left: int) -> None:
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean, std=0.1)
    pictures = torch.rand(1, 3, 64, 96)
    before = net.eval()(pictures)
    after = fold_norms(net)(pictures)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == left


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"resnet50, mobile0\.25, got 'vgg'"):
        RetinaFace("vgg")
    with pytest.raises(ValueError, match="a size of n, l, got 's'"):
        YOLOv5Face("s")
    with pytest.raises(ValueError, match="multiples of 32"):
        YOLOv5Face("n")(torch.zeros(1, 3, 64, 80))
    with pytest.raises(ValueError, match="multiples of 16"):
        ParseNet()(torch.zeros(1, 3, 100, 64))
    with pytest.raises(ValueError, match=r"\(N, 1, 128, 128\), got \(1, 3, 128, 128\)"):
        ResNetArcFace()(torch.zeros(1, 3, 128, 128))
