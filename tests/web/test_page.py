"""The page in a browser: over a cluster with the worked example, and a history that holds its events."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("fastapi")
from playwright.async_api import Browser, Locator, Page, expect

from tests.workflows.cluster import cluster
from timeline_workers.client import TimelineClient
from timeline_workers.web.access import Access
from timeline_workers.web.site import Site
from timeline_workers.web.web_application import web_application

from .browsers import chromium, needs_axe, needs_chromium, page_of, picture, serious
from .recorded import Recorded
from .serving import served

pytestmark = [needs_chromium, pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

RESULT = "tl-duration-where-2e1eea0618"


@dataclass
class Shown:
    """A browser, the address of a server, the cluster behind it, and the history."""

    browser: Browser
    address: str
    client: TimelineClient
    recorded: Recorded
    access: Access


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shown(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shown]:
    recorded = await Recorded.worked_example(tmp_path_factory.mktemp("history") / "history.db")
    async with cluster() as temporal, chromium() as browser:
        client = TimelineClient(temporal)
        regions = await Recorded.example(recorded.store, "idle-by-region")
        for metric in (recorded.metric, regions.metric):
            await client.apply(metric)

        async def connect() -> TimelineClient:
            return client

        access = Access()
        site = Site(connect, access, store=recorded.store, version="test")
        async with served(web_application(site)) as server:
            yield Shown(browser, server.address, client, recorded, access)
    await recorded.store.close()


async def test_the_playhead_reads_the_worked_example(shown: Shown) -> None:
    async with page_of(shown.browser) as page:
        await page.goto(f"{shown.address}/?view=key&metric=cirr&key=s1")
        await expect(page.locator("[data-node]")).to_have_count(11)
        for time, value in [(14, "4"), (19, "4"), (22, "7")]:
            await drag(page, time)
            await expect(page.locator(".result .value")).to_have_text(value)
        await picture(page, "page-lanes")
        await shown.recorded.tell({"session_id": "s3", "timestamp": 7200, "userAction": "seek"})
        await page.goto(f"{shown.address}/?view=key&metric=cirr&key=s3")
        await expect(page.get_by_role("slider", name="Playhead")).to_have_attribute("aria-valuenow", "7200")
        await page.get_by_label("As known at").fill("yesterday")
        await page.get_by_role("button", name="Show", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("“yesterday” is no time; write seconds")


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
        before = (await shown.recorded.store.status()).seen / 1_000_000
        await shown.recorded.tell({"session_id": "s1", "timestamp": 13, "userAction": "seek"})
        row = page.locator("[data-revised^=tl-has-existed-within]")
        await expect(row.locator("del")).to_have_text("false")
        await expect(row.locator("ins")).to_have_text("true")
        await expect(row.locator("td.number")).to_have_text(["13", "14"])
        await expect(page.locator("[data-node^=tl-has-existed-within] .value")).to_have_text("true")
        await picture(page, "page-revision")
        for known, value in ((f"&asof={before}", "4"), ("", "3")):
            await page.goto(f"{shown.address}/?view=key&metric=cirr&key=s1&at=14{known}")
            await expect(page.locator(".result .value")).to_have_text(value)


async def test_a_page_that_nobody_looks_at_closes_its_sockets(shown: Shown) -> None:
    """After half a minute; when it is looked at again, it shows what has come meanwhile."""
    async with page_of(shown.browser) as page:
        await page.clock.install()
        await page.goto(f"{shown.address}/?view=key&metric=cirr&key=s1&at=14")
        await expect(page.locator(".board")).to_have_attribute("aria-busy", "false")
        await expect(page.locator(".where")).to_contain_text("paused")
        before = int((await page.get_by_text(EVENTS).inner_text()).split()[0])
        assert shown.access.sockets == 2
        await page.evaluate(SEEN, True)
        await page.clock.run_for(29_000)
        assert shown.access.sockets == 2
        await page.clock.run_for(2_000)
        await expect(page.locator(".where")).to_contain_text("connecting")
        async with asyncio.timeout(60):
            while shown.access.sockets:
                await asyncio.sleep(0)
        await shown.recorded.tell({"session_id": "s1", "timestamp": 60, "cdnChange": "CDN9"})
        await page.evaluate(SEEN, False)
        await expect(page.get_by_text(f"{before + 1} events", exact=True)).to_be_visible()
        await expect(page.get_by_role("slider", name="Playhead")).to_have_attribute("aria-valuenow", "14")
        assert shown.access.sockets == 2


EVENTS = re.compile(r"^\d+ events$")
SEEN = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


async def test_groups_of_an_aggregate_are_shown(shown: Shown) -> None:
    """Each function of each group, with its value at the end of the window and how much it changed in it."""
    async with page_of(shown.browser) as page:
        await page.goto(f"{shown.address}/?view=aggregates&metric=idle-by-region&from=0&to=35&sort=name")
        await expect(page.locator("[data-row]")).to_have_count(4)
        said = {
            await row.get_attribute("data-row"): [
                await cell.inner_text() for cell in (await row.locator("td").all())[:2]
            ]
            for row in await page.locator("[data-row]").all()
        }
        assert said == {
            '"north" count': ["1", "-1"],
            '"north" sum': ["20", "20"],
            '"south" count': ["2", "1"],
            '"south" sum': ["55", "55"],
        }
        await picture(page, "page-groups")
        await page.get_by_role("link", name='"south" sum').click()
        await expect(page.locator("h1")).to_have_text("idle-by-region")


async def test_a_metric_that_is_not_there_is_told(shown: Shown) -> None:
    """In words, with the nearest name; no request is refused, which browsers write into the console."""
    async with page_of(shown.browser) as page:
        refused: list[str] = []
        page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
        for view in ("metric", "fleet", "edit"):
            await page.goto(f"{shown.address}/?view={view}&metric=cirrr")
            await expect(page.get_by_role("alert")).to_contain_text("did you mean 'cirr'?")
        assert refused == []


VIEWS = {
    "key": ("view=key&metric=cirr&key=s1&at=14&loop=10~20&table=1&sel=equal-to-df7b8a2f4a:9~30", ".stretch"),
    "metrics": ("view=metrics", "[data-metric=cirr]"),
    "metric": ("view=metric&metric=cirr", "svg [data-node]"),
    "fleet": ("view=fleet&metric=cirr", "[data-row=s1]"),
    "aggregates": ("view=aggregates&metric=idle-by-region", "[data-row]"),
    "edit": ("view=edit&metric=cirr", ".right"),
    "letters": ("view=letters", "h1"),
}


async def test_every_view_has_link_files_and_command(shown: Shown) -> None:
    async with page_of(shown.browser) as page:
        for query in [*(query for query, _ in VIEWS.values()), "view=key&metric=cirr"]:
            await page.goto(f"{shown.address}/?{query}")
            for name in ("JSON", "CSV", "Copy as command", "Copy the link"):
                button = page.get_by_role("button", name=name, exact=True).first
                await expect(button, f"{name} of {query}").to_be_visible()


@needs_axe
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one == "key" else pytest.mark.long) for one in VIEWS]
)
async def test_axe_finds_nothing_serious(shown: Shown, name: str) -> None:
    query, there = VIEWS[name]
    async with page_of(shown.browser) as page:
        await page.goto(f"{shown.address}/?{query}")
        await expect(page.locator(there).first).to_be_visible()
        assert await serious(page) == []
        await picture(page, f"page-{name}")


async def test_a_stretch_is_exported_as_a_fixture(shown: Shown, tmp_path: Path) -> None:
    """Its numbers are on screen; what `timeline eval` makes of the files is what they hold."""
    async with page_of(shown.browser) as page:
        stretch = f"sel={RESULT}:12~20"
        await page.goto(f"{shown.address}/?view=key&metric=cirr&key=s1&at=14&{stretch}")
        await expect(page.locator(".board")).to_have_attribute("aria-busy", "false")
        change = await page.locator("[data-number=change]").inner_text()
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Export as a fixture").click()
        await (await download.value).save_as(tmp_path / "fixture.zip")
    with zipfile.ZipFile(tmp_path / "fixture.zip") as archive:
        archive.extractall(tmp_path)
    ran = subprocess.run(["sh", "ask.sh"], cwd=tmp_path, check=True, capture_output=True, text=True)
    printed = [json.loads(line) for line in ran.stdout.splitlines()]
    held = [json.loads((tmp_path / f"{name}.jsonl").read_text()) for name in ("spans", "change")]
    assert printed == held
    assert str(held[1]["change"]) == change


async def test_a_metric_is_applied_from_the_editor(shown: Shown) -> None:
    """A mistake is shown where it is; what would start, what it would give for a stored key; then it runs."""
    async with page_of(shown.browser) as page:
        await page.goto(f"{shown.address}/?view=edit&metric=cirr")
        field = page.get_by_role("textbox", name="Metric file")
        await expect(page.locator(".right")).to_contain_text("11 nodes")
        wrong = YAML.replace("has_existed", "has_exited")
        await paste(field, wrong)
        await expect(page.locator(".mistake")).to_contain_text(
            "Line 8, column 18: there is no function `has_exited`"
        )
        await field.press("End")
        await page.keyboard.type(" x", delay=20)  # beside the mark: nothing may be complained of
        await paste(field, YAML)
        await expect(page.locator("[data-change=start]")).to_have_count(1)
        await expect(page.locator("[data-change=keep]")).to_have_count(1)
        await page.get_by_label("Key").fill("s1")
        await page.get_by_role("button", name="Show", exact=True).first.click()
        await expect(page.locator("[data-node]")).to_have_count(2)
        await picture(page, "page-edit")
        await page.get_by_role("button", name="Apply").click()
        await expect(page.locator(".applied")).to_contain_text(
            "played is new: 1 worker started, 1 ran already"
        )
        assert [one.name for one in await shown.client.metrics()] == ["cirr", "idle-by-region", "played"]
        await expect(page.locator("h1")).to_have_text("Edit played")
        await expect(page.get_by_role("button", name="Apply")).to_be_disabled()
        await page.get_by_role("link", name="Look at it").click()
        await expect(page.locator("svg [data-node]")).to_have_count(2)
        await page.goto(f"{shown.address}/")
        await expect(page.locator("[data-metric]")).to_have_count(3)


async def paste(field: Locator, text: str) -> None:
    """Paste over all of it; Playwright's own fill writes markup with styles, which the policy forbids."""
    await field.press("Control+a")
    await field.evaluate(
        """(node, text) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", text);
            const said = { clipboardData, bubbles: true, cancelable: true };
            node.dispatchEvent(new ClipboardEvent("paste", said));
        }""",
        text,
    )


YAML = """name: played
source:
  topic: playback-events
  key: session_id
  time: timestamp
  columns: {playerStateChange: string, userAction: string, cdnChange: string}
expression: |
  duration_where(has_existed(playerStateChange == "play"))
"""
