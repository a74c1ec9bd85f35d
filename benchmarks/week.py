"""A week of sessions in minutes: do the workers' states and histories level off?

Events of a week (1,000 sessions an hour, a few of which come back hours later) are routed as the feeder does
and signalled to the leaves of a real graph on the real dev server, with a retention and a ``key_ttl``. After
every hour of event time each worker is asked what it holds. At the end the answers about some sessions, most
of them long in archives, are compared with evaluation in process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from temporalio.client import Client
from temporalio.service import RPCError

from feeder.routing.router import Messages, Router, groups_of
from producer.generate_playback import sessions
from timeline_workers import evaluate
from timeline_workers.cli.dev import environment_of
from timeline_workers.columns.event_batch import Positions
from timeline_workers.errors import TimelineError
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import Plan, all_workers, plan
from timeline_workers.servers.embedded.embedded_servers import embedded
from timeline_workers.servers.temporal.temporal_client import connect
from workflows.client import ask
from workflows.client.start import ensure_workers, wait_until_ready

START = 1_767_225_600  # 2026-01-01, a Thursday
QUARTER = 900
MICRO = 1_000_000
EVENTS_EACH = 12
BACK_AFTER_QUARTERS = 24
BACK_SHARE = 0.02
CHECKED_SHARE = 0.002
EXPRESSION = """duration_where(
    latest_event_to_state(playerStateChange) == "buffer" && has_existed(playerStateChange == "play")
    && !has_existed_within(userAction == "seek", 5s) && latest_event_to_state(cdnChange) == "CDN1")"""
# Temporal suggests a new run after 4,096 events or 4 MiB of history; a week in minutes comes in fewer, larger
# batches than a week does, so the runs are ended after so many payloads instead: some four hours' worth.
PAYLOADS_A_RUN = 16
# What has levelled off is in the second half of the week no greater than in the first, but for chance.
LEVEL = 1.15


@dataclass(slots=True)
class Load:
    """What is simulated."""

    hours: int = 168
    sessions_an_hour: int = 1_000
    partitions: int = 2
    retention: str = "6h"
    key_ttl: str = "2h"
    seed: int = 1

    def metric(self) -> Metric:
        """CIRR over a source that these sessions fit."""
        return Metric.model_validate(
            {
                "name": "week",
                "source": {
                    "topic": "week",
                    "key": "session_id",
                    "time": "timestamp",
                    "columns": {"playerStateChange": "string", "userAction": "string", "cdnChange": "string"},
                    "allowed_lateness": "5m",
                    "partitions": self.partitions,
                },
                "expression": EXPRESSION,
                "retention": self.retention,
                "key_ttl": self.key_ttl,
            }
        )


@dataclass(slots=True)
class Sample:
    """All workers after ``hour`` hours of event time; of most fields the sum over workers, and the greatest.

    ``archived``, ``keys``: keys of the result workers that are in archives, and that they hold.
    """

    hour: int
    state_bytes: int = 0
    state_bytes_most: int = 0
    history_bytes: int = 0
    history_bytes_most: int = 0
    history_events_most: int = 0
    change_points: int = 0
    log_events: int = 0
    keys: int = 0
    archived: int = 0
    runs: int = 0
    limited: int = 0
    paused: int = 0
    by_worker: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, status: dict[str, Any], is_result: bool) -> None:
        """Count one worker's status."""
        state = status["state"]
        points = state["change_points"] + state["input_change_points"]
        self.state_bytes += state["bytes"]
        self.state_bytes_most = max(self.state_bytes_most, state["bytes"])
        self.history_bytes += status["history_bytes"]
        self.history_bytes_most = max(self.history_bytes_most, status["history_bytes"])
        self.history_events_most = max(self.history_events_most, status["history_events"])
        self.change_points += points
        self.log_events += state["events"]
        self.runs += status["runs"]
        self.limited += bool(state["limited"])
        self.paused += bool(status["paused"])
        if is_result:
            self.keys += state["keys"]
            self.archived += status["archived_keys"]
        self.by_worker[status["worker_id"]] = {
            "state_bytes": state["bytes"],
            "history_bytes": status["history_bytes"],
            "history_events": status["history_events"],
            "change_points": points,
            "keys": state["keys"],
            "archived": status["archived_keys"],
            "runs": status["runs"],
        }


