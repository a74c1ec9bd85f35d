"""Our own durable path: the events are in the topic, the metric is applied, worker processes run.

Its time begins with the feeder's start and ends when the result worker has applied the last event, so that
any question is answered with it. Every node is a workflow of its own, unless ``fuse`` is asked for. With
``each`` the feeder sends one signal per event and leaf; with ``real_broker`` the topic is in the standalone
broker of the Apache distribution. With ``history`` the feeder writes into a history store, in SQLite on the
same cores, and the time ends when the last event is there, too; its value is the nodes whose timelines are
stored beside them.

``disturb`` ``kill``: every worker process is killed (-9) when half of the events are in, and started again.
``disturb`` ``backfill``: the metric has all events already; the time is that of a second one, with leaves of
its own, from its being applied on until it has them, too, through a feeder of its own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from typing import Any

from temporalio.client import Client

from benchmarks import stack
from producer.send import Stored
from timeline_workers.history.model import definition_of
from timeline_workers.history.open import open_history
from timeline_workers.plan.physical import Plan
from timeline_workers.plan.reading import reading_of
from timeline_workers.settings.history_settings import OFF, HistorySettings, sqlite_address

from .job import AT_END, FIRST, NOTES, Collect, Job, Run, main, names, number_of


class System:
    """The stack with the job's events in its topic, and the metric applied."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stack = stack.Stack(real_broker=job.options.get("real_broker", False))
        AT_END.append(self.stack.close)
        self.history = sqlite_address(self.stack.home / "history.db") if job.options.get("history") else OFF
        os.environ[HistorySettings.variable("history")] = self.history
        self.workers = self.stack.start_workers()
        known = names(job.keys)
        pairs = zip((known[key] for key in job.key), job.lines(), strict=True)
        listed = list(pairs)
        middle = len(listed) // 2
        self.half = self.stack.publish(listed[:middle])
        self.stored = self.stack.publish(listed[middle:])

    async def connect(self) -> None:
        self.client: Client = await self.stack.client()
        self.planned: Plan = await self.apply("bench")

    async def apply(self, name: str, **fields: Any) -> Plan:
        if self.job.options.get("fuse"):
            fields["fuse"] = True
        if self.job.options.get("history"):
            fields["history"] = {"events": True, "nodes": self.job.options["history"]}
        wanted = stack.metric(name, self.job.expression, self.job.values, **fields)
        return await stack.apply_metric(self.client, wanted)

    async def until(self, stored: Stored) -> None:
        await stack.until(self.client, self.planned, stack.place_of(stored))

    async def feed(self) -> None:
        arguments = ("--batch", "1") if self.job.options.get("each") else ()
        began = time.perf_counter()
        self.stack.start_feeder(*arguments)
        await stack.until(self.client, self.planned, stack.ANYWHERE)
        NOTES[FIRST] = time.perf_counter() - began
        if self.job.options.get("disturb") == "kill":
            await self.until(self.half)
            killed = time.perf_counter()
            for worker in self.workers:
                stack.kill(worker)
            self.stack.start_workers()
            await self.until(self.stored)
            NOTES["seconds from kill to caught up"] = time.perf_counter() - killed
        await self.until(self.stored)
        if self.history != OFF:
            await self.until_stored()

    async def until_stored(self) -> None:
        """Return when the history store has the last event."""
        store = await open_history(self.history)
        definition = definition_of(reading_of(self.planned.metric))
        while not any(
            (at.major, at.minor) >= stack.place_of(self.stored)
            for at in (await store.followed(definition)).values()
        ):
            await asyncio.sleep(stack.POLL_SECONDS)
        await store.close()

    async def backfill(self) -> None:
        # Another lateness makes other nodes of the same expression, so nothing is shared.
        self.planned = await self.apply("backfilled", lateness="2h")
        self.stack.start_feeder("--metric", "backfilled")
        await self.until(self.stored)


def prepare(job: Job) -> tuple[Run, Collect]:
    system = System(job)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(system.connect())
    work = system.feed
    if job.options.get("disturb") == "backfill":
        loop.run_until_complete(system.feed())
        work = system.backfill

    def run() -> None:
        loop.run_until_complete(work())

    def collect(_: object) -> Iterable[tuple[int, int]]:
        found = loop.run_until_complete(stack.answers(system.client, system.planned, job.horizon))
        return ((number_of(key), value) for key, value in found)

    return run, collect


if __name__ == "__main__":
    main(prepare, rehearse=False)
