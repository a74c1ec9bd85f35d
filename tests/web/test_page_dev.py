"""The page of `timeline dev`, as the README begins: the worked example, and a late event after it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from playwright.async_api import expect

from tests.integration.test_pulsar_dev import PORTS, environment, gone_in_the_end, run

from .browsers import chromium, needs_chromium, page_of
from .recorded import CIRR
from .test_page import drag

pytestmark = [pytest.mark.long, pytest.mark.integration, needs_chromium]
LATE = {"session_id": "s1", "timestamp": 13, "userAction": "seek"}


def test_the_worked_example_of_timeline_dev(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "timeline_workers", "dev", *PORTS]
    with (
        (tmp_path / "standard-output").open("w") as output,
        subprocess.Popen(
            command, env=environment(tmp_path), stdout=output, stderr=subprocess.PIPE, text=True
        ) as dev,
        gone_in_the_end(dev),
    ):
        assert dev.stderr is not None
        address = ""
        for line in dev.stderr:
            if line.startswith("page "):
                address = line.split()[1]
            if line.startswith("Ctrl-C"):
                break
        for words in (["timeline_workers", "apply", str(CIRR)], ["producer", "worked-example"]):
            done = run(tmp_path, *words)
            assert done.returncode == 0, done.stderr
        asyncio.run(look(tmp_path, address))
        dev.send_signal(signal.SIGINT)
        dev.communicate()


async def look(home: Path, address: str) -> None:
    """Eleven lanes, the answers under the playhead, and what a late event strikes through."""
    late = home / "late.jsonl"
    late.write_text(json.dumps(LATE) + "\n", encoding="utf-8")
    async with chromium() as browser, page_of(browser) as page:
        await page.goto(f"{address}/?view=metric&metric=cirr")
        await page.get_by_role("link", name="s1", exact=True).click()
        await expect(page.locator("[data-node]")).to_have_count(11)
        await expect(page.locator("tbody tr").first.locator(".value")).to_have_text("1")
        for time, value in [(14, "4"), (19, "4"), (22, "7")]:
            await drag(page, time)
            await expect(page.locator(".result .value")).to_have_text(value)
        done = await asyncio.to_thread(run, home, "producer", "file", str(late), "--key", "session_id")
        assert done.returncode == 0, done.stderr
        await expect(page.locator(".result .value")).to_have_text("6")
        row = page.locator("[data-revised^=tl-has-existed-within]")
        await expect(row.locator("del")).to_have_text("false")
        await expect(row.locator("ins")).to_have_text("true")
