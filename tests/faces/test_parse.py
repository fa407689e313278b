"""Face masks: classes to masks with a network that tells classes by colour. Weights files: `tests/pipeline/test_masks.py`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from keyframes_gan import weights
from keyframes_gan.errors import UserError
from keyframes_gan.faces.parse import NETWORKS, FaceParser, parser_at_hand, soft_mask


class Classes(nn.Module):
    """Gives every pixel the class that stands in its red channel, times ten."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        red = (faces[:, 0] * self.std + self.mean) * 25.5
        return -(red[:, None] - torch.arange(19).view(1, 19, 1, 1)).abs()


def parser(network: str) -> FaceParser:
    made = FaceParser(network, device="cpu")
    made.__dict__["_model"] = Classes(NETWORKS[network].mean[0], NETWORKS[network].std[0]), torch.device("cpu")
    return made


@pytest.mark.parametrize(("network", "neck", "hair"), [("bisenet", 14, 17), ("parsenet", 17, 13)])
def test_skin_and_hair_are_face_and_neck_is_not(network: str, neck: int, hair: int) -> None:
    crops = np.zeros((5, 512, 512, 3), np.uint8)
    crops[:, 80:400, 80:260] = 10
    crops[:, 80:400, 260:400] = 10 * hair
    crops[:, 400:] = 10 * neck
    masks = parser(network).masks(crops)
    assert masks.shape == (5, 512, 512)
    assert masks.dtype == np.float32
    assert masks[:, 220:260, 160:340].min() > 0.99
    assert masks[:, 470:].max() < 0.01
    assert masks[:, :20].max() < 0.01
    assert 0.4 < masks[0, 399, 200] < 0.6


def test_the_classes_are_those_of_the_network_at_512() -> None:
    crops = np.full((1, 512, 512, 3), 30, np.uint8)
    crops[:, 100:] = 180
    found = parser("bisenet").classes(crops)
    assert found.dtype == np.uint8
    assert set(np.unique(found[0, :100])) == {3}
    assert set(np.unique(found[0, 100:])) == {18}


def test_a_soft_mask_falls_to_nothing_at_the_border_of_the_crop() -> None:
    mask = soft_mask(np.ones((512, 512), np.float32), 384)
    assert mask.shape == (384, 384)
    assert mask[192, 192] == pytest.approx(1)
    assert mask[0].max() < 0.02
    assert mask[192, 12] == pytest.approx(0.5 - 0.5 * math.cos(math.pi * 12.5 / 38.4), abs=1e-3)
    assert mask[192, 40] == pytest.approx(1, abs=1e-3)


def test_an_unknown_network_and_a_wrong_shape_are_named() -> None:
    with pytest.raises(UserError, match="bisenet, parsenet, got 'unet'"):
        FaceParser("unet")
    with pytest.raises(ValueError, match="FaceParser: crops"):
        parser("bisenet").masks(np.zeros((64, 64, 3), np.uint8))


def test_a_parser_is_at_hand_when_its_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = weights.entries()
    monkeypatch.setattr(weights, "entries", lambda: rows)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    monkeypatch.setattr(weights, "_torch_cache", lambda: tmp_path)
    assert parser_at_hand() is None
    (tmp_path / rows["parsenet"].file).write_bytes(b"")
    found = parser_at_hand()
    assert found is not None
    assert found.network == "parsenet"
