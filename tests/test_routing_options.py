"""The gate of options/infer/routed.yml: every problem with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyframes_gan import options
from keyframes_gan.errors import OptionsError
from keyframes_gan.options.routed import Routing, Steadiness


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
    steady = routing.steadiness
    assert (steady.detect_every, steady.box_life) == (12, 12)
    assert (steady.centre.min_cutoff, steady.centre.beta, steady.centre.d_cutoff) == (1.2, 0.007, 1.0)
    assert (steady.size.min_cutoff, steady.size.beta, steady.size.d_cutoff) == (1.0, 0.010, 1.0)
    assert steady == Steadiness()
    assert routing.min_identity == Routing.model_fields["min_identity"].default == 0.97


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
        (
            EXPERTS + "bands: [{from_px: 0, expert: T}]\nsteadiness: {detect_every: 0}\n",
            "detect_every: expected greater than",
        ),
        (EXPERTS + "bands: [{from_px: 0, expert: T}]\nsteadiness: {box_life: 51}\n", "box_life: expected less than"),
        (EXPERTS + "bands: [{from_px: 0, expert: T}]\nsteadiness: {size: {min_cutoff: 0, beta: 0, d_cutoff: 1}}\n", "size.min_cutoff: exp"),
        (EXPERTS + "bands: [{from_px: 0, expert: T}]\nsteadiness: {centre: {min_cutoff: 1}}\n", "centre.beta: missing"),
        (EXPERTS + "bands: [{from_px: 0, expert: T}]\nmin_identity: 97\n", "min_identity: expected less than"),
        ("", "empty file"),
    ],
)
def test_the_options_gate(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(text)
    with pytest.raises(OptionsError, match=message):
        options.load_routing(path)
