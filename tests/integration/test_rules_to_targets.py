"""A rule and its target together, by their files: an HTTP receiver has every message of an episode once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stack import Stack, event, eventually, running_stack
from tests.targets.receivers import SECRET, Receiver, http_receiver

pytestmark = pytest.mark.integration
VARIABLE = "RULE_TEST_SECRET"
TARGET = "kind: target\nname: pager\nwhat: webhook\nurl: {url}/hook\nsecret: {{env: {variable}}}\n"
RULE = """
kind: alert
name: waits
source: {topic: waits-events, key: id, time: t, columns: {state: string}, allowed_lateness: 1m}
expression: latest_event_to_state(state) == "bad"
for: 2s
as_of: clock
title: "{{ key }}: {{ kind }}"
to: [pager]
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    os.environ[VARIABLE] = SECRET
    with running_stack(tmp_path_factory.mktemp("rules-to-targets")) as made:
        made.start_worker()
        made.start_feeder()
        yield made
    del os.environ[VARIABLE]


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def command(stack: Stack, *arguments: str) -> str:
    """What a command that goes well prints."""
    done = await asyncio.to_thread(stack.run, "timeline_workers", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_receiver_has_every_message_once(stack: Stack, tmp_path: Path) -> None:
    """It fires, is moved by late data, resolved, and withdrawn; the worker process is killed meanwhile."""
    receiver = Receiver()
    async with http_receiver(receiver) as url:
        target, rule = tmp_path / "pager.yaml", tmp_path / "waits.yaml"
        target.write_text(TARGET.format(url=url, variable=VARIABLE))
        rule.write_text(RULE)
        for file in (target, rule):
            await command(stack, "apply", str(file))
        now = int(time.time())
        others = [f"k{number}" for number in range(20)]
        over = others[::2]

        def of(key: str) -> list[dict[str, Any]]:
            return [one["data"] for one in receiver.taken.values() if one["data"]["key"] == key]

        async def told(*expected: str) -> None:
            async def has() -> bool:
                return [one["kind"] for one in of("a")] == list(expected)

            await eventually(has)

        def send(seconds: int, state: str, *keys: str) -> None:
            stack.send("waits-events", [event(key, now - seconds, state=state) for key in keys])

        async def all_fire() -> bool:
            return len(receiver.taken) == 1 + len(others)

        send(20, "bad", "a", *others)
        await eventually(all_fire)
        send(25, "bad", "a")
        await told("fire", "moved")
        send(5, "good", "a", *over)
        stack.stop("worker", signal.SIGKILL)
        stack.start_worker()
        await told("fire", "moved", "resolve")
        send(24, "good", "a")
        await told("fire", "moved", "resolve", "moved")
        send(19, "good", "a")
        await told("fire", "moved", "resolve", "moved", "withdraw")

        async def others_are_told() -> bool:
            last = {key: of(key)[-1]["kind"] for key in others if of(key)}
            return last == dict.fromkeys(others, "fire") | dict.fromkeys(over, "resolve")

        await eventually(others_are_told)
        episode = f"waits/a/{(now - 18) * 1_000_000}"
        names = [name for name, one in receiver.taken.items() if one["data"]["key"] == "a"]
        assert names == [f"{episode}/{seq}" for seq in range(1, 6)]
        spans = [(one["start"], one["end"]) for one in of("a")]
        first, second, end = (_iso(now - seconds) for seconds in (18, 23, 5))
        assert spans == [(first, None), (second, None), (second, end), (first, end), (first, end)]
        assert [one["page"] for one in of("a")] == [True, False, False, False, False]
        assert of("a")[2]["title"] == "a: resolve"
        history = await command(stack, "alerts", "history", "waits", "-o", "json")
        sent = {f"{one['episode']}/{one['seq']}" for one in map(json.loads, history.splitlines())}
        assert set(receiver.taken) == sent
        # What a kill had sent once more has the same id.
        assert set(receiver.requests) == sent
        described = await command(stack, "outputs", "describe", "pager")
        assert "waits" in described
