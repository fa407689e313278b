"""Muon on convolutions equals torch's on the same matrices, its other half equals torch's AdamW, and a run goes on exactly where it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from keyframes_gan.models.muon import Muon, orthogonal

SETTINGS = {"lr": 1e-2, "weight_decay": 0.1}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 10, 3), nn.Conv2d(10, 4, 1), nn.Conv2d(4, 2, 3))


def gradients(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_what_it_gives_back_is_nearly_orthogonal_and_points_the_same_way() -> None:
    matrix = torch.randn(8, 30, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    for given, exact in ((matrix, left @ right), (matrix.T, (left @ right).T)):
        made = orthogonal(given)
        assert torch.linalg.svdvals(made).sub(1).abs().max() < 0.35
        assert nn.functional.cosine_similarity(made.flatten(), exact.flatten(), dim=0) > 0.97


def test_the_middle_moves_as_by_torchs_muon_and_the_rest_as_by_adamw() -> None:
    net = network()
    ours = Muon(net.parameters(), **SETTINGS, betas=(0.9, 0.99))
    copied = copy.deepcopy(net)
    inner = [copied[1].weight, copied[2].weight]
    matrices = [nn.Parameter(weight.detach().flatten(1).clone()) for weight in inner]
    muon = torch.optim.Muon(matrices, **SETTINGS, adjust_lr_fn="match_rms_adamw")
    others = [parameter for parameter in copied.parameters() if all(parameter is not weight for weight in inner)]
    adamw = torch.optim.AdamW(others, **SETTINGS, betas=(0.9, 0.99))
    for seed in range(4):
        gradients(net, seed)
        gradients(copied, seed)
        for matrix, weight in zip(matrices, inner, strict=True):
            matrix.grad = weight.grad.flatten(1)  # type: ignore[union-attr]
        for optimizer in (ours, muon, adamw):
            optimizer.step()
    for index in (1, 2):
        torch.testing.assert_close(net[index].weight.flatten(1), matrices[index - 1], rtol=0, atol=1e-3)
        assert (net[index].weight - copied[index].weight).abs().max() > SETTINGS["lr"]
    for name, parameter in copied.named_parameters():
        if any(parameter is one for one in others):
            torch.testing.assert_close(net.get_parameter(name), parameter, rtol=1e-5, atol=1e-7)


def test_memory_layout_does_not_matter() -> None:
    nets = [network(), network().to(memory_format=torch.channels_last)]
    for net in nets:
        optimizer = Muon(net.parameters(), **SETTINGS)
        gradients(net, 3)
        optimizer.step()
    for here, there in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(here, there)


def test_a_stored_state_continues_exactly() -> None:
    def run(net: nn.Module, optimizer: Muon, seeds: range) -> list[Tensor]:
        for seed in seeds:
            gradients(net, seed)
            optimizer.step()
        return [parameter.detach().clone() for parameter in net.parameters()]

    whole = network()
    expected = run(whole, Muon(whole.parameters(), **SETTINGS), range(6))
    first = network()
    optimizer = Muon(first.parameters(), **SETTINGS)
    run(first, optimizer, range(3))
    second = copy.deepcopy(first)
    resumed = Muon(second.parameters(), **SETTINGS)
    resumed.load_state_dict(optimizer.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(run(second, resumed, range(3, 6)), expected, strict=True))


@pytest.mark.parametrize("without", ["weight", "bias"])
def test_parameters_without_gradients_stay(without: str) -> None:
    net = network()
    before = copy.deepcopy(net)
    gradients(net, 0)
    getattr(net[1], without).grad = None
    Muon(net.parameters(), **SETTINGS).step()
    assert torch.equal(getattr(net[1], without), getattr(before[1], without))
