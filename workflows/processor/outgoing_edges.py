"""The outgoing edges of a worker: one message in flight per subscriber, sent until it is accepted.

While a message is on its way the node coalesces what else there is to say, so that order and backpressure
need no queue. A subscriber that is not running any more is set aside with the reason, visible in `status`:
its state went with it, so only a new subscription (a new epoch, with a snapshot) can help it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from workflows.durable import activities

if TYPE_CHECKING:
    from timeline_workers.runtime.node_worker import NodeWorker

_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10))
# After this the failure is recorded where `status` shows it, and sending goes on after a pause.
_ATTEMPTS_FOR = timedelta(seconds=60)
_PAUSE = timedelta(seconds=5)
_ATTEMPT = timedelta(seconds=15)


async def run_local(activity: Any, *args: Any) -> None:
    """Run an activity of `durable.activities` locally; raises FailureError after a minute of failures."""
    await workflow.execute_local_activity(
        activity,
        args=args,
        start_to_close_timeout=_ATTEMPT,
        schedule_to_close_timeout=_ATTEMPTS_FOR,
        retry_policy=_RETRY,
    )


def is_gone(error: FailureError) -> bool:
    """Whether the activity failed because the worker it talks to is not running."""
    # A local activity's failure comes with or without an ActivityError around it, by how often it was tried.
    cause = error if isinstance(error, ApplicationError) else error.cause
    return isinstance(cause, ApplicationError) and cause.type == activities.WORKER_GONE


def reason(error: FailureError) -> str:
    """The failure in one line."""
    cause = error.cause if isinstance(error.cause, FailureError) else error
    return cause.message


class Edges:
    """Pumps a node's outgoing messages, all subscribers concurrently."""

    def __init__(
        self, node: NodeWorker, message_bytes: int, gone: dict[str, str], held: Iterable[str] = ()
    ) -> None:
        self._node = node
        self._message_bytes = message_bytes
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._round = 0
        self._closing = False
        self._sending: set[asyncio.Task[None]] = set()
        self._last_error: dict[str, str] = {}
        self.gone = dict(gone)
        self.held = set(held)
        self.failure: BaseException | None = None

    def wake(self) -> None:
        """Look again whether there is something to say, to subscribers new and old."""
        self._round += 1
        for subscriber in self._node.subscribers():
            if subscriber not in self.gone and subscriber not in self._pumps:
                pump = self._pumps[subscriber] = asyncio.create_task(self._pump(subscriber))
                pump.add_done_callback(self._ended)

    def _ended(self, pump: asyncio.Task[None]) -> None:
        if (
            not pump.cancelled()
            and (error := pump.exception()) is not None
            and not is_cancelled_exception(error)
        ):
            self.failure = error

    def opened(self, subscriber: str) -> None:
        """A new epoch began: forget what was held against the subscriber, and a send of the epoch before."""
        self.closed(subscriber)

    def closed(self, subscriber: str) -> None:
        """The edge ended: stop its pump and forget it."""
        pump = self._pumps.pop(subscriber, None)
        if pump is not None:
            pump.cancel()
            self._sending.discard(pump)
        self._last_error.pop(subscriber, None)
        self.gone.pop(subscriber, None)
        self.held.discard(subscriber)

    def hold(self, subscriber: str, held: bool) -> None:
        """Send a subscriber nothing more while it is held; what there is to say is remembered."""
        if held and subscriber in self._node.subscribers():
            self.held.add(subscriber)
        elif not held:
            self.held.discard(subscriber)

    async def settle(self, patience: timedelta) -> None:
        """Begin no further send, wait up to ``patience`` for those on their way, then give them up.

        A send given up may have arrived; the next run sends the same message again, which its receiver drops.
        """
        self._closing = True
        if self._sending:
            try:
                await workflow.wait_condition(lambda: not self._sending, timeout=patience)
            except TimeoutError:
                workflow.logger.warning(
                    "%d messages still unacknowledged; the next run sends them again", len(self._sending)
                )
        pumps = list(self._pumps.values())
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    def status(self) -> list[dict[str, Any]]:
        """One line per subscriber: ``state`` is idle, sending, failing, held or gone; ``epoch`` that under
        which the edge was opened.
        """
        lines: list[dict[str, Any]] = []
        for subscriber in self._node.subscribers():
            error = self.gone.get(subscriber) or self._last_error.get(subscriber)
            if subscriber in self.gone:
                state = "gone"
            elif error:
                state = "failing"
            elif subscriber in self.held:
                state = "held"
            else:
                state = "sending" if self._pumps.get(subscriber) in self._sending else "idle"
            edge = self._node.edge(subscriber, self._node.output_told(subscriber))
            epoch = "" if edge is None else edge.epoch
            lines.append({"subscriber": subscriber, "state": state, "epoch": epoch, "last_error": error})
        return lines

    def _may_send(self, subscriber: str) -> bool:
        return not self._closing and subscriber not in self.held

    def _has_news_since(self, seen: int, subscriber: str) -> bool:
        return self._round != seen and self._may_send(subscriber)

    async def _pump(self, subscriber: str) -> None:
        this = asyncio.current_task()
        assert this is not None
        seen = -1
        while True:
            await workflow.wait_condition(functools.partial(self._has_news_since, seen, subscriber))
            seen = self._round
            while self._may_send(subscriber):
                output = self._node.output_told(subscriber)
                message = self._node.outgoing(subscriber, self._message_bytes, output)
                if message is None:
                    break
                self._sending.add(this)
                try:
                    accepted = await self._send(subscriber, message)
                finally:
                    self._sending.discard(this)
                if not accepted:
                    self._pumps.pop(subscriber, None)
                    return
                self._node.delivered(subscriber, output)

    async def _send(self, subscriber: str, message: bytes) -> bool:
        while True:
            try:
                await run_local(activities.deliver, subscriber, message)
            except FailureError as error:
                if is_cancelled_exception(error):
                    raise
                if is_gone(error):
                    self.gone[subscriber] = reason(error)
                    workflow.logger.warning(
                        "subscriber %s is not running; its edge is closed until it resubscribes", subscriber
                    )
                    return False
                self._last_error[subscriber] = reason(error)
                workflow.logger.warning(
                    "cannot send to subscriber %s; retrying: %s", subscriber, reason(error)
                )
                await workflow.sleep(_PAUSE)
            else:
                self._last_error.pop(subscriber, None)
                return True
