"""The bank of key frames against the published method's traces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.types import Reference

PICTURE = np.zeros((8, 8, 3), dtype=np.uint8)


def reference(landmarks: Any) -> Reference:
    return Reference(PICTURE, None, np.asarray(landmarks, dtype=np.float32), None)


def at(value: float) -> npt.NDArray[np.float32]:
    return np.full((68, 2), value, dtype=np.float32)


@pytest.fixture(scope="module")
def golden(parity_dir: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((parity_dir / "goldens" / "keyframe_lfu.json").read_text())
    return loaded


def padded(usage: tuple[float, ...], capacity: int) -> list[float]:
    return [*usage, *[0.0] * (capacity - len(usage))]


def follow(memory: KeyframeMemory, steps: list[dict[str, Any]], landmarks: Iterator[Any]) -> None:
    for step, points in zip(steps, landmarks, strict=True):
        now = np.asarray(points, dtype=np.float32)
        if step.get("is_key"):
            if "usage_before_key" in step:
                assert padded(memory.usage, memory.capacity) == step["usage_before_key"]
            evicted = memory.add(reference(now), step["frame"])
            if "usage_after_key" in step:
                assert evicted == step["evicted"]
                assert padded(memory.usage, memory.capacity) == step["usage_after_key"]
        assert list(memory.keys) == step["keyframes"]
        if "distances" in step:
            np.testing.assert_allclose(memory.distances(now), step["distances"], atol=1e-5)
        chosen = memory.choose(now)
        assert chosen is memory.references[step["chosen_slot"]]
        if "chosen_frame" in step:
            assert memory.keys[step["chosen_slot"]] == step["chosen_frame"]
        assert padded(memory.usage, memory.capacity) == step["usage"]


@pytest.mark.parametrize("case", range(4))
def test_traces_of_the_published_method(golden: dict[str, Any], case: int) -> None:
    wanted = golden["cases"][case]
    follow(KeyframeMemory(wanted["max_keyframes"]), wanted["trace"], iter(wanted["landmarks"]))


def test_ties(golden: dict[str, Any]) -> None:
    base = np.asarray(golden["ties"]["base"])
    trace = golden["ties"]["trace"]
    follow(KeyframeMemory(2), trace, iter([base + step["shift"] for step in trace]))


def test_every_case_was_followed(golden: dict[str, Any]) -> None:
    assert len(golden["cases"]) == 4


def test_lru_drops_what_was_not_used_for_longest() -> None:
    memory = KeyframeMemory(2, "lru")
    for key, value in (("a", 0.0), ("b", 100.0)):
        memory.add(reference(at(value)), key)
    memory.choose(at(1.0))
    assert memory.add(reference(at(200.0)), "c") == "b"
    assert memory.keys == ("a", "c")


def test_all_keeps_everything() -> None:
    memory = KeyframeMemory(1, "all")
    assert [memory.add(reference(at(value)), value) for value in range(7)] == [None] * 7
    assert len(memory) == 7


@pytest.mark.parametrize("policy", ["lfu", "lru"])
def test_pinned_references_stay(policy: str) -> None:
    memory = KeyframeMemory(1, policy)
    memory.add(reference(at(0.0)), "photo", pinned=True)
    assert memory.add(reference(at(50.0)), 1) is None
    assert memory.add(reference(at(60.0)), 2) == 1
    assert memory.keys == ("photo", 2)
    assert memory.choose(at(1.0)) is memory.references[0]


def test_empty_memory_chooses_nothing() -> None:
    assert KeyframeMemory(3).choose(at(0.0)) is None


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="expected one of lfu, lru, all, got 'fifo'"):
        KeyframeMemory(3, "fifo")
    with pytest.raises(ValueError, match="at least 1, got 0"):
        KeyframeMemory(0)
    with pytest.raises(ValueError, match=r"KeyframeMemory\.choose landmarks"):
        KeyframeMemory(1).choose(np.zeros((5, 2), dtype=np.float32))
