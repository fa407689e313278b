"""VGG19 features: names, layout, preparation of the input. (The numbers are compared in test_dmsasff.)"""

from __future__ import annotations

import pytest
import torch

from archs.vgg_arch import VGG19Features, layer_names, rename_torchvision


def test_the_layers_are_torchvisions() -> None:
    names = layer_names()
    assert len(names) == 37
    assert [names[index] for index in (0, 7, 16, 25, 34, 36)] == ["conv1_1", "conv2_2", "conv3_4", "conv4_4", "conv5_4", "pool5"]


def test_torchvisions_keys_are_renamed() -> None:
    state = {"features.0.weight": torch.zeros(1), "features.34.bias": torch.ones(1), "classifier.0.weight": torch.zeros(1)}
    assert set(rename_torchvision(state)) == {"vgg_net.conv1_1.weight", "vgg_net.conv5_4.bias"}


@torch.no_grad()
def test_features_have_the_documented_shapes_and_survive_the_next_layer() -> None:
    torch.manual_seed(0)
    net = VGG19Features(["conv1_2", "relu1_2", "pool1", "relu3_4"])
    found = net(torch.rand(2, 3, 32, 16))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "conv1_2": (2, 64, 32, 16),
        "relu1_2": (2, 64, 32, 16),
        "pool1": (2, 64, 16, 8),
        "relu3_4": (2, 256, 8, 4),
    }
    assert found["conv1_2"].min() < 0
    assert torch.equal(found["relu1_2"], found["conv1_2"].clamp(min=0))
    assert not any("conv4" in key for key in net.state_dict())


@torch.no_grad()
def test_the_input_is_prepared_as_said() -> None:
    torch.manual_seed(0)
    plain = VGG19Features(["conv1_1"], use_input_norm=False)
    picture = torch.rand(1, 3, 16, 16)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for range_norm in (False, True):
        net = VGG19Features(["conv1_1"], range_norm=range_norm)
        net.vgg_net.load_state_dict(plain.vgg_net.state_dict())
        ready = (picture + 1) / 2 if range_norm else picture
        ready = (ready - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        torch.testing.assert_close(net(picture)["conv1_1"], plain(ready)["conv1_1"])


def test_it_is_frozen_but_lets_gradients_through() -> None:
    net = VGG19Features(["relu2_2"])
    picture = torch.rand(1, 3, 16, 16, requires_grad=True)
    net(picture)["relu2_2"].sum().backward()
    assert picture.grad is not None
    assert not any(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("layers", [["relu6_1"], []])
def test_an_unknown_layer_is_named(layers: list[str]) -> None:
    with pytest.raises(ValueError, match="relu5_4"):
        VGG19Features(layers)
