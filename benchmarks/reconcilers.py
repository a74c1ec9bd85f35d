"""Reconcilers: how many calls a second that find nothing to do, and what each costs a workflow's history.

Every key's state changes in each round, and the function returns at once, so what is measured is what is
ours: news of a metric's result, the calls of a batch, and the outcomes. The calls are made in this process.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from timeline_workers.client.reconciler_client import Reconcilers
from timeline_workers.reconcilers import Context, Level, reconciler
from timeline_workers.reconcilers.reconciler_workers import PREFIX

from . import stack
from .measure import Tell
from .report import finish, versions

NAME, METRIC = "nothing-to-do", "states"


class Round(msgspec.Struct):
    """One round: ``calls`` in ``seconds``, which added ``events`` to the workflow's history. ``counted``:
    none of the events were left behind by a run that ended."""

    calls: int
    seconds: float
    events: int
    counted: bool

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


async def measure(keys: int, rounds: int, tell: Tell) -> list[Round]:
    """Measure; the first round, in which keys are new, is the first of the list."""
    called: dict[str, Any] = {}
    first, last = 0.0, 0.0

    @reconciler(NAME, follow=METRIC)
    async def nothing(context: Context[Any], desired: Level[Any]) -> None:
        nonlocal first, last
        last = time.perf_counter()
        first = first or last
        called[str(context.key)] = desired.value

    servers = stack.Stack()
    try:
        client = await servers.client()
        servers.start_workers()
        servers.start_feeder()
        await stack.apply_metric(client, stack.metric(METRIC, "latest_event_to_state(state)", ["state"]))
        stop = asyncio.Event()
        await Reconcilers(client).register(NAME)
        calling = asyncio.create_task(Reconcilers(client).run(NAME, stop=stop))
        handle = client.get_workflow_handle(f"{PREFIX}{NAME}.p0")
        found = []
        for number in range(rounds):
            before = await handle.query("status")
            first = last = 0.0
            made = (await handle.query("reconciler"))["calls"]
            began = time.perf_counter()
            lines = [(f"k{key}", _event(f"k{key}", number, f"s{number}")) for key in range(keys)]
            await asyncio.to_thread(servers.publish, lines)
            while len(called) < keys or set(called.values()) != {f"s{number}"}:
                await asyncio.sleep(0.01)
            after = await handle.query("status")
            calls = (await handle.query("reconciler"))["calls"] - made
            events = after["history_events"] - before["history_events"]
            same = after["runs"] == before["runs"] and calls > 0
            found.append(Round(max(calls, keys), last - min(first, last), events, same))
            tell(f"round {number + 1}: {keys} keys, {time.perf_counter() - began:.2f} s with feeding")
        stop.set()
        await calling
        return found
    finally:
        servers.close()


def _event(key: str, number: int, state: str) -> bytes:
    return json.dumps({"key": key, "time": (number + 1) * 1_000_000, "state": state}).encode()


def run(*, keys: int, rounds: int, tell: Tell, json_file: Path | None) -> None:
    """Measure and print."""
    found = asyncio.run(measure(keys, rounds, tell))
    table = Table("round", "calls", "calls/s", "history events a call", title="calls with nothing to do")
    for number, one in enumerate(found, start=1):
        cost = f"{one.events / one.calls:.3f}" if one.counted else "a run ended meanwhile"
        table.add_row(str(number), str(one.calls), f"{one.rate:,.0f}", cost)
    Console(width=100).print(table)
    finish(
        "reconcilers",
        (),
        versions(["temporalio", "msgspec"]),
        json_file=json_file,
        more={"rounds": [{**msgspec.to_builtins(one), "rate": one.rate} for one in found]},
    )
