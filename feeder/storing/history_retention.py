"""Retention of the history: what metrics want kept no longer is forgotten, about once an hour.

Several feeders may do so beside each other: what one has forgotten the others find gone. Where the store
does not answer, it is tried again with the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from timeline_workers.errors import TimelineError
from timeline_workers.history.forgetting_due import due
from timeline_workers.history.open import open_history
from timeline_workers.metric.model import Metric
from timeline_workers.servers.embedded.history_address import history_address

log = structlog.get_logger("feeder")

FIRST_SECONDS = 60.0
LOOK_SECONDS = 3_600.0


class Retention:
    """Forgets for all registered metrics, ``metrics``, whichever this feeder feeds: they may share what is
    stored.
    """

    def __init__(self, metrics: Callable[[], Sequence[Metric]]) -> None:
        self._metrics = metrics

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
                await forget_due(self._metrics())
            except TimelineError as error:
                log.warning("cannot forget old history; retrying later", error=str(error))


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
