"""Checkpoints are whole or not there, and reading one runs nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from keyframes_gan.errors import UserError, WeightsError
from keyframes_gan.models import checkpoints


class Hostile:
    """Would make a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def state(models: Path, states: Path, number: int) -> None:
    models.mkdir(exist_ok=True)
    states.mkdir(exist_ok=True)
    name = f"net_g_{number}.pth"
    checkpoints.save_torch({"params": {}}, models / name)
    checkpoints.save_torch({"format": 1, "iter": number, "networks": {"g": name}}, states / f"{number}.state")


def test_round_trip_leaves_one_file(tmp_path: Path) -> None:
    checkpoints.save_torch({"a": torch.arange(3)}, tmp_path / "x.pth")
    assert checkpoints.load_torch(tmp_path / "x.pth")["a"].tolist() == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.pth"
    checkpoints.save_torch(1, target)

    def fail(part: Path) -> None:
        part.write_bytes(b"half")
        msg = "[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file"
        raise RuntimeError(msg)

    with pytest.raises(UserError, match="free some space"):
        checkpoints.write_atomically(target, fail)
    assert checkpoints.load_torch(target) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_hostile_and_truncated_files_are_refused(tmp_path: Path) -> None:
    torch.save(Hostile(tmp_path / "ran"), tmp_path / "hostile.pth")
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        checkpoints.load_torch(tmp_path / "hostile.pth")
    assert not (tmp_path / "ran").exists()
    checkpoints.save_torch(torch.zeros(1000), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:1500])
    for name in ("cut.pth", "missing.pth"):
        with pytest.raises(WeightsError, match=name):
            checkpoints.load_torch(tmp_path / name)


def test_newest_state_passes_over_what_is_broken(tmp_path: Path) -> None:
    models, states = tmp_path / "models", tmp_path / "states"
    assert checkpoints.newest_state(states, models) is None
    for number in (5, 10, 15, 20):
        state(models, states, number)
    found = checkpoints.newest_state(states, models)
    assert found is not None
    assert found["iter"] == 20
    (states / "20.state").write_bytes(b"PK half")
    (models / "net_g_15.pth").unlink()
    found = checkpoints.newest_state(states, models)
    assert found is not None
    assert found["iter"] == 10


def test_states_of_others_are_named(tmp_path: Path) -> None:
    checkpoints.save_torch({"epoch": 3, "iter": 5}, tmp_path / "5.state")
    with pytest.raises(WeightsError, match=r"expected a training state that train\.py wrote"):
        checkpoints.load_state(tmp_path / "5.state")


def test_prune_keeps_the_newest(tmp_path: Path) -> None:
    models, states = tmp_path / "models", tmp_path / "states"
    for number in (5, 10, 15):
        state(models, states, number)
    checkpoints.save_torch(1, models / "net_g_latest.pth")
    checkpoints.prune(states, models, 0)
    assert len(list(states.iterdir())) == 3
    checkpoints.prune(states, models, 2)
    assert sorted(path.name for path in states.iterdir()) == ["10.state", "15.state"]
    assert sorted(path.name for path in models.iterdir()) == ["net_g_10.pth", "net_g_15.pth", "net_g_latest.pth"]


def test_loading_strictly_and_not(tmp_path: Path) -> None:
    net = torch.nn.Linear(2, 2)
    given = {"weight": torch.ones(2, 2), "bias": torch.ones(3), "other": torch.ones(1)}
    with pytest.raises(WeightsError, match="bias"):
        checkpoints.load_into(net, given, "file.pth")
    before = net.bias.detach().clone()
    checkpoints.load_into(net, given, "file.pth", strict=False)
    assert torch.equal(net.weight, torch.ones(2, 2))
    assert torch.equal(net.bias, before)


def test_export_carries_metadata(tmp_path: Path) -> None:
    checkpoints.export({"a": torch.arange(6).reshape(2, 3).t()}, tmp_path / "x.safetensors", {"arch": "Net", "iteration": "7"})
    with safe_open(tmp_path / "x.safetensors", framework="pt") as stored:
        assert stored.metadata() == {"arch": "Net", "iteration": "7"}
        assert stored.get_tensor("a").tolist() == [[0, 3], [1, 4], [2, 5]]


def test_commit_of_a_folder_without_git(tmp_path: Path) -> None:
    assert checkpoints.commit(tmp_path) == "unknown"
