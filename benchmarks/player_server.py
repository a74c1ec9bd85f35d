"""``python -m benchmarks.player_server ADDRESS``: the player's socket over a day of events, on uvicorn.

Says the port that it listens on, in one line, and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import sys

from timeline_workers.process.exit import stop_signals
from timeline_workers.web.access import Access
from timeline_workers.web.dvr import application
from timeline_workers.web.server import bind, serve_until

from . import day


async def serve(address: str) -> None:
    """Serve the day at an address."""
    is_history = address.startswith("sqlite:")
    found = await day.history_recording(address) if is_history else day.recording(address)
    with bind("127.0.0.1", 0) as listening:
        async with stop_signals() as stop:
            sys.stdout.write(f"{listening.getsockname()[1]}\n")
            sys.stdout.flush()
            await serve_until(application(found, Access()), listening, stop)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
