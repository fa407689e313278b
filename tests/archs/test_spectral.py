"""Spectral normalisation against singular values, folding against the layers it replaces."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from archs.spectral import PaddingMode, SpectralConv2d, fold_batch_norm, fold_spectral


def test_the_largest_singular_value_becomes_one() -> None:
    torch.manual_seed(0)
    conv = SpectralConv2d(4, 6)
    for _ in range(200):
        conv.weight()
    largest = torch.linalg.svdvals(conv.weight_orig.detach().flatten(1))[0]
    torch.testing.assert_close(conv.weight(), conv.weight_orig / largest, rtol=1e-4, atol=1e-6)


def test_the_power_iteration_rests_in_eval_mode() -> None:
    conv = SpectralConv2d(4, 6).eval()
    before = conv.weight_u.clone(), conv.weight_v.clone()
    conv.weight()
    assert torch.equal(conv.weight_u, before[0])
    assert torch.equal(conv.weight_v, before[1])
    conv.train().weight()
    assert not torch.equal(conv.weight_u, before[0])


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_folded_convolution_is_equal(mode: PaddingMode, bias: bool) -> None:
    torch.manual_seed(1)
    conv = SpectralConv2d(3, 5, stride=2, padding=2, dilation=2, padding_mode=mode, bias=bias)
    for _ in range(20):
        conv.weight()
    conv.eval()
    picture = torch.rand(2, 3, 16, 12)
    torch.testing.assert_close(fold_spectral(conv)(picture), conv(picture), rtol=0, atol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_a_folded_batch_norm_is_equal(bias: bool) -> None:
    torch.manual_seed(2)
    conv, norm = nn.Conv2d(3, 5, 3, padding=1, padding_mode="circular", bias=bias), nn.BatchNorm2d(5)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    picture = torch.rand(2, 3, 8, 8)
    norm.eval()
    torch.testing.assert_close(fold_batch_norm(conv, norm)(picture), norm(conv(picture)), rtol=0, atol=1e-5)


def test_a_batch_norm_without_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="running statistics"):
        fold_batch_norm(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, track_running_stats=False))
