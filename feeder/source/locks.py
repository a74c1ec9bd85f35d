"""Taking turns at feeding from the embedded broker.

It knows no failover between two consumers of one subscription. `timeline dev` runs a feeder already. One
started beside it stands by, and takes over when the other ends: what a Failover subscription does on a real
broker.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import structlog

from timeline_workers.servers.embedded.embedded_servers import running_addresses

log = structlog.get_logger("feeder")

_LOOK_AGAIN_SECONDS = 0.2


@asynccontextmanager
async def turn(url: str, subscription: str, stop: asyncio.Event) -> AsyncIterator[bool]:
    """Wait until no other process feeds ``subscription`` from the embedded broker at ``url``.

    Gives True when it is this process's turn, at once for any other broker, and False when ``stop`` was set
    before.
    """
    addresses = running_addresses()
    if addresses is None or addresses.pulsar != url:
        yield True
        return
    name = hashlib.sha256(subscription.encode()).hexdigest()[:10]
    with (Path(addresses.data_dir) / f"feeder-{name}.lock").open("w") as lock:
        mine = _taken(lock)
        if not mine:
            log.info("another feeder is active (`timeline dev` runs one); on standby for failover")
        stopped = asyncio.create_task(stop.wait())
        while not mine and not stop.is_set():
            await asyncio.wait([stopped], timeout=_LOOK_AGAIN_SECONDS)
            mine = _taken(lock)
        stopped.cancel()
        yield mine and not stop.is_set()


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
