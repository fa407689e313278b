"""A report made of small videos, and a browser to look at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from keyframes_gan.report.charts import Axis, Line, line_chart
from keyframes_gan.report.evidence import Evidence, gather
from keyframes_gan.report.grid import Column, Grid, Row
from keyframes_gan.report.page import Chart, ChartGroup, Page, Show
from keyframes_gan.video.compress import encode_frames
from keyframes_gan.video.write import Encoding

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = '<script>alert("1")</script> & "a very long name without any place to break it apart"_and_more_of_it'


@pytest.fixture(scope="session")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Three versions of a drifting texture, 12 frames of 160x120: as it is, darker, and brighter with a name that is no name."""
    folder = tmp_path_factory.mktemp("versions")
    texture = np.random.default_rng(0).integers(60, 160, (120, 200, 3)).astype(np.uint8)
    versions = {}
    for number, (name, level) in enumerate({"input": -40, "restored": 40, "original": 0, HOSTILE: 60}.items()):
        pictures = [np.ascontiguousarray(texture[:, index : index + 160]) + np.int16(level) for index in range(12)]
        versions[name] = folder / f"{number}.mkv"
        encoding = Encoding(codec="ffv1", pixel_format="bgr0")
        encode_frames([picture.astype(np.uint8) for picture in pictures], versions[name], rate=25, encoding=encoding)
    return gather(versions, before="input", after="restored")


@pytest.fixture(scope="session")
def page(evidence: Evidence) -> Page:
    """A page with everything on it, and with names that would break one made without escaping."""
    columns = tuple(Column(f"m{at}", f"metric {at}", "dB", at % 2 == 0, 3) for at in range(10))
    columns = (*columns, Column("fid", "FID", "", False, 1, reason=HOSTILE))
    rows = tuple(
        Row(("set", "crf42", name), {f"m{at}": 30.0 + at + index for at in range(10)}, {"m1": 0.5, "m2": -0.25, "m3": 0.0} if index else {})
        for index, name in enumerate(("input", HOSTILE, "restored"))
    )
    grid = Grid(HOSTILE, ("data set", "degradation", "method"), columns, rows, "input")
    lines = [Line("input", ((10, 30), (20, 31)), 0), Line(HOSTILE, ((10, 32), (20, 33)), 1)]
    chart = Chart(HOSTILE, line_chart(lines, Axis("kbit/s", log=True), Axis("PSNR [dB]")))
    group = ChartGroup("Rate against quality", (chart, chart), (("input", 0), (HOSTILE, 1)), HOSTILE)
    return Page(HOSTILE, HOSTILE, (grid,), (group,), (Show(HOSTILE, evidence, group),), (("processor", HOSTILE),))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: $CHROMIUM, or the one on the path."""
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None or not Path(program).is_file():
        pytest.skip("there is no Chromium here; install it (Debian: chromium), or name it in $CHROMIUM")
    playwright: Any = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()
