"""The table of people: stretches of one person with one expert become one row."""

from __future__ import annotations

from typing import Any

import pytest

from keyframes_gan.report.people import people_grid


def stretch(person: int, first: int, frames: int, expert: str, w: float, identity: tuple[int, float, float] | None) -> dict[str, Any]:
    alike = None if identity is None else dict(zip(("compared", "mean", "min"), identity, strict=True))
    around = {"person": person, "first_frame": first, "last_frame": first + frames - 1, "frames": frames, "expert": expert, "reason": "so"}
    return {**around, "w": w, "q": 2 * w, "noise": 1.0, "ms": 10.0, "identity": alike}


def test_a_row_for_every_person_and_expert() -> None:
    routes = [
        stretch(2, 0, 10, "T", 60, (1, 0.97, 0.97)),
        stretch(1, 0, 40, "none", 200, None),
        stretch(2, 10, 20, "F", 110, None),
        stretch(2, 30, 30, "T", 80, (3, 0.99, 0.95)),
    ]
    grid = people_grid({"routes": routes, "identity": []})
    assert grid is not None
    assert [row.names for row in grid.rows] == [("person 1", "expert none"), ("person 2", "expert T"), ("person 2", "expert F")]
    assert grid.rows[1].values == pytest.approx(
        {"frames": 40, "w": 75.0, "q": 150.0, "noise": 1.0, "ms": 10.0, "compared": 4, "mean": 0.985, "min": 0.95}
    )
    assert not {"compared", "mean", "min"} & grid.rows[2].values.keys()


def test_without_routes_the_identities_alone_and_without_these_nothing() -> None:
    grid = people_grid({"identity": [{"person": 3, "compared": 2, "mean": 0.98, "min": 0.97}], "mask": "soft"})
    assert grid is not None
    assert [(row.names, row.values) for row in grid.rows] == [(("person 3",), {"compared": 2, "mean": 0.98, "min": 0.97})]
    assert people_grid({"frames": 3}) is None
