"""A worker's subscriptions to its inputs: opened under an epoch, opened anew when an input has lost its
state, and held while the worker takes nothing more.
"""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from timeline_workers.plan.output_workers import Subscribing
    from timeline_workers.wire.edge_messages import is_message, sender_of
    from workflows.durable import activities
    from workflows.messages import HoldInput, SubscribeInput

    from .outgoing_edges import is_gone, reason, run_local

_LONGEST_PAUSE = 60.0
_NEW_EPOCHS = 3


class Inputs:
    """The edges from the workers that ``spec`` names as inputs.

    ``epochs``: how often each edge was opened; ``subscribed``: inputs that have accepted the latest opening;
    ``held``: whether they were last told to send nothing for now; ``output``: which of their outputs is
    heard, "" where they have one only.
    """

    def __init__(
        self,
        spec: Subscribing,
        epochs: dict[str, int],
        subscribed: tuple[str, ...],
        held: bool = False,
        output: str = "",
    ) -> None:
        self._spec = spec
        self._output = output
        self.workers = list(dict.fromkeys(worker for slot in spec.inputs for worker in slot))
        self.epochs = dict(epochs)
        self.subscribed = set(subscribed)
        self._subscribing: dict[str, asyncio.Task[None]] = {}
        self._errors: dict[str, str] = {}
        self._unreadable: dict[str, int] = {}  # messages in this run
        self.held = held
        self._holding: dict[str, asyncio.Task[None]] = {}

    @property
    def ready(self) -> bool:
        """Whether every input has accepted its subscription."""
        return self.subscribed.issuperset(self.workers)

    def status(self) -> list[dict[str, Any]]:
        """One line per input. ``epoch``: that of the latest opening; "" before there was any."""
        return [
            {
                "worker": i,
                "subscribed": i in self.subscribed,
                "epoch": self._epoch(i) if i in self.epochs else "",
                "last_error": self._errors.get(i),
            }
            for i in self.workers
        ]

    def _epoch(self, worker: str) -> str:
        # The first run's id makes the epoch this worker's own, and the same in all of its runs.
        return f"{workflow.info().first_execution_run_id}/{self.epochs[worker]}"

    def open(self) -> None:
        """Subscribe to every input that has not accepted a subscription yet."""
        for worker in self.workers:
            if worker not in self.subscribed and worker not in self._subscribing:
                self.epochs.setdefault(worker, 0)
                self._subscribing[worker] = asyncio.create_task(self._subscribe_to(worker))

    def reopen(self, worker: str) -> None:
        """Begin a new epoch of the edge from ``worker``, if that is an input; ``open`` subscribes."""
        if worker not in self.workers:
            return
        task = self._subscribing.pop(worker, None)
        if task is not None:
            task.cancel()
        self.subscribed.discard(worker)
        self.epochs[worker] = self.epochs.get(worker, 0) + 1

    def start_over(self, message: bytes) -> tuple[str, int] | None:
        """After ``message``, which cannot be taken, nothing of its edge can: begin a new epoch, whose
        snapshot makes up for what it told. Where an input goes on sending what cannot be read, only so often.

        Returns the input and which opening of its edge is to make up for it, None for what is no input's.
        """
        sender = sender_of(message)
        if sender is None or sender not in self.workers:
            return None
        if sender in self.subscribed:
            if not is_message(message):
                self._unreadable[sender] = self._unreadable.get(sender, 0) + 1
                if self._unreadable[sender] > _NEW_EPOCHS:
                    return sender, self.epochs[sender]
            self.reopen(sender)
        return sender, self.epochs.get(sender, 0)

    @staticmethod
    def opening_of(epoch: str) -> int:
        """Which opening of an edge an epoch is."""
        return int(epoch.rpartition("/")[2] or -1)

    async def _subscribe_to(self, worker: str) -> None:
        opening = SubscribeInput(
            subscriber=self._spec.worker_id, epoch=self._epoch(worker), output=self._output
        )
        pause = 1.0
        while True:
            try:
                await run_local(activities.open_edge, worker, opening)
            except FailureError as error:
                if is_cancelled_exception(error):
                    raise
                self._errors[worker] = reason(error)
                workflow.logger.warning("cannot subscribe to %s; retrying: %s", worker, reason(error))
                await workflow.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                break
        self._errors.pop(worker, None)
        self.subscribed.add(worker)
        self._subscribing.pop(worker, None)

    async def have_reopened(self, subscriber: str) -> None:
        """Have ``subscriber`` open its edge from this worker anew; one that does not run needs no telling."""
        pause = 1.0
        while True:
            try:
                await run_local(activities.reopen_edge, subscriber, self._spec.worker_id)
            except FailureError as error:
                if is_cancelled_exception(error):
                    raise
                if is_gone(error):
                    return
                workflow.logger.warning(
                    "cannot ask %s to resubscribe; retrying: %s", subscriber, reason(error)
                )
                await workflow.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return

    async def stop_subscribing(self) -> None:
        """Give up subscriptions under way; the next run goes on with them, and holds again what is held."""
        tasks = [*self._subscribing.values(), *self._holding.values()]
        self._subscribing.clear()
        self._holding.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hold(self, held: bool) -> None:
        """Tell every input to send nothing for now (it remembers what there is to say), or to go on."""
        for task in self._holding.values():
            task.cancel()
        self.held = held
        self._holding = {worker: asyncio.create_task(self._hold(worker, held)) for worker in self.workers}

    async def _hold(self, worker: str, held: bool) -> None:
        while True:
            try:
                await run_local(
                    activities.hold_edge, worker, HoldInput(subscriber=self._spec.worker_id, held=held)
                )
            except FailureError as error:
                if is_cancelled_exception(error):
                    raise
                if is_gone(error):
                    return  # when it is started afresh, the edge is opened anew, and that is not held
                workflow.logger.warning(
                    "cannot pause or resume the edge from %s; retrying: %s", worker, reason(error)
                )
                await workflow.sleep(_LONGEST_PAUSE)
            else:
                return

    async def close(self) -> None:
        """Unsubscribe everywhere, as a worker that ends."""
        await self.stop_subscribing()
        for worker in self.workers:
            try:
                await run_local(activities.close_edge, worker, self._spec.worker_id)
            except FailureError as error:
                if not is_gone(error):
                    workflow.logger.warning("cannot unsubscribe from %s: %s", worker, reason(error))
