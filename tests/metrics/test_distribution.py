"""FID: closed forms of Gaussians, the union of clips, resizing against Pillow, and the network against torchvision's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.linalg import sqrtm
from torchvision.models import inception_v3

from archs.inception_arch import BlockA, BlockE, InceptionFID
from keyframes_gan.metrics.clips import ClipScore, Frames, Strip
from keyframes_gan.metrics.distribution import FrechetScorer, Moments, frechet, resized


def test_distance_of_axis_aligned_gaussians() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(500, 6))
    base = (base - base.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(base.T))).T
    one, two = (Moments.of(base * scale + shift) for scale, shift in ((np.arange(1, 7), 0), (2, np.arange(6))))
    expected = (np.arange(6) ** 2).sum() + ((np.arange(1, 7) - 2) ** 2).sum()
    assert frechet(one, two) == pytest.approx(expected, rel=1e-9)
    assert frechet(one, one) == pytest.approx(0, abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_distance_agrees_with_the_matrix_root_and_is_symmetric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = [rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5)) + rng.normal(size=5) for _ in range(2)]
    one, two = (Moments.of(sample) for sample in samples)
    covariances = [np.cov(sample.T) for sample in samples]
    assert np.allclose(one.covariance, covariances[0])
    root = sqrtm(covariances[0] @ covariances[1]).real
    shift = samples[0].mean(axis=0) - samples[1].mean(axis=0)
    expected = shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet(one, two) == pytest.approx(expected, rel=1e-6, abs=1e-8)
    assert frechet(one, two) == pytest.approx(frechet(two, one), rel=1e-6, abs=1e-8)


def _levels(pictures: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack([[picture.mean(), picture.std()] for picture in pictures]) if pictures else np.zeros((0, 2))


def test_clips_are_pooled() -> None:
    rng = np.random.default_rng(0)
    original, judged = rng.integers(0, 256, (2, 8, 40, 40, 3), dtype=np.uint8)
    parts = []
    for first, last in ((0, 3), (3, 8)):
        scorer = FrechetScorer(_levels)
        scorer.add(Frames(Strip(list(original[first:last])), Strip(list(judged[first:last]))))
        parts.append(scorer.finish())
    assert parts[0].values == (None,) * 3
    assert parts[0].value is None
    together = frechet(Moments.of(_levels(list(original))), Moments.of(_levels(list(judged))))
    assert (parts[0].pool + parts[1].pool).value() == pytest.approx(together)


def test_boxes_are_cut_out_and_small_ones_left_out() -> None:
    pictures = [np.full((64, 64, 3), level, np.uint8) for level in (0, 100)]
    scorer = FrechetScorer(_levels)
    boxes = [[(0, 0, 32, 32), (0, 0, 40, 40)], [(0, 0, 10, 40)]]
    scorer.add(Frames(Strip(pictures), Strip(pictures), boxes=boxes))
    assert scorer.finish().pool.judged.count == 2
    empty = FrechetScorer(_levels)
    empty.add(Frames(Strip(pictures), Strip(pictures), boxes=[[], []]))
    assert empty.finish().pool.value() is None
    assert FrechetScorer(_levels).finish() == ClipScore((), None)


@pytest.mark.parametrize("shape", [(420, 330), (100, 180)])
def test_resizing_is_that_of_pillow(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    planes = [
        Image.fromarray(picture[..., channel].astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC) for channel in range(3)
    ]
    found = resized(torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()))[0].numpy()
    assert np.abs(found - np.stack([np.asarray(plane) for plane in planes])).max() < 0.02


def test_the_network_has_torchvisions_keys() -> None:
    torch.manual_seed(0)
    network = InceptionFID().eval()
    plain = inception_v3(weights=None, init_weights=False, num_classes=1008, aux_logits=False)
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    assert {key: value.shape for key, value in network.state_dict().items()} == shapes
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 299, 299) * 255).shape == (1, 2048)
    with pytest.raises(ValueError, match="expected \\(N, 3, 299, 299\\), got \\(1, 3, 256, 256\\)"):
        network(torch.zeros(1, 3, 256, 256))


def test_blocks_pool_as_the_original_does() -> None:
    block = BlockA(8, 4).eval()
    features = torch.rand(1, 8, 5, 5)
    counts = torch.nn.functional.conv2d(torch.ones(1, 1, 5, 5), torch.ones(1, 1, 3, 3), padding=1)
    sums = torch.nn.functional.conv2d(features.transpose(0, 1), torch.ones(1, 1, 3, 3), padding=1).transpose(0, 1)
    with torch.inference_mode():
        assert torch.allclose(block._forward(features)[-1], block.branch_pool(sums / counts), atol=1e-6)
        maxima = BlockE(8, maxima=True).eval()
        padded = torch.nn.functional.pad(features, (1, 1, 1, 1), value=-1).unfold(2, 3, 1).unfold(3, 3, 1).amax(dim=(4, 5))
        assert torch.allclose(maxima._forward(features)[-1], maxima.branch_pool(padded), atol=1e-6)
