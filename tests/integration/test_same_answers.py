"""Five thousand events, twice through durable workers, in other orders and cut into other batches."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import Client

from tests.integration.answers import Question, answers, evaluated
from tests.oracle.events import Event
from tests.workflows.cluster import CIRR, apply, cluster, feed, until_everything_arrived
from timeline_workers.metric.model import Metric, Source

pytestmark = pytest.mark.integration

KEYS, DIFFERENT, REPEATED, SECOND = 60, 4_600, 400, 1_000_000
SPAN = 3_600
EXPRESSIONS = {
    "cirr": CIRR,
    "busy": 'event_count_within(playerStateChange == "play", 10m) > 3 || has_existed(userAction == "seek")',
    "lasting": 'held_for(latest_event_to_state(playerStateChange) == "buffer", 40s)'
    ' || latest_event_to_state(playerStateChange) != "pause" since has_existed(cdnChange == "CDN2")',
    "by-cdn": "duration_in_cur_state(latest_event_to_state(playerStateChange))"
    " | aggregate(group_by(cdnChange), count, sum, max)",
}


def drawn() -> list[Event]:
    """Events of which none contradicts another: a key never has two at one instant, so that which of them
    was sent first can never matter. Some are there twice, as a producer that is not sure sends them.
    """
    draw = random.Random(1)
    instants = draw.sample(range(KEYS * SPAN), DIFFERENT)
    choices = [("playerStateChange", value) for value in ("init", "play", "buffer", "pause")]
    choices += [("userAction", "seek"), ("cdnChange", "CDN1"), ("cdnChange", "CDN2")]
    events = []
    for instant in instants:
        key, second = divmod(instant, SPAN)
        column, value = draw.choice(choices)
        events.append(Event(f"s{key}", second * SECOND + key, (0, 0, 0), {column: value}))
    return events + draw.sample(events, REPEATED)


def metric(name: str, expression: str, topic: str) -> Metric:
    source = {"topic": topic, "key": "session", "time": "t", "time_unit": "us", "partitions": 2}
    return Metric(name=f"{name}-{topic}", source=Source.model_validate(source), expression=expression)


async def run(client: Client, expression: str, name: str, seed: int) -> list[dict[str, Any]]:
    """Feed a shuffled copy of the events to a graph of its own, and ask it about everything."""
    draw = random.Random(seed)
    events = drawn()
    draw.shuffle(events)
    events = [replace(event, position=(0, 0, place)) for place, event in enumerate(events)]
    applied = metric(name, expression, f"order-{seed}")
    await apply(client, applied, continue_as_new_after=draw.randrange(5, 15))
    start = 0
    while start < len(events):
        end = start + draw.choice([1, 7, 60, 300, 900])
        await feed(client, applied, events[start:end])
        if draw.random() < 0.3:  # delivered again, as after a crash of the feeder
            await feed(client, applied, events[max(0, start - 100) : end])
        start = end
    await until_everything_arrived(client, applied, events)
    return await answers(client, applied, questions())


def questions() -> list[Question]:
    at = [second * SECOND for second in range(-60, SPAN + 600, SPAN // 40)]
    whole = {"start": -SECOND, "end": (SPAN + 1200) * SECOND}
    return [("value_at", {"at": at}), ("spans", whole), ("change", whole)]


def digest(found: Sequence[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize(
    "name", ["cirr", *(pytest.param(name, marks=pytest.mark.long) for name in ("busy", "lasting")), "by-cdn"]
)
async def test_any_order_and_batches_give_the_same_answers(name: str) -> None:
    """Two shuffles of 5,000 events with duplicates, redeliveries and other batch cuts: every answer about
    every key is the same from both graphs, and the one of evaluation in process.
    """
    expression = EXPRESSIONS[name]
    rows = [{"session": e.key, "t": e.time, **e.columns} for e in drawn()]
    expected = evaluated(metric(name, expression, "any"), rows, questions())
    async with cluster() as client:
        first, second = [await run(client, expression, name, seed) for seed in (1, 2)]
    assert len(first) > 100
    assert digest(first) == digest(second)
    assert first == expected
