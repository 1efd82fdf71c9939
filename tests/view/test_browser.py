"""The page in a real browser: by keyboard, on a narrow screen, and without a word to anybody else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmgen.data.writing.rejected import read_rejected

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"needs one of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, browse: Any, run: Path, phantom_files: dict[str, Path]) -> Iterator[Any]:
    """The page of a run beside real data, 400 pixels wide, in a browser that goes nowhere else."""
    browser = browse(run, [f"{name}={path}" for name, path in phantom_files.items()])
    context = chromium.new_context(viewport={"width": 400, "height": 800})
    page, faults = context.new_page(), []
    page.set_default_timeout(60_000)
    page.on("request", lambda asked: None if browser.host in asked.url else faults.append(asked.url))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(browser.server.url)
    yield page
    context.close()
    assert faults == []


def test_a_sample_is_rejected_by_keyboard(page: Any, run: Path) -> None:
    assert "token" not in page.url
    button = page.locator("[data-reject]").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    page.locator("#status", has_text="is rejected").wait_for()
    assert button.get_attribute("aria-pressed") == "true" and page.locator("#rejected-count").inner_text() == "1"
    assert list(read_rejected(run / "synthetic" / "first")) == ["images/covid/000001.png"]
    page.keyboard.press("Space")
    page.locator("#status", has_text="taken back").wait_for()
    assert read_rejected(run / "synthetic" / "first") == {}


def test_a_narrow_screen_does_not_scroll_sideways(page: Any) -> None:
    page.locator("[data-nearest] img").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.locator("[data-nearest='0'] img").count() == 2
    picture = page.locator("article img").first
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 32


def test_samples_are_drawn(page: Any) -> None:
    page.get_by_label("Number").fill("2")
    page.get_by_label("Steps").fill("2")
    page.get_by_role("button", name="Draw").press("Enter")
    page.locator("#status", has_text="2 samples of covid are drawn").wait_for()
    assert page.locator("#drawn > li").count() == 2
    assert page.evaluate("document.querySelector('#drawn img').decode().then(() => true)")


def test_pages_are_turned_by_keyboard(page: Any) -> None:
    page.get_by_role("link", name="Next page").first.press("Enter")
    page.get_by_text("Page 2 of 2").first.wait_for()
    assert page.locator("article").count() == 6
