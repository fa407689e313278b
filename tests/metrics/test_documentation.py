"""docs/metrics.md says of every metric what the list says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keyframes_gan import weights
from keyframes_gan.metrics import METRICS


@pytest.fixture(scope="module")
def rows(repo_root: Path) -> dict[str, list[str]]:
    lines = (repo_root / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    return {row[0].strip("` "): row for row in cells}


def test_every_metric_has_a_row(rows: dict[str, list[str]]) -> None:
    assert set(rows) == {*METRICS, "pyiqa:NAME"}


@pytest.mark.parametrize("name", METRICS)
def test_direction_unit_and_weights_agree(name: str, rows: dict[str, list[str]]) -> None:
    metric, (_, better, unit, definition) = METRICS[name], rows[name]
    assert (better, unit) == (metric.better, metric.unit)
    if metric.weights and not name.startswith(("tlpips", "sigma", "vidd")):
        assert all(f"`{one}`" in definition for one in metric.weights)
    assert set(metric.weights) <= set(weights.entries())
    assert re.fullmatch(r"[a-z_]+", name)
