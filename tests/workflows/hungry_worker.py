"""A worker process of ours that is held to little more memory than it has, with a workflow that wants more.

python -m tests.workflows.hungry_worker ADDRESS TASK_QUEUE
"""

from __future__ import annotations

import asyncio
import resource
import sys
from datetime import timedelta
from pathlib import Path

import structlog
from temporalio import activity, workflow

from timeline_workers.process.out_of_memory import watch_for_memory_errors
from timeline_workers.servers.temporal.temporal_client import connect
from timeline_workers.settings.timeline_settings import Settings
from workflows import worker
from workflows.durable.memory_errors import LINE

_ROOM = 256 << 20


def eat() -> int:
    return len(bytearray(8 * _ROOM))


@activity.defn
async def hungry() -> int:
    """Take more memory than there is."""
    return eat()


@workflow.defn
class Hungry:
    """Takes more memory than there is where it is told to."""

    @workflow.init
    def __init__(self, where: str) -> None:
        self.where = where
        self.size = eat() if where == "init" else 0

    @workflow.run
    async def run(self, where: str) -> int:
        if where == "activity":
            return await workflow.execute_local_activity(hungry, start_to_close_timeout=timedelta(seconds=30))
        await workflow.wait_condition(lambda: self.size > 0)
        return self.size

    @workflow.signal
    def take(self) -> None:
        self.size = eat()

    @workflow.query
    def hunger(self) -> int:
        return eat() if self.where == "query" else 0


async def main(address: str, queue: str) -> None:
    client = await connect(address)
    worker.WORKFLOWS = [*worker.WORKFLOWS, Hungry]
    worker.ACTIVITIES = [*worker.ACTIVITIES, hungry]
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    watch_for_memory_errors(LINE)
    await worker.run_worker(client, stop=asyncio.Event(), settings=Settings(task_queue=queue))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