class Traffic:
    """The events of one quarter of an hour after the other, in the order of a broker."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self._draw = random.Random(load.seed)
        self._position = 0
        self._began: dict[int, list[str]] = {}
        self._ahead: list[tuple[float, dict[str, Any]]] = []  # arrival and event, of sessions that go on
        self.sent = 0
        self.checked: dict[str, list[dict[str, Any]]] = {}

    def quarter(self, number: int) -> Messages:
        """The messages published in quarter ``number``, up to a minute out of order."""
        start = START + number * QUARTER
        self._begin(number, start)
        for name in self._back(number):
            at = start + self._draw.uniform(0, QUARTER - 60)
            self._ahead.append((at, {"session_id": name, "timestamp": at, "playerStateChange": "buffer"}))
        end = start + QUARTER
        self._ahead.sort(key=itemgetter(0))
        due = bisect_left(self._ahead, end, key=itemgetter(0))
        events, self._ahead = self._ahead[:due], self._ahead[due:]
        for _, row in events:
            if row["session_id"] in self.checked:
                self.checked[row["session_id"]].append({**row, "timestamp": round(row["timestamp"] * MICRO)})
        return self._messages(events)

    def _begin(self, number: int, start: int) -> None:
        count = self.load.sessions_an_hour // 4
        seed = self.load.seed * 10_000 + number
        names = set()
        for event in sessions(count, EVENTS_EACH * count, seed=seed, start=start):
            name = f"q{number:04d}-{event.key}"
            names.add(name)
            # The generator begins all sessions within a minute.
            at = round(event.time + hash_of(name) % (QUARTER - 60), 3)
            row = {**json.loads(event.payload), "session_id": name, "timestamp": at}
            self._ahead.append((at + self._draw.uniform(0, 60), row))
        self._began[number] = sorted(names)
        self.checked |= {name: [] for name in names if hash_of(name) % 10_000 < CHECKED_SHARE * 10_000}

    def _back(self, number: int) -> list[str]:
        earlier = self._began.pop(number - BACK_AFTER_QUARTERS, [])
        return [name for name in earlier if self._draw.random() < BACK_SHARE]

    def _messages(self, events: Sequence[tuple[float, dict[str, Any]]]) -> Messages:
        numbers = np.arange(self._position, self._position + len(events), dtype=np.int64)
        self._position += len(events)
        self.sent += len(events)
        nothing = np.zeros(len(events), np.int64)
        published = np.array([round(at * MICRO) for at, _ in events], np.int64)
        positions = Positions(nothing.astype(np.int32), nothing, numbers)
        return Messages([json.dumps(row).encode() for _, row in events], positions, published)


def hash_of(name: str) -> int:
    """A number that is the same for a name in every process."""
    return random.Random(name).randrange(2**30)


@contextmanager
def program(*arguments: str, log: Path) -> Iterator[None]:
    """Run a program of ours until the end of the block."""
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


async def run(load: Load, tell: Any, data: Path | None = None) -> dict[str, Any]:
    """Simulate ``load`` and return its samples; ``tell`` hears how far it is."""
    with ExitStack() as stack:
        home = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="timeline-week-")))
        home.mkdir(parents=True, exist_ok=True)
        servers = stack.enter_context(embedded(home / "data", temporal_port=0, ui_port=0, pulsar_port=0))
        os.environ.update(environment_of(servers))
        stack.enter_context(
            program("timeline_workers", "worker", "--processes", "2", log=home / "worker.log")
        )
        client = await connect()
        planned = plan(load.metric())
        await ensure_workers(client, all_workers(planned), continue_as_new_after=PAYLOADS_A_RUN)
        await wait_until_ready(client, [spec.worker_id for spec in all_workers(planned)])
        begun = time.monotonic()
        traffic, failed = Traffic(load), None
        samples: list[Sample] = []
        try:
            await _simulate(client, planned, traffic, samples, tell)
            seconds = time.monotonic() - begun
            wrong, compared = await _compare(client, planned, traffic, load)
        except (TimelineError, RPCError) as error:
            # What was seen until then is told all the same.
            seconds, wrong, compared, failed = time.monotonic() - begun, [], 0, str(error)
    return {
        "failed": failed,
        "load": asdict(load),
        "expression": EXPRESSION,
        "payloads_a_run": PAYLOADS_A_RUN,
        "events": traffic.sent,
        "seconds": round(seconds, 1),
        "answers_compared": compared,
        "answers_wrong": wrong,
        "samples": [asdict(sample) for sample in samples],
    }


async def _simulate(
    client: Client, planned: Plan, traffic: Traffic, samples: list[Sample], tell: Any
) -> None:
    ((group,),) = groups_of([planned]).values()
    router = Router(group)
    for hour in range(traffic.load.hours):
        for quarter in range(4 * hour, 4 * hour + 4):
            routed = await asyncio.to_thread(router.route, traffic.quarter(quarter))
            if routed.refused:
                raise RuntimeError(f"{len(routed.refused)} events are refused: {routed.refused[0].message}")

            async def send(worker: str, parcels: Any) -> None:
                for parcel in parcels:
                    await client.get_workflow_handle(worker).signal("ingest", parcel.payload)

            await asyncio.gather(*(send(worker, parcels) for worker, parcels in routed.parcels.items()))
            await _applied(client, planned, routed.progress[0].minor)
        samples.append(await _sample(client, planned, hour + 1))
        tell(samples[-1], traffic)


async def _applied(client: Client, planned: Plan, minor: int) -> None:
    """Return when every result worker has heard of everything up to ``minor``."""
    for spec in all_workers(planned):
        while spec.node.name == planned.result.name:
            state = (await ask.ask_worker(client, spec.worker_id, "status"))["state"]
            if state and any(p["minor"] >= minor for p in state["progress"]):
                break
            await asyncio.sleep(0.02)


async def _sample(client: Client, planned: Plan, hour: int) -> Sample:
    sample = Sample(hour)
    for spec in all_workers(planned):
        status = await ask.ask_worker(client, spec.worker_id, "status")
        while status["state"] is None:
            await asyncio.sleep(0.1)
            status = await ask.ask_worker(client, spec.worker_id, "status")
        sample.add(status, spec.node.name == planned.result.name)
    return sample


async def _compare(
    client: Client, planned: Plan, traffic: Traffic, load: Load
) -> tuple[list[dict[str, Any]], int]:
    """Ask about the sessions that were marked, at the end of the week, and hold the answers against
    evaluation.
    """
    at = (START + load.hours * 3600 + QUARTER) * MICRO
    wrong, compared = [], 0
    for name, rows in traffic.checked.items():
        if not rows:
            continue  # it begins after the week
        expected = evaluate(EXPRESSION, rows, key="session_id", time="timestamp", time_unit="us")
        asked = [{"at": at, "unit": "us"}]
        async for answer in ask.ask(client, planned, planned.result, "value_at", asked, keys=[name]):
            compared += 1
            want = expected.value_at(name, at).value
            if answer["value"] != want:
                wrong.append({"key": name, "answer": answer["value"], "expected": want})
    return wrong, compared


def levels_off(samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The greatest value in the second half of the samples against that in the first, of what must not grow.

    The first tenth is left out, when the workers fill up.
    """
    if len(samples) < 4:
        return {}
    half = len(samples) // 2
    first, second = samples[len(samples) // 10 : half], samples[half:]
    names = ("state_bytes", "state_bytes_most", "history_bytes_most", "change_points", "log_events", "keys")
    return {name: max(s[name] for s in second) / max(1, *(s[name] for s in first)) for name in names}
