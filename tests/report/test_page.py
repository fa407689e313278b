"""The report: self-contained, escaped, and right in a browser: wide and narrow, light and dark, by mouse and by keyboard."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from keyframes_gan.report import page as pages
from keyframes_gan.report.page import Page, write_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

SPILLING = """() => [...document.querySelectorAll('body *')]
  .filter(one => !one.closest('.scroll *') && !one.closest('svg *') && one.getBoundingClientRect().right > innerWidth + 1)
  .map(one => `${one.tagName}.${one.className}`)"""
CONTRAST = """() => {
  const light = rgb => rgb.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const back = light(getComputedStyle(document.body).backgroundColor);
  return ['body', '.hint', '.good', '.bad', 'dt', 'td'].map(name => light(getComputedStyle(document.querySelector(name)).color))
    .map(one => (Math.max(one, back) + .05) / (Math.min(one, back) + .05));
}"""
SHOWN = """stack => [...stack.querySelectorAll('img')].filter(one => getComputedStyle(one).visibility === 'visible')
  .map(one => [one.dataset.version, getComputedStyle(one).clipPath])"""


@pytest.fixture(scope="module")
def file(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert write_page(page, path) == [path]
    return path


@contextmanager
def opened(browser: Browser, file: Path, width: int = 1280, scheme: Any = "light") -> Iterator[tuple[Tab, list[str]]]:
    """Give the page in a browser without network, and a list of everything it complained about or asked for."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    tab, heard = context.new_page(), list[str]()
    tab.on("console", lambda message: heard.append(message.text))
    tab.on("pageerror", lambda error: heard.append(str(error)))
    tab.on("request", lambda request: None if request.url.startswith(("data:", file.as_uri())) else heard.append(request.url))
    tab.goto(file.as_uri())
    yield tab, heard
    context.close()


def wait_for_video(tab: Tab) -> None:
    """Wait until the first picture is decoded; some builds of Chromium know no H.264."""
    if tab.evaluate("document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.64001f\"')"):
        tab.wait_for_function("document.querySelector('video').readyState >= 2")


def test_the_file_needs_nothing_else(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    addresses = re.findall(r"""(?:src|href|poster|url)\s*[=(]\s*["']?([^"'\s)>]+)""", text)
    assert len(addresses) > 20
    assert {address[:5] for address in addresses} == {"data:"}
    assert "http://" not in text
    assert "https://" not in text


def test_names_are_text(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("<script>") == 1
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_a_large_video_lies_beside(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "EMBEDDED_VIDEO_BYTES", 100)
    first, second = write_page(page, tmp_path / "my report.html")
    assert second == tmp_path / "my report.report_1.mp4"
    assert second.read_bytes() == page.shows[0].evidence.video
    assert 'src="my%20report.report_1.mp4"' in first.read_text(encoding="utf-8")


def test_a_video_beside_the_page_plays(browser: Browser, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "EMBEDDED_VIDEO_BYTES", 100)
    file, video = write_page(page, tmp_path / "my report.html")
    with opened(browser, file) as (tab, heard):
        wait_for_video(tab)
        assert set(heard) == {video.as_uri()}


def test_large_pictures_are_reduced(page: Page, tmp_path: Path) -> None:
    moment = page.shows[0].evidence.moments[0]
    large = dataclasses.replace(moment, pictures={name: np.zeros((10, 4000, 3), np.uint8) for name in moment.pictures})
    text = pages.render(
        Page("t", "l", shows=(dataclasses.replace(page.shows[0], evidence=dataclasses.replace(page.shows[0].evidence, moments=(large,))),)),
        ["data:,"],
    )
    assert len(text) < 2 * len(pages.render(Page("t", "l", shows=page.shows), ["data:,"]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_spills_and_nothing_complains(browser: Browser, file: Path, width: int, scheme: str) -> None:
    with opened(browser, file, width, scheme) as (tab, heard):
        wait_for_video(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate(SPILLING) == []
        assert tab.evaluate("[...document.images].filter(one => !one.complete || !one.naturalWidth || !one.alt).length") == 0
        assert min(tab.evaluate(CONTRAST)) >= 4.5, "WCAG 2.2, 1.4.3"
        assert (tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") == (scheme == "light")
        assert heard == []


def test_the_slider_moves_by_keyboard_and_by_mouse(browser: Browser, file: Path) -> None:
    with opened(browser, file) as (tab, heard):
        stack = tab.locator(".stack").first
        assert dict(stack.evaluate(SHOWN)) == {"restored": "inset(0px 0px 0px 50%)", "input": "inset(0px 50% 0px 0px)"}
        stack.locator("input").focus()
        for _ in range(10):
            tab.keyboard.press("ArrowRight")
        assert dict(stack.evaluate(SHOWN))["restored"] == "inset(0px 0px 0px 60%)"
        tab.keyboard.press("Home")
        assert dict(stack.evaluate(SHOWN))["restored"] in ("inset(0px)", "inset(0px 0px 0px 0%)")
        box = stack.bounding_box()
        assert box is not None
        tab.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 5)
        shown = dict(stack.evaluate(SHOWN))["restored"]
        assert 75 < float(shown.split()[-1].rstrip("%)")) < 85
        assert heard == []


def test_the_picture_under_the_slider_is_the_right_one(browser: Browser, file: Path) -> None:
    """The input is 80 levels darker than the restored version: left of the edge the screen is darker than right of it."""
    with opened(browser, file) as (tab, _):
        import cv2  # noqa: PLC0415

        shot = cv2.imdecode(np.frombuffer(tab.locator(".stack").first.screenshot(), np.uint8), cv2.IMREAD_COLOR).astype(float)
        third = shot.shape[1] // 3
        assert 60 < shot[20:-60, -third:].mean() - shot[20:-60, :third].mean() < 100


def test_a_chart_tells_its_values(browser: Browser, file: Path) -> None:
    """The lines run from (10, 30) to (20, 31), and two higher; at the right edge the last points are nearest."""
    with opened(browser, file) as (tab, heard):
        chart = tab.locator(".chart").first
        chart.hover(position={"x": 300, "y": 100})
        told = tab.locator(".readout").first.inner_text()
        assert told.startswith("at 20: input 31 · <script>")
        assert told.endswith(" 33")
        chart.hover(position={"x": 60, "y": 100})
        assert tab.locator(".readout").first.inner_text().startswith("at 10: input 30 · ")
        assert heard == []


def test_other_versions_can_be_chosen(browser: Browser, file: Path) -> None:
    with opened(browser, file) as (tab, heard):
        tab.get_by_label("Left", exact=False).first.select_option("original")
        for stack in tab.locator(".stack").all():
            assert set(dict(stack.evaluate(SHOWN))) == {"original", "restored"}
            assert stack.locator(".tag.left").inner_text() == "original"
        tab.get_by_label("Left", exact=False).first.select_option("restored")
        assert dict(tab.locator(".stack").first.evaluate(SHOWN)) == {"restored": "none"}
        assert heard == []
