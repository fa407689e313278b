"""The report: one HTML file with everything inside, so that it opens anywhere, years later, without a network.

Text goes through Jinja's escaping. A content security policy in the page forbids every request; the only thing that may lie beside it is a
comparison video too large to be embedded.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import cv2
import jinja2
import numpy as np
from markupsafe import Markup

from keyframes_gan.report.evidence import Evidence, Profile
from keyframes_gan.report.files import write_bytes
from keyframes_gan.report.grid import Grid, notes
from keyframes_gan.report.pictures import side_by_side
from keyframes_gan.types import Image

EMBEDDED_VIDEO_BYTES = 4_000_000
"""Larger videos lie beside the page."""
PICTURE_QUALITY = 95
PICTURE_PX = 1280
"""Longer sides are reduced to this on the page."""
PROFILE_SHAPE = 0.5
"""A scan line's frames are drawn at least so high as a share of their width."""
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Chart:
    """A drawing with its title."""

    title: str
    svg: Markup


@dataclass(frozen=True)
class ChartGroup:
    """Charts that share a legend: `names` in the order of their styles."""

    title: str
    charts: tuple[Chart, ...]
    names: tuple[tuple[str, int], ...]
    text: str = ""


@dataclass(frozen=True)
class Show:
    """The pictures of one video."""

    title: str
    evidence: Evidence
    curves: ChartGroup | None = None


@dataclass(frozen=True)
class Page:
    """What the report tells, in its order. `facts` are (name, value) about the whole: protocol, machine, versions."""

    title: str
    lead: str
    grids: tuple[Grid, ...] = ()
    charts: tuple[ChartGroup, ...] = ()
    shows: tuple[Show, ...] = ()
    facts: tuple[tuple[str, str], ...] = field(default=())


def write_page(page: Page, path: Path | str) -> list[Path]:
    """Write the report, and beside it the videos that are too large for it; return all paths, the report first.

    Raises:
        MediaError: a file cannot be written.
    """
    path = Path(path)
    videos: list[str] = []
    linked: list[Path] = []
    for number, show in enumerate(page.shows, 1):
        data = show.evidence.video
        if len(data) <= EMBEDDED_VIDEO_BYTES:
            videos.append(data_uri(data, "video/mp4"))
        else:
            beside = path.with_name(f"{path.stem}.report_{number}.mp4")
            linked.append(write_bytes(data, beside))
            videos.append(quote(beside.name))
    return [write_bytes(render(page, videos).encode(), path), *linked]


def render(page: Page, videos: Sequence[str]) -> str:
    """Return the page's HTML; `videos` are the addresses of the comparison videos, one for each of `page.shows`."""
    loader = jinja2.FileSystemLoader(FOLDER)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"picture": picture_uri, "pixels": pixels_uri, "profile": profile_uri, "poster": poster_uri}
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        page=page,
        videos=videos,
        notes=notes,
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),  # noqa: S704  # our own file
        script=Markup(script),  # noqa: S704  # our own file
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def data_uri(data: bytes, kind: str) -> Markup:
    """Return bytes of a media type as an address."""
    return Markup(f"data:{kind};base64,{base64.b64encode(data).decode()}")  # noqa: S704  # base64 has nothing to escape


def picture_uri(picture: Image) -> Markup:
    """Return a picture for looking at: WebP, reduced to `PICTURE_PX`."""
    longest = max(picture.shape[:2])
    if longest > PICTURE_PX:
        size = [max(1, round(side * PICTURE_PX / longest)) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return data_uri(_encoded(picture, ".webp", cv2.IMWRITE_WEBP_QUALITY, PICTURE_QUALITY), "image/webp")


def pixels_uri(picture: Image) -> Markup:
    """Return a small picture with every pixel as it is: PNG."""
    return data_uri(_encoded(picture, ".png", cv2.IMWRITE_PNG_COMPRESSION, 9), "image/png")


def profile_uri(profile: Profile, name: str) -> Markup:
    """Return a version's scan line over time, each frame's line repeated until the picture is high enough to be read."""
    lines = profile.pictures[name]
    times = max(1, round(PROFILE_SHAPE * lines.shape[1] / len(lines)))
    return pixels_uri(np.ascontiguousarray(np.repeat(lines, times, axis=0)))


def poster_uri(evidence: Evidence) -> Markup:
    """Return what the comparison video shows at the first moment, for as long as it does not play."""
    pictures = evidence.moments[0].pictures
    return picture_uri(side_by_side([pictures[name] for name in evidence.shown], evidence.shown))


def _encoded(picture: Image, suffix: str, option: int, value: int) -> bytes:
    return bytes(cv2.imencode(suffix, picture[..., ::-1], [option, value])[1])
