"""The people of a restored video as a table: what they got, and how alike they stayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keyframes_gan.report.grid import Column, Grid, Row

HINT = "Identity: cosine similarity of the restored face to the input (dlib's identities), where it was compared."
IDENTITY = (
    Column("compared", "compared", "frames", decimals=0),
    Column("mean", "identity", "mean", decimals=4),
    Column("min", "identity", "least", decimals=4),
)
ROUTE = (
    Column("frames", "frames", decimals=0),
    Column("w", "width", "px", decimals=1),
    Column("q", "sharpness", decimals=1),
    Column("noise", "noise", "levels", decimals=2),
    Column("ms", "time", "ms a face", decimals=1),
)


def people_grid(about: Mapping[str, Any]) -> Grid | None:
    """Return the table of the people of a pass; None where nothing is known of them.

    Args:
        about: the pass as plain JSON values: `routes`, what experts the people got from frame to frame, or `identity`, by person.
    """
    routes: Sequence[Mapping[str, Any]] = about.get("routes", ())
    identities: Sequence[Mapping[str, Any]] = about.get("identity", ())
    if not routes:
        alone = tuple(Row((f"person {one['person']}",), {column.key: one[column.key] for column in IDENTITY}, {}) for one in identities)
        return Grid("People", ("person",), IDENTITY, alone, hints=(HINT,)) if alone else None
    parts: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for one in sorted(routes, key=lambda one: (one["person"], one["first_frame"])):
        parts.setdefault((one["person"], one["expert"]), []).append(one)
    rows = [Row((f"person {person}", f"expert {expert}"), _values(stretches), {}) for (person, expert), stretches in parts.items()]
    return Grid("People", ("person", "expert"), (*ROUTE, *IDENTITY), tuple(rows), hints=(HINT,))


def _values(stretches: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the values of several stretches of frames together."""
    frames = sum(one["frames"] for one in stretches)
    means = {column.key: sum(one[column.key] * one["frames"] for one in stretches) / frames for column in ROUTE[1:]}
    known = [one["identity"] for one in stretches if one["identity"]]
    if not known:
        return {"frames": frames, **means}
    compared = sum(one["compared"] for one in known)
    mean = sum(one["mean"] * one["compared"] for one in known) / compared
    return {"frames": frames, **means, "compared": compared, "mean": mean, "min": min(one["min"] for one in known)}
