"""The page in a browser, over a history that holds the worked example."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("uvicorn")
from playwright.async_api import Browser, Page, expect
from starlette.datastructures import MutableHeaders
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from timeline_workers.playback.history_names import MetricsByName
from timeline_workers.playback.history_recording import HistoryRecording
from timeline_workers.web.access import Access
from timeline_workers.web.dvr import application

from .browsers import chromium, needs_axe, needs_chromium, page_of, picture, serious, serving
from .recorded import Recorded

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="module")]
BUILT = Path(__file__).parents[2] / "timeline_workers/web/page"


@dataclass
class Shown:
    """A browser, the address of a server, and the history behind it."""

    browser: Browser
    address: str
    recorded: Recorded


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shown(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shown]:
    recorded = await Recorded.worked_example(tmp_path_factory.mktemp("history") / "history.db")
    recording = HistoryRecording(recorded.store, MetricsByName([recorded.metric]))
    dvr = application(recording, Access())
    files = StaticFiles(directory=BUILT, html=True)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (dvr if scope["type"] == "websocket" else _strict(files))(scope, receive, send)

    async with chromium() as browser, serving(app) as address:
        yield Shown(browser, address, recorded)
    await recorded.store.close()


async def test_the_playhead_reads_the_worked_example(shown: Shown) -> None:
    async with page_of(shown.browser) as page:
        await page.goto(f"{shown.address}/?view=key&metric=cirr&key=s1")
        await expect(page.locator("[data-node]")).to_have_count(11)
        for time, value in [(14, "4"), (19, "4"), (22, "7")]:
            await drag(page, time)
            await expect(page.locator(".result .value")).to_have_text(value)
        await picture(page, "page-key")


def _strict(app: ASGIApp) -> ASGIApp:
    """With the policy that allows nothing inline, and nothing from elsewhere."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = "default-src 'self'"
            await send(message)

        await app(scope, receive, with_policy)

    return answer


async def drag(page: Page, time: float) -> None:
    """Drag the playhead to an instant."""
    playhead = page.get_by_role("slider", name="Playhead")
    await expect(page.locator(".board")).to_have_attribute("aria-busy", "false")
    low, high, now = [
        float(await playhead.get_attribute(f"aria-value{name}") or "") for name in ("min", "max", "now")
    ]
    lanes = await page.locator("canvas.lanes").bounding_box()
    assert lanes is not None
    at = [lanes["x"] + (one - low) / (high - low) * lanes["width"] for one in (now, time)]
    await page.mouse.move(at[0], lanes["y"] - 18)
    await page.mouse.down()
    await page.mouse.move((at[0] + at[1]) / 2, lanes["y"], steps=3)
    await page.mouse.move(at[1], lanes["y"], steps=3)
    await page.mouse.up()
    await expect(playhead).to_have_attribute("aria-valuenow", str(time))


async def test_a_late_event_strikes_the_old_span_through(shown: Shown) -> None:
    async with page_of(shown.browser) as page:
        await page.goto(f"{shown.address}/?view=key&metric=cirr&key=s1&at=13")
        await expect(page.locator(".board")).to_have_attribute("aria-busy", "false")
        await expect(page.locator(".result .value")).to_have_text("3")
        await shown.recorded.tell({"session_id": "s1", "timestamp": 13, "userAction": "seek"})
        row = page.locator("[data-revised^=tl-has-existed-within]")
        await expect(row.locator("del")).to_have_text("false")
        await expect(row.locator("ins")).to_have_text("true")
        await expect(row.locator("td.number")).to_have_text(["13", "14"])
        await expect(page.locator("[data-node^=tl-has-existed-within] .value")).to_have_text("true")
        await picture(page, "page-revision")


@needs_axe
async def test_axe_finds_nothing_serious(shown: Shown) -> None:
    async with page_of(shown.browser) as page:
        await page.goto(f"{shown.address}/?view=key&metric=cirr&key=s1&at=14&loop=10~20&table=1&sel=x:1~2")
        await expect(page.locator("[data-node]")).to_have_count(11)
        assert await serious(page) == []
