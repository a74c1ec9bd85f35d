"""Five thousand sessions through Pulsar and the graph, a worker killed in the middle, against the oracle."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from producer.disorder import duplicate, shuffle
from producer.generate_playback import sessions
from producer.send import Stored, to_pulsar
from tests.oracle import oracle
from tests.oracle.events import Event
from tests.oracle.oracle import value_of
from timeline_workers.cli.dev import environment_of
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import partition_labels, partition_of, plan, worker_id
from timeline_workers.servers.embedded.embedded_servers import embedded
from timeline_workers.servers.temporal.temporal_client import connect
from workflows.client.ask import apply, ask_worker, gather, worker_status

pytestmark = pytest.mark.integration

SESSIONS, EVENTS, INSTANTS, SEED = 5_000, 100_000, 20, 11
CIRR = """duration_where(
    latest_event_to_state(playerStateChange) == "buffer" && has_existed(playerStateChange == "play")
    && !has_existed_within(userAction == "seek", 5s) && latest_event_to_state(cdnChange) == "CDN1")"""
METRIC = Metric(
    name="cirr-at-scale",
    source=Source.model_validate(
        {
            "topic": "scale",
            "key": "session_id",
            "time": "timestamp",
            "columns": {"playerStateChange": "string", "userAction": "string", "cdnChange": "string"},
            "allowed_lateness": "10m",
            "partitions": 4,
        }
    ),
    expression=CIRR,
)


@contextmanager
def program(*arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of ours until the end of the block."""
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.long
async def test_every_answer_of_five_thousand_sessions_is_the_oracles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100,000 events, shuffled within a minute and 5 % sent twice, and the worker process killed after a
    third: 20 instants of every session are right.
    """
    events = list(sessions(SESSIONS, EVENTS, seed=SEED))
    sent = list(duplicate(shuffle(events, 60.0, seed=SEED), 0.05, seed=SEED))
    with embedded(tmp_path / "data", temporal_port=0, ui_port=0, pulsar_port=0) as servers:
        for name, value in environment_of(servers).items():
            monkeypatch.setenv(name, value)
        stored = to_pulsar(sent, "scale")
        client = await connect()
        worker = ("timeline_workers", "worker")
        log = tmp_path / "log"
        with program(*worker, log=log) as first:
            await apply(client, METRIC)
            with program("feeder", log=log):
                await until(client, stored, 0.3)
                os.kill(first.pid, signal.SIGKILL)
                first.wait()
                with program(*worker, log=log):
                    await until(client, stored, 1.0)
                    await compare(client, [json.loads(event.payload) for event in sent])


async def until(client: Client, stored: Stored, share: float) -> None:
    """Return when every result worker has applied that share of what the broker stored."""
    (partition, (major, minor)), *_ = stored.last.items()
    planned = plan(METRIC)
    async with asyncio.timeout(300):
        for label in partition_labels(planned):
            while True:
                status = await worker_status(client, worker_id(planned.result.name, label))
                progress = ((status["status"] or {}).get("state") or {}).get("progress", [])
                at = [(p["major"], p["minor"]) for p in progress if p["partition"] == partition]
                if at and at[0] >= (major, int(minor * share)):
                    break


async def compare(client: Client, sent: list[dict[str, Any]]) -> None:
    """Ask the result workers about every session and hold the answers against the oracle's."""
    by_session: dict[str, list[Event]] = defaultdict(list)
    for place, event in enumerate(sent):
        columns = {name: event[name] for name in METRIC.source.columns if name in event}
        micros = round(event["timestamp"] * 1_000_000)
        by_session[event["session_id"]].append(Event(event["session_id"], micros, (0, 0, place), columns))
    expression = parse(CIRR)
    draw = random.Random(SEED)
    asked = {key: _instants(events, draw) for key, events in by_session.items()}
    planned = plan(METRIC)
    wrong: list[tuple[str, int, Any, Any]] = []
    compared = 0
    for label in partition_labels(planned):
        worker = worker_id(planned.result.name, label)
        keys = [key for key in by_session if partition_of(key, METRIC.source) == label]

        async def answers(key: str, worker: str = worker) -> Any:
            return await ask_worker(client, worker, "value_at", {"key": key, "at": asked[key], "unit": "us"})

        for key, found in zip(keys, await gather([partial(answers, key) for key in keys]), strict=True):
            pieces = oracle.timeline(expression, by_session[key], key)
            for answer in found:
                expected = value_of(pieces, answer["at"])
                compared += 1
                if answer["value"] != (None if expected is None else float(expected)):
                    wrong.append((key, answer["at"], answer["value"], expected))
    assert not wrong[:5]
    assert compared == len(by_session) * INSTANTS
    assert len(by_session) == SESSIONS


def _instants(events: list[Event], draw: random.Random) -> list[int]:
    low, high = min(e.time for e in events), max(e.time for e in events)
    return [draw.randint(low - 1_000_000, high + 20_000_000) for _ in range(INSTANTS)]
