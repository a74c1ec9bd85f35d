"""Watching a run: once a second `timeline get` is asked, and result workers are, for the truth beside it.

``Watch`` keeps both. The truth needs nothing of ours: which messages the broker has confirmed stands in the
producers' files, and up to where a worker has applied them in its own ``status``. One that does not answer
has applied what it had when it last did.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from temporalio.client import Client
from temporalio.service import RPCError

from tests.chaos.judging import Place
from tests.chaos.settling import confirmed
from tests.chaos.verdict import Fact, Shown
from timeline_workers.cli.overview_command import overview
from timeline_workers.client import TimelineClient
from timeline_workers.errors import TimelineError
from timeline_workers.plan.physical import (
    GLOBAL,
    Plan,
    all_workers,
    is_global,
    partition_labels,
    worker_id,
    worker_name,
)

EVERY = 1.0
# What `get` promises is ten seconds; longer than this it has hung.
GET_SECONDS = 20.0
STATUS_SECONDS = 2.0
AT_ONCE = 24

At = tuple[int, int]


@dataclass
class Watch:
    """``shown``: the answers of `get`; ``facts``: how old the answers of each metric were; ``places``: the
    producers' files, of which there may come more; ``everybody``: all workers are asked, not only the result
    workers; ``recreated``: when the topic has begun again; ``later``: when metrics were
    applied that were not from the beginning; ``asked``: questions to workers, and of these
    ``unanswered``.
    """

    client: Client
    plans: Sequence[Plan]
    places: list[Path]
    everybody: bool = False
    recreated: list[float] = field(default_factory=list)
    later: dict[str, float] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    asked: int = 0
    unanswered: int = 0
    _reached: dict[str, dict[int, At]] = field(default_factory=dict)
    _heard: dict[str, float] = field(default_factory=dict)
    _asking: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _stored: Stored = field(default_factory=lambda: Stored())

    @property
    def waiting(self) -> float:
        """How long the oldest stored message has not been applied, by the last look; seconds."""
        if not self.facts:
            return 0.0
        fact = self.facts[-1]
        return max((fact.at - since for since in fact.waiting.values() if since is not None), default=0.0)

    def has_applied(self, place: Place) -> bool:
        """Whether every result worker has applied the message, by what each said last."""
        ledger, entry, index = place.at
        at = (ledger, entry * 2**16 + index)
        nowhere = (-1, -1)
        return all(
            self._reached.get(worker, {}).get(place.partition, nowhere) >= at
            for planned in self.plans
            for worker in _results(planned)
        )

    def says(self, states: frozenset[str] = frozenset({"ok"})) -> bool:
        """Whether the last `get` shows every metric in one of ``states``."""
        if not self.shown or self.shown[-1].error is not None:
            return False
        last = self.shown[-1].states
        return all(last.get(planned.metric.name) in states for planned in self.plans)

    async def get(self) -> Shown:
        """One `timeline get`."""
        begun = monotonic()
        try:
            async with asyncio.timeout(GET_SECONDS):
                rows, nobody = await overview(TimelineClient(self.client))
        except TimeoutError:
            return Shown(begun, monotonic(), error=f"no answer in {GET_SECONDS:.0f} s")
        except (TimelineError, RPCError) as error:
            return Shown(begun, monotonic(), error=f"{type(error).__name__}: {error}")
        states = {str(row["metric"]): str(row["state"]) for row in rows}
        causes = {str(row["metric"]): str(row["cause"]) for row in rows if row.get("cause")}
        return Shown(begun, monotonic(), states, causes, None if states else nobody)

    async def _look(self) -> None:
        self.shown.append(await self.get())

    async def _probe(self) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(worker: str) -> None:
            async with slots:
                await self._ask(worker)

        # One that does not answer must not hold up the look at the others.
        for worker in sorted({w for planned in self.plans for w in self._to_ask(planned)}):
            if worker not in self._asking or self._asking[worker].done():
                self._asking[worker] = asyncio.create_task(one(worker))
        await asyncio.wait(self._asking.values(), timeout=EVERY)
        self.facts.append(await asyncio.to_thread(self._fact))

    def _to_ask(self, planned: Plan) -> list[str]:
        return [spec.worker_id for spec in all_workers(planned)] if self.everybody else _results(planned)

    async def _ask(self, worker: str) -> None:
        self.asked += 1
        begun = monotonic()
        try:
            async with asyncio.timeout(STATUS_SECONDS):
                status = await self.client.get_workflow_handle(worker).query(
                    "status", rpc_timeout=timedelta(seconds=STATUS_SECONDS)
                )
        except Exception:  # whatever it is, it has not answered
            self.unanswered += 1
        else:
            state: dict[str, Any] = status["state"] or {}
            self._heard[worker] = begun  # it was so at some time since
            self._reached[worker] = {
                p["partition"]: (p["major"], p["minor"]) for p in state.get("progress", ())
            }

    def _fact(self) -> Fact:
        """Which messages of those confirmed are beyond what each metric's result workers have applied."""
        now = monotonic()
        stored = self._stored.read(self.places, self.recreated)
        waiting = {}
        for planned in self.plans:
            least = [
                places[n][1]
                for worker in _results(planned)
                for partition, places in stored.items()
                if (n := _after(places, self._reached.get(worker, {}).get(partition))) < len(places)
            ]
            name = planned.metric.name
            since = min(least, default=None)
            # A metric's answers are not old before there are any.
            waiting[name] = None if since is None else max(since, self.later.get(name, since))
        heard = {
            planned.metric.name: min(self._heard.get(worker, 0.0) for worker in _results(planned))
            for planned in self.plans
        }
        return Fact(now, waiting, heard)


class Stored:
    """What the producers' files say, read on where the last time ended."""

    def __init__(self) -> None:
        self._read: dict[Path, int] = {}
        self._places: dict[int, list[tuple[At, float]]] = {}

    def read(self, files: Sequence[Path], recreated: Sequence[float]) -> dict[int, list[tuple[At, float]]]:
        """Per partition, in order, the places of all messages and when each was confirmed."""
        for file in files:
            found, self._read[file] = confirmed(file, self._read.get(file, 0), recreated)
            for one in found:
                ledger, entry, index = one.place.at
                at = (ledger, entry * 2**16 + index)
                self._places.setdefault(one.place.partition, []).append((at, one.at))
        for places in self._places.values():
            places.sort()
        return self._places


def _after(places: list[tuple[At, float]], at: At | None) -> int:
    return 0 if at is None else bisect_right(places, (at, float("inf")))


def _results(planned: Plan) -> list[str]:
    name = worker_name(planned, planned.result)
    labels = (GLOBAL,) if is_global(planned.result) else partition_labels(planned)
    return [worker_id(name, label) for label in labels]


@asynccontextmanager
async def watching(
    client: Client, plans: Sequence[Plan], places: list[Path], *, everybody: bool = False
) -> AsyncIterator[Watch]:
    """Watch for the length of the block."""
    watch = Watch(client, plans, places, everybody)
    tasks = [asyncio.create_task(_each_second(call)) for call in (watch._look, watch._probe)]
    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def _each_second(call: Callable[[], Awaitable[None]]) -> None:
    while True:
        begun = monotonic()
        await call()
        await asyncio.sleep(max(0.0, begun + EVERY - monotonic()))
