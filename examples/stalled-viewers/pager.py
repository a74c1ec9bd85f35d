"""A pager is told when more than 20 % of a CDN's sessions have been buffering for a minute.

``python examples/stalled-viewers/pager.py`` starts servers of its own, sends events, and prints what the
pager, a file here, is told.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from timeline_workers.client import TimelineClient
from timeline_workers.targets.target_files import load_target

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))


def send(events: str) -> None:
    """Send a file of events to the topic of the metric."""
    command = [sys.executable, "-m", "producer", "file", str(HERE / events), "--key", "session_id"]
    subprocess.run([*command, "--topic", "viewer-events"], check=True, capture_output=True)


async def told(pages: Path, number: int) -> None:
    """Wait until the pager has been told ``number`` messages, and print the last."""
    while not pages.exists() or len(pages.read_text().splitlines()) < number:
        await asyncio.sleep(0.05)
    data = json.loads(pages.read_text().splitlines()[number - 1])["data"]
    print(f"{data['title']} since {data['start'][11:19]}{', page' if data['page'] else ''}", flush=True)


async def main(pages: Path) -> None:
    """The example, once around."""
    client = await TimelineClient.connect()
    pager = {"kind": "target", "name": "pager", "what": "file", "path": str(pages)}
    await client.apply_target(load_target(pager))
    await client.apply(HERE / "share.yaml")
    await client.apply(HERE / "rule.yaml")
    for number, events in enumerate(("events.jsonl", "better.jsonl"), 1):
        await asyncio.to_thread(send, events)
        await told(pages, number)


if __name__ == "__main__":
    from dev_servers import dev_servers

    with tempfile.TemporaryDirectory() as folder, dev_servers():
        asyncio.run(main(Path(folder, "pages.jsonl")))
