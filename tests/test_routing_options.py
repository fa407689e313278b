"""The gate of options/infer/routed.yml: every problem with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyframes_gan import options
from keyframes_gan.errors import OptionsError


def test_the_shipped_file_has_the_published_bands(repo_root: Path) -> None:
    routing = options.load_routing(repo_root / "options" / "infer" / "routed.yml")
    assert [(band.from_px, band.expert, band.soft, band.sharp) for band in routing.bands] == [
        (150, "none", None, None),
        (100, None, "T", "F"),
        (50, "T", None, None),
        (0, "none", None, None),
    ]
    assert routing.q_low == 100
    assert {one.restorer for one in routing.experts.values()} == {"srnet"}


EXPERTS = "experts: {T: {restorer: none}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bands: [{from_px: 0, expert: none}]\n", r":1:1: experts: missing"),
        (EXPERTS + "bands: [{from_px: 10, expert: T}]\n", "from_px falling from band to band, to 0 in the last"),
        (EXPERTS + "bands: [{from_px: 10, expert: T}, {from_px: 20, expert: T}, {from_px: 0, expert: T}]\n", "falling"),
        (EXPERTS + "bands: [{from_px: 0, soft: T}]\n", "expected either expert, or soft and sharp"),
        (EXPERTS + "bands: [{from_px: 0, expert: T, soft: T, sharp: T}]\n", "expected either expert"),
        (EXPERTS + "bands: [{from_px: 0, expert: F}]\n", "expected experts of T, none, got F"),
        (EXPERTS + "bands: [{from_px: 0, expert: T}]\nq_lo: 3\n", ":3:1: q_lo: unknown key"),
        ("experts: {T: {restorer: routed}}\nbands: [{from_px: 0, expert: T}]\n", "another restorer than routed"),
        ("", "empty file"),
    ],
)
def test_the_options_gate(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(text)
    with pytest.raises(OptionsError, match=message):
        options.load_routing(path)
