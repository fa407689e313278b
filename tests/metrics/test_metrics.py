"""The list of metrics, scoring inside boxes, NIQE, and LPIPS as far as it can be known without its weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchvision.models import alexnet

from archs.lpips_arch import LPIPS, MINIMUM_PX
from keyframes_gan import metrics, weights
from keyframes_gan.errors import UserError, WeightsError
from keyframes_gan.metrics import lpips
from keyframes_gan.metrics.fidelity import psnr
from keyframes_gan.metrics.perceptual import NetworkScorer
from keyframes_gan.metrics.regions import face_box, mask_of, mean_over_crops
from keyframes_gan.registry import calculate_metric


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    noisy = np.clip(original + rng.normal(0, 12, original.shape), 0, 255).astype(np.uint8)
    return original, noisy


@pytest.fixture(scope="module")
def network() -> LPIPS:
    torch.manual_seed(0)
    made = LPIPS()
    for number in range(5):
        made.head(number).abs_()
    return made.eval()


@pytest.mark.parametrize("name", ["psnr", "ssim", "brisque", "brisque_paper"])
def test_scorers_agree_with_boxes_around_everything(name: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    scorer = metrics.load(name)
    assert scorer(*pair, [(0, 0, 128, 96)]) == pytest.approx(scorer(*pair))
    assert scorer(*pair, []) is None


def test_psnr_of_equal_pictures_is_capped(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert metrics.load("psnr")(pair[0], pair[0]) == 100.0
    assert metrics.load("psnr")(pair[0], pair[0], [(2, 2, 40, 40)]) == 100.0


def test_small_boxes_are_left_out(pair: tuple[np.ndarray, np.ndarray]) -> None:
    for name in ("ssim", "brisque"):
        scorer = metrics.load(name)
        assert scorer(*pair, [(0, 0, 10, 10)]) is None
        assert scorer(*pair, [(0, 0, 10, 10), (20, 20, 90, 90)]) == pytest.approx(scorer(*pair, [(20, 20, 90, 90)]))


def test_crops_are_weighted_by_their_area() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, 20:] = 100
    value = mean_over_crops(lambda _, crop: float(crop.mean()), picture, picture, [(0, 0, 20, 40), (20, 0, 40, 20)], 4)
    assert value == pytest.approx((800 * 0 + 400 * 100) / 1200)


def test_face_box_grows_and_stays_inside() -> None:
    points = np.array([[100, 100], [200, 220]], np.float32)
    assert face_box(points, 1000, 1000) == (90, 58, 211, 233)
    assert face_box(points, 150, 150) == (90, 58, 150, 150)
    assert face_box(points, 50, 50) is None
    assert mask_of([(0, 0, 2, 1), (1, 0, 3, 1)], (2, 4, 3)).tolist() == [[True, True, True, False], [False] * 4]


def test_niqe_equals_the_public_numbers_and_basicsrs(parity_dir: Path) -> None:
    expected = json.loads((parity_dir / "goldens" / "metrics.json").read_text())["single"]
    with np.load(parity_dir / "goldens" / "metrics_images.npz") as stored:
        for name in stored:
            picture = np.ascontiguousarray(stored[name][..., ::-1])
            assert metrics.load("niqe_paper")(picture, picture) == pytest.approx(expected[name]["niqe_y"], abs=1e-3)
            theirs = calculate_metric({"img": stored[name]}, {"type": "calculate_niqe", "crop_border": 0})
            assert metrics.load("niqe")(picture, picture) == pytest.approx(theirs, abs=2e-3)
    assert metrics.load("niqe")(picture, picture, [(0, 0, 150, 256)]) is None


def test_niqe_takes_any_size_but_needs_texture() -> None:
    scorer = metrics.load("niqe")
    smooth = gaussian_filter(np.random.default_rng(0).uniform(0, 255, (200, 310, 3)), (2, 2, 0)).astype(np.uint8)
    whole_blocks = np.ascontiguousarray(smooth[:192, :288])
    assert scorer(smooth, smooth) == pytest.approx(scorer(whole_blocks, whole_blocks))
    flat = np.zeros((200, 200, 3), np.uint8)
    assert scorer(flat, flat) is None


def test_lpips_is_a_distance(network: LPIPS, pair: tuple[np.ndarray, np.ndarray]) -> None:
    scorer = NetworkScorer(network, MINIMUM_PX)
    original, noisy = pair
    assert scorer(original, original) == 0.0
    assert scorer(original, noisy) == pytest.approx(scorer(noisy, original), rel=1e-4)
    assert 0 < scorer(original, noisy) < scorer(original, 255 - original)
    assert scorer(original, noisy, [(0, 0, 40, 40)]) is None
    assert scorer(original, noisy, [(0, 0, 128, 96)]) == pytest.approx(scorer(original, noisy), rel=1e-5)


def test_lpips_follows_its_definition(network: LPIPS, pair: tuple[np.ndarray, np.ndarray]) -> None:
    backbone = alexnet(weights=None).features.eval()
    backbone.load_state_dict({key.removeprefix("features."): value for key, value in network.state_dict().items() if "features" in key})
    mean, std = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    expected = 0.0
    layers = [torch.from_numpy(((picture / 127.5 - 1 - mean) / std).transpose(2, 0, 1)[None]).float() for picture in pair]
    number = 0
    with torch.inference_mode():
        for module in backbone:
            layers = [module(layer) for layer in layers]
            if isinstance(module, torch.nn.ReLU):
                one, two = (layer[0].double().numpy() / np.sqrt((layer[0].double().numpy() ** 2).sum(axis=0)) for layer in layers)
                head = network.head(number)[0, :, 0, 0].double().numpy()
                expected += ((one - two) ** 2 * head[:, None, None]).sum(axis=0).mean()
                number += 1
    assert number == 5
    assert NetworkScorer(network, MINIMUM_PX)(*pair) == pytest.approx(expected, rel=1e-4)


def test_lpips_loads_the_published_layout_strictly(network: LPIPS, pair: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    state = network.state_dict()
    heads = {key: value for key, value in state.items() if key.startswith("lin")}
    assert [(key, tuple(value.shape)) for key, value in heads.items()] == [
        (f"lin{number}.model.1.weight", (1, channels, 1, 1)) for number, channels in enumerate((64, 192, 384, 256, 256))
    ]
    backbone = {key: value for key, value in state.items() if key not in heads} | {"classifier.1.weight": torch.zeros(4, 4)}
    torch.save(backbone, tmp_path / "alexnet.pth")
    torch.save(heads, tmp_path / "heads.pth")
    loaded = lpips.from_files("alex", str(tmp_path / "alexnet.pth"), str(tmp_path / "heads.pth"), device="cpu")
    assert loaded(*pair) == pytest.approx(NetworkScorer(network, MINIMUM_PX)(*pair))
    with pytest.raises(WeightsError, match="missing"):
        lpips.from_files("alex", str(tmp_path / "heads.pth"), str(tmp_path / "heads.pth"))


def test_every_metric_loads_or_says_why_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "fetch", _no_network)
    monkeypatch.setattr(weights, "_torch_cache", lambda: tmp_path)
    for name, metric in metrics.METRICS.items():
        if all((weights.FOLDER / weights.entry(one).file).is_file() for one in metric.weights):
            assert callable(metrics.load_clip(name))
        else:
            with pytest.raises(WeightsError, match=weights.entry(metric.weights[0]).file):
                metrics.load_clip(name)
    with pytest.raises(UserError, match="got 'pnsr'; did you mean psnr"):
        metrics.load("pnsr")


def _no_network(url: str, target: Path, **_: object) -> None:
    msg = f"{target.name}: cannot fetch {url}"
    raise WeightsError(msg)


def test_importing_the_list_is_cheap() -> None:
    code = "import sys, keyframes_gan.metrics; print([name for name in ('torch', 'cv2', 'basicsr') if name in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout.strip() == "[]"


def test_psnr_scorer_is_psnr(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert metrics.load("psnr")(*pair) == pytest.approx(psnr(*pair))
