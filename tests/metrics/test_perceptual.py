"""LPIPS on VGG16, tLPIPS and DISTS: definitions in NumPy on torchvision's networks, batches, distances' properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import VGG, vgg16

from archs.dists_arch import CHANNELS, DISTS, MINIMUM_PX, published
from archs.lpips_arch import LPIPS
from keyframes_gan import metrics
from keyframes_gan.metrics import dists, lpips
from keyframes_gan.metrics.clips import Frames, Strip, per_picture
from keyframes_gan.metrics.perceptual import NetworkScorer

ENDS = (3, 8, 15, 22, 29)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)
    return [first, *(np.clip(first + rng.normal(0, size, first.shape), 0, 255).astype(np.uint8) for size in (10, 20, 40))]


@pytest.fixture(scope="module")
def backbone() -> VGG:
    torch.manual_seed(0)
    return vgg16(weights=None).eval()


@pytest.fixture(scope="module")
def on_vgg(backbone: VGG) -> LPIPS:
    made = LPIPS("vgg")
    made.load_state_dict({key: value for key, value in backbone.state_dict().items() if "features" in key}, strict=False)
    for number in range(5):
        made.head(number).uniform_(0, 1)
    return made.eval()


def layers(backbone: VGG, picture: np.ndarray) -> list[np.ndarray]:
    found, features = [], torch.from_numpy(picture.transpose(2, 0, 1)[None]).float()
    with torch.inference_mode():
        for index, module in enumerate(backbone.features):
            features = module(features)
            if index in ENDS:
                found.append(features[0].double().numpy())
    return found


def test_lpips_on_vgg_follows_its_definition(on_vgg: LPIPS, backbone: VGG, pictures: list[np.ndarray]) -> None:
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    pair = [(picture / 127.5 - 1 - shift) / scale for picture in pictures[:2]]
    expected = 0.0
    for number, both in enumerate(zip(*(layers(backbone, one) for one in pair), strict=True)):
        one, two = (layer / (np.sqrt((layer**2).sum(axis=0)) + 1e-10) for layer in both)
        head = on_vgg.head(number)[0, :, 0, 0].double().numpy()
        expected += ((one - two) ** 2 * head[:, None, None]).sum(axis=0).mean()
    assert number == 4
    assert NetworkScorer(on_vgg, 64)(*pictures[:2]) == pytest.approx(expected, rel=1e-3)


def test_dists_follows_its_definition(backbone: VGG, pictures: list[np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    alpha, beta = rng.uniform(0, 1, (2, sum(CHANNELS)))
    network = DISTS()
    scales = {name: torch.from_numpy(value).float().view(1, -1, 1, 1) for name, value in (("alpha", alpha), ("beta", beta))}
    network.load_state_dict(published(backbone.state_dict(), scales), strict=True)

    def stages(picture: np.ndarray) -> list[np.ndarray]:
        found = [picture.transpose(2, 0, 1) / 255]
        features = torch.from_numpy((picture / 255 - MEAN) / STD).permute(2, 0, 1)[None].float()
        window = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
        with torch.inference_mode():
            for module in backbone.features[:30]:
                if isinstance(module, torch.nn.MaxPool2d):
                    found.append(features[0].double().numpy())
                    kernel = window.expand(features.shape[1], 1, 3, 3)
                    features = torch.nn.functional.conv2d(features**2, kernel, stride=2, padding=1, groups=len(kernel)).sqrt()
                else:
                    features = module(features)
        return [*found, features[0].double().numpy()]

    expected, at = 0.0, 0
    for one, two in zip(stages(pictures[0]), stages(pictures[2]), strict=True):
        for x, y in zip(one, two, strict=True):
            covariance = ((x - x.mean()) * (y - y.mean())).mean()
            texture = (2 * x.mean() * y.mean() + 1e-6) / (x.mean() ** 2 + y.mean() ** 2 + 1e-6)
            structure = (2 * covariance + 1e-6) / (x.var() + y.var() + 1e-6)
            expected += alpha[at] * texture + beta[at] * structure
            at += 1
    assert at == sum(CHANNELS) == 1475
    found = NetworkScorer(network, MINIMUM_PX)(pictures[0], pictures[2])
    assert found == pytest.approx(1 - expected / (alpha.sum() + beta.sum()), abs=2e-5)


def test_dists_is_a_distance(backbone: VGG, pictures: list[np.ndarray], tmp_path: Path) -> None:
    torch.save(backbone.state_dict(), tmp_path / "vgg.pth")
    torch.save({name: torch.rand(1, 1475, 1, 1) for name in ("alpha", "beta")}, tmp_path / "weights.pt")
    scorer = dists.load("cpu", names=(str(tmp_path / "vgg.pth"), str(tmp_path / "weights.pt")))
    first, *noisy = pictures
    values = [scorer(first, picture) for picture in noisy]
    assert scorer(first, first) == pytest.approx(0, abs=1e-5)
    assert 0 < values[0] < values[1] < values[2]
    assert scorer(noisy[1], first) == pytest.approx(values[1], abs=1e-5)
    assert scorer(first, first, [(0, 0, 20, 64)]) is None


def test_pictures_go_through_in_batches(on_vgg: LPIPS, pictures: list[np.ndarray]) -> None:
    scorer = NetworkScorer(on_vgg, 64)
    frames = Frames(Strip(pictures[:1] * 3), Strip(pictures[1:]))
    run = per_picture(scorer)()
    run.add(frames)
    assert run.finish().values == pytest.approx([scorer(pictures[0], picture) for picture in pictures[1:]], rel=1e-4)
    small = [picture[:40] for picture in pictures]
    assert scorer.many(small[:2], small[2:]) == [None, None]


def test_tlpips_compares_steps(on_vgg: LPIPS, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = NetworkScorer(on_vgg, 64)
    monkeypatch.setattr(lpips, "load", lambda *_, **__: scorer)
    a, b, c, d = pictures
    original, judged = [a, a, b], [c, d, d]
    expected = [None, scorer(c, d), scorer(a, b)]

    def run(parts: list[slice], **more: list) -> list[float | None]:
        scoring = metrics.load_clip("tlpips")()
        for part in parts:
            before = (None, None) if part.start == 0 else (original[part.start - 1], judged[part.start - 1])
            strips = Strip(original[part], before[0]), Strip(judged[part], before[1])
            scoring.add(Frames(*strips, **{key: value[part] for key, value in more.items()}))
        return list(scoring.finish().values)

    whole, split = [slice(0, 3)], [slice(0, 1), slice(1, 3)]
    assert run(whole)[0] is None
    assert run(whole)[1:] == pytest.approx(expected[1:], rel=1e-3)
    assert run(split)[1:] == pytest.approx(expected[1:], rel=1e-3)
    boxes = [[(0, 0, 80, 64)]] * 3
    assert run(split, boxes=boxes)[1:] == pytest.approx(expected[1:], rel=1e-3)
    assert [value is None for value in run(whole, cuts=[True, False, True])] == [True, False, True]


@pytest.mark.gpu
def test_the_gpu_gives_the_same(on_vgg: LPIPS, pictures: list[np.ndarray]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("CUDA is not available")
    expected = NetworkScorer(on_vgg, 64, "cpu").many(pictures[:2], pictures[2:])
    try:
        assert NetworkScorer(on_vgg, 64, "cuda").many(pictures[:2], pictures[2:]) == pytest.approx(expected, rel=1e-2)
    finally:
        on_vgg.cpu()
