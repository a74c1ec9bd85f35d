"""The examples of the player's client, built and opened in a browser, as pages of another site."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from playwright.async_api import expect
from starlette.staticfiles import StaticFiles

from timeline_workers.playback.history_names import MetricsByName, recorded_metric
from timeline_workers.playback.history_recording import HistoryRecording
from timeline_workers.web.access import Access
from timeline_workers.web.dvr import application

from .browsers import chromium, needs_chromium, page_of, picture
from .recorded import MILLION, TOP, Recorded
from .serving import served

pytestmark = [pytest.mark.long, needs_chromium]
END = 45  # seconds: the last event


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
@pytest.mark.parametrize("name", ["d3", "three"])
async def test_the_example_shows_the_worked_example(tmp_path: Path, name: str) -> None:
    for folder in ("page", "docs"):
        kept = shutil.ignore_patterns("node_modules", "dist")
        shutil.copytree(TOP / folder, tmp_path / folder, ignore=kept)
    for words in (["ci"], ["run", "examples:build", "-w", "player"]):
        subprocess.run(["npm", *words], cwd=tmp_path / "page", check=True)
    recorded = await Recorded.worked_example(tmp_path / "history.db")
    recording = HistoryRecording(recorded.store, MetricsByName([recorded.metric]))
    built = StaticFiles(directory=tmp_path / "page/player/examples/dist", html=True)
    async with (
        served(built) as site,
        served(application(recording, Access(origins=(site.address,)))) as dvr,
        chromium() as browser,
        page_of(browser) as page,
    ):
        await page.goto(f"{site.address}/{name}/?server={dvr.address}")
        if name == "d3":
            await expect(page.locator("svg .lane rect")).to_have_count(await bars(recorded))
        else:
            await expect(page.locator("body")).to_have_attribute("data-boxes", str(await bars(recorded)))
        await picture(page, f"example-{name}")
    await recorded.store.close()


async def bars(recorded: Recorded) -> int:
    """How many stretches there are in which a node has a value that is not false."""
    nodes = [node.node for node in recorded_metric(recorded.metric).nodes]
    pieces = await recorded.store.pieces(nodes, 0, END * MILLION)
    return sum(one.value is not False and one.value is not None for one in pieces)
