"""Edges that begin anew shortly after each other, and messages that come when they have done so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle.events import Event
from tests.properties.batches import batch_of
from timeline_workers.algebra.leaf_input import LeafRouter, Progress
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import plan, workers
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.wire.leaf_batch import encode_leaf_batch

METRIC = Metric(
    name="m",
    source=Source(topic="t", key="k", time="t", time_unit="us"),
    expression='latest_event_to_state(state) == "on"',
)


def two_workers(life: str = "") -> tuple[NodeWorker, NodeWorker]:
    """A leaf, and the worker that hears it."""
    leaf, reader = workers(plan(METRIC), "p0")
    return NodeWorker(leaf), NodeWorker(reader, life)


def feed(leaf: NodeWorker, at: int, state: str) -> None:
    event = Event(key="a", time=at, columns={"state": state}, position=(0, 0, at))
    batch = LeafRouter(parse(leaf.spec.node.expression)).batch(
        batch_of([event]), (Progress(0, 0, at, at - 100),)
    )
    leaf.ingest(encode_leaf_batch(batch))


def message(leaf: NodeWorker, reader: NodeWorker) -> bytes:
    found = leaf.outgoing(reader.spec.worker_id, 400_000)
    assert found is not None
    return found


def value(worker: NodeWorker, at: int) -> Any:
    answer = worker.ask("value_at", {"key": "a", "at": at})
    assert isinstance(answer, dict)
    return answer["value"]


@pytest.mark.parametrize(
    ("life", "before", "now"),
    [
        pytest.param(
            "", "run/1", "run/2", id="two ask a worker to subscribe again, shortly after each other"
        ),
        pytest.param("new/", "old/0", "new/0", id="another worker was started in its place"),
    ],
)
def test_a_snapshot_of_an_earlier_epoch_is_dropped(life: str, before: str, now: str) -> None:
    """Nor does it cut off the epoch that counts."""
    leaf, _ = two_workers()
    _, reader = two_workers(life)
    name = reader.spec.worker_id
    feed(leaf, 1, "on")
    leaf.subscribe(name, before)
    late = message(leaf, reader)
    leaf.subscribe(name, now)
    reader.receive(message(leaf, reader))
    leaf.delivered(name)
    reader.receive(late)
    feed(leaf, 5, "off")
    reader.receive(message(leaf, reader))
    assert (value(reader, 4), value(reader, 6)) == (True, False)
    assert reader.repeated == 1


def test_a_worker_notices_an_input_with_less() -> None:
    """Until what it has told since it began anew reaches as far; also when the state is carried meanwhile."""
    leaf, reader = two_workers()
    name, sender = reader.spec.worker_id, leaf.spec.worker_id
    for at in (1, 5):
        feed(leaf, at, "on")
    leaf.subscribe(name, "run/0")
    reader.receive(message(leaf, reader))
    assert reader.rebuilding() == []
    fresh, _ = two_workers()
    feed(fresh, 1, "on")
    fresh.subscribe(name, "run/1")
    reader.receive(message(fresh, reader))
    fresh.delivered(name)
    carried = NodeWorker.restore(reader.spec, reader.snapshot(1 << 20))
    assert reader.rebuilding() == carried.rebuilding() == [sender]
    assert carried.status()["rebuilding"] == [sender]
    feed(fresh, 5, "on")
    carried.receive(message(fresh, carried))
    assert carried.rebuilding() == []
    assert "rebuilding" not in carried.status()
