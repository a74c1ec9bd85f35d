"""An HTTP receiver that can be killed: ``python -m tests.targets.receiver_process PORT FILE``.

It takes each id once, over its own deaths too: an id is on disk before it is answered.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from pathlib import Path

from aiohttp import web

from .receivers import SECRET, verified


async def serve(port: int, file: Path) -> None:
    """Serve until the process ends."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    known = set(file.read_text().split("\n")) if file.exists() else set()
    log = file.open("a")

    async def hear(request: web.Request) -> web.Response:
        name = verified(request.headers, await request.read(), key)
        if name not in known:
            known.add(name)
            log.write(f"{name}\n")
            log.flush()
            os.fsync(log.fileno())
        return web.Response()

    application = web.Application()
    application.router.add_post("/", hear)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
