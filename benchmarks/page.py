"""The page in headless Chromium, drawing in software: how soon lanes are there, how long a frame takes.

One key whose eleven nodes have ``spans`` spans in all: once with timelines that are stored, once with those
that the player computes from the key's events, as where workers store results only. A frame is what lies
between two animation frames while the window is zoomed step by step; the browser does not wait for a screen,
so that this is its work. With the whole key in the window every frame draws all of it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from timeline_workers.errors import ConnectionFailedError, SettingsError
from timeline_workers.playback.history_names import MetricsByName
from timeline_workers.playback.history_recording import HistoryRecording
from timeline_workers.web.access import Access
from timeline_workers.web.site import Site
from timeline_workers.web.web_application import web_application

from .report import machine, versions

SPANS_AN_EVENT = 5  # about, of all nodes together
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
UNBOUND = ["--disable-frame-rate-limit", "--disable-gpu-vsync"]
FRAMES = """async ({ frames, factor }) => {
    const lanes = document.querySelector("canvas.lanes");
    const box = lanes.getBoundingClientRect();
    const found = [];
    let last = await new Promise(requestAnimationFrame);
    for (let i = 0; i < frames; i++) {
        lanes.dispatchEvent(new WheelEvent("wheel", {
            deltaY: i % 2 ? -factor : factor, ctrlKey: true, bubbles: true, cancelable: true,
            clientX: box.left + box.width / 2, clientY: box.top + 50,
        }));
        await new Promise((done) => setTimeout(done)); // the page asks for this frame, too
        const now = await new Promise(requestAnimationFrame);
        found.push(now - last);
        last = now;
    }
    return found;
}"""


CHOOSE = """async (address) => {
    const began = performance.now();
    history.pushState(null, "", address);
    dispatchEvent(new PopStateEvent("popstate"));
    const isDrawn = () => document.querySelector(".board[aria-busy=false]") && location.search === address;
    await new Promise((done) => setTimeout(done)); // the board of the key before is gone by then
    while (!isDrawn()) await new Promise((done) => setTimeout(done));
    await new Promise(requestAnimationFrame);
    return performance.now() - began;
}"""


@dataclass(frozen=True, slots=True)
class Looked:
    """``spans`` of the key; ``lanes``: seconds from opening the address until they are drawn, ``chosen``:
    from choosing the key where another was shown; milliseconds of a frame with the whole key in the window,
    and with a hundredth of it.
    """

    timelines: str
    spans: int
    lanes: float
    chosen: float
    whole_p50: float
    whole_p95: float
    zoomed_p50: float
    zoomed_p95: float


async def measure(timelines: str, spans: int, frames: int) -> Looked:
    """Store a key, open the page, and zoom. Raises SettingsError where there is no chromium."""
    from playwright.async_api import async_playwright

    from tests.web.recorded import Recorded
    from tests.web.serving import served

    chromium = shutil.which("chromium")
    if chromium is None:
        raise SettingsError("there is no chromium; install Debian's package of that name")

    async def connect() -> Any:
        raise ConnectionFailedError("this benchmark has no cluster")

    with tempfile.TemporaryDirectory(prefix="page-") as where:
        path = Path(where) / "history.db"
        recorded = await Recorded.worked_example(path, has_nodes=timelines == "stored")
        states = ("buffer", "play")
        await recorded.tell(
            *(
                {"session_id": "s1", "timestamp": 50 + i, "playerStateChange": states[i % 2]}
                for i in range(spans // SPANS_AN_EVENT)
            )
        )
        recording = HistoryRecording(recorded.store, MetricsByName([recorded.metric]))
        app = web_application(Site(connect, Access(), store=recorded.store), recording=recording)
        async with served(app) as server, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS + UNBOUND)
            page = await browser.new_page(viewport={"width": 1280, "height": 860})
            began = time.perf_counter()
            await page.goto(f"{server.address}/?view=key&metric=cirr&key=s1&table=1")
            await page.wait_for_selector(".board[aria-busy=false]")
            lanes = time.perf_counter() - began
            shown = await page.locator("details .bar .faint").inner_text()
            await page.locator("summary", has_text="As a table").click()  # it would be written anew, too
            whole = await page.evaluate(FRAMES, {"frames": frames, "factor": 1})
            await page.goto(f"{server.address}/?view=key&metric=cirr&key=s0")
            await page.wait_for_selector(".board[aria-busy=false]")
            chosen = await page.evaluate(CHOOSE, "?view=key&metric=cirr&key=s1") / 1000
            end = 50 + spans // SPANS_AN_EVENT
            middle, part = end / 2, end / 200
            address = f"?view=key&metric=cirr&key=s1&from={middle - part}&to={middle + part}"
            await page.goto(f"{server.address}/{address}")
            await page.wait_for_selector(".board[aria-busy=false]")
            zoomed = await page.evaluate(FRAMES, {"frames": frames, "factor": 1})
            await browser.close()
        await recorded.store.close()
    found = int(shown.split(":")[1].split()[0])
    return Looked(timelines, found, lanes, chosen, *_middle_and_most(whole), *_middle_and_most(zoomed))


def _middle_and_most(times: list[float]) -> tuple[float, float]:
    parts = quantiles(times, n=20, method="inclusive")
    return parts[9], parts[18]


def run(
    *, spans: int, frames: int, tell: Callable[[str], object], json_file: Path | None = None
) -> list[Looked]:
    """Measure, say it, and keep it."""
    looked = []
    for timelines in ("stored", "computed"):
        found = asyncio.run(measure(timelines, spans, frames))
        looked.append(found)
        tell(
            f"{found.spans:,} spans, {timelines}: lanes after {found.lanes:.2f} s, and {found.chosen:.2f} s "
            f"where another key was; a frame of all {found.whole_p50:.1f} ms (p95 {found.whole_p95:.1f}), "
            f"zoomed {found.zoomed_p50:.1f} ms (p95 {found.zoomed_p95:.1f})"
        )
    if json_file is not None:
        said = {"benchmark": "page", "machine": machine(), "versions": versions(("playwright",))}
        numbers = [
            {
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in asdict(one).items()
            }
            for one in looked
        ]
        json_file.write_text(json.dumps({**said, "looked": numbers}, indent=2) + "\n")
    return looked
