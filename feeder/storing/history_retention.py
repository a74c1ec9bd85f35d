"""Retention of the history: what metrics want kept no longer is forgotten, about once an hour.

Several feeders may do so beside each other: what one has forgotten the others find gone. Where the store or
Temporal does not answer, it is tried again with the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.errors import TimelineError
from timeline_workers.history.open import open_history
from timeline_workers.history.retention import due
from timeline_workers.metric.model import Metric
from timeline_workers.servers.embedded.history_address import history_address
from workflows.catalog.entries import read_entries
from workflows.messages import CATALOG_ID

log = structlog.get_logger("feeder")

FIRST_SECONDS = 60.0
LOOK_SECONDS = 3_600.0


class Retention:
    """Forgets for all registered metrics, whichever this feeder feeds: they may share what is stored."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def go_on(self, stop: asyncio.Event) -> None:
        """Look again and again until ``stop``."""
        pause = FIRST_SECONDS
        while True:
            try:
                await asyncio.wait_for(stop.wait(), pause)
            except TimeoutError:
                pass
            else:
                return
            pause = LOOK_SECONDS
            try:
                await self.look()
            except (RPCError, TimelineError) as error:
                log.warning("cannot forget old history; retrying later", error=str(error))

    async def look(self) -> None:
        """Look once. Raises RPCError, and HistoryError where the store does not answer."""
        try:
            catalog: dict[str, Any] = await self._client.get_workflow_handle(CATALOG_ID).query("routing")
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return  # nothing has been applied yet
            raise
        await forget_due([entry.metric for entry in read_entries(catalog["entries"])[0]])


async def forget_due(metrics: Sequence[Metric]) -> int:
    """Forget what none of ``metrics`` wants any more; returns how many change points and verdicts went."""
    address = await asyncio.to_thread(history_address)
    if address is None or not any(one.history is not None and one.history.retention for one in metrics):
        return 0
    store, many = await open_history(address), 0
    try:
        for one in due(metrics, await store.status()):
            gone = await store.forget(one.before, of=one.scope)
            many += gone.verdicts + gone.pieces
            if gone.verdicts or gone.pieces:
                log.info(
                    "history forgotten",
                    of=", ".join([*one.scope.definitions, *one.scope.nodes]),
                    events=gone.events,
                    change_points=gone.pieces,
                )
    finally:
        await store.close()
    return many
