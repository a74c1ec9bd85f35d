"""Chromium for tests of the page: Debian's, driven by Playwright, and the servers that pages come from."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
PICTURES = "TIMELINE_TEST_PICTURES"  # a directory: screenshots are left there
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"]
ARGUMENTS += ["--enable-unsafe-swiftshader"]  # WebGL without a graphics card
EXPECTED = ("Failed to load resource", "GL Driver Message")  # refusals, which the page tells; slow drawing
LONG_ENOUGH = 60_000  # ms, for whatever is waited for
expect.set_options(timeout=LONG_ENOUGH)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def page_of(browser: Browser, **options: Any) -> AsyncIterator[Page]:
    """A page; fails where it complains, as of what its policy forbids."""
    context = await browser.new_context(viewport={"width": 1280, "height": 860}, **options)
    page = await context.new_page()
    page.set_default_timeout(LONG_ENOUGH)
    said: list[str] = []

    def hear(message: Any) -> None:
        is_told = any(text in message.text for text in EXPECTED)
        if message.type in ("error", "warning") and not is_told:
            said.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: said.append(str(error)))
    try:
        yield page
    finally:
        await context.close()
    assert said == [], said


async def picture(page: Page, name: str) -> None:
    """Leave a screenshot where it is asked for."""
    directory = os.environ.get(PICTURES)
    if directory:
        # Else a style is put into the page, which its policy forbids.
        await page.screenshot(path=Path(directory) / f"{name}.png", full_page=True, caret="initial")


AXE = Path(__file__).parents[2] / "page/node_modules/axe-core/axe.min.js"
needs_axe = pytest.mark.skipif(not AXE.is_file(), reason="axe is not installed: npm ci in page/")


async def serious(page: Page) -> list[str]:
    """What axe finds that keeps somebody from using a page."""
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate("axe.run()")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes']]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
